"""The probes read the answer of Redis, because redis-cli exits with 0 even on errors."""

import os
import subprocess
from pathlib import Path

import pytest

from repository import SERVICE_FILES

FILES = SERVICE_FILES / "redis"

PONG = "PONG"
LOADING = "LOADING Redis is loading the dataset in memory\n"
MASTERDOWN = "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\n"
MISCONF = "MISCONF Errors writing to the AOF file: No space left on device\n"
NO_AUTH = "NOAUTH Authentication required.\n"


def succeeds(probe: str, folder: Path, answer: str, status: int = 0) -> bool:
    """Return whether a probe succeeds with this answer and exit status of redis-cli."""
    (folder / "answer").write_text(f"{answer}\n")
    cli = folder / "redis-cli"
    cli.write_text(f'#!/bin/sh\n[ "$*" = ping ] || exit 2\ncat {folder}/answer\nexit {status}\n')
    cli.chmod(0o755)
    env = {"PATH": f"{folder}:{os.environ['PATH']}"}
    command = ["bash", str(FILES / probe)]
    return subprocess.run(command, env=env, check=False, timeout=30).returncode == 0


@pytest.mark.parametrize("probe", ["ready.sh", "alive.sh"])
def test_a_server_that_serves_is_ready_and_alive(probe: str, tmp_path: Path) -> None:
    """This is the normal state."""
    assert succeeds(probe, tmp_path, PONG)


@pytest.mark.parametrize("answer", [LOADING, MASTERDOWN, MISCONF])
def test_a_server_that_does_not_serve_yet_is_alive_and_not_ready(
    answer: str, tmp_path: Path
) -> None:
    """Clients must wait, but a restart would make it start over."""
    assert succeeds("alive.sh", tmp_path, answer)
    assert not succeeds("ready.sh", tmp_path, answer)


@pytest.mark.parametrize("answer", [NO_AUTH, "", "PONGO"])
@pytest.mark.parametrize("probe", ["ready.sh", "alive.sh"])
def test_any_other_answer_fails(probe: str, answer: str, tmp_path: Path) -> None:
    """Another program listens there, or Redis has another configuration."""
    assert not succeeds(probe, tmp_path, answer)


@pytest.mark.parametrize("probe", ["ready.sh", "alive.sh"])
def test_a_server_that_cannot_be_reached_fails(probe: str, tmp_path: Path) -> None:
    """The exit status counts too."""
    assert not succeeds(probe, tmp_path, PONG, status=1)
