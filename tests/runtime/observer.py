"""What users notice of an event: refused transactions, and frauds that are shown late or never."""

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from http import HTTPStatus
from itertools import pairwise
from threading import Event, Thread

from delivery.manifests.manifest import Manifest
from tests.runtime.dashboard import Dashboard

Survived = Callable[[str], AbstractContextManager[None]]
"""A context for an event, given its name in the table of what users noticed."""
ROW = "row"
"""The property under which a test reports an event and what users noticed of it: a row."""
NOTICED = "noticed"
"""The property under which a test reports anything else that it noticed."""
_COLUMNS = ("event", "requests refused", "none accepted for", "latest alert after", "alerts lost")
_PAUSE_SECONDS = 1


def table(rows: Iterable[list[str]]) -> list[str]:
    """Return the lines of a Markdown table with a row for each event."""
    return [f"| {' | '.join(row)} |" for row in (_COLUMNS, ["---"] * len(_COLUMNS), *sorted(rows))]


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
        self._refused = 0
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

    def noticed(self) -> list[str]:
        """Return how many transactions were refused and for how long, and what alerts were late."""
        times = [self._started, *(accepted for accepted, _ in self.accepted)]
        longest = max(after - before - _PAUSE_SECONDS for before, after in pairwise(times))
        shown = [(accepted, self._shown.time(sent)) for accepted, sent in self.accepted]
        delays = [seen - accepted for accepted, seen in shown if seen is not None]
        return [
            f"{self._refused} of {self._refused + len(shown)}",
            f"{longest:.0f} s",
            f"{max(delays):.0f} s",
            f"{len(shown) - len(delays)} of {len(shown)}",
        ]

    def _run(self) -> None:
        while not self._closed.wait(_PAUSE_SECONDS):
            sent = self._make()
            if self._post(sent) == HTTPStatus.ACCEPTED:
                self.accepted.append((time.monotonic(), sent))
            else:
                self._refused += 1
