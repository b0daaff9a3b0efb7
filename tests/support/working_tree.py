"""A copy of the working tree, in which tests release and commit."""

import re
import shutil
from itertools import count
from pathlib import Path

from remotes import run_git
from repository import REPOSITORY

_numbers = count(1)


def copy_working_tree(target: Path) -> None:
    """Copy every file that Git does not ignore, uncommitted changes included."""
    listing = run_git(REPOSITORY, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listing.split("\0")):
        if (REPOSITORY / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, target / name)


def commit_all(repository: Path, message: str) -> None:
    """Commit every change of a working tree."""
    run_git(repository, "add", "--all")
    run_git(repository, "commit", "--quiet", "--message", message)


def bump(repository: Path) -> str:
    """Release another build of our first service, as rendering would; return its tag."""
    images = repository / "images.yaml"
    old, *_ = re.findall(r'tag: "([0-9a-f]{40})"', images.read_text(encoding="utf-8"))
    new = f"{next(_numbers):040x}"
    for file in (images, *repository.glob("dist/*/*.yaml")):
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace(old, new), encoding="utf-8")
    return new
