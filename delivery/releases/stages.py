"""The environments in the order in which a release passes them, and the branches they are on."""

from collections.abc import Sequence
from pathlib import Path

from delivery.errors import DeliveryError
from delivery.git import git, resolve
from delivery.manifests.applications import Environment, environments


class StagesError(DeliveryError):
    """It cannot be found out what is released where; the message says why and what to do."""


def stages(repository: Path) -> list[Environment]:
    """The environments, that of the branch where releases begin first.

    Args:
        repository: Root of the Git working tree.

    Raises:
        TreeError: If `dist/argocd` is missing or damaged, or declares none.
    """
    return environments(repository)


def fetch(repository: Path, remote: str, stages: Sequence[Environment]) -> list[str]:
    """Fetch the branches of environments.

    Args:
        repository: Root of the Git working tree.
        remote: Name of the remote.
        stages: The environments.

    Returns:
        The newest commit of each.

    Raises:
        GitError: If the remote lacks a branch, or cannot be reached.
        StagesError: If the history ends where somebody cut it off.
    """
    if git(repository, "rev-parse", "--is-shallow-repository") == "true":
        raise StagesError(
            "This clone is shallow, so nothing is known of earlier releases: "
            f"run `git fetch --unshallow {remote}`."
        )
    # Named one by one: a clone of a single branch fetches no other by itself.
    tracking = {stage.branch: f"refs/remotes/{remote}/{stage.branch}" for stage in stages}
    refs = [f"+refs/heads/{branch}:{ref}" for branch, ref in tracking.items()]
    git(repository, "fetch", "--quiet", "--no-tags", "--", remote, *refs)
    return [resolve(repository, tracking[stage.branch]) for stage in stages]
