"""The command line: every command is a few lines over a function that can be called without it."""

import json
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import cache, partial, wraps
from itertools import zip_longest
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from delivery.clusters import demo, kind
from delivery.control_plane import parts, provide
from delivery.control_plane.assets import needed
from delivery.control_plane.parts import API_SERVER, PARTS
from delivery.errors import BUG, INTERRUPTED, DeliveryError, describe
from delivery.git import lacks_branch, without_credentials
from delivery.manifests import diff, dist
from delivery.manifests.applications import FOLDER, environments, select
from delivery.network import cluster, connections, graph, readme
from delivery.network import report as connections_report
from delivery.network.connection import Verdict
from delivery.rehearsal import control_planes
from delivery.rehearsal import report as rehearsal_report
from delivery.rehearsal import run as rehearsal
from delivery.rehearsal.allowances import Allowance
from delivery.releases import (
    chain,
    changes,
    choices,
    digests,
    feedback,
    fork,
    gate,
    landing,
    promotion,
    record,
    resolve,
    rollback,
    status,
    status_report,
    timeline,
)
from delivery.releases.images import IMAGES, images_of
from delivery.releases.provenance import Builder
from delivery.text import counted, details, fenced, fitted, visible
from fraud_detection.images import ImagesError
from fraud_detection.platform.image import Image
from fraud_detection.repositories import APPLICATION, REPOSITORY

_ROOM_FOR_GRAPHS = 5_000
"""Characters that the comment which shows the difference has left for the pictures."""


def _echo(text: object, *, err: bool = False, nl: bool = True) -> None:
    """Print a text, which others may have written, so that it cannot control the terminal.

    A message has no password of a remote; a report on standard output is printed as it is.
    """
    shown = without_credentials(str(text)) if err else str(text)
    click.echo(visible(shown), err=err, nl=nl)


