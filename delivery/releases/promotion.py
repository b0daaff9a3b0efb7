"""The pull request that promotes one branch to the next, and the text that argues its case."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

from delivery.commands import gh
from delivery.errors import DeliveryError
from delivery.git import GitError, git
from delivery.manifests import diff, dist
from delivery.manifests.applications import Environment, select
from delivery.manifests.tree import DIST, Files, folders, read_dist
from delivery.network import graph
from delivery.releases.chain import fetch
from delivery.releases.changes import bumped
from delivery.releases.images import images_of
from delivery.releases.provenance import is_ours
from delivery.releases.sandbox import Sandbox, sandbox
from delivery.text import details, escaped, fenced, fitted, short
from fraud_detection.images import Releases
from fraud_detection.platform.image import Image
from fraud_detection.repositories import APPLICATION

_NOBODY = ("-c", "user.name=nobody", "-c", "user.email=nobody@fraud-detection.invalid")
"""Git requires an identity for a merge, even one that is not committed."""
_LISTED_COMMITS = 5
_KEEPS_DATA = frozenset({"PersistentVolumeClaim", "StatefulSet"})
_Render: TypeAlias = Callable[[Path], AbstractContextManager[Path]]


class PromotionError(DeliveryError):
    """The promotion cannot be proposed; the message says why and what to do."""


class MissingBranchError(PromotionError):
    """The remote lacks one of the two branches."""


class StaleError(PromotionError):
    """The dist of the source branch is not what its sources render."""

    exit_code = 3


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """A pull request to propose.

    Source and target are branches. The body is short enough for GitHub; the text also has the
    sections that do not fit.
    """

    source: str
    target: str
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
    render: _Render = dist.rendered,
) -> Promotion | None:
    """Argue the case for promoting one environment's branch to the next one's.

    Only the remote's branches are read. The verdict is the report of a rehearsal, as Markdown.

    Returns:
        The promotion; None if there is nothing to promote.

    Raises:
        MissingBranchError: If the remote lacks a branch.
        StaleError: If the dist of the source branch is not what its sources render.
        PromotionError: If the merged branches do not render.
        ChainError: If the clone is shallow.
        GitError: If the remote cannot be reached.
        ImagesError: If the images.yaml of a branch is wrong.
        RenderError: If the source branch does not render.
    """
    heads = fetch(repository, remote, [source, target])
    for branch in (source.branch, target.branch):
        if branch not in heads:
            raise MissingBranchError(
                f"{target.name}: {remote} has no branch {branch}: "
                f"create it with `git push {remote} COMMIT:refs/heads/{branch}`."
            )
    head, base = heads[source.branch], heads[target.branch]
    if not git(repository, "diff", "--name-only", f"{base}...{head}"):
        return None
    with sandbox(repository) as private:
        private.git("reset", "--quiet", "--hard", head)
        new = _proved(private, source.branch, render)
        conflicts = _merge(private, base, head)
        if conflicts:
            private.git("reset", "--quiet", "--hard", head)
        elif private.git("diff", "--name-only", head):
            # The target has something of its own, such as a pin.
            try:
                with render(private.folder) as fresh:
                    new = read_dist(fresh.parent)
            except dist.RenderError as error:
                raise PromotionError(
                    f"{source.branch} does not render once it is merged into {target.branch}: "
                    f"{error}"
                ) from error
        after = images_of(private.folder)
    case = _Case(
        source=source,
        target=target,
        base=base,
        head=head,
        before=images_of(repository, base),
        after=after,
        old=read_dist(repository, base),
        new=new,
        conflicts=conflicts,
    )
    sections = _sections(repository, case, verdict)
    return Promotion(
        source=source.branch,
        target=target.branch,
        title=f"Promote {source.branch} to {target.branch}",
        body=fitted(sections, elsewhere="The workflow run that wrote this keeps the full text."),
        text="\n\n".join(sections) + "\n",
    )


def propose(repository: Path, promotion: Promotion) -> str:
    """Open the pull request, or update the open one, and return its URL.

    Raises:
        CommandError: If there is no `gh`, or GitHub refuses.
    """
    ends = ("--head", promotion.source, "--base", promotion.target)
    # A fork may have a branch of the same name.
    ours = "map(select(.isCrossRepository | not))[0].number // empty"
    listed = ("--state", "open", "--limit", "1000", "--json", "number,isCrossRepository")
    number = gh("pr", "list", *ends, *listed, "--jq", ours, folder=repository)
    text = ("--title", promotion.title, "--body-file", "-")
    command = ("edit", number) if number else ("create", *ends)
    return gh("pr", *command, *text, given=promotion.body, folder=repository)


@dataclass(frozen=True, kw_only=True)
class _Case:
    """The promoted commits, and the result of merging them.

    `before` and `old` are the target's; `after` and `new` are those after the merge, or the
    source's if there are conflicts, which only a person can merge.
    """

    source: Environment
    target: Environment
    base: str
    head: str
    before: Releases
    after: Releases
    old: Files
    new: Files
    conflicts: Sequence[str]


def _proved(private: Sandbox, branch: str, render: _Render) -> Files:
    """Return the files of dist, once they are proved to be what their sources render."""
    with render(private.folder) as fresh:
        findings = dist.prove(private.folder, fresh)
    if findings:
        named = ", ".join(str(finding) for finding in findings[:3])
        raise StaleError(
            f"{branch} is not ready: {named}: run `make synth` there and commit the result."
        )
    return read_dist(private.folder)


def _merge(private: Sandbox, base: str, head: str) -> list[str]:
    """Merge as GitHub will, and return the conflicts outside of dist, which is rendered again."""
    private.git("reset", "--quiet", "--hard", base)
    try:
        private.git(*_NOBODY, "merge", "--quiet", "--no-ff", "--no-commit", head)
    except GitError:
        unmerged = private.git("diff", "--name-only", "--diff-filter=U").splitlines()
        if not unmerged:
            raise
        return [path for path in unmerged if not path.startswith(f"{DIST}/")]
    return []


def _sections(repository: Path, case: _Case, verdict: str | None) -> list[str]:
    """Return the sections of the text, the most important first."""
    changes = list(diff.compare(case.target.name, case.old, case.new))
    warnings = [f"- {line}" for line in _warnings(repository, case, changes)]
    exceptions = [f"- {line}" for line in _exceptions(case.after)]
    folds = diff.folded(changes) or ["Nothing changes in the cluster."]
    # Everybody reads its table; its details must not take the space of the difference.
    table, gap, rest = (verdict or "No rehearsal was run.").strip().partition("\n\n<details>")
    return [
        "## Releases\n\n" + _release_table(repository, case),
        *(["## Warnings\n\n" + "\n".join(warnings)] if warnings else []),
        *(["## Held and pinned\n\n" + "\n".join(exceptions)] if exceptions else []),
        f"## Rehearsal\n\n{table}",
        f"## Changes in {case.target.namespace}\n\n{folds[0]}",
        *folds[1:],
        *([_drawn(case)] if changes else []),
        *([f"## Rehearsal in detail{gap}{rest}"] if gap else []),
    ]


def _drawn(case: _Case) -> str:
    """Return a diagram of the target environment that highlights the changes."""
    was, now = (graph.draw(case.target.name, folders(files)) for files in (case.old, case.new))
    text = graph.mermaid(graph.compare(was, now)).rstrip()
    return details(f"Diagram of {case.target.name}", fenced(text, language="mermaid"))


def _release_table(repository: Path, case: _Case) -> str:
    bumps = bumped(repository, case.base, case.head)
    rows = []
    for service in {**case.before.services, **case.after.services}:
        old, new = (
            releases.services[service].for_environment(case.target.name)
            if service in releases.services
            else None
            for releases in (case.before, case.after)
        )
        if old != new:
            cells = escaped(service), _move(old, new), str(bumps[service]), _link(old, new)
            rows.append(f"| {' | '.join(cells)} |")
    if not rows:
        return "No image changes."
    return "\n".join(["| service | image | bumps | commits |", "|---|---|---|---|", *rows])


def _move(old: Image | None, new: Image | None) -> str:
    """Return the old and the new image, by their tags if only these differ."""
    if old and new and old.repository == new.repository and old.tag != new.tag:
        return f"{escaped(short(old.tag))} → {escaped(short(new.tag))}"
    return " → ".join("none" if image is None else escaped(image.reference) for image in (old, new))


def _link(old: Image | None, new: Image | None) -> str:
    if not (old and new and is_ours(old) and is_ours(new)):
        return ""
    return f"[compare]({APPLICATION}/compare/{old.tag}...{new.tag})"


def _warnings(repository: Path, case: _Case, changes: Sequence[diff.Difference]) -> Iterator[str]:
    source, target = case.source.branch, case.target.branch
    if case.conflicts:
        yield escaped(
            f"{target} and {source} are in conflict: {', '.join(case.conflicts)}. The rest of this "
            f"text ignores {target}'s own commits; merge {target} into {source} first."
        )
    form = ("--no-merges", "--format=%h %s")
    ours = git(repository, "log", *form, f"{case.head}..{case.base}").splitlines()
    if ours:
        more = len(ours) - _LISTED_COMMITS
        suffix = f"; and {more} more" if more > 0 else ""
        yield escaped(f"Only on {target}: {'; '.join(ours[:_LISTED_COMMITS])}{suffix}")
    if _argocd(case.old) != _argocd(case.new):
        yield f"`{DIST}/argocd` changes: the root Application applies it once it is on main."
    for change in changes:
        if change.kind in _KEEPS_DATA and change.verb in {diff.Verb.REMOVED, diff.Verb.RENAMED}:
            yield escaped(f"{change.title}: it holds data.")


def _argocd(files: Files) -> Files:
    """Return Argo CD's own configuration, which Argo CD does not apply."""
    return {path: content for path, content in files.items() if path.parent.name == "argocd"}


def _exceptions(releases: Releases) -> Iterator[str]:
    for service, release in releases.services.items():
        if release.hold is not None:
            yield f"{escaped(service)} is held: {escaped(release.hold)}"
        for environment, pin in release.pins.items():
            tag, reason = escaped(short(pin.tag)), escaped(pin.reason)
            yield f"{escaped(service)} is pinned in {escaped(environment)} to {tag}: {reason}"
