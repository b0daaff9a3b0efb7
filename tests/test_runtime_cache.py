"""The cache of the runtime tests: products are found again, and removed when unused."""

import io
import os
import time
from pathlib import Path

import pytest

from tests.runtime.cache import Cache

TWO_WEEKS = 14 * 24 * 3600


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the folder of the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "fraud-detection-config" / "some"


def get(made_from: str) -> Path:
    """Get a folder with one file from the cache, as a build does."""

    def make(made: Path) -> None:
        made.mkdir()
        (made / "file").write_text(made_from, encoding="utf-8")

    with Cache("some", io.StringIO()).locked() as cache:
        return cache.get("product", made_from, make)


def age(product: Path, seconds: float) -> None:
    """Make a product look unused for some time."""
    then = time.time() - seconds
    os.utime(product, (then, then))


@pytest.mark.usefixtures("folder")
def test_a_product_is_found_again() -> None:
    """An image takes a minute to build, and a run needs five."""
    first = get("sources")
    inode = first.stat().st_ino
    assert get("sources") == first
    assert first.stat().st_ino == inode


def test_a_product_that_was_unused_for_two_weeks_is_removed(folder: Path) -> None:
    """Each release of a service adds an image of up to a gigabyte."""
    old, other = get("old sources"), get("other sources")
    archive = folder / "archive-0123456789abcdef"
    archive.touch()
    age(old, TWO_WEEKS + 60)
    age(archive, TWO_WEEKS + 60)
    age(other, TWO_WEEKS - 60)
    new = get("new sources")
    assert {path for path in folder.iterdir() if path.name != ".lock"} == {other, new}


@pytest.mark.usefixtures("folder")
def test_a_product_in_use_stays() -> None:
    """Its age does not matter."""
    old = get("sources")
    age(old, TWO_WEEKS + 60)
    get("sources")
    get("other sources")
    assert (old / "file").read_text(encoding="utf-8") == "sources"


def test_the_rest_of_a_killed_build_is_removed(folder: Path) -> None:
    """Half an image is useless, whether it was being built or removed."""
    get("sources")
    (folder / ".aside-folder").mkdir()
    (folder / ".aside-file").touch()
    get("sources")
    assert not list(folder.glob(".aside-*"))
