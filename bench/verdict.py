"""How long a clean clone takes to its first verdict, and a pull request to its comments and tests.

Each row starts from a clone; the tests run in the second one. Cold: without any cache; packages
come from their registries, and the control plane from a mirror in a folder of this machine. The
jobs are those of ci.yml, without the actions of others that they use.
"""

import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import yaml

REPOSITORY = Path(__file__).parent.parent
REHEARSE = "delivery rehearse HEAD^"
LIMITS = {"cold": 40.0, "warm": 15.0, "rehearse": 60.0, "dist": 45.0, "test": 240.0}
"""The most seconds of each row: a person's first rehearsal, two jobs of ci.yml, and all tests."""
REHEARSAL_LIMIT = 3.5
"""The most seconds of a person's rehearsal alone, once there are programs for it."""
_OURS = re.compile(r"( image: ghcr\.io/\S+:)[0-9a-f]{40}")
_EXPRESSION = re.compile(r"\$\{\{ (?:env|steps\.\w+\.outputs)\.(\w+) \}\}")
_CACHES = {
    "XDG_CACHE_HOME": "cache",
    "UV_CACHE_DIR": "cache/uv",
    "PIP_CACHE_DIR": "cache/pip",
    "npm_config_cache": "cache/npm",
    "JSII_RUNTIME_PACKAGE_CACHE_ROOT": "cache/jsii",
    "XDG_RUNTIME_DIR": "session",
}
"""Variables of everything that keeps something between two clones."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command, measured.

    Attributes:
        command: The command.
        seconds: By the clock.
        processor_seconds: CPU time of all processors.
    """

    command: str
    seconds: float
    processor_seconds: float


@dataclass(frozen=True, kw_only=True)
class Target:
    """What was measured, and the limit of it.

    Attributes:
        meaning: For a person.
        limit: The most seconds.
        steps: Its parts.
    """

    meaning: str
    limit: float
    steps: Sequence[Step]

    @property
    def seconds(self) -> float:
        """Return the time of all steps by the clock."""
        return sum(step.seconds for step in self.steps)

    @property
    def met(self) -> bool:
        """Return whether the time is within its limit."""
        return self.seconds <= self.limit


class Machine:
    """A machine that has nothing of ours but a mirror, until something is run on it.

    Args:
        folder: An empty folder for all that it keeps.
        variables: Further environment variables.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.folder = folder
        ours = str(Path(sys.executable).parent)
        path = [each for each in os.environ["PATH"].split(os.pathsep) if each != ours]
        # `make bench` must not be taken for the make of which these are parts.
        dropped = {"KUBEBUILDER_ASSETS", "MAKEFLAGS", "MAKELEVEL", "PYTHONDONTWRITEBYTECODE"}
        self._environment = {
            **{name: value for name, value in os.environ.items() if name not in dropped},
            **{name: str(folder / place) for name, place in _CACHES.items()},
            **variables,
            "PATH": os.pathsep.join(path),
        }
        (folder / "session").mkdir(parents=True)

    def run(self, command: str, clone: Path, **variables: str) -> Step:
        """Run a command of bash in a clone.

        Raises:
            ClickException: If it fails.
        """
        used, start = _used(), time.perf_counter()
        done = subprocess.run(  # noqa: S603 - our own commands
            ["bash", "-e", "-c", command],  # noqa: S607 - the user's own
            cwd=clone,
            env={**self._environment, **variables},
            check=False,
            capture_output=True,
            text=True,
        )
        seconds = time.perf_counter() - start
        if done.returncode != 0:
            raise click.ClickException(f"{command} failed: {done.stdout}{done.stderr}")
        return Step(command=command, seconds=seconds, processor_seconds=_used() - used)

    def clone(self, origin: Path, name: str) -> tuple[Path, Step]:
        """Clone a repository."""
        clone = self.folder / name
        return clone, self.run(f"git clone --quiet '{origin}' '{clone}'", self.folder)

    def first_rehearsal(self, origin: Path, name: str) -> list[Step]:
        """Do what a person does to see a rehearsal, from the clone on."""
        clone, cloned = self.clone(origin, name)
        setup = self.run("make setup", clone)
        programs = self.run("make api-server", clone)
        return [cloned, setup, programs, self.run(f".venv/bin/{REHEARSE}", clone)]

    def job(self, origin: Path, name: str) -> list[Step]:
        """Do what a job of ci.yml does for a pull request, but for the actions that it uses."""
        clone, cloned = self.clone(origin, name)
        workflow = yaml.load((clone / ".github/workflows/ci.yml").read_bytes(), yaml.CBaseLoader)  # noqa: S506 - text
        output = self.folder / "output"
        known = {
            "BEFORE": "",
            "ENVIRONMENT": "",
            "GITHUB_OUTPUT": str(output),
            "GITHUB_REPOSITORY": "owner/name",
            "GITHUB_SERVER_URL": "https://github.test",
            "GITHUB_STEP_SUMMARY": str(self.folder / "summary.md"),
            "HEAD_SHA": "HEAD",
        }
        steps = [cloned]
        for step in workflow["jobs"][name]["steps"]:
            if "run" in step:
                variables = {
                    key: _EXPRESSION.sub(lambda found: known[found[1]], value)
                    for key, value in step.get("env", {}).items()
                }
                steps.append(self.run(step["run"], clone, **known, **variables))
            if output.exists():
                pairs = (line.partition("=") for line in output.read_text("utf-8").splitlines())
                known.update((key, value) for key, _, value in pairs)
        return steps


def _used() -> float:
    """Return the processor seconds of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def release_everything(origin: Path, machine: Machine) -> None:
    """Clone this repository's last commit, whose parent then has other images of our services."""
    machine.run(f"git clone --quiet --no-local '{REPOSITORY}' '{origin}'", REPOSITORY)
    for file in (origin / "dist").glob("*/*.yaml"):
        text = file.read_text(encoding="utf-8")
        file.write_text(_OURS.sub(rf"\g<1>{'0' * 40}", text), encoding="utf-8")
    for command in ("commit --quiet --all --message Before", "revert --no-edit HEAD"):
        machine.run(f"git -c user.name=Bench -c user.email=bench@example.test {command}", origin)


