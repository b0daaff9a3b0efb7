"""What GitHub runs: pinned, with the least rights, and nothing that the Makefile does not hold.

`make lint` adds zizmor and the schema of GitHub's workflows.
"""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from delivery.cli import main
from manifests import REPOSITORY

WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").iterdir())
TARGETS = re.findall(r"^\.PHONY: (.+)$", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE)

each_workflow = pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)


def load(workflow: Path) -> Any:  # noqa: ANN401 - what YAML gives
    """The parsed workflow."""
    return YAML(typ="safe").load(workflow)


def steps(workflow: Path) -> list[dict[str, Any]]:
    """The steps of all jobs."""
    return [step for job in load(workflow)["jobs"].values() for step in job.get("steps", [])]


def commands(workflow: Path) -> list[str]:
    """What the steps run."""
    return [step["run"] for step in steps(workflow) if "run" in step]


def required_workflows() -> list[Path]:
    """Those whose result decides over a pull request."""
    return [workflow for workflow in WORKFLOWS if "pull_request" in load(workflow)["on"]]


each_required_workflow = pytest.mark.parametrize(
    "workflow", required_workflows(), ids=lambda path: path.name
)


def test_pull_requests_are_checked() -> None:
    """Without such a workflow the tests below would check nothing."""
    assert [workflow.name for workflow in required_workflows()] == ["ci.yml"]


@each_workflow
def test_actions_are_pinned_by_commit_with_their_version(workflow: Path) -> None:
    """A tag can be moved to other code; the comment tells people what the commit is."""
    uses = re.findall(r"\buses: *(.*)", workflow.read_text())
    pinned = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    assert [action for action in uses if not pinned.fullmatch(action)] == []


@each_workflow
def test_nothing_is_permitted_by_default(workflow: Path) -> None:
    """A job without permissions of its own would get the repository's default: often write."""
    assert load(workflow)["permissions"] == {}


@each_workflow
def test_every_permission_has_a_reason(workflow: Path) -> None:
    """Whoever reviews it can ask whether the reason still holds."""
    granted = re.findall(r"^ +[a-z-]+: (?:read|write)\b(.*)$", workflow.read_text(), re.MULTILINE)
    assert [comment for comment in granted if not re.match(r" # \w", comment)] == []


@each_workflow
def test_commands_take_no_expressions(workflow: Path) -> None:
    """GitHub pastes an expression into the script: a branch's name could be a command."""
    assert [command for command in commands(workflow) if "${{" in command] == []


@each_workflow
def test_commands_are_ours(workflow: Path) -> None:
    """One known command each, so that everything a workflow does can be tried at home."""

    def known(command: str) -> bool:
        # How the aggregate job fails.
        if command == "exit 1":
            return True
        program, *words = shlex.split(command)
        if program == "make":
            return bool(words) and set(words) <= set(TARGETS)
        return program == ".venv/bin/delivery" and words[:1] <= [*main.commands]

    assert [command for command in commands(workflow) if not known(command)] == []


@each_workflow
def test_checkouts_keep_no_token(workflow: Path) -> None:
    """Left in .git/config, every later step could push with it."""
    checkouts = [
        step for step in steps(workflow) if step.get("uses", "").startswith("actions/checkout@")
    ]
    assert [
        step for step in checkouts if step.get("with", {}).get("persist-credentials") is not False
    ] == []


@each_workflow
def test_every_job_has_a_time_limit(workflow: Path) -> None:
    """The default is six hours, in which nothing else of its group runs."""
    jobs = load(workflow)["jobs"]
    assert [name for name, job in jobs.items() if job["timeout-minutes"] > 60] == []


@each_workflow
def test_nothing_is_skipped_by_its_commit_message(workflow: Path) -> None:
    """A required check of a skipped commit waits for ever, and bumps head the promotion."""
    assert re.findall(r"\[(?:skip|no) ci\]|\[ci skip\]", workflow.read_text()) == []


@each_required_workflow
def test_required_workflows_always_run(workflow: Path) -> None:
    """Filtered out by a path or a branch, a required check would never finish."""
    events = load(workflow)["on"]
    filters = {
        key
        for event in ("pull_request", "push")
        for key in (events[event] or {})
        if key.startswith("paths") or (event == "pull_request" and key.startswith("branches"))
    }
    assert filters == set()


@each_required_workflow
def test_one_job_stands_for_all(workflow: Path) -> None:
    """Branch protection names it alone, so a new job is required from its first day."""
    jobs = load(workflow)["jobs"]
    aggregate = jobs.pop(workflow.stem)
    assert aggregate["if"] == "always()"
    assert set(aggregate["needs"]) == set(jobs)


@each_required_workflow
def test_the_one_job_fails_unless_every_job_succeeded(workflow: Path) -> None:
    """A skipped required check counts as passed, and so would one that looks at failures only."""
    [step] = load(workflow)["jobs"][workflow.stem]["steps"]
    results = re.findall(r"contains\(needs\.\*\.result, '(\w+)'\)", step["if"])
    assert set(results) == {"failure", "cancelled", "skipped"}
    assert "&&" not in step["if"]
    assert step["run"] == "exit 1"


@each_required_workflow
def test_what_landed_is_tested_to_the_end(workflow: Path) -> None:
    """Only a newer push to a pull request may end the run of an older one."""
    concurrency = load(workflow)["concurrency"]
    assert concurrency["group"] == f"{workflow.stem}-${{{{ github.ref }}}}"
    assert concurrency["cancel-in-progress"] == "${{ github.event_name == 'pull_request' }}"
