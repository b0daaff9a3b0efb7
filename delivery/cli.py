"""The command line: every command is a few lines over a function that can be called without it."""

import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial, wraps
from itertools import zip_longest
from pathlib import Path
from typing import NoReturn

import click
from rich.console import Console
from rich.text import Text

from delivery.clusters import kind
from delivery.control_plane.build import ControlPlaneError
from delivery.control_plane.client import ApiError
from delivery.control_plane.programs import StartError
from delivery.git import GitError
from delivery.manifests import diff, dist
from delivery.manifests.tree import TreeError
from delivery.network import cluster, connections, graph
from delivery.network import report as connections_report
from delivery.network.policy import Manifest
from delivery.rehearsal import control_planes
from delivery.rehearsal import report as rehearsal_report
from delivery.rehearsal import run as rehearsal
from delivery.rehearsal.allowances import Allowance
from delivery.releases import changes as release
from delivery.releases import promotion, status, status_report
from delivery.releases.history import HistoryError
from delivery.releases.stages import StagesError, stages
from delivery.text import details, fenced, fitted
from fraud_detection.images import ImagesError

_ROOM_FOR_A_GRAPH = 2_500
"""Characters: two of them have room in the comment that shows the difference."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Render, prove and move releases of the fraud-detection system."""
    # Like Ctrl-C, so that a command that is told to stop cleans up behind itself.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@dataclass(frozen=True, kw_only=True)
class _Target:
    """Where a change of images.yaml lands."""

    remote: str
    branch: str
    dry_run: bool


