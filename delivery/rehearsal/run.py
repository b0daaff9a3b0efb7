"""Rehearses the environments of a repository: what its `dist/` says now, against a commit's."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from delivery.control_plane.client import Client
from delivery.dist import DIST
from delivery.git import GitError, resolve
from delivery.rehearsal.consequences import Consequence
from delivery.rehearsal.project import FOLDER, applications
from delivery.rehearsal.rehearse import Allowance, Finding, Rehearsal, rehearse
from delivery.rehearsal.sources import PACKAGE, Sources
from delivery.rehearsal.tree import Files, TreeError, manifests, read_folder, tree

REMOTE = "origin"


def run(
    servers: Iterable[Callable[[], AbstractContextManager[Client]]],
    repository: Path,
    *,
    base: str | None = None,
    environment: str | None = None,
    allowances: Sequence[Allowance] = (),
    report: Callable[[str], None] = lambda _: None,
) -> list[Rehearsal]:
    """Rehearse what the next sync of each environment will do.

    Args:
        servers: Start API servers where nothing acts on what they store; each plays everything.
        repository: Root of the Git working tree, whose `dist/` the environments shall have.
        base: The commit whose dist they have now. Default: of each, the branch of the remote
            `origin` that it tracks.
        environment: Only this one. Default: all.
        allowances: Verdicts that do not block.
        report: Is told what is going on.

    Raises:
        TreeError: If there is no such commit, branch or environment, or a file cannot be read.
    """
    now = read_folder(repository, DIST)
    known = applications(now)
    chosen = [each for each in known if environment in {None, each.environment}]
    if not chosen:
        names = ", ".join(each.environment for each in known)
        raise TreeError(f"There is no {environment} in {FOLDER}: {names}.")
    neighbours = [each.namespace for each in known]
    # Whatever is wrong with them should be said before anything is started.
    bases = {
        called: read_folder(repository, DIST, _commit(repository, called))
        for called in [base or f"{REMOTE}/{each.branch}" for each in chosen]
    }
    rehearsals = []
    for server in servers:
        report("start an API server")
        with server() as client:
            for application in chosen:
                called = base or f"{REMOTE}/{application.branch}"
                report(f"{application.environment}: play {called}, then the working tree")
                rehearsal = rehearse(
                    client,
                    application,
                    tree(manifests(bases[called], application.folder)),
                    tree(manifests(now, application.folder)),
                    neighbours=neighbours,
                    allowances=allowances,
                    called=called,
                )
                rehearsals.append(
                    replace(
                        rehearsal,
                        findings=_located(rehearsal.findings, repository, called),
                        consequences=[*_by_hand(bases[called], now), *rehearsal.consequences],
                    )
                )
    return rehearsals


def _commit(repository: Path, name: str) -> str:
    try:
        return resolve(repository, name)
    except GitError as error:
        raise TreeError(f"There is no {name} here: fetch it, or name another BASE.") from error


def _located(findings: Sequence[Finding], repository: Path, base: str) -> list[Finding]:
    """The findings with their sources; of what is gone, the source is that of the base."""
    now = Sources(read_folder(repository, PACKAGE))
    located = [replace(each, source=now.of(each.key, each.file)) for each in findings]
    if all(each.source for each in located):
        return located
    try:
        was = Sources(read_folder(repository, PACKAGE, base))
    except TreeError:
        return located
    return [
        each if each.source else replace(each, source=was.of(each.key, each.file))
        for each in located
    ]


def _by_hand(was: Files, now: Files) -> list[Consequence]:
    """What changes of the objects that no sync applies."""
    before, after = (tree(manifests(files, FOLDER)).objects for files in (was, now))
    return [
        Consequence(key, "no sync applies it: somebody must, by hand")
        for key, desired in sorted(after.items())
        if key not in before or before[key].manifest != desired.manifest
    ]
