"""Programs that run beside us: started with a log, waited for, stopped by their own id."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from delivery.errors import DeliveryError

_LAST_LINES = 15
_READY_SECONDS = 60
_ATTEMPTS = 3
_TAKEN = "address already in use"
_PR_SET_PDEATHSIG = 1


class StartError(DeliveryError):
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

    def stop(self) -> None:
        """End it and all that it started, at once: nothing that it holds is of any further use."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def end_of_log(self) -> str:
        """The last lines of the log, for a person."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([f"{self.log}:", *(f"  {line}" for line in lines[-_LAST_LINES:])])


def start(
    stack: ExitStack,
    command: Sequence[str | Path],
    *,
    logs: Path,
    environment: Mapping[str, str] | None = None,
) -> Program:
    """Start a program that ends with the stack.

    On Linux it also ends with us, however we end. macOS has nothing like that: there it survives
    a SIGKILL of ours.

    Args:
        stack: Stops it, in reverse order of the starts.
        command: Program and arguments.
        logs: The folder for its log, to which a program of the same name adds.
        environment: Variables beside ours.
    """
    name = Path(command[0]).name
    log = logs / f"{name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - a program of the control plane
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            # A Ctrl-C at the terminal is for us, who stop the programs in order; and a group of its
            # own is stopped whole.
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - takes no lock
        )
    program = Program(name, process, log)
    stack.callback(program.stop)
    return program


def wait_until(
    ready: Callable[[], bool],
    *,
    programs: Sequence[Program],
    seconds: float,
    what: str,
    pause: float = 0.05,
) -> None:
    """Poll until something that some programs do together is so.

    Args:
        ready: Whether it is; may raise OSError while it is not.
        programs: All must go on running.
        seconds: How long it may take.
        what: What the error says, before the time.
        pause: Between two polls, in seconds.

    Raises:
        StartError: If a program ended or the time is up.
    """
    deadline = time.monotonic() + seconds
    while True:
        for program in programs:
            code = program.process.poll()
            if code is not None:
                raise StartError(f"{program.name} ended with {code}\n{program.end_of_log()}")
        try:
            if ready():
                return
        except OSError:
            pass
        if time.monotonic() > deadline:
            logs = "\n".join(program.end_of_log() for program in programs)
            raise StartError(f"{what} after {seconds:g} s\n{logs}")
        time.sleep(pause)


def serve(
    stack: ExitStack,
    command: Callable[[int], Sequence[str | Path]],
    *,
    ready: Callable[[int], bool],
    logs: Path,
    environment: Mapping[str, str] | None = None,
    beside: Sequence[Program] = (),
) -> tuple[Program, int]:
    """Start a program that listens at a port, and wait until it is ready.

    Args:
        stack: Stops it.
        command: Program and arguments, given a free port of 127.0.0.1.
        ready: Whether it is, given that port; may raise OSError while it is not.
        logs: The folder for its log.
        environment: Variables beside ours.
        beside: Programs that it needs.

    Returns:
        The program, and the port.

    Raises:
        StartError: If one of them ended, or it is not ready in a minute.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        port = _free_port()
        program = start(stack, command(port), logs=logs, environment=environment)
        try:
            wait_until(
                partial(ready, port),
                programs=[*beside, program],
                seconds=_READY_SECONDS,
                what=f"{program.name} was not ready",
            )
        except StartError:
            # Somebody else may have taken the port since we chose it.
            if attempt == _ATTEMPTS or _TAKEN not in program.log.read_text(encoding="utf-8"):
                raise
        else:
            break
    return program, port


def _free_port() -> int:
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        port: int = each.getsockname()[1]
        return port


def _end_with_parent() -> None:
    """Between fork and exec: have the kernel kill this process when its parent dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
