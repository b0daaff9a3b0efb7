"""The commit that promotes one branch to the next, and the pull request that offers it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from delivery.errors import DeliveryError
from delivery.git import git, is_ancestor, resolve
from delivery.manifests import dist
from delivery.manifests.applications import Environment, environments, select
from delivery.manifests.tree import DIST, read_dist
from delivery.releases import pull_request
from delivery.releases.ancestry import Own, own_changes
from delivery.releases.bundle import write_bundle
from delivery.releases.chain import fetch
from delivery.releases.edit import check_reason, update_images
from delivery.releases.gate import Offer, UnprovedError, newest_proved
from delivery.releases.images import ANY_TAG, IMAGES, images_of
from delivery.releases.promotion_text import Case, sections
from delivery.releases.sandbox import ROBOT_EMAIL, ROBOT_NAME, Sandbox, sandbox
from delivery.text import counted, fitted, short
from fraud_detection.images import Release

PROMOTES = "Promotes"
"""Trailer with the commit of the source branch; the commit that has it is a promotion."""


class PromotionError(DeliveryError):
    """The promotion cannot be proposed; the message says why and what to do."""


class MissingBranchError(PromotionError):
    """The remote lacks one of the two branches."""


class StaleError(PromotionError):
    """The dist of the source branch is not what its sources render."""

    exit_code = 3


class LackingError(PromotionError):
    """The source branch lacks changes of the target, which the promotion would undo."""

    exit_code = 1


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """A commit to merge, and the pull request that offers it.

    Attributes:
        commit: The commit; the caller's repository has it.
        branch: Branch of its own, which the pull request is from.
        source: Branch that is promoted.
        head: The commit of it.
        target: Branch that is promoted to.
        base: The newest commit of it.
        title: Title of the pull request.
        body: Its text, short enough for GitHub.
        text: The same with the sections that do not fit.
    """

    commit: str
    branch: str
    source: str
    head: str
    target: str
    base: str
    title: str
    body: str
    text: str


def pairs(
    environments: Sequence[Environment], *, target: str | None = None
) -> list[tuple[Environment, Environment]]:
    """Return the pairs of neighbors between which a release is promoted: all, or those to one.

    Raises:
        UnknownEnvironmentError: If there is no such environment.
        PromotionError: If it is the first one.
    """
    targets = select(environments, target)
    if target == environments[0].name:
        raise PromotionError(
            f"Nothing is promoted to {target}, the first environment: bumps release to it."
        )
    return [pair for pair in pairwise(environments) if pair[1] in targets]


def prepare(
    repository: Path,
    source: Environment,
    target: Environment,
    *,
    remote: str,
    verdict: str | None = None,
    overrule: str | None = None,
    render: Callable[[Path], object] = dist.synthesize,
) -> Promotion | None:
    """Make the commit that promotes one environment's branch to the next one's.

    Its parents are the newest commit of the target and the newest one of the source that its
    environment has proved, or the newest one if that reports nothing; its files
    are the source's, except for the pins of the target, and dist, which is rendered again. The same
    branches give the same commit. Only the remote's branches are read.

    Args:
        repository: The repository, which gets the commit, but no branch.
        source: The environment that is promoted.
        target: The next one.
        remote: Name of the remote.
        verdict: Report of a rehearsal, as Markdown.
        overrule: Why to undo what only the target has. Default: refuse to.
        render: Replaces the `dist/` of a worktree.

    Returns:
        The promotion; None if there is nothing to promote.

    Raises:
        MissingBranchError: If the remote lacks a branch.
        LackingError: If only the target has some change, other than its pins.
        StaleError: If the dist of the source branch is not what its sources render.
        PromotionError: If the source does not render with the pins of the target.
        UnprovedError: If the source has proved nothing that is not promoted yet.
        ChainError: If the clone is shallow.
        GitError: If the remote cannot be reached.
        ImagesError: If the images.yaml of a branch is wrong, or `overrule` is not one line.
        RenderError: If the source branch does not render.
    """
    if overrule is not None:
        check_reason(overrule)
    heads = fetch(repository, remote, [source, target])
    for branch in (source.branch, target.branch):
        if branch not in heads:
            raise MissingBranchError(
                f"{target.name}: {remote} has no branch {branch}: "
                f"create it with `git push {remote} COMMIT:refs/heads/{branch}`."
            )
    base = heads[target.branch]
    offer = newest_proved(repository, source, newest=heads[source.branch], promoted=base)
    head = offer.commit
    branch = _branch(target)
    with sandbox(repository) as private:
        own = own_changes(private, source=head, target=base, environments=[target.name])
        if own and overrule is None:
            raise LackingError(_lacking(own, source, target))
        tree = _tree(private, head=head, base=base, source=source, target=target, render=render)
        if tree == git(repository, "rev-parse", f"{base}^{{tree}}"):
            return None
        trailers = {PROMOTES: head, **({"Overrules": overrule} if own and overrule else {})}
        commit = _commit(private, tree, (base, head), _title(source, target), trailers)
        private.git("update-ref", f"refs/heads/{branch}", commit)
        place = str(private.folder)
        git(repository, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", place, branch)
    case = Case(
        source=source,
        target=target,
        base=base,
        head=head,
        offer=offer,
        commit=commit,
        released=images_of(repository, head),
        before=images_of(repository, base),
        after=images_of(repository, commit),
        old=read_dist(repository, base),
        new=read_dist(repository, commit),
        own=own,
        overrule=overrule,
    )
    found = sections(repository, case, verdict)
    return Promotion(
        commit=commit,
        branch=branch,
        source=source.branch,
        head=head,
        target=target.branch,
        base=base,
        title=_title(source, target),
        body=fitted(found, elsewhere="The workflow run that wrote this keeps the full text."),
        text="\n\n".join(found),
    )


def write(repository: Path, promotion: Promotion, *, path: Path) -> str:
    """Write the commit to a file, as `write_bundle` does; return what was done."""
    with sandbox(repository) as private:
        write_bundle(private, promotion.commit, path, branch=promotion.branch)
    return f"Wrote {promotion.commit} for {promotion.branch} to {path}"


def propose(repository: Path, promotion: Promotion, *, remote: str, refresh: bool = False) -> str:
    """Push the commit, and open the pull request or update the open one; return what was done.

    An approved pull request stays as it is, unless the target has moved: `refresh` overrules that.

    Raises:
        CommandError: If there is no `gh`, or GitHub refuses.
        GitError: If the remote refuses, or somebody else pushed the branch meanwhile.
    """
    ends = {"head": promotion.branch, "base": promotion.target}
    text = {"title": promotion.title, "body": promotion.body}
    found = pull_request.find(repository, **ends)
    ref = f"refs/heads/{promotion.branch}"
    listed = git(repository, "ls-remote", "--", remote, ref)
    pushed = listed.partition("\t")[0]
    if found and not refresh and pull_request.is_approved(repository, found.number):
        git(repository, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", remote, ref)
        if resolve(repository, f"{pushed}^1") == promotion.base:
            span = f"{pushed}^2..{promotion.head}"
            waiting = int(git(repository, "rev-list", "--count", span))
            return (
                f"{found.url} is approved and stays as it is; {promotion.source} has "
                f"{counted(waiting, 'newer commit')}, which --refresh would add"
            )
    lease = f"--force-with-lease={ref}:{pushed}"
    git(repository, "push", "--quiet", lease, "--", remote, f"{promotion.commit}:{ref}")
    if found is None:
        return f"Opened {pull_request.create(repository, **ends, **text)}"
    pull_request.edit(repository, found.number, **text)
    return f"Updated {found.url}"


def withdraw(repository: Path, target: Environment, *, refresh: bool = False) -> str | None:
    """Close the open pull request, as nothing is left to promote; return what was done.

    An approved one stays as it is: `refresh` overrules that. None: there is no open one.

    Raises:
        CommandError: If there is no `gh`, or GitHub refuses.
    """
    found = pull_request.find(repository, head=_branch(target), base=target.branch)
    if found is None:
        return None
    if not refresh and pull_request.is_approved(repository, found.number):
        return f"{found.url} is approved and stays as it is; --refresh would close it"
    pull_request.close(repository, found.number)
    return f"Closed {found.url}"


def check_proved(
    repository: Path, source: Environment, target: Environment, commit: str
) -> Offer | None:
    """Require that the source has proved what a commit promotes.

    Returns:
        What it promotes, with the proof; None if it is no promotion.

    Raises:
        UnprovedError: If the source reports, and has not proved it.
        CommandError: If GitHub does not answer.
        GitError: If there is no such commit.
    """
    promoted = _promoted(repository, commit)
    if not promoted:
        return None
    offer = newest_proved(repository, source, newest=promoted, promoted=f"{commit}^1")
    if offer.commit != promoted:
        raise UnprovedError(
            f"{source.name} has not proved {short(promoted)}, which this promotes to "
            f"{target.name}: close the pull request, or wait for the next promotion."
        )
    return offer


def altered(repository: Path, commit: str = "HEAD") -> list[str]:
    """Return the files in which a merge differs from the promotion that was reviewed.

    It is empty for a commit that does not merge a promotion into its target.
    """
    match git(repository, "log", "-1", "--format=%P", commit).split():
        case [target, merged] if _promoted(repository, merged):
            # A merge back into the source brings changes that the target never gets.
            if not is_ancestor(repository, f"{merged}^2", target):
                return git(repository, "diff", "--name-only", merged, commit).splitlines()
    return []


def _promoted(repository: Path, commit: str) -> str:
    """Return the commit that another one promotes; empty if it is no promotion."""
    return git(repository, "log", "-1", f"--format=%(trailers:key={PROMOTES},valueonly)", commit)


def _branch(target: Environment) -> str:
    return f"promote/{target.name}"


def _title(source: Environment, target: Environment) -> str:
    return f"Promote {source.branch} to {target.branch}"


def _lacking(own: Own, source: Environment, target: Environment) -> str:
    commits = "; ".join(own.commits)
    return (
        f"{source.branch} lacks changes of {target.branch}: {commits} "
        f"(in {', '.join(own.files)}): merge them into {source.branch}, "
        "or undo them with --overrule REASON."
    )


def _tree(
    private: Sandbox,
    *,
    head: str,
    base: str,
    source: Environment,
    target: Environment,
    render: Callable[[Path], object],
) -> str:
    """Return the tree of the source with the pins of the target, rendered."""
    private.git("reset", "--quiet", "--hard", head)
    private.git("clean", "--quiet", "-ffdx")
    render(private.folder)
    private.git("add", "--force", "--all", "--", DIST)
    stale = private.git("diff", "--cached", "--name-only", head).splitlines()
    if stale:
        raise StaleError(
            f"{source.branch} is not ready: {', '.join(stale[:3])}: dist is not what the sources "
            "render; run `make synth` there and commit the result."
        )
    if _pin(private, base, target.name):
        try:
            render(private.folder)
        except dist.RenderError as error:
            raise PromotionError(
                f"{source.branch} does not render with the pins of {target.branch}: {error}"
            ) from error
        private.git("add", "--force", "--all", "--", IMAGES, DIST)
    return private.git("write-tree")


def _pin(private: Sandbox, base: str, environment: str) -> bool:
    """Give the working tree the pins of a target; return whether that changes anything."""
    releases = images_of(private.folder).services
    pinned = images_of(private.folder, base).services

    def with_pins(service: str, release: Release) -> Release:
        pins = {name: pin for name, pin in release.pins.items() if name != environment}
        if service in pinned and environment in pinned[service].pins:
            pins[environment] = pinned[service].pins[environment]
        return replace(release, pins=pins)

    changed = {
        service: new
        for service, release in releases.items()
        if (new := with_pins(service, release)) != release
    }
    update_images(
        private.folder / IMAGES,
        changed,
        environments=[each.name for each in environments(private.folder)],
        services=dict.fromkeys(releases, ANY_TAG),
    )
    return bool(changed)


def _commit(
    private: Sandbox, tree: str, parents: Sequence[str], subject: str, trailers: dict[str, str]
) -> str:
    """Return a commit that depends on nothing but its arguments: not on who makes it, or when."""
    times = [int(private.git("log", "-1", "--format=%ct", each)) for each in parents]
    settings = dict(private.settings)
    for role in ("AUTHOR", "COMMITTER"):
        settings[f"GIT_{role}_NAME"] = ROBOT_NAME
        settings[f"GIT_{role}_EMAIL"] = ROBOT_EMAIL
        settings[f"GIT_{role}_DATE"] = f"{max(times)} +0000"
    message = f"{subject}\n\n" + "\n".join(f"{key}: {text}" for key, text in trailers.items())
    options = [option for parent in parents for option in ("-p", parent)]
    return replace(private, settings=settings).git("commit-tree", *options, "-m", message, tree)
