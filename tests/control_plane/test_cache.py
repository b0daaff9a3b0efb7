"""The cache: nothing in it is trusted, and one run at a time fills it."""

import threading
import time
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from delivery.control_plane.cache import Cache
from mirrors import content, part_named

KUBECTL = part_named("kubectl")


@pytest.fixture
def cache(machine: Path) -> Cache:
    """An empty cache."""
    del machine
    return Cache.of_pins()


def leave_in_another_folder(cache: Cache, data: bytes) -> Path:
    """Write what the cache of other pins has as kubectl."""
    file = cache.folder.with_name("other") / "kubectl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


def test_a_part_of_other_pins_is_shared(cache: Cache) -> None:
    """All of them take 600 MB, and a bump changes few."""
    other = leave_in_another_folder(cache, content(KUBECTL))
    assert cache.adopt(KUBECTL)
    assert (cache.folder / "kubectl").samefile(other)
    assert cache.lacking([KUBECTL]) == []


def test_a_part_with_another_sum_is_not(cache: Cache) -> None:
    """One that has it may lie in the next folder."""
    leave_in_another_folder(cache, b"evil")
    assert not cache.adopt(KUBECTL)
    assert not (cache.folder / "kubectl").exists()


def test_one_run_at_a_time_fills_it(cache: Cache, console: Console, output: StringIO) -> None:
    """Two would write the same partial downloads."""
    order = []

    def wait() -> None:
        with cache.locked(console):
            order.append("second")

    with cache.locked(console):
        second = threading.Thread(target=wait)
        second.start()
        deadline = time.monotonic() + 60
        while "waiting for it" not in output.getvalue():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        order.append("first")
    second.join()
    assert order == ["first", "second"]
