"""The commands of docs/backup.md, with a real Redis."""

import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from redis_server import Redis, needs_redis
from repository import REPOSITORY

pytestmark = needs_redis

_BACK_UP, _RETURN = re.findall(
    r"```sh\n(.*?)```",
    (REPOSITORY / "docs/backup.md").read_text().split("\n## ")[1],
    re.DOTALL,
)


@pytest.fixture
def kubectl(redis: Redis) -> Redis:
    """A Redis, and a kubectl that runs a command where Redis runs."""
    redis.replace_program(
        "kubectl",
        'while [ "$1" != -- ]; do shift; done; shift\n'
        f'bash -c "$(printf "%q " "$@" | sed "s#/data#{redis.data}#g")"',
    )
    return redis


def _run(redis: Redis, commands: str, folder: Path) -> None:
    subprocess.run(
        ["bash", "-euc", commands], env=redis.environment, cwd=folder, check=True, timeout=60
    )


def test_a_backup_returns_on_the_same_volume(kubectl: Redis, tmp_path: Path) -> None:
    """What came after the backup is gone, and what comes after the return stays."""
    kubectl.start()
    kubectl.push("a", "b")
    _run(kubectl, _BACK_UP, tmp_path)
    kubectl.push("c")
    _run(kubectl, _RETURN, tmp_path)
    assert kubectl.wait() == 0
    kubectl.start()
    assert kubectl.alerts() == ["a", "b"]
    kubectl.push("d")
    kubectl.stop(signal.SIGKILL)
    kubectl.start()
    assert kubectl.alerts() == ["a", "b", "d"]


def test_a_backup_returns_on_a_new_volume(kubectl: Redis, tmp_path: Path) -> None:
    """The volume may be what was lost."""
    kubectl.start()
    kubectl.push("a", "b")
    _run(kubectl, _BACK_UP, tmp_path)
    kubectl.stop(signal.SIGKILL)
    shutil.rmtree(kubectl.data)
    kubectl.data.mkdir()
    kubectl.start()
    _run(kubectl, _RETURN, tmp_path)
    assert kubectl.wait() == 0
    kubectl.start()
    assert kubectl.alerts() == ["a", "b"]


def test_a_damaged_backup_changes_nothing(kubectl: Redis, tmp_path: Path) -> None:
    """The return deletes the log, so it looks at the backup first."""
    kubectl.start()
    kubectl.push("a")
    (tmp_path / "redis.rdb").write_bytes(b"REDIS0010garbage")
    with pytest.raises(subprocess.CalledProcessError):
        _run(kubectl, _RETURN, tmp_path)
    kubectl.stop(signal.SIGKILL)
    kubectl.start()
    assert kubectl.alerts() == ["a"]
