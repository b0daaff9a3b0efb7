"""Remotes that accept a connection and never answer, or drip: an error in time, and Ctrl-C works.

Each once kept a bump waiting in silence for 25 minutes.
"""

import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from delivery import git as module
from delivery import processes
from delivery.errors import INTERRUPTED
from delivery.git import GitError, git
from remotes import DEV, ENVIRONMENT, STAGING, commit, run_git, write_applications

DRIPS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
# Reports that it runs, ignores SIGTERM and never answers.
SSH = "trap '' TERM; exec 9> {life}; echo running >&9; sleep 100; :"
STATUS = """
from delivery.cli import main
main(["status"])
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("git_environment"),
    pytest.mark.timeout(180),
]


class Silent:
    """A server that accepts connections, and answers none to its end.

    Args:
        start: Bytes at once after a request, then one byte of a chunk after the other. Default:
            none ever.
    """

    def __init__(self, start: bytes = b"") -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._start = start
        self.asked = threading.Event()
        self.left = threading.Event()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/remote.git"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        # The listener is closed at the end of the test.
        with suppress(OSError):
            connection, _ = self._listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(self._start)
                connection.settimeout(0.2)
                self.asked.set()
                while self._is_connected(connection):
                    if self._start:
                        connection.sendall(b"1\r\n0\r\n")
        self.left.set()

    @staticmethod
    def _is_connected(connection: socket.socket) -> bool:
        with suppress(TimeoutError):
            return connection.recv(1) != b""
        return True

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()


@pytest.fixture(params=[b"", DRIPS], ids=["never answers", "drips"])
def server(request: pytest.FixtureRequest) -> Iterator[Silent]:
    """A remote over HTTP."""
    with closing(Silent(request.param)) as server:
        yield server


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of this system, whose remote the test chooses."""
    clone = tmp_path / "clone"
    run_git(tmp_path, "init", "--quiet", "--initial-branch=develop", str(clone))
    (clone / "cdk8s.yaml").touch()
    write_applications(clone, [DEV, STAGING])
    commit(clone, "Start")
    return clone


@pytest.fixture
def life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pipe that an ssh without an answer holds open while it lives."""
    life = tmp_path / "life"
    os.mkfifo(life)
    script = SSH.format(life=shlex.quote(str(life)))
    monkeypatch.setenv("GIT_SSH_COMMAND", f"sh -c {shlex.quote(script)} ssh")
    monkeypatch.setenv("GIT_SSH_VARIANT", "simple")
    return life


@pytest.mark.parametrize("command", ["fetch", "ls-remote", "push"])
def test_a_silent_remote_is_an_error_in_time(
    clone: Path, server: Silent, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """The message names the remote; the default is a minute of silence."""
    monkeypatch.setenv("GIT_HTTP_LOW_SPEED_TIME", "1")
    refs = ["HEAD:refs/heads/develop"] if command == "push" else []
    with pytest.raises(GitError, match=f"git {command} failed: .*{server.url}.* too slow"):
        git(clone, command, "--", server.url, *refs)
    assert server.left.wait(30)


def test_a_silent_remote_gets_a_minute(clone: Path) -> None:
    """A busy server may need some seconds for its first byte."""
    assert git(clone, "config", "http.lowSpeedTime") == "60"


def test_every_other_silence_has_a_limit_too(
    clone: Path, life: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a limit ssh waits for ever; the message names the remote and what to do."""
    monkeypatch.setattr(module, "_REMOTE_SECONDS", 4)
    monkeypatch.setattr(processes, "_GRACE_SECONDS", 0.1)
    run_git(clone, "remote", "add", "origin", "ssh://git.invalid/remote.git")
    reader = os.open(life, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(GitError) as caught:
        git(clone, "fetch", "--quiet", "--", "origin")
    assert str(caught.value) == (
        "git fetch failed: origin did not answer within 4 seconds; check the network, and for SSH "
        "that `ssh-add -l` lists your key; then try again."
    )
    os.set_blocking(reader, True)
    with os.fdopen(reader) as ended:
        assert ended.read() == "running\n"


def status(clone: Path) -> "subprocess.Popen[bytes]":
    """Start a command that asks the remote."""
    return subprocess.Popen(
        [sys.executable, "-c", STATUS],
        cwd=clone,
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_ctrl_c_ends_a_silent_wait(clone: Path, server: Silent, number: signal.Signals) -> None:
    """Whoever gives up leaves no process that goes on waiting."""
    run_git(clone, "remote", "add", "origin", server.url)
    with status(clone) as process:
        assert server.asked.wait(30)
        process.send_signal(number)
        assert process.wait(30) == INTERRUPTED
    assert server.left.wait(30)


def test_ctrl_c_ends_an_ssh_that_ignores_it(clone: Path, life: Path) -> None:
    """Git itself obeys at once, and would leave it behind."""
    run_git(clone, "remote", "add", "origin", "ssh://git.invalid/remote.git")
    with status(clone) as process, life.open() as ended:
        assert ended.readline() == "running\n"
        process.send_signal(signal.SIGINT)
        # The end of the file comes once ssh is gone.
        assert ended.read() == ""
        assert process.wait(30) == INTERRUPTED
