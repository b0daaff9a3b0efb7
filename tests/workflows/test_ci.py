"""The checks that every change must pass."""

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

from fraud_detection.environments import ENVIRONMENTS
from repository import REPOSITORY
from workflows import GITHUB, WORKFLOWS, commands, load, named, using, words, workflow

CI = GITHUB / "workflows" / "ci.yml"

REQUIRED = [path for path in WORKFLOWS if path.stem == "ci"]
"""The rulesets require its aggregate job."""

each_required_workflow = pytest.mark.parametrize("workflow", REQUIRED, ids=lambda path: path.name)


@each_required_workflow
def test_required_workflows_always_run(workflow: Path) -> None:
    """A required check that is filtered out by path or branch never finishes."""
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
    """The rulesets require only this job, so a new job is required from its first day."""
    jobs = dict(load(workflow)["jobs"])
    aggregate = jobs.pop(workflow.stem)
    assert aggregate["if"] == "always()"
    assert set(aggregate["needs"]) == set(jobs)
    # A skipped job would fail it.
    assert [name for name, job in jobs.items() if "if" in job] == []


@each_required_workflow
def test_the_one_job_fails_unless_every_job_succeeded(workflow: Path) -> None:
    """A skipped job must not count as passed."""
    [step] = load(workflow)["jobs"][workflow.stem]["steps"]
    results = re.findall(r"contains\(needs\.\*\.result, '(\w+)'\)", step["if"])
    assert set(results) == {"failure", "cancelled", "skipped"}
    assert "&&" not in step["if"]
    assert step["run"] == "exit 1"


OF_OURS = "github.event.pull_request.head.repo.full_name == github.repository"
"""The token of a fork cannot comment: its run must not fail for that."""


def test_a_new_base_is_checked() -> None:
    """A pull request that is retargeted merges into another branch than the checked one."""
    assert "edited" in workflow("ci")["on"]["pull_request"]["types"]


def test_each_landed_commit_is_tested() -> None:
    """Of three quick bumps the middle one must not be cancelled; a pull request's older run may."""
    concurrency = workflow("ci")["concurrency"]
    assert concurrency["group"] == "ci-${{ github.event.pull_request.number || github.sha }}"
    assert concurrency["cancel-in-progress"] == "${{ github.event_name == 'pull_request' }}"


def test_a_branch_speaks_of_its_own_environment() -> None:
    """A pull request to main changes what staging runs; to develop, every environment's code."""
    expression = workflow("ci")["env"]["ENVIRONMENT"]
    [table] = re.findall(r"fromJSON\('(.*)'\)\[github.base_ref \|\| github.ref_name]", expression)
    assert json.loads(table) == {each.branch: each.name for each in ENVIRONMENTS[1:]}
    assert expression.endswith(" || '' }}")


@pytest.mark.parametrize("job", ["dist", "rehearse"])
def test_a_difference_is_between_two_known_commits(job: str) -> None:
    """HEAD^ would miss the first of two pushed commits."""
    steps = named(CI, job)
    assert steps["actions/checkout"]["with"]["fetch-depth"] == 0
    assert ".github/scripts/compare.sh" in steps["Find what to compare with"]["run"]
    compared = [
        step for step in steps.values() if re.search(r"delivery (diff|graph|rehearse)", str(step))
    ]
    assert compared != []
    for step in compared:
        assert '"$BASE"' in step["run"]
        assert step["env"]["BASE"] == "${{ steps.compare.outputs.base }}"


def test_a_pull_request_is_compared_with_its_base() -> None:
    """The event of a new push to a pull request also has a `before`: its own older commit."""
    expression = workflow("ci")["env"]["BEFORE"]
    assert expression == "${{ github.event_name == 'push' && github.event.before || '' }}"


def test_the_difference_is_shown() -> None:
    """In a comment, in the summary for forks, and whole in an artifact."""
    steps = named(CI, "dist")
    assert steps["Comment the difference"]["if"] == OF_OURS
    assert steps["Comment the difference"]["with"]["path"] == "diff.md"
    assert steps["Show the difference in the summary of the run"]["run"].startswith("cat diff.md")
    kept = steps["Keep the whole difference"]
    assert "if" not in kept
    assert kept["with"]["path"].split() == ["diff.md", "diff.txt"]


