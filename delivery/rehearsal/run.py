"""Rehearsals of a repository's environments: the `dist/` of its working tree against commits."""

from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from threading import Lock

from delivery.git import GitError, lacks_branch, resolve
from delivery.manifests.applications import FOLDER, Environment, declared, require_manifests, select
from delivery.manifests.diff import describe
from delivery.manifests.tree import Files, Key, TreeError, manifests, read_dist, read_folder, tree
from delivery.rehearsal.allowances import Allowance, AllowanceError, Line, fingerprint, recorded
from delivery.rehearsal.consequences import Consequence
from delivery.rehearsal.control_planes import Connect
from delivery.rehearsal.definitions import FOLDER as DEFINITIONS
from delivery.rehearsal.definitions import define
from delivery.rehearsal.rehearse import Finding, Rehearsal, rehearse
from delivery.rehearsal.sources import PACKAGE, Sources
from delivery.rehearsal.verdicts import Verdict

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
        allowances: Accepted verdicts, in addition to those that commits record.
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
    definitions = manifests(read_folder(repository, DEFINITIONS), PurePosixPath(DEFINITIONS))
    rendered = [
        each.manifest
        for application in chosen
        for files in (bases[application.name].files, now)
        for each in manifests(files, application.folder)
    ]

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
                others=_others(now, known, application),
                base_name=was.name,
                cluster_lock=cluster_lock,
            )
        relabelled, of_root = _of_root(was, now, application.namespace)
        found = sorted([*relabelled, *rehearsal.findings], key=lambda each: each.rank)
        found = _located(found, sources, repository, was.commit)
        found, unused = _allowed(found, [*allowances, *accepted], application.namespace)
        return replace(
            rehearsal,
            findings=found,
            consequences=[*unread, *unused, *of_root, *rehearsal.consequences],
        )

    rehearsals: list[Rehearsal] = []
    for server in servers:
        report("start an API server")
        # The server ends first: whatever still waits for it then fails at once.
        with ThreadPoolExecutor(len(chosen)) as threads, server() as connect:
            with closing(connect()) as client:
                define(client, [each.manifest for each in definitions], rendered)
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
        return Consequence(_commit_key(line.commit), f"allows nothing: {error}")


def _commit_key(commit: str) -> Key:
    return Key(kind="Commit", name=commit, namespace="", group="")


def _allowed(
    findings: Sequence[Finding], allowances: Sequence[Allowance], namespace: str
) -> tuple[list[Finding], list[Consequence]]:
    """Return the findings with what is allowed, and a note on each recorded but unused one."""
    reasons = {each.name: each.reason for each in allowances}
    names = [each.allowance(namespace) if each.verdict.blocks else "" for each in findings]
    unused = [each for each in allowances if each.commit and each.name not in names]
    notes = [
        Consequence(_commit_key(each.commit), f"allows {each.name}, a change that is not made")
        for each in unused
    ]
    pairs = zip(findings, names, strict=True)
    return [replace(each, allowed=reasons.get(name)) for each, name in pairs], notes


def _others(files: Files, known: Iterable[Environment], own: Environment) -> dict[Key, str]:
    """Return the objects that the Applications of other environments apply, with their folders."""
    return {
        each.key._replace(namespace=each.key.namespace or other.namespace): str(other.folder)
        for other in known
        if other is not own
        for each in manifests(files, other.folder)
    }


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


def _of_root(was: _Base, now: Files, namespace: str) -> tuple[list[Finding], list[Consequence]]:
    """Return the changes that no environment's own sync makes; one of its Namespace blocks."""
    # The environments that exist already report those of a new environment.
    if was.commit is None:
        return [], []
    before, after = (tree(manifests(files, FOLDER)).objects for files in (was.files, now))
    own = Key(kind="Namespace", name=namespace, namespace="", group="")
    findings, notes = [], []
    for key in sorted({**before, **after}):
        old, new = before.get(key), after.get(key)
        text = "the root Application applies it, once it is on main"
        gone = f"{FOLDER} has it no longer: nothing keeps its labels"
        if old and key == own and (new is None or new.manifest != old.manifest):
            findings.append(
                Finding(
                    key=key,
                    verdict=Verdict.OUT_OF_BOUNDS,
                    reasons=(text if new else gone,),
                    changes=describe(old.manifest, new.manifest) if new else (),
                    change=fingerprint(old, new),
                    file=old.file,
                )
            )
        elif new and (old is None or new.manifest != old.manifest):
            notes.append(Consequence(key, text))
    return findings, notes
