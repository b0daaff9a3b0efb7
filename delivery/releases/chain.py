"""The branches of the chain of environments that every release passes."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from delivery.errors import DeliveryError
from delivery.git import GitError, git
from delivery.manifests.applications import Environment


class ChainError(DeliveryError):
    """Cannot determine what is released; the message says why and what to do."""


def fetch(repository: Path, remote: str, environments: Sequence[Environment]) -> dict[str, str]:
    """Fetch the branches of environments that a remote has; return the newest commit of each.

    Raises:
        ChainError: If the clone is shallow.
        GitError: If the remote cannot be reached.
    """
    if git(repository, "rev-parse", "--is-shallow-repository") == "true":
        raise ChainError(
            "Cannot determine what is released: this clone is shallow; "
            f"run `git fetch --unshallow {remote}`."
        )
    wanted = [f"refs/heads/{environment.branch}" for environment in environments]
    listed = git(repository, "ls-remote", "--", remote, *wanted).splitlines()
    newest = {ref: commit for commit, _, ref in (line.partition("\t") for line in listed)}
    found = {
        environment.branch: newest[ref]
        for environment, ref in zip(environments, wanted, strict=True)
        if ref in newest
    }
    if found:
        # A clone of a single branch has no refspec for the others; an address has no branches here.
        place = f"refs/remotes/{remote}/"
        named = remote in git(repository, "remote").splitlines()
        refs = [f"+refs/heads/{each}" + (f":{place}{each}" if named else "") for each in found]
        git(repository, "fetch", "--quiet", "--no-tags", "--", remote, *refs)
    return found


def lacking(repository: Path, remote: str, environments: Sequence[Environment]) -> tuple[str, int]:
    """Return the branch that a checkout is nearest to, and how many of its commits it lacks.

    Only what was fetched counts; 0 where nothing was.
    """
    distances = []
    for branch in dict.fromkeys(each.branch for each in environments):
        ref = f"refs/remotes/{remote}/{branch}"
        with suppress(GitError):
            span = ("--left-right", "--count", f"HEAD...{ref}")
            own, others = map(int, git(repository, "rev-list", *span).split())
            distances.append((own, others, f"{remote}/{branch}"))
    _, lacks, place = min(distances, default=(0, 0, ""))
    return place, lacks
