"""Git, as functions: what it answers, or one sentence about why it does not."""

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from delivery.errors import DeliveryError

_PLACES = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_DIR",
        "GIT_INDEX_FILE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
    }
)
"""Where Git, in a hook, tells its children to work: in the caller's repository, not in ours."""
_SPEAK_PLAINLY = {
    # Some answers are recognised by their text.
    "LC_ALL": "C",
    # A question that nobody sees would wait for ever.
    "GIT_TERMINAL_PROMPT": "0",
}


class GitError(DeliveryError):
    """Git refused; the message is one sentence.

    Args:
        command: What it was asked to do.
        said: All that it wrote.
    """

    def __init__(self, command: str, said: str) -> None:
        self.said = said
        lines = [
            line.removeprefix("remote:").strip().rstrip(".")
            for line in said.splitlines()
            if line.strip() and not line.startswith(("hint:", "To ", "Done"))
        ]
        super().__init__(f"git {command} failed: {'; '.join(lines[:4]) or 'it did not say why'}.")


def git(folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Run Git.

    Args:
        folder: Where.
        arguments: Of the command `git`.
        environment: Further variables. Default: none.

    Returns:
        What it answered, without the last line's end.

    Raises:
        GitError: If it failed.
    """
    command = next((a for a in arguments if not a.startswith("-") and "=" not in a), "")
    try:
        done = subprocess.run(  # noqa: S603 - Git, with arguments that nobody else's shell sees
            ["git", *arguments],  # noqa: S607 - the user's own Git
            cwd=folder,
            env={
                **{name: value for name, value in os.environ.items() if name not in _PLACES},
                **_SPEAK_PLAINLY,
                **(environment or {}),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise GitError(command, f"{error.filename}: {error.strerror}") from error
    if done.returncode != 0:
        said = done.stderr
        if done.returncode < 0:
            said += f"it was ended by {signal.Signals(-done.returncode).name}"
        raise GitError(command, said)
    return done.stdout.rstrip("\n")


def resolve(folder: Path, revision: str) -> str:
    """The full SHA of the commit that a revision names.

    Raises:
        GitError: If there is no such commit.
    """
    try:
        return git(folder, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except GitError as error:
        if error.said.strip():
            raise
        message = f"there is no commit {revision!r} here; fetch it first"
        raise GitError("rev-parse", message) from error


def is_ancestor(folder: Path, older: str, newer: str) -> bool:
    """Whether everything in one commit is also in the other; a commit is its own ancestor."""
    try:
        git(folder, "merge-base", "--is-ancestor", older, newer)
    except GitError as error:
        if error.said.strip():
            raise
        return False
    return True


def file_of(folder: Path, commit: str, path: str) -> str:
    """What a file says in a commit.

    Raises:
        GitError: If the commit has no such file.
    """
    return git(folder, "cat-file", "blob", f"{commit}:{path}") + "\n"
