"""Prober: measure whether a fraud travels from payment-api all the way to an open dashboard.

Each probe opens the WebSocket of alert-monitor, lets it replay its latest alerts, posts a
transaction of a million, and succeeds when the alert arrives live on that very connection in time.
A replayed alert does not count: an open dashboard would not have shown it.

The model scores that transaction as fraud whatever came before, and learns nothing from it. The few
users take turns, so that the detector's state does not grow.

It serves `/ready`, which is 200 while the last success is not older than two rounds, and
`/metrics`.

Environment variables:
    PAYMENT_API: host:port of payment-api.
    ALERT_MONITOR: host:port of alert-monitor.
    EVERY_SECONDS: From one probe to the next.
    WITHIN_SECONDS: Time limit for the alert.
    PORT: Port on which it serves; 0 for any.
"""

import bisect
import itertools
import json
import os
import signal
import sys
import threading
import time
import uuid
from contextlib import suppress
from datetime import datetime, timezone
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect
from websockets.sync.connection import Connection

USERS = 10
REPLAYED = 100
"""alert-monitor replays at most so many alerts."""
QUIET_SECONDS = 1.0
"""Without a message for so long, the replay is over."""
REQUEST_SECONDS = 12.0
"""More than the 10 seconds for which payment-api itself waits for the broker."""
RETRY_SECONDS = 5.0
"""From a failed probe to the next, so that a recovery is seen soon."""
STEPS = ("connect", "replay", "post", "alert")
BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0)


class ProbeError(Exception):
    """A step failed."""

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(f"{step}: {reason}")
        self.step = step


