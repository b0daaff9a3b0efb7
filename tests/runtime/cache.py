"""The cache of everything that is built for the runtime tests."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

_KEPT_SECONDS = 14 * 24 * 3600


class Cache:
    """Build products, keyed by the hash of their inputs and shared by all clones of the repository.

    Products that nobody used for two weeks are removed: each release adds images of up to 1 GB.

    Args:
        name: Name of its folder.
        log: Gets a line for each product that is made.
    """

    def __init__(self, name: str, log: TextIO) -> None:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self._folder = home / "fraud-detection-config" / name
        self._log = log

    @contextlib.contextmanager
    def locked(self) -> Iterator["Cache"]:
        """Hold the lock of the cache, which the system releases when the process ends."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for leftover in self._folder.glob(".aside-*"):
                _remove(leftover)
            yield self
            self._remove_unused()

    def get(self, name: str, made_from: object, make: Callable[[Path], object]) -> Path:
        """Find a product, or make it.

        Args:
            name: Name of the product, for people.
            made_from: Whatever changes it; its `repr` counts.
            make: Makes it at a path on the same file system, where it is renamed when finished.
        """
        key = hashlib.sha256(repr(made_from).encode()).hexdigest()[:16]
        product = self._folder / f"{name}-{key}"
        if not product.exists():
            started = time.monotonic()
            with tempfile.TemporaryDirectory(prefix=".aside-", dir=self._folder) as aside:
                made = Path(aside) / "made"
                make(made)
                made.rename(product)
            print(f"{name} {time.monotonic() - started:.0f} s", file=self._log, flush=True)
        os.utime(product)
        return product

    def _remove_unused(self) -> None:
        for product in self._folder.glob("[!.]*"):
            if time.time() - product.stat().st_mtime > _KEPT_SECONDS:
                # Aside first: what is half removed must not be found.
                _remove(product.rename(self._folder / f".aside-{product.name}"))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
