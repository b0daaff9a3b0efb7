"""Rehearsals that lose their store, or are ended: one sentence, in time, and nothing left."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from delivery.control_plane.api_server import api_server
from delivery.control_plane.assets import ApiServerAssets
from delivery.control_plane.programs import wait_until
from delivery.errors import INTERRUPTED, DeliveryError
from repository import REPOSITORY

# `delivery rehearse` with an etcd that gets a signal in the middle; its arguments: the signal, and
# the seconds that a client waits for an answer.
REHEARSE = """
import itertools, os, signal, sys
from delivery.cli import main
from delivery.control_plane import api_server, client

start, send, requests, etcd = api_server.start, client.Client._send, itertools.count(), []

def started(stack, command, **options):
    program = start(stack, command, **options)
    etcd.append(program.process.pid)
    return program

def sent(*arguments):
    if next(requests) == 60:
        os.kill(etcd[0], int(sys.argv[1]))
        print(*etcd, flush=True)
    return send(*arguments)

api_server.start, client.Client._send = started, sent
client._TIMEOUT_SECONDS = float(sys.argv[2])
main(["rehearse", "HEAD"])
"""
PATIENT = 60

pytestmark = [
    pytest.mark.xdist_group("rehearsal-faults"),
    pytest.mark.usefixtures("api_server_assets"),
]


@contextmanager
def rehearsing(
    folder: Path, sent: signal.Signals, *, seconds: float
) -> Iterator["subprocess.Popen[str]"]:
    """Rehearse, and send a signal to etcd; then print the process ids of etcd and API server."""
    with subprocess.Popen(
        [sys.executable, "-c", REHEARSE, str(int(sent)), str(seconds)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def programs(process: "subprocess.Popen[str]") -> list[int]:
    """Wait for the signal to etcd; return the process ids of etcd and the API server."""
    assert process.stdout is not None
    return [int(pid) for pid in process.stdout.readline().split()]


def has_ended(pid: int) -> bool:
    """Return whether a process is gone, or a zombie that the machine's init has yet to reap."""
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        (signal.SIGKILL, "Error: etcd was killed by SIGKILL"),
        (signal.SIGSTOP, "Error: The API server at https://127.0.0.1:"),
    ],
    ids=["killed", "hangs"],
)
def test_a_lost_store_ends_a_rehearsal(tmp_path: Path, sent: signal.Signals, sentence: str) -> None:
    """It once went on for 38 minutes, a minute for each request.

    A request has a limit of a minute. After the first that exceeds it only one more is made.
    """
    seconds = 5
    with rehearsing(tmp_path, sent, seconds=seconds) as process:
        pids = programs(process)
        _, errors = process.communicate(timeout=10 * seconds)
    assert process.returncode == DeliveryError.exit_code
    assert sentence in errors
    assert all(map(has_ended, pids))


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT], ids=lambda n: n.name
)
def test_a_rehearsal_without_an_answer_obeys_a_signal(
    tmp_path: Path, number: signal.Signals
) -> None:
    """It once ignored SIGTERM while it waited; no process, token or key is left."""
    with rehearsing(tmp_path, signal.SIGSTOP, seconds=PATIENT) as process:
        pids = programs(process)
        process.send_signal(number)
        assert process.wait(PATIENT / 3) == INTERRUPTED
    assert all(map(has_ended, pids))
    # What is remembered about verified programs is no secret, and serves the next run.
    remembered = tmp_path / f"fraud-detection-config-{os.getuid()}"
    assert set(tmp_path.iterdir()) <= {remembered}


def test_the_next_server_removes_the_keys_of_a_killed_rehearsal(
    tmp_path: Path, api_server_assets: ApiServerAssets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can clean up after SIGKILL at once, but its programs end with it."""
    with rehearsing(tmp_path, signal.SIGSTOP, seconds=PATIENT) as process:
        pids = programs(process)
        process.kill()
    [abandoned] = tmp_path.glob("control-plane-*")
    assert (abandoned / "service-account.key").exists()
    wait_until(lambda: all(map(has_ended, pids)), programs=[], seconds=30, what="they still run")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with api_server(api_server_assets) as server:
        assert list(tmp_path.glob("control-plane-*")) == [server.folder]
