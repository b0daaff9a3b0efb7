"""Programs that run beside us: started with a log, waited for, stopped by their own id."""

import ctypes
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

_LAST_LINES = 15
_GRACE_SECONDS = 10
_POLL_SECONDS = 0.05
_PR_SET_PDEATHSIG = 1


class StartError(Exception):
    """A program ended or was not ready in time; the message shows the end of its log."""


@dataclass(frozen=True)
class Program:
    """A running program.

    Attributes:
        name: How errors and the log call it.
        process: The operating system's process.
        log: What it wrote to standard output and standard error.
    """

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def wait_until(self, ready: Callable[[], bool], *, seconds: float) -> None:
        """Poll until the program is ready.

        Args:
            ready: Whether it is; may raise OSError while it is not.
            seconds: How long it may take.

        Raises:
            StartError: If the program ended or the time is up.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise StartError(self._story(f"ended with {self.process.returncode}"))
            try:
                if ready():
                    return
            except OSError:
                pass
            time.sleep(_POLL_SECONDS)
        raise StartError(self._story(f"was not ready after {seconds:g} s"))

    def stop(self) -> None:
        """End it: politely, and after a grace period for good."""
        self.process.terminate()
        try:
            self.process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _story(self, what: str) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        end = "\n".join(f"  {line}" for line in lines[-_LAST_LINES:])
        return f"{self.name} {what}; the end of {self.log}:\n{end}"


def start(
    stack: ExitStack,
    command: Sequence[str | Path],
    *,
    logs: Path,
    name: str,
    environment: Mapping[str, str] | None = None,
) -> Program:
    """Start a program that ends with the stack, and with us however we end.

    Args:
        stack: Stops it, in reverse order of the starts.
        command: Program and arguments.
        logs: The folder for its log.
        name: Names the log and the errors.
        environment: All its variables. Default: ours.
    """
    log = logs / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - a program of the control plane
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            # A Ctrl-C at the terminal is for us; we stop the programs in order.
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - one thread
        )
    program = Program(name, process, log)
    stack.callback(program.stop)
    return program


def free_ports(count: int) -> list[int]:
    """TCP ports on 127.0.0.1 that nobody uses at this moment."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _end_with_parent() -> None:
    """Between fork and exec: have the kernel kill this process when its parent dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
