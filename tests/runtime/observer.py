"""What users notice of a fault: refused transactions, and frauds that are shown late or never."""

import time
from collections.abc import Callable
from http import HTTPStatus
from itertools import pairwise
from threading import Event, Thread

from delivery.manifests.manifest import Manifest
from tests.runtime.dashboard import Dashboard

NOTICED = "noticed"
"""The property under which a test reports what users noticed."""
_PAUSE_SECONDS = 1


class Observer:
    """A client that posts a fraud each second until it is closed.

    Args:
        make: Makes a transaction that is a fraud.
        post: Posts it and returns the HTTP status.
        shown: Where the alerts appear.
    """

    def __init__(
        self, make: Callable[[], Manifest], post: Callable[[Manifest], int], shown: Dashboard
    ) -> None:
        self._make = make
        self._post = post
        self._shown = shown
        self.accepted: list[tuple[float, Manifest]] = []
        """The accepted transactions, and when each one was."""
        self._started = time.monotonic()
        self._closed = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop posting."""
        self._closed.set()
        self._thread.join()

    def is_finished(self) -> bool:
        """Return whether the last fraud is shown, so that an earlier one may count as lost."""
        return self._shown.time(self.accepted[-1][1]) is not None

    def summary(self) -> str:
        """Return how long no transaction was accepted, and how late the alerts of others were."""
        times = [self._started, *(accepted for accepted, _ in self.accepted)]
        refused = max(after - before - _PAUSE_SECONDS for before, after in pairwise(times))
        shown = [(accepted, self._shown.time(sent)) for accepted, sent in self.accepted]
        delays = [seen - accepted for accepted, seen in shown if seen is not None]
        return (
            f"refused for {refused:.0f} s, shown up to {max(delays):.0f} s late, "
            f"{len(shown) - len(delays)} of {len(shown)} alerts lost"
        )

    def _run(self) -> None:
        while not self._closed.wait(_PAUSE_SECONDS):
            sent = self._make()
            if self._post(sent) == HTTPStatus.ACCEPTED:
                self.accepted.append((time.monotonic(), sent))
