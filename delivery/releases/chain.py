"""The branches of the chain of environments that every release passes."""

from collections.abc import Sequence
from pathlib import Path

from delivery.errors import DeliveryError
from delivery.git import git, resolve
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
    present = {line.partition("\t")[2] for line in listed}
    branches = [each.branch for each in environments if f"refs/heads/{each.branch}" in present]
    if branches:
        # A clone of a single branch has no refspec for the others.
        refs = [f"+refs/heads/{branch}:refs/remotes/{remote}/{branch}" for branch in branches]
        git(repository, "fetch", "--quiet", "--no-tags", "--", remote, *refs)
    return {branch: resolve(repository, f"refs/remotes/{remote}/{branch}") for branch in branches}
