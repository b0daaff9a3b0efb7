"""Rehearsals of a repository's environments: the `dist/` of its working tree against commits."""

from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Lock

from delivery.git import GitError, lacks_branch, resolve
from delivery.manifests.applications import FOLDER, Environment, declared, require_manifests, select
from delivery.manifests.tree import Files, Key, TreeError, manifests, read_dist, read_folder, tree
from delivery.rehearsal.allowances import Allowance, AllowanceError, Line, recorded
from delivery.rehearsal.consequences import Consequence
from delivery.rehearsal.control_planes import Connect
from delivery.rehearsal.rehearse import Finding, Rehearsal, rehearse
from delivery.rehearsal.sources import PACKAGE, Sources

REMOTE = "origin"


@dataclass(frozen=True, kw_only=True)
class _Base:
    """The `dist/` that an environment is compared with, and the allowances since.

    It is empty, and has no commit, if the environment's branch does not exist yet.
    """

    name: str
    commit: str | None
    files: Files
    lines: Sequence[Line]


def run(
    servers: Iterable[Callable[[], AbstractContextManager[Connect]]],
    repository: Path,
    *,
    base: str | None = None,
    environment: str | None = None,
    allowances: Sequence[Allowance] = (),
    report: Callable[[str], None] = lambda _: None,
) -> list[Rehearsal]:
    """Rehearse the next sync of each environment.

    Args:
        servers: Context managers that start API servers; each of them rehearses everything.
        repository: Root of the Git working tree, with the `dist/` that the environments get.
        base: Commit with the `dist/` that they have now. Default: each environment's branch on
            `origin`; all of an environment is new if its branch does not exist yet.
        environment: Environment to rehearse. Default: all.
        allowances: Verdicts that do not block, in addition to those that commits record.
        report: Called with each step.

    Raises:
        TreeError: If the commit or the environment is unknown, or a file cannot be read.
    """
    now = read_dist(repository)
    known = declared(now)
    chosen = select(known, environment)
    require_manifests(now, chosen)
    # Errors in what was typed come before anything is started.
    bases = {
        each.name: _commit(repository, base) if base else _branch(repository, each.branch)
        for each in chosen
    }
    sources = Sources(read_folder(repository, PACKAGE))
    environments = [each.name for each in known]

    def play(connect: Connect, application: Environment, cluster_lock: Lock) -> Rehearsal:
        was = bases[application.name]
        accepted, unread = _accepted(was.lines, application.name, environments)
        with closing(connect()) as client:
            rehearsal = rehearse(
                client,
                application,
                tree(manifests(was.files, application.folder)),
                tree(manifests(now, application.folder)),
                neighbours=[each.namespace for each in known],
                allowances=[*allowances, *accepted],
                base_name=was.name,
                cluster_lock=cluster_lock,
            )
        return replace(
            rehearsal,
            findings=_located(rehearsal.findings, sources, repository, was.commit),
            consequences=[*unread, *_of_root(was, now), *rehearsal.consequences],
        )

    rehearsals: list[Rehearsal] = []
    for server in servers:
        report("start an API server")
        # The server ends first: whatever still waits for it then fails at once.
        with ThreadPoolExecutor(len(chosen)) as threads, server() as connect:
            names = ", ".join(dict.fromkeys(each.name for each in bases.values()))
            report(f"sync {names}, then the working tree")
            rehearsals += threads.map(partial(play, connect, cluster_lock=Lock()), chosen)
    return rehearsals


def _commit(repository: Path, name: str) -> _Base:
    try:
        commit = resolve(repository, name)
    except GitError as error:
        raise TreeError(f"Unknown commit {name!r}: fetch it, or name another BASE.") from error
    files, lines = read_dist(repository, commit), recorded(repository, commit)
    return _Base(name=name, commit=commit, files=files, lines=lines)


def _branch(repository: Path, branch: str) -> _Base:
    """Return an environment's branch on the remote, or an empty base if it does not exist yet."""
    name = f"{REMOTE}/{branch}"
    if lacks_branch(repository, REMOTE, branch):
        return _Base(name=f"nothing ({name} does not exist yet)", commit=None, files={}, lines=())
    return _commit(repository, name)


def _accepted(
    lines: Iterable[Line], environment: str, environments: Collection[str]
) -> tuple[list[Allowance], list[Consequence]]:
    """Return the allowances for an environment, and a note on each that cannot be read."""
    read = [_read(line, environments) for line in lines]
    unread = [each for each in read if isinstance(each, Consequence)]
    pairs = [each for each in read if not isinstance(each, Consequence)]
    return [allowance for name, allowance in pairs if name == environment], unread


def _read(line: Line, environments: Collection[str]) -> tuple[str, Allowance] | Consequence:
    try:
        return line.read(environments)
    except AllowanceError as error:
        key = Key(kind="Commit", name=line.commit, namespace="", group="")
        return Consequence(key, f"allows nothing: {error}")


def _located(
    findings: Sequence[Finding], now: Sources, repository: Path, base: str | None
) -> list[Finding]:
    """Add the sources to findings; deleted objects have theirs in the base."""
    located = [replace(each, source=now.of(each.key, each.file)) for each in findings]
    if base is None or all(each.source for each in located):
        return located
    try:
        was = Sources(read_folder(repository, PACKAGE, base))
    except TreeError:
        return located
    return [
        each if each.source else replace(each, source=was.of(each.key, each.file))
        for each in located
    ]


def _of_root(was: _Base, now: Files) -> list[Consequence]:
    """Return the changed objects that no environment's own sync applies."""
    # The environments that exist already report those of a new environment.
    if was.commit is None:
        return []
    before, after = (tree(manifests(files, FOLDER)).objects for files in (was.files, now))
    return [
        Consequence(key, "the root Application applies it, once it is on main")
        for key, desired in sorted(after.items())
        if key not in before or before[key].manifest != desired.manifest
    ]
