"""How long a rehearsal takes, against its targets: whole processes, as people run it."""

import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import click

REPOSITORY = Path(__file__).parent.parent
_SERVICES = 200


@dataclass(frozen=True, kw_only=True)
class Target:
    """A rehearsal to measure, and how long it may take.

    Attributes:
        meaning: For a person.
        seconds: The most it may take.
        options: Further options of `delivery rehearse HEAD`. Default: none.
        many: Whether it is of many services. Default: of ours.
    """

    meaning: str
    seconds: float
    options: Sequence[str] = ()
    many: bool = False


class Run(NamedTuple):
    """The time that one process took.

    Attributes:
        seconds: By the clock.
        processor_seconds: CPU time of all processors.
    """

    seconds: float
    processor_seconds: float


TARGETS = (
    Target(meaning="our environments", seconds=8),
    Target(
        meaning=f"{_SERVICES} services", options=("--environment", "staging"), many=True, seconds=30
    ),
)


def checkout(folder: Path, *, many: bool) -> Path:
    """Make a repository whose last commit is the base, with another image of everything now.

    Args:
        folder: Where to.
        many: Whether staging has many services in place of ours.
    """
    for name in ("dist", "constructs"):
        shutil.copytree(REPOSITORY / name, folder / name)
    shutil.copy(REPOSITORY / "cdk8s.yaml", folder)
    if many:
        shutil.rmtree(folder / "dist" / "staging")
        generated = f"{folder}/generated"
        _run([sys.executable, "bench/generated.py", str(_SERVICES), generated])
        shutil.move(f"{generated}/staging", folder / "dist" / "staging")
        shutil.rmtree(generated)
        for file in (folder / "dist" / "staging").glob("*-[0-9]*.yaml"):
            # They all have the names of the one that they were made of.
            service, _, number = file.stem.rpartition("-")
            text = file.read_text(encoding="utf-8")
            file.write_text(re.sub(rf"\b{service}\b", f"{service}-{number}", text), "utf-8")
    identity = ("-c", "user.name=Bench", "-c", "user.email=bench@example.test")
    for command in ("init", "add --all", "commit --message Before"):
        _run(["git", *identity, *command.split()], folder)
    for file in (folder / "dist").glob("*/*.yaml"):
        text = file.read_text(encoding="utf-8")
        # Another build of ours, and the next patch of a store, which allows no larger step.
        text = re.sub(r"( image: \S+:)[0-9a-f]{40}", rf"\g<1>{'9' * 40}", text)
        text = re.sub(r"( image: \S+:v?\d+\.\d+\.)(\d+)", _next_patch, text)
        file.write_text(text, encoding="utf-8")
    return folder


def _next_patch(image: re.Match[str]) -> str:
    return f"{image[1]}{int(image[2]) + 1}"


def measure(target: Target, folder: Path) -> Run:
    """Measure one process with everything that it starts."""
    used, start = _used(), time.perf_counter()
    command = [Path(sys.executable).with_name("delivery"), "rehearse", "HEAD", *target.options]
    _run(command, folder)
    return Run(seconds=time.perf_counter() - start, processor_seconds=_used() - used)


def _used() -> float:
    """Return the processor seconds of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _run(command: Sequence[object], folder: Path = REPOSITORY) -> None:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(  # noqa: S603 - our own programs
        [*map(str, command)],
        cwd=folder,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise click.ClickException(f"{command[0]} failed: {done.stdout}{done.stderr}")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--runs", default=5, show_default=True, type=click.IntRange(min=1), help="Runs that count."
)
def main(*, runs: int) -> None:
    """Measure rehearsals, and compare their medians with the targets.

    With more load than processors, others take part of the time: then the seconds of a processor
    tell more than those of the clock.

    \b
    Exit codes:
      0  every target is met
      1  one is missed
    """  # noqa: D301 - click keeps the lines of a paragraph that starts with this character
    missed = False
    with TemporaryDirectory() as name:
        folders = {many: checkout(Path(name) / f"{many}", many=many) for many in (False, True)}
        for target in TARGETS:
            # The first run warms the caches.
            taken = [measure(target, folders[target.many]) for _ in range(runs + 1)][1:]
            seconds = statistics.median(run.seconds for run in taken)
            used = statistics.median(run.processor_seconds for run in taken)
            missed |= seconds > target.seconds
            verdict = "met" if seconds <= target.seconds else "missed"
            click.echo(
                f"{seconds:6.2f} s of {target.seconds:4.1f} s, {verdict}: {target.meaning} "
                f"({used:.2f} s of a processor; load {os.getloadavg()[0]:.1f} on "
                f"{os.cpu_count()} processors)"
            )
    sys.exit(int(missed))


if __name__ == "__main__":
    main()
