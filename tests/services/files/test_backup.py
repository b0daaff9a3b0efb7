"""The commands of docs/backup.md, run with a real Redis and with the launcher of Flink."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from redis_server import Redis, needs_redis
from repository import REPOSITORY, SERVICE_FILES

pytestmark = pytest.mark.slow

_GUIDE = (REPOSITORY / "docs/backup.md").read_text(encoding="utf-8")
# It runs a command where the store is; one that runs nothing in a pod does nothing.
_KUBECTL = """\
while (($#)) && [[ $1 != -- ]]; do shift; done
(($#)) || exit 0
shift
bash -c "$(printf '%q ' "$@" | sed "s#{path}#{folder}#g")"
"""


def _commands(store: str) -> list[str]:
    """Return the commands that back a store up, and those that return it."""
    [section] = [each for each in _GUIDE.split("\n## ") if each.startswith(f"{store}\n")]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


def _run(commands: str, folder: Path, environment: Mapping[str, str]) -> None:
    subprocess.run(["bash", "-euc", commands], env=environment, cwd=folder, check=True, timeout=60)


@pytest.fixture
def served(redis: Redis) -> Redis:
    """A Redis that serves, and a kubectl that reaches it."""
    redis.replace_program("kubectl", _KUBECTL.format(path="/data", folder=redis.data))
    redis.start()
    return redis


@needs_redis
def test_alerts_return_on_the_same_volume(served: Redis, tmp_path: Path) -> None:
    """What came after the backup is gone, and what comes after the return stays."""
    back_up, bring_back = _commands("Redis")
    served.push("a", "b")
    _run(back_up, tmp_path, served.environment)
    served.push("c")
    _run(bring_back, tmp_path, served.environment)
    assert served.wait() == 0
    served.start()
    assert served.alerts() == ["a", "b"]
    served.push("d")
    served.stop(signal.SIGKILL)
    served.start()
    assert served.alerts() == ["a", "b", "d"]


@needs_redis
def test_alerts_return_on_a_new_volume(served: Redis, tmp_path: Path) -> None:
    """The volume may be what was lost."""
    back_up, bring_back = _commands("Redis")
    served.push("a", "b")
    _run(back_up, tmp_path, served.environment)
    served.stop(signal.SIGKILL)
    shutil.rmtree(served.data)
    served.data.mkdir()
    served.start()
    _run(bring_back, tmp_path, served.environment)
    assert served.wait() == 0
    served.start()
    assert served.alerts() == ["a", "b"]


@needs_redis
def test_a_damaged_backup_of_alerts_changes_nothing(served: Redis, tmp_path: Path) -> None:
    """The return deletes the log, so it looks at the backup first."""
    served.push("a")
    (tmp_path / "redis.rdb").write_bytes(b"REDIS0010garbage")
    with pytest.raises(subprocess.CalledProcessError):
        _run(_commands("Redis")[1], tmp_path, served.environment)
    served.stop(signal.SIGKILL)
    served.start()
    assert served.alerts() == ["a"]


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the launcher runs in a Linux container"
)
def test_flink_resumes_from_the_checkpoint_that_returned(tmp_path: Path) -> None:
    """Not from one that was made after the backup, which is newer by its number and by its time."""
    volume, programs = tmp_path / "checkpoints", tmp_path / "bin"
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "CHECKPOINTS_DIR": str(volume),
        "FLINK_HOME": str(tmp_path),
    }
    for name, body in (
        ("kubectl", _KUBECTL.format(path="/checkpoints", folder=volume)),
        ("standalone-job.sh", 'echo "$@"'),
    ):
        programs.mkdir(exist_ok=True)
        (programs / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (programs / name).chmod(0o755)
    back_up, bring_back = _commands("Flink")
    _add_checkpoint(volume, "a" * 32, number=1, time=1_600_000_000)
    _add_checkpoint(volume, "b" * 32, number=7, time=1_700_000_000)
    _run(back_up, tmp_path, environment)
    _add_checkpoint(volume, "b" * 32, number=8, time=1_800_000_000)
    _add_checkpoint(volume, "c" * 32, number=9, time=1_900_000_000)
    _run(bring_back, tmp_path, environment)
    launched = subprocess.run(
        ["bash", SERVICE_FILES / "flink/jobmanager.sh"],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert f"--fromSavepoint file://{volume}/{'b' * 32}/chk-7" in launched.stdout
    assert (volume / ("b" * 32) / "chk-7/_metadata").read_text() == "7"


def _add_checkpoint(volume: Path, job: str, *, number: int, time: int) -> None:
    folder = volume / job / f"chk-{number}"
    folder.mkdir(parents=True)
    (folder / "_metadata").write_text(str(number))
    os.utime(folder / "_metadata", (time, time))
