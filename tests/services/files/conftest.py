"""A Redis for the tests of its files."""

import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from redis_server import Redis


@pytest.fixture
def redis() -> Iterator[Redis]:
    """A Redis that is not started; its folder has a short name because of its socket."""
    with TemporaryDirectory() as folder:
        server = Redis(Path(folder))
        yield server
        server.stop(signal.SIGKILL)
