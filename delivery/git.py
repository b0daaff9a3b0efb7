"""Git as functions: each returns Git's output, or raises one sentence about the failure."""

import io
import os
import re
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import TimeoutExpired
from typing import NamedTuple

from delivery import processes
from delivery.errors import DeliveryError

_KEPT = re.compile(
    r"(?!GIT_)|GIT_("
    # Access to remotes.
    r"ALLOW_PROTOCOL|ASKPASS|HTTP_.*|PROTOCOL.*|PROXY_.*|SSH.*|SSL_.*"
    # Identity and configuration of the user.
    r"|AUTHOR_.*|COMMITTER_.*|CONFIG_.*"
    # Location of Git itself, and of repositories that it may look for.
    r"|CEILING_DIRECTORIES|DISCOVERY_ACROSS_FILESYSTEM|EXEC_PATH"
    r")$"
)
"""Variables that Git inherits; others trace, or point it at a repository that is not ours."""
_VARIABLES = {
    # Some errors are recognized by their text.
    "LC_ALL": "C",
    # Nobody would see a question, and Git would wait for an answer.
    "GIT_TERMINAL_PROMPT": "0",
    # A commit is what everybody else reads, and a path is no pattern.
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_GRAFT_FILE": os.devnull,
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    **dict.fromkeys(("GIT_TRACE2", "GIT_TRACE2_EVENT", "GIT_TRACE2_PERF"), "0"),
}
_SETTINGS = {
    # Output that we read.
    "color.remote": "false",
    "color.ui": "false",
    "core.abbrev": "auto",
    "core.quotePath": "false",
    "diff.orderFile": os.devnull,
    "diff.relative": "false",
    "i18n.logOutputEncoding": "UTF-8",
    "log.follow": "false",
    "log.showRoot": "true",
    "log.showSignature": "false",
    # Files of a working tree.
    "core.attributesFile": os.devnull,
    "core.autocrlf": "false",
    "core.eol": "lf",
    "core.fsmonitor": "false",
    "core.sparseCheckout": "false",
    "init.defaultBranch": "delivery",
    "init.templateDir": "",
    "safe.bareRepository": "all",
    "submodule.recurse": "false",
    # Commits, merges and pushes.
    "commit.gpgSign": "false",
    "core.commentChar": "#",
    "fetch.recurseSubmodules": "false",
    "i18n.commitEncoding": "UTF-8",
    "merge.verifySignatures": "false",
    "push.followTags": "false",
    "push.gpgSign": "false",
    "push.pushOption": "",
    "push.recurseSubmodules": "no",
    "trailer.separators": ":",
    # Bytes a second and seconds: a remote that is slower is as good as silent. Git prefers the
    # variables GIT_HTTP_LOW_SPEED_LIMIT and GIT_HTTP_LOW_SPEED_TIME.
    "http.lowSpeedLimit": "100",
    "http.lowSpeedTime": "60",
}
"""Settings of ours, so that those of the user decide about access and identity, not answers."""
_PLAINLY = [part for setting in _SETTINGS.items() for part in ("-c", "=".join(setting))]
_REMOTE_COMMANDS = frozenset({"fetch", "ls-remote", "push"})
_REMOTE_SECONDS = 300
"""Time limit of a command that talks to a remote: ssh waits without end for a silent server."""
_CREDENTIALS = re.compile(r"(?<=://)[^/\s]*@")
_NO = 1
"""Exit code of the answer "no"; standard error may hold warnings or a trace in any case."""


class GitError(DeliveryError):
    """A Git command failed; the message is one sentence.

    Attributes:
        output: All of standard error.
        code: Exit code of the command; none if it did not run.
    """

    def __init__(self, command: str, output: str, code: int | None = None) -> None:
        # Git repeats the address of a remote as it was given.
        self.output = output = without_credentials(output)
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


def without_credentials(text: str) -> str:
    """Return a text whose addresses have no user name and no password."""
    return _CREDENTIALS.sub("", text)


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
    command, *operands = [a for a in arguments if not a.startswith("-") and "=" not in a]
    try:
        done = processes.run(
            ["git", *_PLAINLY, *arguments],
            folder=folder,
            environment={
                **{name: value for name, value in os.environ.items() if _KEPT.match(name)},
                **_VARIABLES,
                **(environment or {}),
            },
            given=given,
            limit=_REMOTE_SECONDS if command in _REMOTE_COMMANDS else None,
        )
    except TimeoutExpired as error:
        message = (
            f"{operands[0]} did not answer within {error.timeout:g} seconds; check the network, "
            "and for SSH that `ssh-add -l` lists your key; then try again"
        )
        raise GitError(command, message) from error
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
