"""A copy of the working tree in which to release and commit."""

import os
import re
import shutil
import subprocess
from itertools import count
from pathlib import Path

from manifests import REPOSITORY

_numbers = count(1)


def copy_working_tree(target: Path) -> None:
    """Copy what a commit of everything would hold, uncommitted changes included."""
    listing = git(REPOSITORY, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listing.split("\0")):
        if (REPOSITORY / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, target / name)


def commit_all(repository: Path, message: str) -> None:
    """Commit every change of a working tree."""
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", message)


def git(repository: Path, *arguments: str) -> str:
    """What Git answers about a repository, whatever this machine's settings are."""
    identity = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.test")
    return subprocess.run(
        ["git", *identity, *arguments],
        cwd=repository,
        env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout.strip()


def bump(repository: Path) -> str:
    """Release another payment-api: what rendering would change; the new tag."""
    images = repository / "images.yaml"
    [old] = re.findall(
        r'^payment-api:\n(?:  .*\n)*?  tag: "(.*)"',
        images.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    new = f"{next(_numbers):040x}"
    for file in (images, *repository.glob("dist/*/*.yaml")):
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace(old, new), encoding="utf-8")
    return new
