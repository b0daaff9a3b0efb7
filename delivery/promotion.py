"""The pull request that promotes develop to main, and the text that argues its case."""

import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from delivery import diff, dist
from delivery.dist import DIST, Environment
from delivery.git import git, resolve
from delivery.images import images_of
from delivery.markdown import escaped, fitted
from delivery.release import bumped
from delivery.sandbox import sandbox
from fraud_detection.images import Image, Releases

APPLICATION = "https://github.com/Mordris/fraud-detection-system"
"""Where our own images are built; their tags are its commits."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_KEEPS_DATA = frozenset({"PersistentVolumeClaim", "StatefulSet"})
_Render: TypeAlias = Callable[[Path], AbstractContextManager[Path]]


class PromotionError(Exception):
    """The promotion cannot be proposed; the message says why and what to do."""


class StaleError(PromotionError):
    """What would be promoted is not what its sources render."""


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
        GitError: If the remote lacks a branch, or cannot be reached.
        RenderError: If the promoted branch does not render.
    """
    source, target = _stages(repository)
    git(repository, "fetch", "--quiet", "--no-tags", remote, source.branch, target.branch)
    head = resolve(repository, f"{remote}/{source.branch}")
    base = resolve(repository, f"{remote}/{target.branch}")
    if not git(repository, "diff", "--name-only", f"{base}...{head}"):
        return None
    _require_proved(repository, head, source.branch, render)
    ends = _Ends(
        base=base,
        head=head,
        before=images_of(repository, base),
        after=images_of(repository, head),
    )
    parts = _parts(repository, ends, target, verdict)
    return Promotion(
        source=source.branch,
        target=target.branch,
        title=f"Promote {source.branch} to {target.branch}",
        body=fitted(parts),
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
    listed = ("--state", "open", "--json", "number", "--jq", ".[0].number // empty")
    number = _gh(repository, "pr", "list", *ends, *listed)
    text = ("--title", promotion.title, "--body-file", "-")
    command = ("edit", number) if number else ("create", *ends)
    return _gh(repository, "pr", *command, *text, given=promotion.body)


def _stages(repository: Path) -> tuple[Environment, Environment]:
    try:
        source, target = dist.environments(repository / DIST)
    except ValueError as error:
        raise PromotionError(
            f"{DIST}/argocd has no two Applications to promote between: run `make synth`."
        ) from error
    return source, target


def _require_proved(repository: Path, head: str, branch: str, render: _Render) -> None:
    with sandbox(repository) as private:
        private.git("reset", "--quiet", "--hard", head)
        with render(private.folder) as fresh:
            findings = dist.prove(private.folder, fresh)
    if findings:
        named = ", ".join(str(finding) for finding in findings[:3])
        raise StaleError(
            f"{branch} is not ready: {named}: run `make synth` there and commit the result."
        )


@dataclass(frozen=True, kw_only=True)
class _Ends:
    """The two commits, and what each releases."""

    base: str
    head: str
    before: Releases
    after: Releases


def _parts(repository: Path, ends: _Ends, target: Environment, verdict: str | None) -> list[str]:
    """The text in parts, the most important first."""
    changes = diff.changes(repository, ends.base, ends.head, environments=[target.name])
    warnings = [f"- {line}" for line in _warnings(repository, ends, changes)]
    exceptions = [f"- {line}" for line in _exceptions(ends.after)]
    folds = diff.folded(changes) or ["Nothing changes in the cluster."]
    return [
        "## Releases\n\n" + _release_table(repository, ends, target.name),
        *(["## Mind\n\n" + "\n".join(warnings)] if warnings else []),
        *(["## Held and pinned\n\n" + "\n".join(exceptions)] if exceptions else []),
        "## Rehearsal\n\n" + (verdict or "None was made.").strip(),
        f"## What {target.namespace} will get\n\n{folds[0]}",
        *folds[1:],
    ]


def _release_table(repository: Path, ends: _Ends, environment: str) -> str:
    bumps = bumped(repository, ends.base, ends.head)
    rows = []
    for service, release in ends.after.services.items():
        new = release.for_environment(environment)
        old = ends.before.services[service].for_environment(environment)
        if old != new:
            change = f"{_short(old)} → {_short(new)}"
            rows.append(f"| {service} | {change} | {bumps[service]} | {_link(old, new)} |")
    if not rows:
        return "No image changes."
    return "\n".join(["| service | image | bumps | commits |", "|---|---|---|---|", *rows])


def _short(image: Image) -> str:
    return f"`{image.tag[:12] if _COMMIT.fullmatch(image.tag) else image.tag}`"


def _link(old: Image, new: Image) -> str:
    if not (_COMMIT.fullmatch(old.tag) and _COMMIT.fullmatch(new.tag)):
        return ""
    return f"[compare]({APPLICATION}/compare/{old.tag}...{new.tag})"


def _warnings(repository: Path, ends: _Ends, changes: Sequence[diff.Change]) -> Iterator[str]:
    lacking = f"{ends.head}..{ends.base}"
    ours = git(repository, "log", "--no-merges", "--format=%h %s", lacking).splitlines()
    if ours:
        named = "; ".join(ours[:5])
        yield escaped(f"{len(ours)} commits of the target are not in what is promoted: {named}")
    if git(repository, "diff", "--name-only", ends.base, ends.head, "--", f"{DIST}/argocd"):
        yield f"`{DIST}/argocd` differs: somebody must apply it by hand."
    for change in changes:
        if change.kind in _KEEPS_DATA and change.verb in {diff.Verb.REMOVED, diff.Verb.RENAMED}:
            yield escaped(f"{change.title}: it keeps data.")


def _exceptions(releases: Releases) -> Iterator[str]:
    for service, release in releases.services.items():
        if release.hold is not None:
            yield f"{service} is held: {escaped(release.hold)}"
        for environment, pin in release.pins.items():
            yield f"{service} is pinned in {environment} to `{pin.tag}`: {escaped(pin.reason)}"


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
