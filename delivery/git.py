"""Git as functions: each returns Git's output, or raises one sentence about the failure."""

import io
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from delivery.errors import DeliveryError

_LOCATIONS = frozenset(
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
"""Variables that point Git, when it runs in a hook, at the caller's repository instead of ours."""
_SETTINGS = {
    # Some errors are recognized by their text.
    "LC_ALL": "C",
    # Nobody would see a question, and Git would wait for an answer.
    "GIT_TERMINAL_PROMPT": "0",
}

_NO = 1
"""Exit code of the answer "no"; standard error may hold warnings or a trace in any case."""


class GitError(DeliveryError):
    """A Git command failed; the message is one sentence.

    Attributes:
        output: All of standard error.
        code: Exit code of the command; none if it did not run.
    """

    def __init__(self, command: str, output: str, code: int | None = None) -> None:
        self.output = output
        self.code = code
        lines = [
            line.removeprefix("remote:").strip().rstrip(".")
            for line in output.splitlines()
            if line.strip() and not line.startswith(("hint:", "To ", "Done"))
        ]
        super().__init__(f"git {command} failed: {'; '.join(lines[:4]) or 'no error message'}.")


class Entry(NamedTuple):
    """One entry of a folder in a commit; `mode` and `name` are Git's mode and object name."""

    path: str
    mode: str
    name: str


def git(folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Run Git in a folder and return its standard output, without the final newline.

    Raises:
        GitError: If Git is missing or fails.
    """
    output = _run(folder, *arguments, environment=environment)
    return output.decode(errors="replace").rstrip("\n")


def _run(
    folder: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    given: bytes = b"",
) -> bytes:
    command = next((a for a in arguments if not a.startswith("-") and "=" not in a), "")
    try:
        done = subprocess.run(  # noqa: S603 - no shell
            ["git", *arguments],  # noqa: S607 - the user's own Git
            cwd=folder,
            env={
                **{name: value for name, value in os.environ.items() if name not in _LOCATIONS},
                **_SETTINGS,
                **(environment or {}),
            },
            input=given,
            capture_output=True,
            check=False,
        )
    except OSError as error:
        if error.filename == "git":
            raise GitError(command, "there is no git on the PATH; install Git") from error
        raise GitError(command, f"{error.filename}: {error.strerror}") from error
    if done.returncode != 0:
        output = done.stderr.decode(errors="replace")
        if done.returncode < 0:
            output += f"killed by {signal.Signals(-done.returncode).name}"
        raise GitError(command, output, done.returncode)
    return done.stdout


def resolve(folder: Path, revision: str) -> str:
    """Return the full SHA of a revision's commit.

    Raises:
        GitError: If there is no such commit.
    """
    try:
        return git(folder, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except GitError as error:
        if error.code != _NO:
            raise
        message = f"there is no commit {revision!r} here; fetch it first"
        raise GitError("rev-parse", message) from error


def lacks_branch(folder: Path, remote: str, branch: str) -> bool:
    """Return whether a branch does not exist yet: not fetched, and not on the remote.

    Without an answer of the remote it may exist.
    """
    try:
        resolve(folder, f"refs/remotes/{remote}/{branch}")
    except GitError:
        with suppress(GitError):
            return not git(folder, "ls-remote", "--", remote, f"refs/heads/{branch}")
    return False


def is_ancestor(folder: Path, older: str, newer: str) -> bool:
    """Return whether one commit contains another; a commit is its own ancestor."""
    try:
        git(folder, "merge-base", "--is-ancestor", older, newer)
    except GitError as error:
        if error.code != _NO:
            raise
        return False
    return True


def file_of(folder: Path, commit: str, path: str) -> str:
    """Return the content of a file in a commit.

    Raises:
        GitError: If the commit has no such file.
    """
    return git(folder, "cat-file", "blob", f"{commit}:{path}") + "\n"


def entries(folder: Path, commit: str, path: str) -> list[Entry]:
    """Return everything below a path in a commit, whatever `.gitattributes` says about it.

    Raises:
        GitError: If there is no such commit.
    """
    listing = _run(folder, "ls-tree", "-r", "-z", commit, "--", path).split(b"\0")
    found = []
    for entry in filter(None, listing):
        head, _, name = entry.partition(b"\t")
        mode, _, blob = head.decode().split()
        found.append(Entry(path=os.fsdecode(name), mode=mode, name=blob))
    return found


def blobs(folder: Path, names: Sequence[str]) -> Iterator[bytes]:
    """Yield the content of blobs, in the order of their object names.

    Raises:
        GitError: If one is missing.
    """
    given = "".join(f"{name}\n" for name in names).encode()
    output = io.BytesIO(_run(folder, "cat-file", "--batch", given=given))
    for name in names:
        match output.readline().split():
            case [_, b"blob", size]:
                yield output.read(int(size))
                output.read(1)
            case _:
                raise GitError("cat-file", f"there is no blob {name}")
