"""Work side by side in threads that never outlive an interrupted command."""

from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Event, Thread
from typing import TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")


def side_by_side(
    work: Callable[[_T], _R],
    items: Sequence[_T],
    then: Callable[[_T, _R], None],
    *,
    at_once: int,
) -> None:
    """Do work, begun in the order of its items, and then something with each result.

    Unlike those of an executor, the threads end with the process, whatever they wait for.

    Args:
        work: Called in a thread of its own.
        items: What it is called with.
        then: Called with each item and its result, as soon as it is there.
        at_once: How many threads there are at most.

    Raises:
        Exception: The first one that was raised; what has not begun then never does.
    """
    waiting = iter(items)
    stopped = Event()
    done: SimpleQueue[tuple[_T, _R] | BaseException] = SimpleQueue()

    def serve() -> None:
        # The interpreter hands out each item of a list's iterator once.
        for item in waiting:
            if stopped.is_set():
                return
            try:
                done.put((item, work(item)))
            except BaseException as error:  # noqa: BLE001 - raised where the result is awaited
                # Here, as this thread would begin the next item before anybody has read the error.
                stopped.set()
                done.put(error)

    try:
        for _ in range(min(at_once, len(items))):
            Thread(target=serve, daemon=True).start()
        for _ in items:
            result = done.get()
            if isinstance(result, BaseException):
                raise result
            then(*result)
    finally:
        stopped.set()