def test_the_difference_is_drawn() -> None:
    """Below the table, in the same comment."""
    order = [command for command in commands(CI) if command.endswith("diff.md")]
    assert [words(command)[1] for command in order[-2:]] == ["diff", "graph"]


def test_every_pull_request_is_rehearsed_and_blocked() -> None:
    """The exit code of the rehearsal must fail the job."""
    step = named(CI, "rehearse")["Rehearse"]
    assert not {"if", "continue-on-error"} & set(step)
    assert "continue-on-error" not in load(CI)["jobs"]["rehearse"]


def test_a_blocking_rehearsal_is_shown() -> None:
    """After a failed step GitHub skips every step without a condition."""
    steps = named(CI, "rehearse")
    options = words(steps["Rehearse"]["run"])
    pages = {after for option, after in pairwise(options) if option == "--markdown"}
    assert pages == {"rehearsal.md", "$GITHUB_STEP_SUMMARY"}
    there = "!cancelled() && hashFiles('rehearsal.md')"
    assert steps["Say which commits were compared"]["if"] == f"${{{{ {there} }}}}"
    assert steps["Keep the rehearsal"]["if"] == f"${{{{ {there} }}}}"
    assert steps["Comment the rehearsal"]["if"] == f"${{{{ {there} && {OF_OURS} }}}}"


@pytest.mark.parametrize("job", ["dist", "rehearse"])
def test_no_comment_outlives_its_commit(job: str) -> None:
    """The comment of an older commit looks current when a newer run fails before its own."""
    comment, replaced = (
        step
        for step in load(CI)["jobs"][job]["steps"]
        if "sticky-pull-request-comment" in step.get("uses", "")
    )
    assert replaced["with"]["header"] == comment["with"]["header"]
    assert replaced["with"]["only_update"] is True
    failed = f"failure() && steps.{comment['id']}.outcome != 'success' && {OF_OURS}"
    assert replaced["if"] == f"${{{{ {failed} }}}}"


def test_the_links_of_a_report_last() -> None:
    """GitHub forgets the merge that a pull request is checked out as."""
    step = named(CI, "rehearse")["Rehearse"]
    assert step["env"]["SOURCE_COMMIT"] == "${{ env.HEAD_SHA }}"
    head = workflow("ci")["env"]["HEAD_SHA"]
    assert head == "${{ github.event.pull_request.head.sha || github.sha }}"


def test_no_test_is_skipped_for_want_of_a_program() -> None:
    """Programs are built or installed before the tests; a missing one is a failure."""
    job = workflow("ci")["jobs"]["test"]
    assert job["env"]["SKIP_NOTHING"]
    assert [step["run"] for step in job["steps"] if "run" in step] == [
        "make control-plane",
        "make test-packages",
        "make test",
        "make test-extension",
    ]


def test_trivy_sees_dist() -> None:
    """In a scan of dist itself Trivy would skip the folder dev, like /dev of an image."""
    [scan] = using(CI, "aquasecurity/trivy-action")
    assert scan["with"]["scan-type"] == "config"
    assert "scan-ref" not in scan["with"]
    config = load(REPOSITORY / scan["with"]["trivy-config"])
    assert config["exit-code"] == 1
    # Otherwise the checks of the day, which nobody has pinned.
    assert config["rego"]["skip-check-update"] is True
    assert "severity" not in config
    assert not {"dist", "**"} & set(config["scan"]["skip-dirs"])


def test_trivy_judges_with_the_checks_that_it_brings() -> None:
    """With those of the day a change that passed yesterday is refused today."""
    assert load(GITHUB / "trivy.yaml")["rego"] == {"skip-check-update": True}


def test_every_accepted_finding_has_a_reason() -> None:
    """Whoever reads it can ask whether the reason still holds."""
    ignored = load(REPOSITORY / load(GITHUB / "trivy.yaml")["ignorefile"])["misconfigurations"]
    assert [finding["id"] for finding in ignored if not finding.get("statement")] == []
