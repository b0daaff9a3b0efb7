"""The workflows that really run the system: e2e and runtime."""

from pathlib import Path

import pytest

from fraud_detection.environments import ENVIRONMENTS
from repository import REPOSITORY
from workflows import GITHUB, commands, load, named, using, words

E2E = GITHUB / "workflows" / "e2e.yml"

RUNTIME = GITHUB / "workflows" / "runtime.yml"


@pytest.mark.parametrize("workflow", [E2E, RUNTIME], ids=lambda workflow: workflow.stem)
def test_a_slow_workflow_runs_when_the_constructs_change(workflow: Path) -> None:
    """A path that no longer exists would never start it."""
    events = load(workflow)["on"]
    assert {"workflow_dispatch", "pull_request"} <= set(events)
    paths = events["pull_request"]["paths"]
    assert "constructs/**" in paths
    assert [path for path in paths if not (REPOSITORY / path.removesuffix("/**")).exists()] == []


def test_the_real_thing_runs_every_week() -> None:
    """Images, actions and runners change without us."""
    assert "schedule" in load(E2E)["on"]


def test_the_real_thing_is_what_the_cluster_runs() -> None:
    """A schedule would check out the default branch; dev is delivered from its own."""
    [checkout] = using(E2E, "actions/checkout")
    branch = ENVIRONMENTS[0].branch
    assert (
        checkout["with"]["ref"] == f"${{{{ github.event_name == 'schedule' && '{branch}' || '' }}}}"
    )


def test_a_slow_build_does_not_cost_the_tests_their_time() -> None:
    """Both together took longer than a job may; what was built is kept whatever the tests say."""
    jobs = load(RUNTIME)["jobs"]
    assert jobs["runtime"]["needs"] == ["build"]
    restored = [step["with"] for step in using(RUNTIME, "actions/cache/restore")]
    assert restored[0]["key"] == restored[1]["key"]
    assert restored[1]["fail-on-cache-miss"] is True
    built = list(named(RUNTIME, "build"))
    assert built.index("make node") + 1 == built.index("Save the control plane and the node")


def test_the_logs_of_a_failure_are_kept() -> None:
    """The uploaded folder must be the one that the command fills."""
    [kept] = using(E2E, "actions/upload-artifact")
    assert kept["if"] == "failure()"
    [command] = [words(command) for command in commands(E2E) if " kind " in command]
    assert command[command.index("--logs") + 1] == kept["with"]["path"]
