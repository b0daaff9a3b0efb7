"""Which of two builds is newer, by the history of the repository that they were built from."""

import re
import subprocess
from enum import Enum
from pathlib import Path

from delivery.errors import DeliveryError
from delivery.git import GitError, is_ancestor, resolve


class HistoryError(DeliveryError):
    """The history does not say; the message says why and what to do."""


class Order(Enum):
    """How a build relates to the recorded one; the value completes the sentence `it is …`."""

    SAME = "the recorded one"
    NEWER = "newer than the recorded one"
    OLDER = "older than the recorded one"
    UNRELATED = "on another line of history than the recorded one"


_ANSWERS = {
    "identical": Order.SAME,
    "ahead": Order.NEWER,
    "behind": Order.OLDER,
    "diverged": Order.UNRELATED,
}
_COMMIT = re.compile(r"[0-9a-f]{40}")
# Never a path such as `../application`.
_ON_GITHUB = re.compile(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]*[A-Za-z0-9_-]")


def order(history: str, *, recorded: str, build: str) -> Order:
    """Compare two builds.

    Args:
        history: A local clone of the application repository, or OWNER/NAME of one on GitHub.
        recorded: The tag that images.yaml says.
        build: The tag that it shall say, of the same service.

    Returns:
        How `build` relates to `recorded`; `NEWER` where they are no commits but versions, whose
        order nobody's history knows.

    Raises:
        HistoryError: If there is no such repository, or it lacks one of the commits.
    """
    if not _COMMIT.fullmatch(build):
        return Order.NEWER
    folder = Path(history)
    if folder.is_dir():
        return _order_here(folder, recorded, build)
    if _ON_GITHUB.fullmatch(history):
        return _order_on_github(history, recorded, build)
    raise HistoryError(
        f"{history!r} is neither a folder nor OWNER/NAME on GitHub: "
        "give --history the application repository."
    )


def _order_here(folder: Path, recorded: str, build: str) -> Order:
    _require(folder, recorded)
    _require(folder, build)
    if recorded == build:
        return Order.SAME
    if is_ancestor(folder, recorded, build):
        return Order.NEWER
    return Order.OLDER if is_ancestor(folder, build, recorded) else Order.UNRELATED


def _require(folder: Path, commit: str) -> None:
    try:
        resolve(folder, commit)
    except GitError as error:
        raise HistoryError(
            f"The history in {folder} does not say which build is newer: {error}"
        ) from error


def _order_on_github(repository: str, recorded: str, build: str) -> Order:
    path = f"repos/{repository}/compare/{recorded}...{build}"
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and both commits are hexadecimal
            ["gh", "api", path, "--jq", ".status"],  # noqa: S607 - the user's own gh
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise HistoryError(
            "There is no gh to ask GitHub with: install it, or give --history a local clone."
        ) from error
    answer = _ANSWERS.get(done.stdout.strip())
    if answer is None:
        raise HistoryError(
            f"GitHub does not compare {recorded} with {build} in {repository}: "
            f"{' '.join(done.stderr.split()) or 'no answer'}."
        )
    return answer
