"""The alerts that a person would see on alert-monitor's dashboard."""

import json
import time
from contextlib import suppress
from threading import Event, Thread

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from delivery.manifests.manifest import Manifest

_PAUSE_SECONDS = 1


class Dashboard:
    """A client that keeps every alert and reconnects whenever the connection ends.

    It connects from the network of the thread that creates it, until it is closed.

    Args:
        url: URL of the WebSocket.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._alerts: dict[str, tuple[float, Manifest]] = {}
        self._closed = Event()
        self._thread = Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Disconnect."""
        self._closed.set()
        self._thread.join()

    def alert(self, transaction: Manifest) -> Manifest | None:
        """Return the first alert of a transaction, if there is one."""
        _, alert = self._alerts.get(transaction["transaction_id"], (None, None))
        return alert

    def time(self, transaction: Manifest) -> float | None:
        """Return when the first alert of a transaction came, on the clock `time.monotonic`."""
        came, _ = self._alerts.get(transaction["transaction_id"], (None, None))
        return came

    def _watch(self) -> None:
        while not self._closed.is_set():
            with suppress(OSError, WebSocketException):
                self._read_until_the_end()
            self._closed.wait(_PAUSE_SECONDS)

    def _read_until_the_end(self) -> None:
        with connect(self._url, open_timeout=5) as messages:
            while not self._closed.is_set():
                with suppress(TimeoutError):
                    alert = json.loads(messages.recv(timeout=1))
                    self._alerts.setdefault(alert["transaction_id"], (time.monotonic(), alert))
