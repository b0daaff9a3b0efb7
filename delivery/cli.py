"""The command line: every command is a few lines over a function that can be called without it."""

import signal
from pathlib import Path

import click

from delivery import dist


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Render, prove and move releases of the fraud-detection system."""
    # Like Ctrl-C, so that a command that is told to stop cleans up behind itself.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


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


def _repository() -> Path:
    """The working tree in which the command was typed."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "cdk8s.yaml").exists():
            return folder
    raise click.ClickException("There is no cdk8s.yaml here or above: go to the repository.")
