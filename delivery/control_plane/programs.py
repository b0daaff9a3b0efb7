"""Programs that run in the background: started with a log, awaited, stopped by process id."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
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

SHORT_LIVED = {"GOGC": "400"}
"""Environment of Go programs that end soon: less garbage collection, for more memory.

An API server is ready half a second earlier, for 90 MB; a first sync by Argo CD takes a sixth less
processor time.
"""


class StartError(DeliveryError):
    """A program ended or was not ready in time; the message shows the end of its log."""


@dataclass(frozen=True)
class Program:
    """A running program, with its standard output and standard error in one log."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def stop(self) -> None:
        """Kill it and its children: nothing that they hold is needed any more."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def end_of_log(self) -> str:
        """Return the last lines of the log, for a person."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([f"{self.log}:", *(f"  {line}" for line in lines[-_LAST_LINES:])])


def start(
    stack: ExitStack,
    command: Sequence[str | Path],
    *,
    logs: Path,
    environment: Mapping[str, str] | None = None,
) -> Program:
    """Start a program that is stopped with the stack.

    On Linux the kernel also stops it when this process ends in any other way. macOS cannot do that:
    there it survives a SIGKILL of this process.

    Args:
        stack: Stack that stops it, in reverse order of the starts.
        command: Program and arguments.
        logs: Folder for its log; programs of the same name share one.
        environment: Additional environment variables. Default: none.
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
            # Ctrl-C at the terminal then reaches this process alone, which stops the programs in
            # order, each with its whole process group.
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
    """Poll until a condition holds.

    Args:
        ready: The condition; an OSError counts as false.
        programs: Programs that must keep running.
        seconds: Time limit.
        what: Start of the error message, before the time.
        pause: Seconds between two polls.

    Raises:
        StartError: If a program ended or the time is up.
    """
    deadline = time.monotonic() + seconds
    while True:
        require_running(programs)
        try:
            if ready():
                return
        except OSError:
            pass
        if time.monotonic() > deadline:
            logs = "\n".join(program.end_of_log() for program in programs)
            raise StartError(f"{what} after {seconds:g} s\n{logs}")
        time.sleep(pause)


def require_running(programs: Iterable[Program]) -> None:
    """Raise StartError if a program has ended."""
    for program in programs:
        code = program.process.poll()
        if code is not None:
            how = (
                f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
            )
            raise StartError(f"{program.name} {how}\n{program.end_of_log()}")


def serve(
    stack: ExitStack,
    command: Callable[[int], Sequence[str | Path]],
    *,
    ready: Callable[[int], bool],
    logs: Path,
    environment: Mapping[str, str] | None = None,
    beside: Sequence[Program] = (),
) -> tuple[Program, int]:
    """Start a program that listens on a free port of 127.0.0.1, and return both once it is ready.

    Args:
        stack: Stack that stops it, as in `start`.
        command: Function from the port to program and arguments.
        ready: Whether the program is ready on that port; an OSError counts as false.
        logs: Folder for its log, as in `start`.
        environment: Additional variables, as in `start`.
        beside: Programs that must keep running meanwhile. Default: none.

    Raises:
        StartError: If one of the programs ended, or it is not ready within a minute.
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
            # Another program may have taken the port since we chose it.
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
    """Have the kernel kill this process when its parent dies; runs between fork and exec."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