def measure(folder: Path) -> list[Target]:
    """Measure everything, one after the other."""
    mirror = os.environ.get("CONTROL_PLANE_MIRROR") or str(folder / "mirror")
    variables = {"CONTROL_PLANE_MIRROR": mirror}
    origin = folder / "origin"
    person, *runners = (
        Machine(folder / name, variables) for name in ("person", "rehearse", "dist")
    )
    release_everything(origin, person)
    if not Path(mirror).exists():
        delivery = Path(sys.executable).with_name("delivery")
        subprocess.run([delivery, "control-plane", "--pack", mirror], cwd=REPOSITORY, check=True)  # noqa: S603 - ours
    targets = []
    for name in ("cold", "warm"):
        steps = person.first_rehearsal(origin, name)
        meaning = f"a person's first rehearsal, {name}"
        targets.append(Target(meaning=meaning, limit=LIMITS[name], steps=steps))
        meaning = f"the rehearsal of that, {name}"
        targets.append(Target(meaning=meaning, limit=REHEARSAL_LIMIT, steps=steps[-1:]))
    for runner in runners:
        name = runner.folder.name
        meaning = f"the job {name} of ci.yml, cold"
        steps = runner.job(origin, name)
        targets.append(Target(meaning=meaning, limit=LIMITS[name], steps=steps))
    clone = person.folder / "warm"
    person.run("make control-plane test-packages", clone)
    tests = person.run("make test", clone, SKIP_NOTHING="1")
    targets.append(Target(meaning="all tests", limit=LIMITS["test"], steps=[tests]))
    return targets


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure the way from a clone to the first verdict, step by step.

    $CONTROL_PLANE_MIRROR names a folder with the control plane; without it, one is packed first.

    \b
    Exit codes:
      0  every target is met
      1  one is missed
    """  # noqa: D301 - click keeps the lines of a paragraph that starts with this character
    with TemporaryDirectory() as folder:
        targets = measure(Path(folder))
    for target in targets:
        verdict = "met" if target.met else "missed"
        click.echo(f"{target.seconds:6.2f} s of {target.limit:4.1f} s, {verdict}: {target.meaning}")
        for step in target.steps:
            used = f"({step.processor_seconds:.2f} s of a processor)"
            click.echo(f"    {step.seconds:6.2f} s  {step.command.strip()} {used}")
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
    click.echo(f"{load}: with more load than processors, others take part of the time")
    sys.exit(int(not all(target.met for target in targets)))


if __name__ == "__main__":
    main()