class _Commands(click.Group):
    """The one place where errors become a sentence and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as click has it
        """Run the command that was typed."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            # click prints it.
            error.message = visible(error.message)  # type: ignore[misc]
            raise
        except (click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            _echo("Interrupted.", err=True)
            ctx.exit(INTERRUPTED)
        except (DeliveryError, ImagesError, OSError) as error:
            _echo(f"Error: {describe(error)}", err=True)
            ctx.exit(getattr(error, "exit_code", DeliveryError.exit_code))
        except Exception:  # noqa: BLE001 - Python's own exit status would mean "no"
            _echo(traceback.format_exc(), err=True, nl=False)
            _echo("This is a bug in delivery: please report the lines above.", err=True)
            ctx.exit(BUG)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fraud-detection-config", message="%(prog)s %(version)s")
def main() -> None:
    """Render, prove and move releases of the fraud-detection system.

    \b
    Exit codes of every command:
      0    done, or proved
      1    the answer is no: a proof has findings, or a change is blocked
      2    it could not be done; one sentence says why
      70   a bug, with a traceback
      130  interrupted
    """
    # As Ctrl-C, so that a command cleans up whatever stops it. Ctrl-C itself, too, as a shell's
    # background jobs ignore it. Only nohup ignores SIGHUP on purpose.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(each, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.default_int_handler)


def _complete(_ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the environments or services that begin like what was typed."""
    # Whatever is wrong with the repository is for the command to say.
    with suppress(DeliveryError, ImagesError, OSError):
        if param.name == "environment":
            names = [each.name for each in environments(_repository())]
        else:
            names = list(images_of(_repository()).services)
        return [name for name in names if name.startswith(incomplete)]
    return []


def _environment_option(text: str = "Only this environment. Default: all.") -> Callable[[Any], Any]:
    return click.option("-e", "--environment", metavar="NAME", shell_complete=_complete, help=text)


_bundle_option = click.option(
    "--bundle",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the commit to this file as a Git bundle; push nothing.",
)
_remote_option = click.option(
    "--remote", default="origin", show_default=True, help="Name or address of the remote."
)


def _format_option(formats: Iterable[str], default: str = "text") -> Callable[[Any], Any]:
    return click.option(
        "--format",
        "form",
        type=click.Choice(list(formats)),
        default=default,
        show_default=True,
        help="Output format.",
    )


def _lands(command: Callable[..., changes.Change]) -> Callable[..., None]:
    """Land the change that a command returns, where the options that this adds say."""

    @click.option(
        "--branch",
        help="Branch on the remote. Default: that of the environment, else of the first one.",
    )
    @_remote_option
    @click.option("--dry-run", is_flag=True, help="Show the change; push nothing.")
    @_bundle_option
    @wraps(command)
    def land(
        *, remote: str, branch: str | None, dry_run: bool, bundle: Path | None, **arguments: object
    ) -> None:
        change = command(**arguments)
        repository = _repository()
        known = environments(repository)
        branch = branch or select(known, change.environment)[0].branch
        with _progress() as report:
            landed = landing.land(
                repository,
                change,
                remote=remote,
                branch=branch,
                # The branches after the first take nothing without a review.
                propose=branch != known[0].branch,
                dry_run=dry_run,
                bundle=bundle,
                report=report,
            )
        place = without_credentials(f"{remote}/{branch}")
        if landed.commit is None:
            _echo(f"{place} is already up to date")
        elif dry_run:
            _echo(landed.difference)
        elif bundle is not None:
            _echo(f"Wrote {landed.commit} for {branch} to {bundle}")
        elif landed.proposed is not None:
            _echo(f"Opened {landed.proposed} to {branch}, with {landed.commit}")
        else:
            attempts = counted(landed.attempts, "attempt")
            _echo(f"Pushed {landed.commit} to {place} ({attempts})")

    return land


@main.command()
def synth() -> None:
    """Render dist, README's picture, and lists in workflows.

    dist is what `cdk8s synth` renders. A failed or interrupted render leaves it as it was.

    \b
    Example:
      delivery synth
    """
    repository = _repository()
    files = dist.synthesize(repository)
    _echo(f"dist: {len(files)} files rendered")
    if readme.redraw(repository):
        _echo(f"{readme.README}: picture redrawn")
    for workflow in choices.rewrite(repository):
        _echo(f"{workflow}: rewritten")


@main.command()
def check() -> None:
    """Prove that dist is what the sources render, and committed.

    If HEAD merges a promotion, it must also be the very tree that was reviewed and rehearsed.

    \b
    Example:
      delivery check
    Exit codes:
      1  a file is stale, missing, orphaned, untracked or unmerged, or not what was promoted
    """
    repository = _repository()
    with dist.rendered(repository) as fresh:
        findings = dist.prove(repository, fresh)
    for finding in findings:
        _echo(finding)
    if findings:
        _echo("dist does not match its sources: run `make synth` and commit it.", err=True)
        sys.exit(1)
    _echo("dist is proved")
    altered = promotion.altered(repository)
    if altered:
        _echo(f"This is not the promotion that was reviewed: {', '.join(altered)}.", err=True)
        _echo("Refresh it with `delivery promote`, or undo this merge.", err=True)
        sys.exit(1)
    missing = digests.without_digest(images_of(repository))
    if missing:
        _echo(f"No digest yet: {', '.join(missing)}; run `delivery refresh`.", err=True)


@main.command()
def refresh() -> None:
    """Fill in digests, and take newer patches of third parties.

    Registries are asked for the images of images.yaml in this working tree, which is then rendered.
    A held or pinned version stays. A service whose image cannot be proved stays as it is; the
    others are written all the same.

    \b
    Example:
      delivery refresh
    """
    repository = _repository()
    names = [each.name for each in environments(repository)]
    with _progress() as report:
        report("ask the registries")
        found = digests.refresh_images(
            repository / IMAGES, environments=names, verify=_verify(history=None)
        )
        report("render")
        dist.synthesize(repository)
    for service, release in found.releases.items():
        _echo(f"{service}: {release.image.reference}")
    for problem in found.problems:
        _echo(problem, err=True)
    if found.problems:
        raise DeliveryError(f"{counted(len(found.problems), 'service')} could not be refreshed.")


@main.command("connections")
@_environment_option()
@_format_option(connections_report.FORMATS)
def show_connections(environment: str | None, form: str) -> None:
    """Prove that each address is reachable, and no more allowed.

    \b
    Example:
      delivery connections -e staging
    Exit codes:
      1  an address is unreachable, or something is allowed that nobody uses
    """
    repository = _repository()
    select(environments(repository), environment)
    rows = [
        row
        for row in connections.analyze(cluster.load(repository))
        if environment in {None, row.environment}
    ]
    _echo(connections_report.FORMATS[form](rows))
    if any(row.verdict is not Verdict.REACHABLE for row in rows):
        sys.exit(1)


@main.command("graph")
@click.argument("environment", shell_complete=_complete, required=False)
@click.option("--since", metavar="BASE", help="Highlight what changed since this commit.")
@_format_option(["mermaid", "markdown"], default="mermaid")
def draw_graph(environment: str | None, since: str | None, form: str) -> None:
    """Draw what runs in an environment, and who talks to whom.

    Without ENVIRONMENT all are drawn, one after the other. Mermaid is what GitHub draws; Markdown
    folds it for a comment.

    \b
    Example:
      delivery graph staging --since origin/main
    """
    repository = _repository()
    folders = cluster.load(repository)
    before = {} if since is None else cluster.load(repository, since)
    pictures = {
        each.name: graph.compare(
            None if since is None else graph.draw(each.name, before),
            graph.draw(each.name, folders),
        )
        for each in select(environments(repository), environment)
    }
    if form == "markdown":
        parts = [
            details(f"{name}, drawn", fenced(graph.mermaid(picture).rstrip(), language="mermaid"))
            for name, picture in pictures.items()
        ]
        _echo(fitted(parts, limit=_ROOM_FOR_GRAPHS, elsewhere="`delivery graph` draws them."))
    else:
        for picture in pictures.values():
            _echo(graph.mermaid(picture), nl=False)


@main.command("control-plane")
@click.option("--api-server", is_flag=True, help="Get only what a rehearsal needs.")
@click.option("--write-sums", is_flag=True, help="Build what has no sum, and write all sums.")
@click.option(
    "--pack", "mirror", type=Path, metavar="FOLDER", help="Write a mirror, and print its release."
)
@click.option("--reproduce", is_flag=True, help="Rebuild everything, and compare the bytes.")
def get_control_plane(
    *, api_server: bool, write_sums: bool, mirror: Path | None, reproduce: bool
) -> None:
    """Get the throwaway control plane, and verify all of it.

    Each program must have its committed SHA-256 sum. It comes from the cache, which all clones
    share; from $CONTROL_PLANE_MIRROR, an address or a folder that --pack wrote; from this
    repository's release; or is built with Go. An API server in $KUBEBUILDER_ASSETS replaces ours.
    What was interrupted goes on where it was.

    \b
    Example:
      delivery control-plane
    Exit codes:
      1  --reproduce: the bytes differ
    """
    console = _console()
    if api_server + write_sums + (mirror is not None) + reproduce > 1:
        raise click.UsageError(
            "--api-server, --write-sums, --pack and --reproduce exclude each other."
        )
    if write_sums:
        provide.write_sums(console)
    elif mirror is not None:
        provide.pack(mirror, _console(stderr=True))
        # As an output of a workflow's step.
        _echo(f"release={parts.release()}")
    elif not reproduce:
        provide.provide(needed(API_SERVER if api_server else PARTS), console)
        _echo("The API server is complete." if api_server else "The control plane is complete.")
    elif provide.reproduce(console):
        sys.exit(1)


@main.command("demo")
def run_demo() -> None:
    """Bring up all environments on this machine until Ctrl-C.

    The API server and Argo CD are real; pods only pretend to run. Nothing is left afterwards.

    \b
    Example:
      delivery demo
    """
    demo.run(_repository(), _console())


@main.command("kind")
@_environment_option(
    "Only this environment, as it is checked out. Default: all, each from its own branch."
)
@click.option("--monitoring", is_flag=True, help="Also install Prometheus and its operator.")
@click.option(
    "--logs", type=click.Path(path_type=Path), help="Folder for events and logs if it fails."
)
def bring_up_kind(environment: str | None, logs: Path | None, *, monitoring: bool) -> None:
    """Bring the system up in kind, delivered by Argo CD.

    Argo CD applies what the remote `origin` has. The command succeeds once everything is Synced and
    Healthy, which includes that the prober has seen an alert.

    \b
    Example:
      delivery kind -e dev
    """
    with _progress() as report:
        kind.up(
            _repository(),
            environment=environment,
            monitoring=monitoring,
            logs=logs,
            report=report,
        )
    _echo(f"To look around: kubectl --context {kind.CONTEXT} get applications -n argocd")
    _echo(f"To remove it: kind delete cluster --name {kind.NAME}")


@main.command("rehearse")
@click.argument("base", required=False)
@_environment_option()
@click.option(
    "--kubernetes",
    "versions",
    multiple=True,
    metavar="VERSION",
    help="Version of the API server, such as 1.37; may be repeated. Default: the pinned one.",
)
@_format_option(rehearsal_report.FORMATS)
@click.option(
    "--markdown",
    "pages",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the report as Markdown to this file, even after an error; may be repeated.",
)
@click.option(
    "--allow",
    "allowed",
    multiple=True,
    metavar="OBJECT=VERDICT:HASH",
    help="Accept a blocking verdict as reported, for the --reason that follows; may be repeated.",
)
@click.option("--reason", "reasons", multiple=True, help="Why this is acceptable.")
@click.option(
    "--kubeconfig",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="kubeconfig of a disposable API server (it is written to: never a real cluster).",
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
    kubeconfig: Path | None,
) -> None:
    """Rehearse the next sync on a throwaway API server.

    The change from BASE to this working tree is played. BASE is a commit; by default each
    environment is compared with its branch on origin. Each object gets a verdict: what the sync
    will do to it, and whether that blocks. A verdict does not block if a commit message since BASE
    allows it, with the line that the report prints.

    \b
    Example:
      delivery rehearse origin/main -e staging
    Exit codes:
      1  something blocks
    """
    if kubeconfig is not None and versions:
        raise click.UsageError("--kubeconfig and --kubernetes exclude each other.")
    if len(allowed) != len(reasons):
        raise click.UsageError("Each --allow needs its own --reason.")
    try:
        if base is None:
            _warn_of_others(_repository())
        allowances = [Allowance.parse(*each) for each in zip(allowed, reasons, strict=True)]
        console = _console(stderr=True)
        with _progress(console) as report:
            rehearsals = rehearsal.run(
                [
                    partial(control_planes.connect, console, version=version, kubeconfig=kubeconfig)
                    for version in versions or (None,)
                ],
                _repository(),
                base=base,
                environment=environment,
                allowances=allowances,
                report=report,
            )
    except (DeliveryError, OSError) as error:
        _write(pages, rehearsal_report.failure(error))
        raise
    _write(pages, rehearsal_report.to_markdown(rehearsals))
    _echo(rehearsal_report.FORMATS[form](rehearsals))
    if any(each.blocks for each in rehearsals):
        sys.exit(1)


def _warn_of_others(repository: Path) -> None:
    """Say so if a comparison with the remote shows the work of others backwards."""
    place, commits = chain.lacking(repository, "origin", environments(repository))
    if commits:
        _echo(
            f"This checkout lacks {counted(commits, 'commit')} of {place}, which appear below as "
            f"if it undid them: run `git merge {place}` first.",
            err=True,
        )


def _write(pages: Iterable[Path], text: str) -> None:
    for page in pages:
        page.write_text(f"{text}\n", encoding="utf-8")


_service_argument = click.argument("service", shell_complete=_complete)
_environment_argument = click.argument("environment", shell_complete=_complete)
_optional_reason = click.option("--reason", help="Why, for the record.")
_allow_older = click.option(
    "--allow-older",
    is_flag=True,
    help="Accept an older build, or a version that cannot use the data of the running one.",
)
_reason = click.option("--reason", required=True, help="Why; `delivery status` shows it.")


@main.command()
@click.argument(
    "builds",
    nargs=-1,
    required=True,
    shell_complete=_complete,
    metavar="SERVICE TAG [SERVICE TAG]...",
)
@click.option(
    "--digest", "digests", multiple=True, help="sha256 digest; once per build, in the same order."
)
@_lands
@click.option("--history", help="Application repository: a clone, or OWNER/NAME on GitHub.")
@_allow_older
@click.option("--source-run", metavar="URL", help="The run that built it, for the record.")
def bump(
    *,
    builds: tuple[str, ...],
    digests: tuple[str, ...],
    history: str | None,
    allow_older: bool,
    source_run: str | None,
) -> changes.Change:
    """Release builds of services in one commit, dist included.

    Nothing changes unless all of them can be released.

    \b
    Example:
      delivery bump payment-api aa716b1f927a88f4d45dbfa175ac71f2d35242ca
    Exit codes:
      3  a service is held
      4  a build is older than the released one, by --history, or its data forbids it
      5  others pushed first, each time
    """
    if len(builds) % 2:
        raise click.UsageError(f"There is no tag after {builds[-1]}.")
    pairs = list(zip(builds[::2], builds[1::2], strict=True))
    if digests and len(digests) != len(pairs):
        raise click.UsageError(f"There are {len(pairs)} builds and {len(digests)} digests.")
    return changes.bump(
        [
            changes.Build(service=service, tag=tag, digest=digest)
            for (service, tag), digest in zip_longest(pairs, digests)
        ],
        prove=_prove(history),
        history=history,
        allow_older=allow_older,
        source_run=source_run,
    )


@main.command()
@_service_argument
@_reason
@_lands
def hold(*, service: str, reason: str) -> changes.Change:
    """Refuse bumps of a service until `delivery unhold`.

    \b
    Example:
      delivery hold payment-api --reason "loses transactions, see issue 12"
    Exit codes:
      5  others pushed first, each time
    """
    return changes.hold(service, reason=reason)


@main.command()
@_service_argument
@_optional_reason
@_lands
def unhold(*, service: str, reason: str | None) -> changes.Change:
    """Accept bumps of a held service again.

    \b
    Example:
      delivery unhold payment-api --reason "fixed in aa716b1"
    Exit codes:
      5  others pushed first, each time
    """
    return changes.unhold(service, reason=reason)


@main.command()
@_service_argument
@_environment_argument
@click.argument("tag")
@click.option("--digest", help="sha256 digest of the image that the tag must name.")
@_reason
@_allow_older
@_lands
def pin(
    *,
    service: str,
    environment: str,
    tag: str,
    digest: str | None,
    reason: str,
    allow_older: bool,
) -> changes.Change:
    """Run a build in one environment, whatever is released.

    \b
    Example:
      delivery pin redis staging 7.2.17-bookworm --reason "security fix"
    Exit codes:
      4  the data of the running version forbids it
      5  others pushed first, each time
    """
    build = changes.Build(service=service, tag=tag, digest=digest)
    return changes.pin(
        build, environment, prove=_prove(None), reason=reason, allow_older=allow_older
    )


@main.command()
@_service_argument
@_environment_argument
@_optional_reason
@_allow_older
@_lands
def unpin(
    *, service: str, environment: str, reason: str | None, allow_older: bool
) -> changes.Change:
    """Run what is released in an environment again.

    \b
    Example:
      delivery unpin redis staging
    Exit codes:
      4  the data of the running version forbids it
      5  others pushed first, each time
    """
    return changes.unpin(service, environment, reason=reason, allow_older=allow_older)


@main.command("rollback")
@_service_argument
@click.argument("environment", shell_complete=_complete, required=False)
@_allow_older
@_reason
@_lands
def roll_back(
    *, service: str, environment: str | None, allow_older: bool, reason: str
) -> changes.Change:
    """Run the image that a service ran before.

    In the first environment, which is the default, it is released and held; in a later one it is
    pinned. A second rollback goes one image further back.

    \b
    Example:
      delivery rollback payment-api staging --reason "loses transactions"
    Exit codes:
      4  the data of the running version forbids it
      5  others pushed first, each time
    """
    repository = _repository()
    known = environments(repository)
    where = known[0] if environment is None else select(known, environment)[0]
    remote = click.get_current_context().params["remote"]
    heads = chain.fetch(repository, remote, [where])
    if where.branch not in heads:
        raise DeliveryError(f"{remote} has no branch {where.branch}: push one first.")
    return rollback.rollback(
        timeline.timeline(repository, heads[where.branch]),
        service,
        where.name,
        pinned=where is not known[0],
        prove=_prove(None),
        reason=reason,
        allow_older=allow_older,
    )


@main.command("history")
@_service_argument
@_remote_option
@_format_option(record.FORMATS)
def show_history(service: str, remote: str, form: str) -> None:
    """Show what a service ran, when and where, and how well.

    \b
    Example:
      delivery history payment-api
    """
    with _progress() as report:
        report(f"fetch {without_credentials(remote)}")
        found = record.record(_repository(), service, remote=remote)
    _echo(record.FORMATS[form](found), nl=False)


@main.command("resolve")
@click.option(
    "--prefer",
    type=click.Choice(["ours", "theirs"]),
    help="Whose value a field gets that both sides changed.",
)
def resolve_conflict(prefer: str | None) -> None:
    """Resolve a conflict in images.yaml by its fields, and in dist.

    In a merge, a pick or a rebase that stopped: what either side changed is kept, dist is rendered,
    and both are staged.

    \b
    Example:
      delivery resolve
    """
    repository = _repository()
    resolve.resolve_images(repository, prefer=prefer)
    dist.synthesize(repository)
    readme.redraw(repository)
    resolve.stage(repository)
    _echo(f"{IMAGES} and dist are resolved: continue the merge, pick or rebase with `--continue`.")


@main.command("diff")
@click.argument("base", required=False)
@_environment_option()
@_format_option(diff.FORMATS)
def show_difference(base: str | None, environment: str | None, form: str) -> None:
    """Show what changes since BASE, by resource and field.

    Without BASE each environment is compared with the branch of origin that Argo CD applies to it.

    \b
    Example:
      delivery diff origin/main -e staging
    """
    repository = _repository()
    if base is None:
        _warn_of_others(repository)
    found: list[diff.Difference] = []
    for each in select(environments(repository), environment):
        since = base or f"origin/{each.branch}"
        if base is None and lacks_branch(repository, "origin", each.branch):
            _echo(f"{each.name}: {since} does not exist yet: all of it is new", err=True)
        else:
            found += diff.changes(repository, since, each)
    # With colours of its own, around what is visible.
    click.echo(diff.FORMATS[form](found))


@main.command()
@_environment_option("Only promote to this environment. Default: to every one but the first.")
@_remote_option
@click.option("--dry-run", is_flag=True, help="Show the text; push and open nothing.")
@_bundle_option
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the full text to this file; GitHub may show only part of it.",
)
@click.option(
    "--body",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the part that GitHub takes as a description to this file.",
)
@click.option(
    "--verdict",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Quote this file, written by `delivery rehearse --markdown`.",
)
@click.option(
    "--refresh", is_flag=True, help="Also change or close a pull request that is approved."
)
@click.option(
    "--overrule", metavar="REASON", help="Undo what only the target has; the commit says why."
)
def promote(
    *,
    environment: str | None,
    remote: str,
    dry_run: bool,
    bundle: Path | None,
    output: Path | None,
    body: Path | None,
    verdict: Path | None,
    refresh: bool,
    overrule: str | None,
) -> None:
    """Open, update or close promotion pull requests.

    One per environment but the first, from the branch of the environment before it. What is merged
    is one commit, on a branch promote/ENVIRONMENT: the files of the source, the target's own pins,
    and dist, rendered again. Where Argo CD reports on GitHub what an environment has proved, the
    newest proved commit is promoted. A pull request with nothing left to promote is closed. A pair
    whose branch does not exist on the remote is reported and skipped; it is an error if every pair
    is.

    \b
    Example:
      delivery promote --dry-run
    Exit codes:
      1  only the target has some change, which would be undone
      3  dist is not what its sources render
    """
    repository = _repository()
    pairs = promotion.pairs(environments(repository), target=environment)
    if (verdict or bundle or body or overrule) and len(pairs) > 1:
        raise click.UsageError(
            "--verdict, --bundle, --body and --overrule are about one environment: "
            "add --environment."
        )
    quoted = None if verdict is None else verdict.read_text("utf-8", "replace")
    if not pairs:
        _echo(f"nothing to promote: {FOLDER} has one environment")
    if bundle is None:
        offer = partial(promotion.propose, repository, remote=remote, refresh=refresh)
    else:
        offer = partial(promotion.write, repository, path=bundle)
    texts: list[str] = []
    failures: list[DeliveryError] = []
    for source, target in pairs:
        try:
            with _progress() as report:
                report(f"render what {target.name} would get")
                proposal = promotion.prepare(
                    repository,
                    source,
                    target,
                    remote=remote,
                    verdict=quoted,
                    overrule=overrule,
                )
        except (
            gate.UnprovedError,
            promotion.MissingBranchError,
            promotion.LackingError,
        ) as error:
            failures.append(error)
            _echo(f"Skipped {error}", err=True)
            continue
        if proposal is None:
            _echo(f"nothing to promote from {source.branch} to {target.branch}")
            if not dry_run and bundle is None:
                withdrawn = promotion.withdraw(repository, target, refresh=refresh)
                _echo(withdrawn or "", nl=bool(withdrawn))
            continue
        texts.append(proposal.text)
        _write(filter(None, [output]), "\n".join(texts))
        _write(filter(None, [body]), proposal.body)
        if dry_run:
            _echo(f"{proposal.title}\n\n{proposal.body}")
        else:
            _echo(offer(proposal))
    reasons = [type(failure) for failure in failures]
    if promotion.LackingError in reasons:
        sys.exit(1)
    _exit_without_branches(reasons, len(pairs))


def _exit_without_branches(reasons: list[type[DeliveryError]], pairs: int) -> None:
    """Exit if no pair has its branches: one whose branch does not exist yet is no reason."""
    if reasons and reasons.count(promotion.MissingBranchError) == pairs:
        sys.exit(promotion.MissingBranchError.exit_code)


@main.command("proved")
@click.argument("commit", default="HEAD")
@_environment_option("The environment that gets the promotion. Default: the one after the first.")
def check_proved(*, commit: str, environment: str | None) -> None:
    """Prove that what COMMIT promotes has soaked.

    The environment before must have been Synced and Healthy with it for long enough, as Argo CD
    reports on GitHub. A commit that promotes nothing needs no proof, and an environment that does
    not report gives none.

    \b
    Example:
      delivery proved origin/promote/staging
    Exit codes:
      1  it has not, or not yet
    """
    repository = _repository()
    source, target = promotion.pairs(environments(repository), target=environment)[0]
    try:
        offer = promotion.check_proved(repository, source, target, commit)
    except gate.UnprovedError as error:
        _echo(error, err=True)
        sys.exit(1)
    if offer is None:
        _echo(f"{commit} does not promote anything: nothing to prove")
    elif offer.proof is None:
        _echo(f"{source.name} does not report what it has proved")
    else:
        _echo(f"{source.name} reports {offer.proof}")


@main.command("status")
@_remote_option
@click.option("--context", help="Also show what this kubeconfig context runs.")
@_format_option(status_report.FORMATS)
def show_status(remote: str, context: str | None, form: str) -> None:
    """Show each service's images, holds and pins.

    Every environment is compared with the first one.

    \b
    Example:
      delivery status --context kind-fraud-detection
    """
    with _progress() as report:
        report(f"fetch {without_credentials(remote)}")
        found = status.status(_repository(), remote=remote, context=context)
    _echo(status_report.FORMATS[form](found), nl=False)


@main.command("report")
@_remote_option
def report_to_application(remote: str) -> None:
    """Print what the application's commits should say.

    That is whether each environment runs them, or why not, as commit statuses of the application
    repository. Those that a commit has already are left out. The line is an output of a workflow's
    step.

    \b
    Example:
      delivery report
    """
    found = feedback.missing(
        _repository(),
        remote=remote,
        application=_on_github(APPLICATION),
        address=REPOSITORY.removesuffix(".git"),
    )
    _echo(f"statuses={json.dumps([asdict(each) for each in found])}")


@main.command("fork")
@click.argument("configuration", metavar="OWNER/NAME")
@click.option(
    "--application",
    required=True,
    metavar="OWNER/NAME",
    help="Repository whose workflows build the images.",
)
@click.option("--reviewer", required=True, help="Owner of the code: @USER or @ORGANIZATION/TEAM.")
def rename_fork(*, configuration: str, application: str, reviewer: str) -> None:
    """Give a fork its names, in every file.

    OWNER/NAME is the fork on GitHub.

    \b
    Example:
      delivery fork acme/fraud-config --application acme/fraud --reviewer @acme/platform
    """
    for path in fork.rename(
        _repository(), configuration=configuration, application=application, reviewer=reviewer
    ):
        _echo(path)
    _echo("Now run `make synth snapshots test`, commit, and follow docs/github.md.")


def _prove(history: str | None) -> Callable[[Image], Image]:
    """Return what proves that an image may run; it asks about the same image only once."""
    return cache(partial(digests.proved, verify=_verify(history)))


def _verify(history: str | None) -> Callable[[Image], None]:
    """Return what refuses an image that is neither built by our workflow nor a third party's."""
    source = _on_github(APPLICATION)
    workflow = f"{_on_github(REPOSITORY)}/.github/workflows/deliver-service.yml"
    builder = Builder(source=source, workflow=workflow)
    return partial(digests.require_verified, builder=builder, history=history or source)


def _on_github(address: str) -> str:
    """Return OWNER/NAME of a repository."""
    return address.removeprefix("https://github.com/").removesuffix(".git")


class _Console(Console):
    """A console that prints text as it is, in so far as it is visible."""

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401 - as rich has it
        """Return a text as rich prints it."""
        return super().render_str(visible(text), **options)


def _console(*, stderr: bool = False) -> Console:
    return _Console(emoji=False, highlight=False, markup=False, soft_wrap=True, stderr=stderr)


@contextmanager
def _progress(console: Console | None = None) -> Iterator[Callable[[str], None]]:
    """Show what is going on: as one changing line on a terminal, else as lines."""
    console = console or _console(stderr=True)
    if console.is_terminal:
        with console.status("start") as status:
            # As it is: an address may look like the markup of rich.
            yield lambda line: status.update(Text(visible(line)))
    else:
        yield partial(_echo, err=True)


def _repository() -> Path:
    """Find the working tree in which the command was typed."""
    # The folder in which a shell stands may have been removed.
    with suppress(FileNotFoundError):
        here = Path.cwd()
        for folder in (here, *here.parents):
            if (folder / "cdk8s.yaml").exists():
                return folder
    raise DeliveryError("There is no cdk8s.yaml here or above: change to the repository.")
