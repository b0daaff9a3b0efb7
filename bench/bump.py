"""The time of a change of images.yaml on a local remote, in `delivery synth`s: `make bench`.

It is a hold, which lands as a bump does but asks no registry.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from fraud_detection.images import SERVICES

REPOSITORY = Path(__file__).parent.parent
LIMIT = 1.5
SERVICE = next(iter(SERVICES))


def seconds(command: list[str], folder: Path) -> float:
    """Return the wall time of a command."""
    programs = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)  # noqa: S603 - our own
    return time.perf_counter() - start


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--runs", default=7, show_default=True, type=click.IntRange(min=1), help="Runs each.")
def main(*, runs: int) -> None:
    """Compare the medians of both, measured alternately; exit with 1 if the limit is exceeded."""
    with TemporaryDirectory() as folder:
        remote, clone = Path(folder) / "remote.git", Path(folder) / "clone"
        git = str(shutil.which("git"))
        seconds([git, "clone", "--quiet", "--bare", str(REPOSITORY), str(remote)], REPOSITORY)
        seconds([git, "branch", "--force", "develop", "HEAD"], remote)
        seconds([git, "clone", "--quiet", "--branch=develop", str(remote), str(clone)], remote)
        synth, hold = [], []
        for run in range(runs + 1):
            # The first run of each warms the caches.
            synth.append(seconds(["delivery", "synth"], clone))
            reason = f"--reason=run {run}"
            hold.append(seconds(["delivery", "hold", SERVICE, reason], clone))
    medians = [statistics.median(times[1:]) for times in (synth, hold)]
    ratio = medians[1] / medians[0]
    click.echo(f"delivery synth {medians[0]:.2f} s, delivery hold {medians[1]:.2f} s")
    verdict = "met" if ratio <= LIMIT else "exceeded"
    click.echo(f"hold / synth: {ratio:.2f}; limit {LIMIT} {verdict}")
    if ratio > LIMIT:
        sys.exit(1)


if __name__ == "__main__":
    main()
