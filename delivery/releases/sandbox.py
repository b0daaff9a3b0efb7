"""A private repository that shares the objects, remotes and credentials of another."""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from delivery.git import git
from delivery.temporary import temporary_folder

# `git config --list` has expanded what is included.
_OWN = ("core.bare", "core.worktree", "include.", "includeif.")
"""Settings about the location of the other repository's files."""
ROBOT_NAME = "fraud-detection delivery"
ROBOT_EMAIL = "delivery@fraud-detection.invalid"
"""Identity of commits that no person makes."""
_ADDRESS = re.compile(r"remote\..*\.(push)?url")


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
        """Run Git here; see `delivery.git.git`."""
        return git(self.folder, *arguments, environment=self.settings)


@contextmanager
def sandbox(repository: Path) -> Iterator[Sandbox]:
    """Create a private repository, and remove it at the end.

    It shares nothing that two processes could write to; checkout, index and branches of the other
    repository stay as they are.

    Raises:
        GitError: If this is not a repository.
        OSError: If its `.git` cannot be written.
    """
    common = Path(git(repository, "rev-parse", "--path-format=absolute", "--git-common-dir"))
    home = common / "delivery"
    home.mkdir(exist_ok=True)
    with temporary_folder("sandbox-", parent=home) as folder:
        yield Sandbox(
            folder=_init(common, folder / "repository"), settings=_settings(repository, common)
        )


def _init(common: Path, folder: Path) -> Path:
    git(common, "init", "--quiet", "--template=", str(folder))
    information = folder / ".git" / "objects" / "info"
    (information / "alternates").write_text(f"{common / 'objects'}\n", encoding="utf-8")
    # The other repository's history ends here, too.
    with suppress(FileNotFoundError):
        shutil.copyfile(common / "shallow", folder / ".git" / "shallow")
    return folder


def _settings(repository: Path, common: Path) -> dict[str, str]:
    listed = git(repository, "config", "--show-scope", "--includes", "--list", "--null").split("\0")
    own = [
        # A key without a value is true.
        (key, value if equals else "true")
        for scope, entry in zip(listed[::2], listed[1::2], strict=False)
        if scope in {"local", "worktree"}
        for key, equals, value in [entry.partition("\n")]
    ]
    root = Path(git(repository, "rev-parse", "--show-toplevel"))
    settings = [
        ("core.hooksPath", str(common / "hooks")),
        # It would run in the background, in a folder that is being removed.
        ("maintenance.auto", "false"),
        *(
            (key, absolute(root, value) if _ADDRESS.fullmatch(key) else value)
            for key, value in own
            if not key.startswith(_OWN)
        ),
    ]
    # The caller's environment may hold some already.
    first = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    variables = {
        f"GIT_CONFIG_{part}_{number}": text
        for number, setting in enumerate(settings, start=first)
        for part, text in zip(("KEY", "VALUE"), setting, strict=True)
    }
    return {**variables, "GIT_CONFIG_COUNT": str(first + len(settings))}


def absolute(root: Path, address: str) -> str:
    """Return the address or name of a remote as it works outside of the folder `root`."""
    return str(root / address) if address and (root / address).is_dir() else address
