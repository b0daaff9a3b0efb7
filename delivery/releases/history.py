"""The order of two builds, by the history of the repository that they were built from."""

import re
from enum import Enum
from pathlib import Path

from delivery.commands import gh
from delivery.errors import DeliveryError
from delivery.git import GitError, is_ancestor, resolve
from fraud_detection.images import COMMIT


class HistoryError(DeliveryError):
    """The history cannot order two builds; the message says why and what to do."""


class Order(Enum):
    """Relation of a build to the released one; the value completes the sentence `it is …`."""

    SAME = "the released build"
    NEWER = "newer than the released build"
    OLDER = "older than the released build"
    UNRELATED = "not on the same line of history as the released build"


_GITHUB_STATUS = {
    "identical": Order.SAME,
    "ahead": Order.NEWER,
    "behind": Order.OLDER,
    "diverged": Order.UNRELATED,
}
"""The values of `status` in GitHub's comparison of two commits."""
# Excludes paths such as `../application`.
_ON_GITHUB = re.compile(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]*[A-Za-z0-9_-]")


def order(history: str, *, released: str, build: str) -> Order:
    """Compare two builds of a service.

    Args:
        history: A local clone of the application repository, or OWNER/NAME of one on GitHub.
        released: The tag in images.yaml.
        build: The tag to release.

    Returns:
        Relation of `build` to `released`; `NEWER` for tags that are versions rather than commits,
        since the history has no order for them.

    Raises:
        HistoryError: If there is no such repository, or it lacks one of the commits.
        CommandError: If GitHub does not answer.
    """
    if not COMMIT.accepts(build):
        return Order.NEWER
    folder = Path(history)
    if folder.is_dir():
        return _order_in_clone(folder, released, build)
    if _ON_GITHUB.fullmatch(history):
        path = f"repos/{history}/compare/{released}...{build}"
        return _GITHUB_STATUS[gh("api", path, "--jq", ".status")]
    raise HistoryError(
        f"{history!r} is neither a folder nor OWNER/NAME on GitHub: "
        "give --history the application repository."
    )


def _order_in_clone(folder: Path, released: str, build: str) -> Order:
    try:
        for commit in (released, build):
            resolve(folder, commit)
    except GitError as error:
        raise HistoryError(f"Cannot order builds by the history in {folder}: {error}") from error
    if released == build:
        return Order.SAME
    if is_ancestor(folder, released, build):
        return Order.NEWER
    return Order.OLDER if is_ancestor(folder, build, released) else Order.UNRELATED
