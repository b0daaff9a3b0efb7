"""Programs that run to their end, or to a limit, and leave no process behind."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from errno import ENOENT
from pathlib import Path
from shutil import which
from typing import IO, cast

_GRACE_SECONDS = 5
"""Time between SIGTERM and SIGKILL, in which a program can remove its temporary files."""
_GUARDED = ["/bin/sh", "-c", 'read -r _ && exec "$@"', "sh"]
"""A shell that waits for a line, and then becomes the program.

The line comes when the guard knows the process: if we were killed before that, nobody would end the
program."""


def run(
    command: Sequence[str | Path],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    given: bytes = b"",
    limit: float | None = None,
) -> "subprocess.CompletedProcess[bytes]":
    """Run a program to its end; whatever interrupts it also ends the programs that it started.

    One with a limit may hang, so it also ends when we are killed.

    It has a session of its own, so that it can never ask a question on the terminal: nobody would
    see it, as we capture the output.

    Args:
        command: Program and arguments; no shell sees them.
        folder: Working directory. Default: the current one.
        environment: Environment variables. Default: our own.
        given: Standard input. Default: empty.
        limit: Seconds after which it is ended. Default: none.

    Raises:
        OSError: If it cannot be started.
        subprocess.TimeoutExpired: If it exceeds the limit.
    """
    path = (os.environ if environment is None else environment).get("PATH")
    if limit is not None and not which(command[0], path=path):
        raise FileNotFoundError(ENOENT, os.strerror(ENOENT), str(command[0]))
    with (
        nullcontext() if limit is None else _guard() as guard,
        subprocess.Popen(  # noqa: S603 - the program's own arguments
            command if limit is None else [*_GUARDED, *command],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process,
    ):
        try:
            if guard:
                guard.write(b"%d\n" % process.pid)
                given = b"\n" + given
            output, errors = process.communicate(given, limit)
        except BaseException:
            _end(process)
            raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


@contextmanager
def _guard() -> Iterator[IO[bytes]]:
    """Start a shell that kills a program and its children once we are gone, even by SIGKILL.

    Yields:
        Where it reads the program's process ID. The operating system closes it, whatever ends us.
    """
    with subprocess.Popen(
        ["/bin/sh", "-c", 'read -r program && { read -r _; kill -s KILL -- "-$program"; }'],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as shell:
        try:
            yield cast("IO[bytes]", shell.stdin)
        finally:
            # Before its input is closed.
            shell.kill()
            shell.wait()


def _end(process: "subprocess.Popen[bytes]") -> None:
    try:
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(_GRACE_SECONDS)
    finally:
        # Its children may ignore SIGTERM, and a second Ctrl-C must not spare it.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
