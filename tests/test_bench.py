"""The benchmark: its targets, and that it measures what it reports."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from click import ClickException
from click.testing import CliRunner, Result

from bench import bench, generated, verdict
from delivery.control_plane import assets
from fraud_detection.environments import STAGING
from remotes import commit, run_git


def read_folder(folder: Path) -> dict[str, list[object]]:
    """Return the manifests of each file below a folder."""
    return {
        str(file.relative_to(folder)): list(yaml.safe_load_all(file.read_bytes()))
        for file in folder.glob("*/*.yaml")
    }


MET = {bench.FLOOR: 1.0, bench.ENVIRONMENTS: 1.5, bench.FIFTY: 3.0, bench.TWO_HUNDRED: 9.8}


def run(monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float], *arguments: str) -> Result:
    """Run the benchmark with given times for every program."""
    monkeypatch.setattr(
        bench, "measure", lambda *_, **__: {name: [time] for name, time in seconds.items()}
    )
    kustomize = SimpleNamespace(kustomize=Path("kustomize"))
    monkeypatch.setattr(assets, "locate", lambda: kustomize)
    return CliRunner().invoke(bench.main, arguments)


def test_it_passes_at_its_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target is the highest allowed value."""
    result = run(monkeypatch, MET)
    assert result.exit_code == 0
    assert result.output.count("met") == 2


@pytest.mark.parametrize(
    ("program", "seconds"), [(bench.ENVIRONMENTS, 1.51), (bench.TWO_HUNDRED, 9.9)]
)
def test_it_fails_beyond_a_target(
    monkeypatch: pytest.MonkeyPatch, program: str, seconds: float
) -> None:
    """CI and people look at the exit code, not at a table."""
    result = run(monkeypatch, {**MET, program: seconds})
    assert result.exit_code == 1
    assert result.output.count("missed") == 1


def test_json_holds_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other programs may need more than medians."""
    report = json.loads(run(monkeypatch, MET, "--json").output)
    assert report["seconds"] == {name: [time] for name, time in MET.items()}


def test_it_measures_the_app_that_cdk8s_runs(tmp_path: Path) -> None:
    """Other flags would measure another program."""
    [command] = bench.programs(tmp_path, kustomize=Path("kustomize"))[bench.ENVIRONMENTS]
    assert f"app: {' '.join(command)}\n" in (bench.REPOSITORY / "cdk8s.yaml").read_text()


def test_the_physical_limit_writes_the_manifests_of_dist(tmp_path: Path) -> None:
    """A program that writes less would be no limit."""
    [command] = bench.programs(tmp_path, kustomize=Path("kustomize"))[bench.BARE]
    subprocess.run([sys.executable, *command[1:]], cwd=bench.REPOSITORY, check=True)
    written, dist = read_folder(tmp_path / "bare"), read_folder(bench.REPOSITORY / "dist")
    assert written == dist


def test_a_generated_system_has_as_many_services_as_asked(tmp_path: Path) -> None:
    """Otherwise the measured growth would be wrong."""
    generated.render(tmp_path, STAGING, 4)
    assert {path.name for path in tmp_path.iterdir()} == {
        "redis.yaml",
        "redpanda.yaml",
        *(f"payment-api-{number}.yaml" for number in range(2)),
        *(f"alert-monitor-{number}.yaml" for number in range(2)),
    }


def test_generated_services_are_connected_like_real_ones(tmp_path: Path) -> None:
    """Each has one NetworkPolicy, whose size does not depend on the number of services."""
    generated.render(tmp_path, STAGING, 4)
    manifests = (tmp_path / "payment-api-1.yaml").read_text()
    assert manifests.count("kind: NetworkPolicy") == 1
    assert manifests.count("app.kubernetes.io/name: redpanda") == 1


CI = """\
jobs:
  dist:
    steps:
      - uses: actions/checkout@v1
      - run: echo "base=$(git rev-parse HEAD)" >> "$GITHUB_OUTPUT"
      - run: test "$BASE" = "$(git rev-parse HEAD)" && test "$SHA" = HEAD
        env:
          BASE: ${{ steps.compare.outputs.base }}
          SHA: ${{ env.HEAD_SHA }}
"""


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """Create a repository with a small ci.yml."""
    file = tmp_path / "origin" / ".github" / "workflows" / "ci.yml"
    file.parent.mkdir(parents=True)
    file.write_text(CI, encoding="utf-8")
    run_git(tmp_path / "origin", "init", "--quiet")
    commit(tmp_path / "origin", "Start")
    return tmp_path / "origin"


def test_a_job_is_replayed_step_by_step(origin: Path, tmp_path: Path) -> None:
    """Commands of the bench's own would measure another job."""
    steps = verdict.Machine(tmp_path / "runner", {}).job(origin, "dist")
    assert [step.command.split()[0] for step in steps] == ["git", "echo", "test"]


def test_a_failed_step_is_no_measurement(origin: Path, tmp_path: Path) -> None:
    """Whatever fails is fast."""
    clone, _ = verdict.Machine(tmp_path / "a", {}).clone(origin, "clone")
    with pytest.raises(ClickException, match="false failed"):
        verdict.Machine(tmp_path / "b", {}).run("false", clone)


@pytest.mark.parametrize(("seconds", "code"), [(1.0, 0), (1.1, 1)])
def test_a_verdict_has_its_limit(
    monkeypatch: pytest.MonkeyPatch, seconds: float, code: int
) -> None:
    """People and workflows look at the exit code."""
    step = verdict.Step(command="make setup", seconds=seconds, processor_seconds=0.5)
    target = verdict.Target(meaning="a first rehearsal", limit=1.0, steps=[step])
    monkeypatch.setattr(verdict, "measure", lambda _: [target])
    assert CliRunner().invoke(verdict.main).exit_code == code
