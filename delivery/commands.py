"""Other projects' command lines that we call: gh and kubectl."""

from pathlib import Path
from subprocess import TimeoutExpired

from delivery import processes
from delivery.errors import DeliveryError

_LAST_LINES = 15
_LIMIT = 120
"""Seconds: gh and kubectl wait without end for a server that accepts a connection and is silent."""


class CommandError(DeliveryError):
    """A program is missing or failed; the message says which, why, and what to do.

    Attributes:
        reason: The program's own last lines, or the message where it did not run to its end.
    """

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason or message


def run(
    *command: str,
    remedy: str,
    given: str = "",
    folder: Path | None = None,
    limit: float = _LIMIT,
) -> str:
    """Run a program and return its standard output.

    Args:
        command: The program, found on the PATH, and its arguments; no shell sees them.
        remedy: Imperative clause for a missing program, such as "install kubectl".
        given: Standard input. Default: empty.
        folder: Working directory. Default: the current one.
        limit: Seconds after which the program is ended. Default: two minutes.

    Raises:
        CommandError: If the program is missing, fails or exceeds the limit.
    """
    typed = given.encode(errors="replace")
    try:
        done = processes.run(command, folder=folder, given=typed, limit=limit)
    except FileNotFoundError as error:
        raise CommandError(f"There is no {command[0]} on the PATH: {remedy}.") from error
    except TimeoutExpired as error:
        raise CommandError(
            f"`{' '.join(command)}` did not answer within {error.timeout:g} seconds: try again."
        ) from error
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        said = "\n".join(lines[-_LAST_LINES:]) or "no error message"
        raise CommandError(f"`{' '.join(command)}` failed: {said}", reason=said)
    return done.stdout.decode(errors="replace")


def gh(*arguments: str, given: str = "", folder: Path | None = None) -> str:
    """Ask GitHub through gh, which holds the credentials; see `run`.

    The remote of the folder names the repository. The output has no white space around it.
    """
    remedy = "install the GitHub CLI"
    return run("gh", *arguments, remedy=remedy, given=given, folder=folder).strip()


def kubectl(context: str, *arguments: str, given: str = "", limit: float = _LIMIT) -> str:
    """Ask the cluster of a kubeconfig context, never of the current one; see `run`."""
    command = ("kubectl", f"--context={context}", *arguments)
    return run(*command, remedy="install kubectl", given=given, limit=limit)
