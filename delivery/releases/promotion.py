"""The pull request that promotes develop to main, and the text that argues its case."""

import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from delivery.errors import DeliveryError
from delivery.git import GitError, git
from delivery.manifests import diff, dist
from delivery.manifests.applications import Environment
from delivery.manifests.tree import DIST, Files, folders, read_dist
from delivery.network import graph
from delivery.releases.changes import bumped
from delivery.releases.images import images_of
from delivery.releases.sandbox import Sandbox, sandbox
from delivery.releases.stages import fetch, stages
from delivery.text import details, escaped, fenced, fitted, short
from fraud_detection.images import Image, Releases

APPLICATION = "https://github.com/Mordris/fraud-detection-system"
"""Where our own images are built; their tags are its commits."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_NOBODY = ("-c", "user.name=nobody", "-c", "user.email=nobody@fraud-detection.invalid")
"""Git asks who merges even where nothing is committed."""
_NAMED = 5
"""So many commits are named."""
_KEEPS_DATA = frozenset({"PersistentVolumeClaim", "StatefulSet"})
_Render: TypeAlias = Callable[[Path], AbstractContextManager[Path]]


class PromotionError(DeliveryError):
    """The promotion cannot be proposed; the message says why and what to do."""


class StaleError(PromotionError):
    """What would be promoted is not what its sources render."""

    exit_code = 3


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """A promotion to be proposed.

    Attributes:
        source: Branch that is promoted.
        target: Branch that it is promoted to.
        title: Of the pull request.
        body: Of the pull request, short enough for GitHub.
        text: The same with all that has no room there.
    """

    source: str
    target: str
    title: str
    body: str
    text: str


def prepare(
    repository: Path,
    *,
    remote: str,
    verdict: str | None = None,
    render: _Render = dist.rendered,
) -> Promotion | None:
    """Argue the case for promoting the first environment's branch to the second one's.

    Args:
        repository: Root of the Git working tree; only its remote's branches are looked at.
        remote: Name of the remote.
        verdict: What a rehearsal said, as Markdown. Default: it is said that there was none.
        render: Gives a fresh `dist/` of a working tree. Default: its own code renders it.

    Returns:
        The promotion; None if there is nothing to promote.

    Raises:
        StaleError: If the dist of the promoted branch is not what its sources render.
        PromotionError: If there are not two environments.
        StagesError: If there are none, or the history is not there.
        GitError: If the remote lacks a branch, or cannot be reached.
        ImagesError: If the images.yaml of a branch is wrong.
        RenderError: If the promoted branch does not render.
    """
    source, target = _source_and_target(repository)
    head, base = fetch(repository, remote, [source, target])
    if not git(repository, "diff", "--name-only", f"{base}...{head}"):
        return None
    case = _case(repository, base=base, head=head, source=source, target=target, render=render)
    parts = _parts(repository, case, verdict)
    return Promotion(
        source=source.branch,
        target=target.branch,
        title=f"Promote {source.branch} to {target.branch}",
        body=fitted(parts, elsewhere="The run that wrote this keeps the whole text."),
        text="\n\n".join(parts) + "\n",
    )


def propose(repository: Path, promotion: Promotion) -> str:
    """Open the pull request, or refresh the open one.

    Args:
        repository: Where `gh` finds out which repository it is.
        promotion: What to propose.

    Returns:
        What `gh` answers: the address of the pull request.

    Raises:
        PromotionError: If there is no `gh`, or GitHub refuses.
    """
    ends = ("--head", promotion.source, "--base", promotion.target)
    # Anybody's fork may have a branch of the same name.
    ours = "map(select(.isCrossRepository | not))[0].number // empty"
    listed = ("--state", "open", "--limit", "1000", "--json", "number,isCrossRepository")
    number = _gh(repository, "pr", "list", *ends, *listed, "--jq", ours)
    text = ("--title", promotion.title, "--body-file", "-")
    command = ("edit", number) if number else ("create", *ends)
    return _gh(repository, "pr", *command, *text, given=promotion.body)


def _source_and_target(repository: Path) -> tuple[Environment, Environment]:
    try:
        source, target = stages(repository)
    except ValueError as error:
        raise PromotionError(
            f"{DIST}/argocd has no two Applications to promote between: run `make synth`."
        ) from error
    return source, target


@dataclass(frozen=True, kw_only=True)
class _Case:
    """What is promoted, and what comes of it.

    Attributes:
        source: Where it is now.
        target: Where it shall go.
        base: Commit of the target.
        head: Commit of the source.
        before: What the target releases.
        after: What it will release.
        old: `dist/` of the target.
        new: What it will be.
        conflicts: Files whose two versions only a person can merge; then `after` and `new` are
            those of the source.
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