def _lands(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say where its change lands."""

    @click.option("--branch", default="develop", show_default=True, help="Of the remote.")
    @click.option("--remote", default="origin", show_default=True, help="Name or address.")
    @click.option("--dry-run", is_flag=True, help="Show the change, push nothing.")
    @wraps(command)
    def with_target(*, remote: str, branch: str, dry_run: bool, **arguments: object) -> None:
        command(target=_Target(remote=remote, branch=branch, dry_run=dry_run), **arguments)

    return with_target


@main.command()
def synth() -> None:
    """Render dist with `cdk8s synth`; a failed render leaves dist as it was.

    \b
    Example:
      delivery synth
    Exit codes:
      0  dist is what the sources render
      1  the render failed, or was interrupted
    """
    try:
        files = dist.synthesize(_repository())
    except dist.RenderError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"dist: {len(files)} files rendered")


@main.command()
def check() -> None:
    """Prove that dist is exactly what the sources render, and that Git tracks all of it.

    \b
    Example:
      delivery check
    Exit codes:
      0  dist is proved
      1  a file is stale, missing, orphaned, untracked or unmerged, or the render failed
    """
    repository = _repository()
    try:
        with dist.rendered(repository) as fresh:
            findings = dist.prove(repository, fresh)
    except dist.RenderError as error:
        raise click.ClickException(str(error)) from error
    for finding in findings:
        click.echo(finding)
    if findings:
        raise click.ClickException(
            "dist does not match its sources: run `make synth` and commit the result."
        )
    click.echo("dist is proved")


@main.command("connections")
@click.option("--environment", metavar="NAME", help="Only this folder of dist. Default: all.")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(connections_report.FORMATS)),
    default="text",
    show_default=True,
    help="For a person, a page or a program.",
)
def show_connections(environment: str | None, form: str) -> None:
    """Show whether every address in dist can be reached, and nothing else is allowed.

    \b
    Example:
      delivery connections --environment staging
    Exit codes:
      0  every address is reachable, and nothing is allowed that nobody uses
      1  there is a finding, or there is no such environment
    """
    folders = _folders()
    if environment is not None:
        _require_environment(folders, environment)
    rows = [row for row in connections.analyze(folders) if environment in {None, row.environment}]
    click.echo(connections_report.FORMATS[form](rows))
    if any(row.verdict is not connections.Verdict.REACHABLE for row in rows):
        sys.exit(1)


@main.command("graph")
@click.argument("environment")
@click.option("--since", metavar="BASE", help="Highlight what changed since this commit.")
@click.option(
    "--format",
    "form",
    type=click.Choice([*graph.FORMATS, "markdown"]),
    default="mermaid",
    show_default=True,
    help="Mermaid is for GitHub, folded as Markdown for a comment; SVG for all else.",
)
def draw_graph(environment: str, since: str | None, form: str) -> None:
    """Draw what runs in an environment of dist, what it keeps, and who talks to whom.

    \b
    Example:
      delivery graph staging --since origin/main
    Exit codes:
      0  the picture is drawn
      1  there is no such environment or commit, or the picture cannot be drawn
    """
    folders = _folders()
    _require_environment(folders, environment)
    now = graph.draw(environment, folders)
    base = None if since is None else graph.draw(environment, _folders(since))
    try:
        picture = graph.compare(base, now)
        if form == "markdown":
            drawn = fenced(graph.mermaid(picture).rstrip(), language="mermaid")
            parts = [details(f"{environment}, drawn", drawn)]
            elsewhere = f"`delivery graph {environment}` draws it."
            click.echo(fitted(parts, limit=_ROOM_FOR_A_GRAPH, elsewhere=elsewhere))
        else:
            click.echo(graph.FORMATS[form](picture), nl=False)
    except graph.DrawError as error:
        raise click.ClickException(str(error)) from error


@main.command("kind")
@click.option(
    "--environment", metavar="NAME", help="This one alone, as it is checked out. Default: all."
)
@click.option(
    "--logs", type=click.Path(path_type=Path), help="Folder for events and logs if it fails."
)
def bring_up_kind(environment: str | None, logs: Path | None) -> None:
    """Make a kind cluster in which Argo CD applies what the remote `origin` has.

    \b
    Example:
      delivery kind --environment dev
    Exit codes:
      0  all of it is Synced and Healthy, and the smoke test has succeeded
      1  it is not, or there is no kind, or Argo CD cannot fetch what is checked out
    """
    try:
        with _progress() as report:
            kind.up(_repository(), environment=environment, logs=logs, report=report)
    except (kind.KindError, GitError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"it runs: kubectl --context {kind.CONTEXT} get applications -n argocd")
    click.echo(f"once you are done: kind delete cluster --name {kind.NAME}")


@main.command("rehearse")
@click.argument("base", required=False)
@click.option("--environment", metavar="NAME", help="Only this folder of dist. Default: all.")
@click.option(
    "--kubernetes",
    "versions",
    multiple=True,
    metavar="VERSION",
    help="Of the API server, such as 1.37; may be repeated. Default: the pinned one.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(list(rehearsal_report.FORMATS)),
    default="text",
    show_default=True,
    help="For a person, a page or a program.",
)
@click.option(
    "--markdown",
    "pages",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for the same as Markdown, also if it could not be rehearsed; may be repeated.",
)
@click.option(
    "--allow",
    "allowed",
    multiple=True,
    metavar="KIND/NAME=VERDICT",
    help="Accept a verdict that blocks, for the --reason that follows; may be repeated.",
)
@click.option("--reason", "reasons", multiple=True, help="Why that is well; the report shows it.")
@click.option("--keep", is_flag=True, help="Keep the API server for the next rehearsal.")
@click.option("--stop", is_flag=True, help="End what --keep has kept, and do nothing else.")
@click.option(
    "--kubeconfig",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Of an API server that stands ready; never of a real cluster.",
)
def rehearse_change(
    *,
    base: str | None,
    environment: str | None,
    versions: tuple[str, ...],
    form: str,
    pages: tuple[Path, ...],
    allowed: tuple[str, ...],
    reasons: tuple[str, ...],
    keep: bool,
    stop: bool,
    kubeconfig: Path | None,
) -> None:
    """Play the change from BASE to this working tree on a throwaway API server, and judge it.

    BASE is a commit; by default, of each environment, what its branch of origin has. Each object
    gets a verdict: what the next sync of Argo CD will do to it, and whether that should block. What
    the message of a commit since BASE allows does not: a line such as
    `Rehearsal-Allow: staging StatefulSet/redis=data-at-risk it was moved`.

    \b
    Example:
      delivery rehearse origin/main --environment staging
    Exit codes:
      0  nothing blocks
      1  something blocks
      2  it could not be rehearsed
    """
    if stop:
        click.echo("stopped" if control_planes.stop() else "nothing was kept")
        return
    if kubeconfig is not None and (keep or versions):
        raise click.UsageError("--kubeconfig goes with neither --keep nor --kubernetes.")
    if len(allowed) != len(reasons):
        raise click.UsageError("Each --allow needs its own --reason.")
    try:
        allowances = [Allowance.parse(*each) for each in zip(allowed, reasons, strict=True)]
        with _progress() as report:
            rehearsals = rehearsal.run(
                [
                    partial(
                        control_planes.connect, version=version, keep=keep, kubeconfig=kubeconfig
                    )
                    for version in versions or (None,)
                ],
                _repository(),
                base=base,
                environment=environment,
                allowances=allowances,
                report=report,
            )
    except (ApiError, ControlPlaneError, OSError, StartError, TreeError, ValueError) as error:
        _write(pages, rehearsal_report.failure(error))
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    _write(pages, rehearsal_report.to_markdown(rehearsals))
    click.echo(rehearsal_report.FORMATS[form](rehearsals))
    if keep:
        click.echo("The API server is kept; end it with `delivery rehearse --stop`.", err=True)
    if any(each.blocks for each in rehearsals):
        sys.exit(1)


def _write(pages: Iterable[Path], text: str) -> None:
    for page in pages:
        page.write_text(f"{text}\n", encoding="utf-8")


@main.command()
@click.argument("builds", nargs=-1, required=True, metavar="SERVICE TAG [SERVICE TAG]...")
@click.option("--digest", "digests", multiple=True, help="Of each build, in the same order.")
@_lands
@click.option("--history", help="Application repository: a clone, or OWNER/NAME on GitHub.")
@click.option("--allow-older", is_flag=True, help="Go back on purpose.")
@click.option("--source-run", metavar="URL", help="The run that built it, for the record.")
def bump(
    *,
    builds: tuple[str, ...],
    digests: tuple[str, ...],
    history: str | None,
    allow_older: bool,
    source_run: str | None,
    target: _Target,
) -> None:
    """Release builds of services: one commit on the remote's branch, dist included.

    \b
    Example:
      delivery bump payment-api aa716b1f927a88f4d45dbfa175ac71f2d35242ca
    Exit codes:
      0  the branch has it, or had it before
      1  something refused; nothing has changed
      3  a service is held
      4  a build is older than the recorded one, by --history
      5  others pushed first, each time
    """
    if len(builds) % 2:
        raise click.UsageError(f"There is no tag after {builds[-1]}.")
    pairs = list(zip(builds[::2], builds[1::2], strict=True))
    if digests and len(digests) != len(pairs):
        raise click.UsageError(f"There are {len(pairs)} builds and {len(digests)} digests.")
    _land(
        lambda: release.bump(
            [
                release.Build(service=service, tag=tag, digest=digest)
                for (service, tag), digest in zip_longest(pairs, digests)
            ],
            history=history,
            allow_older=allow_older,
            source_run=source_run,
        ),
        target,
    )


@main.command()
@click.argument("service")
@click.option("--reason", required=True, help="Why; `delivery status` shows it.")
@_lands
def hold(*, service: str, reason: str, target: _Target) -> None:
    """Refuse bumps of a service until it is released.

    \b
    Example:
      delivery hold payment-api --reason "loses transactions, see issue 12"
    Exit codes:
      0  it is held
      1  something refused; nothing has changed
      5  others pushed first, each time
    """
    _land(lambda: release.hold(service, reason=reason), target)


@main.command("release")
@click.argument("service")
@click.option("--reason", help="Why, for the record.")
@_lands
def release_service(*, service: str, reason: str | None, target: _Target) -> None:
    """Take bumps of a held service again.

    \b
    Example:
      delivery release payment-api --reason "mended in aa716b1"
    Exit codes:
      0  it is not held
      1  something refused; nothing has changed
      5  others pushed first, each time
    """
    _land(lambda: release.release(service, reason=reason), target)


@main.command()
@click.argument("service")
@click.argument("environment")
@click.argument("tag")
@click.option("--digest", help="The one image that the tag must mean.")
@click.option("--reason", required=True, help="Why; `delivery status` shows it.")
@_lands
def pin(
    *,
    service: str,
    environment: str,
    tag: str,
    digest: str | None,
    reason: str,
    target: _Target,
) -> None:
    """Have one environment run a build, whatever is released.

    \b
    Example:
      delivery pin redis staging 7.2.16 --reason "7.4 is slower" --branch main
    Exit codes:
      0  it is pinned
      1  something refused; nothing has changed
      5  others pushed first, each time
    """
    build = release.Build(service=service, tag=tag, digest=digest)
    _land(lambda: release.pin(build, environment, reason=reason), target)


@main.command()
@click.argument("service")
@click.argument("environment")
@click.option("--reason", help="Why, for the record.")
@_lands
def unpin(*, service: str, environment: str, reason: str | None, target: _Target) -> None:
    """Have one environment run what is released again.

    \b
    Example:
      delivery unpin redis staging
    Exit codes:
      0  it is not pinned
      1  something refused; nothing has changed
      5  others pushed first, each time
    """
    _land(lambda: release.unpin(service, environment, reason=reason), target)


@main.command("diff")
@click.argument("base", required=False)
@click.option("--environment", metavar="NAME", help="Only this folder of dist. Default: all.")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(diff.FORMATS)),
    default="text",
    show_default=True,
    help="For a person, a comment on GitHub or a program.",
)
def show_difference(base: str | None, environment: str | None, form: str) -> None:
    """Show what changes in dist since BASE, by resource and field.

    Without BASE each environment is compared with the branch of origin that Argo CD applies to it.

    \b
    Example:
      delivery diff origin/main --environment staging
    Exit codes:
      0  the difference is shown, if there is one
      1  there is no such commit or environment
    """
    repository = _repository()
    found = []
    try:
        known = stages(repository)
        if environment not in {None, *(stage.name for stage in known)}:
            names = ", ".join(stage.name for stage in known)
            raise click.ClickException(f"There is no {environment} in dist: {names}.")
        for stage in known:
            if environment in {None, stage.name}:
                since = base or f"origin/{stage.branch}"
                found += diff.changes(repository, since, environments=[stage.name])
    except (GitError, StagesError, TreeError) as error:
        _fail(error)
    click.echo(diff.FORMATS[form](found))


@main.command()
@click.option("--remote", default="origin", show_default=True, help="Name of the remote.")
@click.option("--dry-run", is_flag=True, help="Show the text, open nothing.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for the whole text, of which GitHub may show a part.",
)
@click.option(
    "--verdict",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with what `delivery rehearse --markdown` wrote.",
)
def promote(*, remote: str, dry_run: bool, output: Path | None, verdict: Path | None) -> None:
    """Open or refresh the pull request that promotes dev's branch to staging's.

    \b
    Example:
      delivery promote --dry-run
    Exit codes:
      0  it is open, or there is nothing to promote
      1  something refused
      3  dist is not what its sources render
    """
    repository = _repository()
    try:
        with _progress() as report:
            report("render what would be promoted")
            said = None if verdict is None else verdict.read_text("utf-8", "replace")
            proposal = promotion.prepare(repository, remote=remote, verdict=said)
            if proposal is not None and output is not None:
                output.write_text(proposal.text, encoding="utf-8")
            if proposal is None:
                answer = "nothing to promote"
            elif dry_run:
                answer = f"{proposal.title}\n\n{proposal.body}"
            else:
                report("ask GitHub")
                answer = promotion.propose(repository, proposal)
    except (
        dist.RenderError,
        GitError,
        ImagesError,
        OSError,
        promotion.PromotionError,
        StagesError,
        TreeError,
    ) as error:
        _fail(error)
    click.echo(answer)


@main.command("status")
@click.option("--remote", default="origin", show_default=True, help="Name of the remote.")
@click.option("--context", help="Of the kubeconfig: ask that cluster, too.")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(status_report.FORMATS)),
    default="text",
    show_default=True,
    help="For a person or a program.",
)
def show_status(remote: str, context: str | None, form: str) -> None:
    """Show each service's image on each branch, its holds and pins, and what a cluster runs.

    \b
    Example:
      delivery status --context kind-fraud-detection
    Exit codes:
      0  it is shown
      1  the remote or the cluster does not answer
    """
    try:
        with _progress() as report:
            report(f"fetch {remote}")
            found = status.status(_repository(), remote=remote, context=context)
    except (GitError, ImagesError, StagesError, status.StatusError) as error:
        _fail(error)
    click.echo(status_report.FORMATS[form](found), nl=False)


_EXIT_CODES: dict[type[Exception], int] = {
    release.HeldError: 3,
    release.OlderError: 4,
    release.RaceError: 5,
    promotion.StaleError: 3,
}


def _fail(error: Exception) -> NoReturn:
    """End with the sentence of an error and its exit code."""
    click.echo(f"Error: {error}", err=True)
    sys.exit(_EXIT_CODES.get(type(error), 1))


def _land(change: Callable[[], release.Change], target: _Target) -> None:
    """Land a change, and say what became of it."""
    try:
        with _progress() as report:
            landing = release.land(
                _repository(),
                change(),
                remote=target.remote,
                branch=target.branch,
                dry_run=target.dry_run,
                report=report,
            )
    except (
        dist.RenderError,
        GitError,
        HistoryError,
        ImagesError,
        OSError,
        release.ReleaseError,
        StagesError,
    ) as error:
        _fail(error)
    place = f"{target.remote}/{target.branch}"
    if landing.commit is None:
        click.echo(f"{place} says so already: nothing to do")
    elif target.dry_run:
        click.echo(landing.difference)
    else:
        click.echo(f"{place} has it: commit {landing.commit}, attempts: {landing.attempts}")


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Show what is going on: as one changing line on a terminal, else as lines."""
    console = Console(stderr=True)
    if console.is_terminal:
        with console.status("start") as status:
            # As it is: an address may look like the markup of rich.
            yield lambda line: status.update(Text(line))
    else:
        yield partial(click.echo, err=True)


def _folders(commit: str | None = None) -> Mapping[str, list[Manifest]]:
    """The objects of dist."""
    try:
        return cluster.load(_repository(), commit)
    except (GitError, TreeError) as error:
        raise click.ClickException(str(error)) from error


def _require_environment(folders: Mapping[str, list[Manifest]], environment: str) -> None:
    known = dict.fromkeys(cluster.Cluster(folders).namespaces.values())
    if environment not in known:
        raise click.ClickException(f"There is no environment {environment}: {', '.join(known)}.")


def _repository() -> Path:
    """The working tree in which the command was typed."""
    # The folder in which a shell stands may have been removed.
    with suppress(FileNotFoundError):
        here = Path.cwd()
        for folder in (here, *here.parents):
            if (folder / "cdk8s.yaml").exists():
                return folder
    raise click.ClickException("There is no cdk8s.yaml here or above: go to the repository.")
