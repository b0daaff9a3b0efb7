"""What a branch has of its own, which the branch before it in the chain lacks."""

from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from delivery.git import GitError, git, is_ancestor
from delivery.manifests.tree import DIST
from delivery.releases import fields
from delivery.releases.images import IMAGES, images_of
from delivery.releases.sandbox import Sandbox
from fraud_detection.images import Releases

_NOBODY = ("-c", "user.name=nobody", "-c", "user.email=nobody@fraud-detection.invalid")
"""Git requires an identity for a merge, even one that is not committed."""


@dataclass(frozen=True, kw_only=True)
class Own:
    """Changes that only the target has: files, and commits as lines of hash and subject."""

    files: Sequence[str]
    commits: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class _Sources:
    """A commit without what differs between branches on purpose: dist, and pins.

    The tree of its files has no images.yaml either, which is compared by its fields.
    """

    tree: str
    releases: Releases


def _without_pins(releases: Releases, environments: Collection[str]) -> Releases:
    """Return releases without the pins of some environments."""
    return Releases(
        services={
            service: replace(
                release,
                pins={name: pin for name, pin in release.pins.items() if name not in environments},
            )
            for service, release in releases.services.items()
        }
    )


def own_changes(
    private: Sandbox, *, source: str, target: str, environments: Collection[str]
) -> Own | None:
    """Return what a target branch has beyond the source, or None if there is nothing.

    Its pins of the given environments do not count, nor does what a promotion brought, in whatever
    way it was merged; nor what the source has as well. The working tree is changed.

    Raises:
        GitError: If the branches have no common history.
    """
    folder = private.folder

    def sources(commit: str) -> _Sources:
        return _sources(private, commit, environments)

    base = git(folder, "merge-base", source, target)
    chain = git(folder, "rev-list", "--first-parent", "--reverse", target, f"^{base}").split()
    # The promotion that brought the common history, and what came after it.
    since = chain[bisect_left(chain, True, key=lambda each: is_ancestor(folder, base, each)) :]  # noqa: FBT003 - a value to find
    if not since:
        return None
    candidates = git(
        folder, "rev-list", "--first-parent", "--reverse", source, f"^{base}"
    ).splitlines()
    settled, common = f"{since[0]}^", sources(base)
    for commit in since:
        found = sources(commit)
        if found == common:
            settled = commit
            continue
        # A promotion that was squashed or rebased brings the files, but not the history.
        for number, candidate in enumerate(candidates):
            if sources(candidate) == found:
                settled, base, common = commit, candidate, found
                candidates = candidates[number + 1 :]
                break
    if settled == target:
        return None
    files = _merged(private, *(sources(each) for each in (base, source, target)))
    if not files:
        return None
    form = "--format=%h %s"
    log = git(folder, "log", "--first-parent", form, f"{settled}..{target}", "--", *files)
    return Own(files=files, commits=log.splitlines())


def _sources(private: Sandbox, commit: str, environments: Collection[str]) -> _Sources:
    private.git("read-tree", commit)
    private.git("rm", "-r", "-f", "--cached", "--quiet", "--ignore-unmatch", "--", DIST, IMAGES)
    releases = _without_pins(images_of(private.folder, commit), environments)
    return _Sources(tree=private.git("write-tree"), releases=releases)


def _merged(private: Sandbox, base: _Sources, ours: _Sources, theirs: _Sources) -> list[str]:
    """Return the files in which a merge of their changes into ours would differ from ours."""
    root = _commit(private, base)
    private.git("reset", "--quiet", "--hard", _commit(private, ours, root))
    merged = _commit(private, theirs, root)
    try:
        private.git(*_NOBODY, "merge", "--quiet", "--no-ff", "--no-commit", merged)
    except GitError:
        if not private.git("diff", "--name-only", "--diff-filter=U"):
            raise
    files = private.git("diff", "--name-only", "HEAD").splitlines()
    releases, conflicts = fields.merge(base.releases, ours.releases, theirs.releases)
    return [*files, *([IMAGES] if conflicts or releases != ours.releases else [])]


def _commit(private: Sandbox, sources: _Sources, *parents: str) -> str:
    options = [f"-p{each}" for each in parents]
    return private.git(*_NOBODY, "commit-tree", "-m", "sources", *options, sources.tree)