class Record:
    """The results of all probes; threads read it while the next probe runs.

    Args:
        seconds: How long a success counts.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._last = float("-inf")
        self._last_time = 0.0
        self._total = 0.0
        self._delays = [0] * (len(BUCKETS) + 1)
        self._failures = dict.fromkeys(STEPS, 0)

    def succeed(self, delay: float) -> None:
        """Record an alert and the seconds that it took."""
        with self._lock:
            self._last = time.monotonic()
            self._last_time = time.time()
            self._total += delay
            self._delays[bisect.bisect_left(BUCKETS, delay)] += 1

    def fail(self, step: str) -> None:
        """Record a failure."""
        with self._lock:
            self._failures[step] += 1

    def is_ready(self) -> bool:
        """Return whether the last success is recent enough."""
        return time.monotonic() - self._last <= self._seconds

    def metrics(self) -> str:
        """Return the results in the text format of Prometheus."""
        with self._lock:
            counts = list(itertools.accumulate(self._delays))
            bounds = [*map(str, BUCKETS), "+Inf"]
            return "\n".join(
                [
                    "# HELP fraud_prober_last_success_timestamp_seconds Time of the last alert.",
                    "# TYPE fraud_prober_last_success_timestamp_seconds gauge",
                    f"fraud_prober_last_success_timestamp_seconds {self._last_time}",
                    "# HELP fraud_prober_alert_delay_seconds From the request to the live alert.",
                    "# TYPE fraud_prober_alert_delay_seconds histogram",
                    *(
                        f'fraud_prober_alert_delay_seconds_bucket{{le="{bound}"}} {count}'
                        for bound, count in zip(bounds, counts, strict=True)
                    ),
                    f"fraud_prober_alert_delay_seconds_sum {self._total}",
                    f"fraud_prober_alert_delay_seconds_count {counts[-1]}",
                    "# HELP fraud_prober_failures_total Failed probes, by the step that failed.",
                    "# TYPE fraud_prober_failures_total counter",
                    *(
                        f'fraud_prober_failures_total{{step="{step}"}} {count}'
                        for step, count in self._failures.items()
                    ),
                    "",
                ]
            )


class Server(ThreadingHTTPServer):
    """Serves the record."""

    daemon_threads = True

    def __init__(self, port: int, record: Record) -> None:
        super().__init__(("", port), _Handler)
        self.record = record


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = 5

    def do_GET(self) -> None:
        record = self.server.record
        if self.path == "/metrics":
            self._answer(200, record.metrics())
        elif self.path == "/ready":
            self._answer(200 if record.is_ready() else 503, "")
        else:
            self._answer(404, "")

    def log_message(self, *_args: object) -> None:
        """Log nothing."""

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def probe(payment_api: str, alert_monitor: str, user: str, within: float) -> float:
    """Post a fraud and wait for its alert on a connection that was open before.

    Args:
        payment_api: host:port of payment-api.
        alert_monitor: host:port of alert-monitor.
        user: The user of the transaction.
        within: Time limit for the alert, in seconds.

    Returns:
        The seconds from the request to the alert.

    Raises:
        ProbeError: If a step fails or takes too long.
    """
    step = "connect"
    # Ends a peer that answers slowly but never completely, which no limit of one read does.
    longest = 2 * REQUEST_SECONDS + REPLAYED * QUIET_SECONDS + within
    signal.setitimer(signal.ITIMER_REAL, longest)
    try:
        with connect(
            f"ws://{alert_monitor}/ws", open_timeout=REQUEST_SECONDS, close_timeout=1
        ) as websocket:
            step = "replay"
            skip_replay(websocket)
            step = "post"
            start = time.monotonic()
            transaction = post_fraud(payment_api, user)
            step = "alert"
            await_alert(websocket, transaction, start + within)
            return time.monotonic() - start
    except (OSError, HTTPException, WebSocketException) as error:
        raise ProbeError(step, repr(error)) from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def skip_replay(websocket: Connection) -> None:
    """Read until the replay is over, so that what comes then is live."""
    with suppress(TimeoutError):
        for _ in range(REPLAYED):
            websocket.recv(timeout=QUIET_SECONDS)


def post_fraud(payment_api: str, user: str) -> str:
    """Post a transaction with a very unusual amount; return its unique id.

    Raises:
        OSError: If payment-api does not accept it.
        HTTPException: If the answer is not HTTP.
    """
    transaction_id = str(uuid.uuid4())
    transaction = {
        "transaction_id": transaction_id,
        "user_id": user,
        "card_number": "0000-0000-0000-0000",
        "amount": 1_000_000,
        "timestamp": datetime.now(timezone.utc).isoformat(),
        "merchant_id": "prober",
        "location": "prober",
    }
    request = Request(
        f"http://{payment_api}/transaction",
        data=json.dumps(transaction).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        urlopen(request, timeout=REQUEST_SECONDS).close()  # noqa: S310 -- always http
    except HTTPError as error:
        with error:
            reason = error.read(1000).decode(errors="replace")
        raise OSError(f"payment-api answered {error.code}: {reason}") from error
    return transaction_id


def await_alert(websocket: Connection, transaction: str, deadline: float) -> None:
    """Read alerts until the one for a transaction.

    Raises:
        TimeoutError: If it does not come until the deadline, on the clock of `time.monotonic`.
    """
    # A timeout of 0 would go on for as long as there are alerts of others.
    while (left := deadline - time.monotonic()) > 0:
        if transaction in str(websocket.recv(timeout=left)):
            return
    raise TimeoutError("no alert in time")


def main() -> None:
    """Probe for ever, and log each new result."""
    signal.signal(signal.SIGALRM, _time_out)
    # Closes the WebSocket: alert-monitor stops sending when a browser vanishes.
    signal.signal(signal.SIGTERM, _stop)
    payment_api = os.environ["PAYMENT_API"]
    alert_monitor = os.environ["ALERT_MONITOR"]
    every = float(os.environ["EVERY_SECONDS"])
    within = float(os.environ["WITHIN_SECONDS"])
    record = Record(2 * (every + within))
    server = Server(int(os.environ["PORT"]), record)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"Serving on port {server.server_port}", flush=True)
    state = ""
    for number in itertools.count():
        pause = every
        try:
            record.succeed(probe(payment_api, alert_monitor, f"prober-{number % USERS}", within))
            now = "The alert came in time."
        except ProbeError as error:
            record.fail(error.step)
            pause = min(every, RETRY_SECONDS)
            now = f"The probe failed: {error}"
        if now != state:
            print(now, flush=True)
            state = now
        time.sleep(pause)


def _time_out(_signal: int, _frame: FrameType | None) -> None:
    # Not a TimeoutError, which ends the replay.
    raise OSError("the probe took too long")


def _stop(_signal: int, _frame: FrameType | None) -> None:
    sys.exit()


if __name__ == "__main__":
    main()
