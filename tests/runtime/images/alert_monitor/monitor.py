"""A stand-in for alert-monitor, with the application's variables, API and way of failing.

Environment variables:
    REDIS_HOST: Where the alerts come from.
    REDIS_PORT: A number.
    REDIS_DB: A number.
"""

import asyncio
import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import redis  # type: ignore[import-not-found,unused-ignore] # in the image
from fastapi import (  # type: ignore[import-not-found] # in the image
    FastAPI,
    WebSocket,
    WebSocketDisconnect,
)
from fastapi.responses import HTMLResponse  # type: ignore[import-not-found] # in the image

HOST = os.environ.get("REDIS_HOST", "redis")
PORT = int(os.environ.get("REDIS_PORT", "6379"))
DB = int(os.environ.get("REDIS_DB", "0"))
ALERTS = "fraud_alerts"
REPLAYED = 100
PAUSE_SECONDS = 5
DASHBOARD = """<!doctype html>
<title>Alerts</title>
<ul id="alerts"></ul>
<script>
  const show = alert => {
    const line = document.createElement("li");
    line.textContent = JSON.stringify(alert);
    document.getElementById("alerts").prepend(line);
  };
  new WebSocket(`ws://${location.host}/ws`).onmessage = ({data}) => show(JSON.parse(data));
</script>
"""

logging.basicConfig(level=logging.INFO)
log = logging.getLogger("alert-monitor")

latest: deque[dict[str, Any]] = deque(maxlen=REPLAYED)
browsers: set[WebSocket] = set()


async def show(alert: dict[str, Any]) -> None:
    """Store an alert and send it to every browser."""
    latest.append(alert)
    for browser in list(browsers):
        try:
            await browser.send_json(alert)
        except (WebSocketDisconnect, RuntimeError):  # noqa: PERF203 -- one browser of many
            browsers.discard(browser)


def pop_alerts(loop: asyncio.AbstractEventLoop) -> None:
    """Take alerts from Redis for ever, one at a time; reconnect after a failure."""
    while True:
        try:
            client = redis.Redis(host=HOST, port=PORT, db=DB)
            client.ping()
            log.info("Connected to %s:%s", HOST, PORT)
            while True:
                # Without a time limit, as the application does it.
                _, alert = client.blpop([ALERTS])
                asyncio.run_coroutine_threadsafe(show(json.loads(alert)), loop)
        except (redis.RedisError, ValueError):  # noqa: PERF203 -- each round is a connection
            log.exception("No alerts from %s:%s", HOST, PORT)
            time.sleep(PAUSE_SECONDS)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Pop alerts while the program serves, whether or not Redis answers."""
    loop = asyncio.get_running_loop()
    threading.Thread(target=pop_alerts, args=(loop,), daemon=True).start()
    yield


async def dashboard() -> HTMLResponse:
    """Return the page that shows the alerts."""
    return HTMLResponse(DASHBOARD)


async def send_alerts(browser: WebSocket) -> None:
    """Send the recent alerts, then each new one as it arrives."""
    await browser.accept()
    browsers.add(browser)
    try:
        for alert in list(latest):
            await browser.send_json(alert)
        while True:
            await browser.receive_text()
    except WebSocketDisconnect:
        browsers.discard(browser)


app = FastAPI(lifespan=lifespan)
app.add_api_route("/", dashboard)
app.add_api_websocket_route("/ws", send_alerts)
