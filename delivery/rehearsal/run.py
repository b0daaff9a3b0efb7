"""Rehearses the environments of a repository: what its `dist/` says now, against a commit's."""

from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock

from delivery.git import GitError, resolve
from delivery.manifests.applications import FOLDER, Environment, declared, require_manifests, select
from delivery.manifests.tree import Files, Key, TreeError, manifests, read_dist, read_folder, tree
from delivery.rehearsal.allowances import Allowance, Line, recorded
from delivery.rehearsal.consequences import Consequence
from delivery.rehearsal.control_planes import Connect
from delivery.rehearsal.rehearse import Finding, Rehearsal, rehearse
from delivery.rehearsal.sources import PACKAGE, Sources

REMOTE = "origin"


def run(
    servers: Iterable[Callable[[], AbstractContextManager[Connect]]],
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
        allowances: Verdicts that do not block, beside those that the commits since the base allow.
        report: Is told what is going on.

    Raises:
        TreeError: If there is no such commit, branch or environment, or a file cannot be read.
    """
    now = read_dist(repository)
    known = declared(now)
    chosen = select(known, environment)
    require_manifests(now, chosen)
    # Whatever is wrong with them should be said before anything is started.
    commits = {
        called: _commit(repository, called)
        for called in [base or f"{REMOTE}/{each.branch}" for each in chosen]
    }
    bases = {called: read_dist(repository, commit) for called, commit in commits.items()}
    lines = {called: recorded(repository, commit) for called, commit in commits.items()}
    sources = Sources(read_folder(repository, PACKAGE))
    environments = [each.name for each in known]

    def play(connect: Connect, application: Environment, alone: Lock) -> Rehearsal:
        called = base or f"{REMOTE}/{application.branch}"
        accepted, unread = _accepted(lines[called], application.name, environments)
        with closing(connect()) as client:
            rehearsal = rehearse(
                client,
                application,
                tree(manifests(bases[called], application.folder)),
                tree(manifests(now, application.folder)),
                neighbours=[each.namespace for each in known],
                allowances=[*allowances, *accepted],
                called=called,
                alone=alone,
            )
        return replace(
            rehearsal,
            findings=_located(rehearsal.findings, sources, repository, commits[called]),
            consequences=[*unread, *_by_hand(bases[called], now), *rehearsal.consequences],
        )

    rehearsals: list[Rehearsal] = []
    for server in servers:
        report("start an API server")
        with server() as connect, ThreadPoolExecutor(len(chosen)) as threads:
            report(f"play {', '.join(commits)}, then the working tree")
            rehearsals += threads.map(partial(play, connect, alone=Lock()), chosen)
    return rehearsals


def _commit(repository: Path, name: str) -> str:
    try:
        return resolve(repository, name)
    except GitError as error:
        raise TreeError(f"There is no {name} here: fetch it, or name another BASE.") from error


def _accepted(
    lines: Iterable[Line], environment: str, environments: Collection[str]
) -> tuple[list[Allowance], list[Consequence]]:
    """What commits allow in an environment, and what they try in vain to."""
    read = [_read(line, environments) for line in lines]
    unread = [each for each in read if isinstance(each, Consequence)]
    meant = [each for each in read if not isinstance(each, Consequence)]
    return [allowance for name, allowance in meant if name == environment], unread


def _read(line: Line, environments: Collection[str]) -> tuple[str, Allowance] | Consequence:
    try:
        return line.read(environments)
    except ValueError as error:
        key = Key(kind="Commit", name=line.commit, namespace="", group="")
        return Consequence(key, f"allows nothing: {error}")


def _located(
    findings: Sequence[Finding], now: Sources, repository: Path, base: str
) -> list[Finding]:
    """The findings with their sources; of what is gone, the source is that of the base."""
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