def _case(
    repository: Path,
    *,
    base: str,
    head: str,
    source: Environment,
    target: Environment,
    render: _Render,
) -> _Case:
    with sandbox(repository) as private:
        private.git("reset", "--quiet", "--hard", head)
        new = _proved(private, source.branch, render)
        conflicts = _merge(private, base, head)
        if conflicts:
            private.git("reset", "--quiet", "--hard", head)
        elif private.git("diff", "--name-only", head):
            # The target keeps something of its own, such as a pin.
            new = _merged(private, source.branch, target.branch, render)
        after = images_of(private.folder)
    return _Case(
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


def _proved(private: Sandbox, branch: str, render: _Render) -> Files:
    """The files of dist, which are what their sources render."""
    with render(private.folder) as fresh:
        findings = dist.prove(private.folder, fresh)
    if findings:
        named = ", ".join(str(finding) for finding in findings[:3])
        raise StaleError(
            f"{branch} is not ready: {named}: run `make synth` there and commit the result."
        )
    return read_dist(private.folder)


def _merge(private: Sandbox, base: str, head: str) -> list[str]:
    """Merge as GitHub will, but for dist, which is rendered: the files that need a person."""
    private.git("reset", "--quiet", "--hard", base)
    try:
        private.git(*_NOBODY, "merge", "--quiet", "--no-ff", "--no-commit", head)
    except GitError:
        unmerged = private.git("diff", "--name-only", "--diff-filter=U").splitlines()
        if not unmerged:
            raise
        return [path for path in unmerged if not path.startswith(f"{DIST}/")]
    return []


def _merged(private: Sandbox, source: str, target: str, render: _Render) -> Files:
    try:
        with render(private.folder) as fresh:
            return read_dist(fresh.parent)
    except dist.RenderError as error:
        raise PromotionError(
            f"{source} does not render once it is merged into {target}: {error}"
        ) from error


def _parts(repository: Path, case: _Case, verdict: str | None) -> list[str]:
    """The text in parts, the most important first."""
    changes = list(diff.compare(case.target.name, case.old, case.new))
    warnings = [f"- {line}" for line in _warnings(repository, case, changes)]
    exceptions = [f"- {line}" for line in _exceptions(case.after)]
    folds = diff.folded(changes) or ["Nothing changes in the cluster."]
    # Its table is for everybody; what it folds away must not take the room of the difference.
    table, gap, rest = (verdict or "None was made.").strip().partition("\n\n<details>")
    return [
        "## Releases\n\n" + _release_table(repository, case),
        *(["## Mind\n\n" + "\n".join(warnings)] if warnings else []),
        *(["## Held and pinned\n\n" + "\n".join(exceptions)] if exceptions else []),
        f"## Rehearsal\n\n{table}",
        f"## What {case.target.namespace} will get\n\n{folds[0]}",
        *folds[1:],
        *([_drawn(case)] if changes else []),
        *([f"## The rehearsal in detail{gap}{rest}"] if gap else []),
    ]


def _drawn(case: _Case) -> str:
    """A picture of the environment with what changes in it."""
    was, now = (graph.draw(case.target.name, folders(files)) for files in (case.old, case.new))
    text = graph.mermaid(graph.compare(was, now)).rstrip()
    return details(f"{case.target.name}, drawn", fenced(text, language="mermaid"))


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
    """The old and the new image: by their tags, where these differ and nothing else."""
    if old and new and old.repository == new.repository and old.tag != new.tag:
        return f"{escaped(short(old.tag))} → {escaped(short(new.tag))}"
    return " → ".join("none" if image is None else escaped(image.reference) for image in (old, new))


def _link(old: Image | None, new: Image | None) -> str:
    if not (old and new and all(_COMMIT.fullmatch(image.tag) for image in (old, new))):
        return ""
    return f"[compare]({APPLICATION}/compare/{old.tag}...{new.tag})"


def _warnings(repository: Path, case: _Case, changes: Sequence[diff.Change]) -> Iterator[str]:
    source, target = case.source.branch, case.target.branch
    if case.conflicts:
        yield escaped(
            f"{target} and {source} are in conflict: {', '.join(case.conflicts)}. All that is said "
            f"here is what {source} alone has; merge {target} into it first."
        )
    form = ("--no-merges", "--format=%h %s")
    ours = git(repository, "log", *form, f"{case.head}..{case.base}").splitlines()
    if ours:
        more = f"; and {len(ours) - _NAMED} more" if len(ours) > _NAMED else ""
        yield escaped(f"Only {target} has: {'; '.join(ours[:_NAMED])}{more}")
    if _told(case.old) != _told(case.new):
        yield f"`{DIST}/argocd` differs: somebody must apply it by hand."
    for change in changes:
        if change.kind in _KEEPS_DATA and change.verb in {diff.Verb.REMOVED, diff.Verb.RENAMED}:
            yield escaped(f"{change.title}: it keeps data.")


def _told(files: Files) -> Files:
    """What Argo CD is told once, by hand."""
    return {path: content for path, content in files.items() if path.parent.name == "argocd"}


def _exceptions(releases: Releases) -> Iterator[str]:
    for service, release in releases.services.items():
        if release.hold is not None:
            yield f"{escaped(service)} is held: {escaped(release.hold)}"
        for environment, pin in release.pins.items():
            tag, reason = escaped(short(pin.tag)), escaped(pin.reason)
            yield f"{escaped(service)} is pinned in {escaped(environment)} to {tag}: {reason}"


def _gh(repository: Path, *arguments: str, given: str = "") -> str:
    try:
        done = subprocess.run(  # noqa: S603 - no shell; the text goes through standard input
            ["gh", *arguments],  # noqa: S607 - the user's own gh
            cwd=repository,
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise PromotionError(
            "There is no gh to talk to GitHub with: install it, or use --dry-run."
        ) from error
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or "it did not say why"
        raise PromotionError(f"gh {' '.join(arguments[:2])} failed: {said}.")
    return done.stdout.strip()
