"""Other projects' command lines that we call: gh and kubectl."""

import subprocess
from pathlib import Path

from delivery.errors import DeliveryError

_LAST_LINES = 15
_GH_LIMIT = 120
"""Seconds: gh itself waits without end for a server that accepts a connection and is silent."""


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
    limit: float | None = None,
) -> str:
    """Run a program and return its standard output.

    Args:
        command: The program, found on the PATH, and its arguments; no shell sees them.
        remedy: Imperative clause for a missing program, such as "install kubectl".
        given: Standard input. Default: empty.
        folder: Working directory. Default: the current one.
        limit: Seconds after which the program is killed. Default: none.

    Raises:
        CommandError: If the program is missing, fails or exceeds the limit.
    """
    try:
        done = subprocess.run(  # noqa: S603 - no shell
            command,
            input=given,
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=limit,
        )
    except FileNotFoundError as error:
        raise CommandError(f"There is no {command[0]} on the PATH: {remedy}.") from error
    except subprocess.TimeoutExpired as error:
        raise CommandError(
            f"`{' '.join(command)}` did not answer within {error.timeout:g} seconds: try again."
        ) from error
    if done.returncode != 0:
        said = "\n".join(done.stderr.strip().splitlines()[-_LAST_LINES:]) or "no error message"
        raise CommandError(f"`{' '.join(command)}` failed: {said}", reason=said)
    return done.stdout


def gh(*arguments: str, given: str = "", folder: Path | None = None) -> str:
    """Ask GitHub through gh, which holds the credentials; see `run`.

    The remote of the folder names the repository. The output has no white space around it. GitHub
    gets two minutes for an answer.
    """
    remedy = "install the GitHub CLI"
    return run("gh", *arguments, remedy=remedy, given=given, folder=folder, limit=_GH_LIMIT).strip()


def kubectl(context: str, *arguments: str, given: str = "") -> str:
    """Ask the cluster of a kubeconfig context, never of the current one; see `run`."""
    command = ("kubectl", f"--context={context}", *arguments)
    return run(*command, remedy="install kubectl", given=given)
