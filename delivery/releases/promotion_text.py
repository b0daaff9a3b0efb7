"""The text that argues the case for a promotion."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from delivery.manifests import diff
from delivery.manifests.applications import Environment
from delivery.manifests.tree import DIST, Files, folders
from delivery.network import graph
from delivery.releases.ancestry import Own
from delivery.releases.gate import Offer
from delivery.releases.provenance import is_ours
from delivery.releases.timeline import timeline, unpromoted
from delivery.text import code, counted, details, escaped, fenced, quoted, short
from fraud_detection.images import Releases
from fraud_detection.platform.image import Image
from fraud_detection.repositories import APPLICATION

_LISTED = 5
_KEEPS_DATA = frozenset({"PersistentVolumeClaim", "StatefulSet"})


@dataclass(frozen=True, kw_only=True)
class Case:
    """A promotion: its commits, and the releases and dist before and after it.

    `offer` says why this commit is promoted; `released` is images.yaml on the source branch, `own`
    what the promotion undoes on the target, and `overrule` the reason for that.
    """

    source: Environment
    target: Environment
    base: str
    head: str
    offer: Offer
    commit: str
    released: Releases
    before: Releases
    after: Releases
    old: Files
    new: Files
    own: Own | None
    overrule: str | None


def sections(repository: Path, case: Case, verdict: str | None) -> list[str]:
    """Return the sections of the text as Markdown, the most important first."""
    changes = list(diff.compare(case.target.name, case.old, case.new))
    folds = diff.folded(changes) or ["Nothing changes in the cluster."]
    # Everybody reads its table; its details must not take the space of the difference.
    table, gap, rest = (verdict or "No rehearsal was run.").strip().partition("\n\n<details>")
    return [
        _commits(case),
        _proof(case),
        "## Releases\n\n" + _release_table(repository, case),
        *_listed("Warnings", _warnings(case, changes)),
        *_listed("Holds and pins", _exceptions(case)),
        *_listed(f"What differs from {case.source.name} afterwards", _differences(case)),
        f"## Rehearsal\n\n{quoted(table)}",
        f"## Changes in {case.target.namespace}\n\n{folds[0]}",
        *folds[1:],
        *([_drawn(case)] if changes else []),
        *([f"## Rehearsal in detail\n\n{quoted(f'<details>{rest}')}"] if gap else []),
    ]


def _commits(case: Case) -> str:
    source, target = code(case.source.branch), code(case.target.branch)
    return (
        f"{case.commit} has the files of {source} at {case.head}, the pins of "
        f"{escaped(case.target.name)} from {target} at {case.base}, and `{DIST}` rendered from "
        "both. All of this text is about that commit."
    )


def _proof(case: Case) -> str:
    source, branch = escaped(case.source.name), code(case.source.branch)
    proof = case.offer.proof
    if proof is None:
        return (
            f"Nobody measures whether {source} runs this well: it reports nothing "
            "(docs/github.md says how it would)."
        )
    same = "" if proof.commit == case.head else f"; {case.head} changes nothing there"
    waiting = counted(case.offer.waiting, "newer commit")
    return f"{source} reports {escaped(str(proof))}{same}. {branch} has {waiting}, not proved yet."


def _listed(heading: str, lines: Iterator[str]) -> list[str]:
    items = [f"- {line}" for line in lines]
    return [f"## {heading}\n\n" + "\n".join(items)] if items else []


def _drawn(case: Case) -> str:
    """Return a diagram of the target environment that highlights the changes."""
    was, now = (graph.draw(case.target.name, folders(files)) for files in (case.old, case.new))
    text = graph.mermaid(graph.compare(was, now)).rstrip()
    return details(f"Diagram of {case.target.name}", fenced(text, language="mermaid"))


def _release_table(repository: Path, case: Case) -> str:
    states = timeline(repository, case.head)
    rows = []
    for service in {**case.before.services, **case.after.services}:
        old, new = (
            _image(releases, service, case.target.name) for releases in (case.before, case.after)
        )
        if old != new:
            released = case.before.services.get(service)
            bumps = len(unpromoted(states, service, released.image if released else None))
            cells = escaped(service), _move(old, new), str(bumps), _link(old, new)
            rows.append(f"| {' | '.join(cells)} |")
    if not rows:
        return "No image changes."
    return "\n".join(["| service | image | bumps | commits |", "|---|---|---|---|", *rows])


def _image(releases: Releases, service: str, environment: str) -> Image | None:
    release = releases.services.get(service)
    return release.for_environment(environment) if release else None


def _move(old: Image | None, new: Image | None) -> str:
    """Return the old and the new image, without the repository if both have the same."""
    same = old and new and old.repository == new.repository
    return " → ".join(
        "none" if image is None else escaped(short(image.build) if same else image.reference)
        for image in (old, new)
    )


def _link(old: Image | None, new: Image | None) -> str:
    if not (old and new and is_ours(old) and is_ours(new)):
        return ""
    return f"[compare]({APPLICATION}/compare/{old.tag}...{new.tag})"


def _warnings(case: Case, changes: Sequence[diff.Difference]) -> Iterator[str]:
    if case.own and case.overrule:
        more = len(case.own.commits) - _LISTED
        suffix = f"; and {more} more" if more > 0 else ""
        yield escaped(
            f"It undoes what only {case.target.branch} has ({case.overrule}): "
            f"{'; '.join(case.own.commits[:_LISTED])}{suffix}, in {', '.join(case.own.files)}"
        )
    if _argocd(case.old) != _argocd(case.new):
        yield f"`{DIST}/argocd` changes: the root Application applies it once it is on main."
    for change in changes:
        if change.kind in _KEEPS_DATA and change.verb in {diff.Verb.REMOVED, diff.Verb.RENAMED}:
            yield escaped(f"{change.title}: it holds data.")


def _argocd(files: Files) -> Files:
    """Return Argo CD's own configuration, which the root Application applies."""
    return {path: content for path, content in files.items() if path.parent.name == "argocd"}


def _exceptions(case: Case) -> Iterator[str]:
    for service, release in case.after.services.items():
        before = case.before.services.get(service)
        old = before.hold if before else None
        if release.hold is not None:
            begins = "is held" if release.hold == old else "is held from now on"
            yield f"{escaped(service)} {begins}: {escaped(release.hold)}"
        elif old is not None:
            yield f"{escaped(service)} is not held any more ({escaped(old)})"
        for environment, pin in release.pins.items():
            tag, reason = escaped(short(pin.tag)), escaped(pin.reason)
            yield f"{escaped(service)} is pinned in {escaped(environment)} to {tag}: {reason}"


def _differences(case: Case) -> Iterator[str]:
    """Yield each service that runs another image in the target than in the source, and why."""
    source, target = case.source.name, case.target.name
    for service, release in case.after.services.items():
        theirs, ours = _image(case.released, service, source), release.for_environment(target)
        if theirs and theirs != ours:
            where, pin = next(
                (name, release.pins[name]) for name in (target, source) if name in release.pins
            )
            yield escaped(
                f"{service}: {source} runs {short(theirs.build)} and {target} {short(ours.build)}, "
                f"because {where} is pinned: {pin.reason}"
            )
