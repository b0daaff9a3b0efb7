"""Measure how long a render takes, against its targets: `make bench`.

Each program runs as a whole process, in turns with the others, so that a busy moment of the machine
affects them all.
"""

import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import yaml
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table
from ruamel.yaml import YAML

from delivery.control_plane import assets

REPOSITORY = Path(__file__).parent.parent
FLOOR = "empty app (the floor)"
UNCHECKED_FLOOR = "empty app, run like ours (python -O)"
ENVIRONMENTS = "our environments"
FIFTY = "50 services, two environments"
TWO_HUNDRED = "200 services, two environments"
KUSTOMIZE = "kustomize build of two overlays"
BARE = "our manifests by PyYAML alone (the physical limit)"


@dataclass(frozen=True, kw_only=True)
class Target:
    """A limit on the ratio of two measured times.

    Attributes:
        meaning: Name of the ratio, for people.
        ratio: The measured ratio.
        limit: The highest allowed ratio.
    """

    meaning: str
    ratio: float
    limit: float

    @property
    def met(self) -> bool:
        """Return whether the ratio is within its limit."""
        return self.ratio <= self.limit


def targets(seconds: Mapping[str, float]) -> list[Target]:
    """Compare the medians of the programs with the targets."""
    floor = seconds[FLOOR]
    return [
        Target(
            meaning="our environments, in floors",
            ratio=seconds[ENVIRONMENTS] / floor,
            limit=1.5,
        ),
        Target(
            meaning="200 services, in times of 50, both without the floor",
            ratio=(seconds[TWO_HUNDRED] - floor) / (seconds[FIFTY] - floor),
            limit=4.4,
        ),
    ]


Program = Sequence[Sequence[str]]
"""Commands that run one after the other."""


def programs(folder: Path, *, kustomize: Path) -> dict[str, Program]:
    """Return the programs to measure, by name.

    Args:
        folder: A folder that they may write to.
        kustomize: The program that renders a comparison.
    """
    app = shlex.split(YAML(typ="safe").load(REPOSITORY / "cdk8s.yaml")["app"])
    generated = [*app[:-1], "bench/generated.py"]
    floor = ["bench/floor.py", f"{folder}/floor"]
    overlays = _kustomize_tree(folder / "kustomize")
    return {
        FLOOR: [["python", *floor]],
        UNCHECKED_FLOOR: [[*app[:-1], *floor]],
        ENVIRONMENTS: [app],
        FIFTY: [[*generated, "50", f"{folder}/50"]],
        TWO_HUNDRED: [[*generated, "200", f"{folder}/200"]],
        KUSTOMIZE: [[str(kustomize), "build", str(overlay)] for overlay in overlays],
        BARE: [["python", "bench/bare.py", _manifests(folder / "dist.json"), f"{folder}/bare"]],
    }


def _manifests(file: Path) -> str:
    """Write the manifests of dist into one JSON file, for a program that only dumps them."""
    dist = REPOSITORY / "dist"
    manifests = {
        str(path.relative_to(dist)): list(yaml.load_all(path.read_bytes(), Loader=yaml.CSafeLoader))
        for path in sorted(dist.glob("*/*.yaml"))
    }
    file.write_text(json.dumps(manifests), encoding="utf-8")
    return str(file)


def _kustomize_tree(folder: Path) -> list[Path]:
    """Lay out our manifests as Kustomize would have them: a base and two overlays."""
    yaml = YAML()
    base = folder / "base"
    shutil.copytree(REPOSITORY / "dist" / "dev", base)
    yaml.dump({"resources": sorted(path.name for path in base.iterdir())}, base / _KUSTOMIZATION)
    overlays = [folder / "overlays" / name for name in ("development", "staging")]
    for overlay in overlays:
        overlay.mkdir(parents=True)
        yaml.dump(
            {
                "resources": ["../../base"],
                "namespace": overlay.name,
                "images": [{"name": "ghcr.io/mordris/payment-api", "newTag": overlay.name}],
                "patches": [
                    {
                        "path": "replicas.yaml",
                        "target": {"kind": "Deployment", "name": "payment-api"},
                    }
                ],
            },
            overlay / _KUSTOMIZATION,
        )
        yaml.dump(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "payment-api"},
                "spec": {"replicas": 2},
            },
            overlay / "replicas.yaml",
        )
    return overlays


_KUSTOMIZATION = "kustomization.yaml"


def measure(measured: Mapping[str, Program], *, folder: Path, runs: int) -> dict[str, list[float]]:
    """Run every program in turns.

    Args:
        measured: The programs.
        folder: The folder into which our own app renders.
        runs: Number of measured runs, after one that warms the caches.

    Returns:
        The wall times of each program, in seconds.
    """
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "CDK8S_OUTDIR": f"{folder}/dist",
    }
    seconds: dict[str, list[float]] = {name: [] for name in measured}
    for run in track(range(runs + 1), "Measuring", console=Console(stderr=True), transient=True):
        for name, program in measured.items():
            start = time.perf_counter()
            for command in program:
                subprocess.run(  # noqa: S603 - our own programs
                    command, cwd=REPOSITORY, env=environment, check=True, stdout=subprocess.DEVNULL
                )
            if run > 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--runs",
    default=7,
    show_default=True,
    type=click.IntRange(min=1),
    help="Measured runs.",
)
@click.option("--json", "as_json", is_flag=True, help="Print every measured time as JSON.")
def main(*, runs: int, as_json: bool) -> None:
    """Measure whole processes, and compare their medians with the targets.

    \b
    Exit codes:
      0  every target is met
      1  one is missed
    """  # noqa: D301 - click keeps the lines of a paragraph that starts with this character
    with TemporaryDirectory() as name:
        folder = Path(name)
        measured = programs(folder, kustomize=assets.locate().kustomize)
        seconds = measure(measured, folder=folder, runs=runs)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    results = targets(medians)
    if as_json:
        click.echo(
            json.dumps({"seconds": seconds, "targets": [asdict(t) for t in results]}, indent=2)
        )
    else:
        report(medians, results)
    if not all(target.met for target in results):
        sys.exit(1)


def report(medians: Mapping[str, float], results: Sequence[Target]) -> None:
    """Print the report: tables on a terminal, plain columns elsewhere."""
    console = Console()
    style = box.SIMPLE if console.is_terminal else None
    times = Table("median of whole processes", "seconds", "in floors", box=style)
    for name, seconds in medians.items():
        times.add_row(name, f"{seconds:.2f}", f"{seconds / medians[FLOOR]:.2f}")
    console.print(times)
    limits = Table("target", "measured", "limit", "", box=style)
    for target in results:
        verdict = "met" if target.met else "missed"
        limits.add_row(target.meaning, f"{target.ratio:.2f}", f"{target.limit:.1f}", verdict)
    console.print(limits)


if __name__ == "__main__":
    main()
