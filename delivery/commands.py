"""Other projects' command lines that we call: gh and kubectl."""

import subprocess
from pathlib import Path

from delivery.errors import DeliveryError

_LAST_LINES = 15


class CommandError(DeliveryError):
    """A program is missing or failed; the message says which, why, and what to do."""


def run(*command: str, remedy: str, given: str = "", folder: Path | None = None) -> str:
    """Run a program and return its standard output.

    Args:
        command: The program, found on the PATH, and its arguments; no shell sees them.
        remedy: Imperative clause for a missing program, such as "install kubectl".
        given: Standard input. Default: empty.
        folder: Working directory. Default: the current one.

    Raises:
        CommandError: If the program is missing or fails.
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
        )
    except FileNotFoundError as error:
        raise CommandError(f"There is no {command[0]} on the PATH: {remedy}.") from error
    if done.returncode != 0:
        said = "\n".join(done.stderr.strip().splitlines()[-_LAST_LINES:]) or "no error message"
        raise CommandError(f"`{' '.join(command)}` failed: {said}")
    return done.stdout


def gh(*arguments: str, given: str = "", folder: Path | None = None) -> str:
    """Ask GitHub through gh, which holds the credentials; see `run`.

    The remote of the folder names the repository. The output has no white space around it.
    """
    remedy = "install the GitHub CLI"
    return run("gh", *arguments, remedy=remedy, given=given, folder=folder).strip()


def kubectl(context: str, *arguments: str, given: str = "") -> str:
    """Ask the cluster of a kubeconfig context, never of the current one; see `run`."""
    command = ("kubectl", f"--context={context}", *arguments)
    return run(*command, remedy="install kubectl", given=given)
