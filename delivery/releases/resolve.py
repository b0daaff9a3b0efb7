"""A conflict in images.yaml, resolved by its fields."""

from pathlib import Path

from delivery.errors import DeliveryError
from delivery.git import GitError, file_of, git
from delivery.manifests.applications import environments
from delivery.manifests.tree import DIST
from delivery.network.readme import README
from delivery.releases import fields
from delivery.releases.edit import update_images
from delivery.releases.images import IMAGES, parse
from delivery.temporary import temporary_folder
from fraud_detection.images import SERVICES


class ConflictError(DeliveryError):
    """images.yaml cannot be merged; the message says what a person has to decide."""


def resolve_images(repository: Path, *, prefer: str | None = None) -> None:
    """Merge images.yaml by its fields, in a merge that is in progress; nothing is staged.

    Args:
        repository: Root of the working tree.
        prefer: Whose value a field gets that both sides changed: `ours` or `theirs`. Default: such
            a field is an error.

    Raises:
        ConflictError: If images.yaml is not in conflict, or both sides changed a field.
        ImagesError: If one side is wrong.
        TreeError: If `dist/argocd` is damaged.
    """
    unmerged = git(repository, "diff", "--name-only", "--diff-filter=U").splitlines()
    sources = [path for path in unmerged if path not in {IMAGES, README} and not _is_dist(path)]
    if sources:
        raise ConflictError(f"Resolve {', '.join(sources)} first, and `git add` them.")
    try:
        texts = [file_of(repository, f":{stage}", IMAGES) for stage in (1, 2, 3)]
    except GitError as error:
        raise ConflictError(
            f"{IMAGES} has no conflict to resolve: merge, pick or rebase first."
        ) from error
    base, ours, theirs = (
        parse(text, side) for text, side in zip(texts, ("the base", "ours", "theirs"), strict=True)
    )
    if prefer == "theirs":
        ours, theirs = theirs, ours
    merged, conflicts = fields.merge(base, ours, theirs)
    if conflicts and prefer is None:
        raise ConflictError(
            f"Both sides changed {', '.join(conflicts)}: "
            "decide with `delivery resolve --prefer ours` or `--prefer theirs`."
        )
    names = [each.name for each in environments(repository, "HEAD")]
    with temporary_folder(".new-", parent=repository) as folder:
        new = folder / IMAGES
        new.write_text(texts[1], encoding="utf-8")
        update_images(new, merged.services, environments=names, services=SERVICES)
        new.replace(repository / IMAGES)


def stage(repository: Path) -> None:
    """Mark images.yaml, dist and README's picture as resolved."""
    picture = [README] if (repository / README).exists() else []
    git(repository, "add", "--force", "--all", "--", IMAGES, DIST, *picture)


def _is_dist(path: str) -> bool:
    return path.startswith(f"{DIST}/")
