"""What a service ran, when, where, and who released it."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from operator import methodcaller
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from delivery.git import git
from delivery.manifests.applications import environments
from delivery.releases.chain import fetch
from delivery.releases.edit import unknown_service
from delivery.releases.gate import reports
from delivery.releases.images import images_of
from delivery.releases.timeline import RELEASE, SOURCE_RUN, changes, timeline
from delivery.text import dumped, on_one_line, short


@dataclass(frozen=True, kw_only=True)
class Run:
    """An image that an environment ran from a commit on.

    Attributes:
        time: Time of the commit, in UTC.
        environment: The environment.
        image: Tag, with the digest if there is one; None: the service was removed.
        author: Author of the commit: who pushed it, or merged it.
        commit: The commit of the environment's branch.
        source_run: URL of the workflow run that built the image, if the bump recorded it.
        report: State that Argo CD reported about the commit, such as `success`, if it did.
    """

    time: str
    environment: str
    image: str | None
    author: str
    commit: str
    source_run: str | None
    report: str | None = None


def record(repository: Path, service: str, *, remote: str) -> list[Run]:
    """Return what a service ran in each environment of a remote, the newest first.

    Raises:
        ChainError: If the clone is shallow.
        GitError: If the remote cannot be reached.
        ImagesError: If no branch knows the service.
        TreeError: If `dist/argocd` is missing or damaged.
        CommandError: If GitHub does not answer, where an environment reports.
    """
    known = environments(repository)
    heads = fetch(repository, remote, known)
    services = {name for head in heads.values() for name in images_of(repository, head).services}
    if service not in services:
        raise unknown_service(service, sorted(services))
    built = _source_runs(repository, list(heads.values()))
    found = []
    for each in known:
        if each.branch not in heads:
            continue
        states = timeline(repository, heads[each.branch])
        image_of = methodcaller("for_environment", each.name)
        ran = list(changes(states, service, image_of))
        reported = reports(repository, each, [state.commit for state, _ in ran])
        found += [
            Run(
                time=datetime.fromtimestamp(state.time, timezone.utc).isoformat(" ", "minutes"),
                environment=each.name,
                image=image.build if image else None,
                author=state.author,
                commit=state.commit,
                source_run=built.get(f"{service} {image.tag}") if image else None,
                report=reported[state.commit].state if state.commit in reported else None,
            )
            for state, image in ran
        ]
    return sorted(found, key=lambda run: run.time, reverse=True)


def _source_runs(repository: Path, heads: Sequence[str]) -> dict[str, str]:
    """Return the workflow run of each release, by service and tag."""
    form = "%x00".join(f"%(trailers:key={key},valueonly)" for key in (RELEASE, SOURCE_RUN))
    log = git(repository, "log", "-z", f"--grep=^{SOURCE_RUN}:", f"--format={form}%x00", *heads)
    fields = log.split("\0")
    return {
        release.partition("@")[0]: run.strip()
        for releases, run in zip(fields[::3], fields[1::3], strict=False)
        for release in releases.splitlines()
    }


def text(runs: Sequence[Run]) -> str:
    """Return a table, one line for each run."""
    table = Table(
        "since", "environment", "image", "by", "commit", "reported", "built by", box=box.SIMPLE
    )
    for run in runs:
        image = short(run.image or "none")
        cells = (run.time[:16], run.environment, image, run.author, short(run.commit))
        table.add_row(*map(on_one_line, (*cells, run.report or "", run.source_run or "")))
    written = io.StringIO()
    # Wide enough for any table: a truncated line would hide a tag.
    Console(file=written, width=300, markup=False, emoji=False).print(table)
    return "".join(f"{row.rstrip()}\n" for row in written.getvalue().splitlines() if row.strip())


def as_json(runs: Sequence[Run]) -> str:
    """Return a list with one object per run."""
    return dumped([asdict(run) for run in runs]) + "\n"


FORMATS: Mapping[str, Callable[[Sequence[Run]], str]] = {"text": text, "json": as_json}
