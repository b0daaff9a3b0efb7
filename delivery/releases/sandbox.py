"""A private repository: another's objects, remotes and credentials, but nobody else's checkout."""

import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from delivery.git import git

_OWN = (
    "core.bare",
    "core.worktree",
    # What they include is in the list.
    "include.",
    "includeif.",
)
"""Settings that are about the other repository's own files."""
_ADDRESS = re.compile(r"remote\..*\.(push)?url")
_ABANDONED_SECONDS = 3600


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """A private repository with an empty working tree.

    Attributes:
        folder: Its working tree.
        settings: The other repository's configuration, as environment variables: it may hold
            credentials, which are written nowhere.
    """

    folder: Path
    settings: Mapping[str, str]

    def git(self, *arguments: str) -> str:
        """As `delivery.git.git`, here."""
        return git(self.folder, *arguments, environment=self.settings)


@contextmanager
def sandbox(repository: Path) -> Iterator[Sandbox]:
    """Make a private repository, and remove it.

    It shares nothing that two processes could write to. What a killed process left behind is
    removed by the next one: the lock on it ended with it.

    Args:
        repository: Any working tree of the repository whose remotes shall be reached; nothing in
            it changes.

    Raises:
        GitError: If this is no repository.
    """
    common = Path(git(repository, "rev-parse", "--path-format=absolute", "--git-common-dir"))
    home = common / "delivery"
    home.mkdir(exist_ok=True)
    _sweep(home)
    name = uuid4().hex
    # Locked before it has the name by which others look for it.
    new = home / f"{name}.new"
    with new.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        new.rename(home / f"{name}.lock")
        try:
            yield Sandbox(folder=_init(common, home / name), settings=_settings(repository, common))
        finally:
            _remove(home, name)


def _init(common: Path, folder: Path) -> Path:
    folder.mkdir()
    git(folder, "init", "--quiet", "--template=")
    information = folder / ".git" / "objects" / "info"
    (information / "alternates").write_text(f"{common / 'objects'}\n", encoding="utf-8")
    # Where the other's history ends, so does ours.
    with suppress(FileNotFoundError):
        shutil.copyfile(common / "shallow", folder / ".git" / "shallow")
    return folder


def _settings(repository: Path, common: Path) -> dict[str, str]:
    listed = git(repository, "config", "--local", "--includes", "--list", "--null")
    entries = [tuple(entry.partition("\n")[::2]) for entry in listed.split("\0") if entry]
    root = Path(git(repository, "rev-parse", "--show-toplevel"))
    settings = [
        ("core.hooksPath", str(common / "hooks")),
        # It would go on in the background, in a folder that is being removed.
        ("maintenance.auto", "false"),
        *(
            (key, absolute(root, value) if _ADDRESS.fullmatch(key) else value)
            for key, value in entries
            if not key.startswith(_OWN)
        ),
    ]
    variables = {
        f"GIT_CONFIG_{part}_{number}": text
        for number, setting in enumerate(settings, start=_given())
        for part, text in zip(("KEY", "VALUE"), setting, strict=True)
    }
    return {**variables, "GIT_CONFIG_COUNT": str(_given() + len(settings))}


def absolute(root: Path, address: str) -> str:
    """The address of a remote, from wherever it is read.

    Args:
        root: Where a path among the addresses starts.
        address: Of the remote, or its name.
    """
    return str(root / address) if address and (root / address).is_dir() else address


def _given() -> int:
    """How many settings the caller's environment has."""
    return int(os.environ.get("GIT_CONFIG_COUNT") or 0)


def _sweep(home: Path) -> None:
    for path in home.glob("*.new"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                path.unlink()
    for path in home.glob("*.lock"):
        # Its owner lives, or somebody else was faster.
        with suppress(BlockingIOError, FileNotFoundError), path.open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(home, path.stem)


def _remove(home: Path, name: str) -> None:
    shutil.rmtree(home / name, ignore_errors=True)
    (home / f"{name}.lock").unlink(missing_ok=True)
