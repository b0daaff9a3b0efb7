"""The script that sets the statuses of the application's commits, with the real gh."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import pytest

from github_api import GitHubApi, Report
from real_gh import real_gh
from repository import REPOSITORY

SCRIPT = REPOSITORY / ".github" / "scripts" / "report.sh"
A, B = "a" * 40, "b" * 40
LATER = [
    (HTTPStatus.TOO_MANY_REQUESTS, "Too many requests"),
    (HTTPStatus.INTERNAL_SERVER_ERROR, "Server Error"),
    (HTTPStatus.BAD_GATEWAY, "Bad Gateway"),
    (HTTPStatus.FORBIDDEN, "You have exceeded a secondary rate limit."),
]
"""What GitHub answers if asking again helps."""
NEVER = [
    (HTTPStatus.NOT_FOUND, "Not Found"),
    (HTTPStatus.FORBIDDEN, "Resource not accessible by integration"),
    (HTTPStatus.UNAUTHORIZED, "Bad credentials"),
    (HTTPStatus.UNPROCESSABLE_ENTITY, "No commit found for SHA"),
]
"""What it answers about a private repository, without a permission, or about a foreign commit."""

pytestmark = pytest.mark.skipif(not shutil.which("jq"), reason="needs jq, as the runner has it")


@dataclass(frozen=True)
class Job:
    """The job that has the token.

    Attributes:
        github: What GitHub knows.
        variables: With which gh asks it.
    """

    github: GitHubApi
    variables: dict[str, str]

    def run(self, *statuses: dict[str, str], pauses: str = "0") -> subprocess.CompletedProcess[str]:
        """Run the script."""
        return subprocess.run(
            [SCRIPT, "owner/application"],
            input=json.dumps(statuses),
            env={**self.variables, "PAUSES": pauses},
            check=False,
            capture_output=True,
            text=True,
        )


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    """Serve a stand-in for GitHub that gh trusts."""
    with real_gh(tmp_path) as (github, variables):
        yield Job(github, variables)


def status(commit: str, **fields: str) -> dict[str, str]:
    """Return a status as `delivery report` prints it."""
    return {
        "commit": commit,
        "context": "payment-api/dev",
        "state": "success",
        "description": "Released to dev",
        "target_url": "https://github.test/commit",
        **fields,
    }


def test_each_status_is_set(job: Job) -> None:
    """As it is, whatever others have written into it."""
    hostile = "$(touch pwned) `x` \" ' @file ${{ github.token }}"
    done = job.run(status(A, description=hostile), status(B, state="failure"))
    assert done.returncode == 0, done.stderr
    address = "https://github.test/commit"
    assert job.github.statuses == [
        Report(A, "payment-api/dev", "success", hostile, address),
        Report(B, "payment-api/dev", "failure", "Released to dev", address),
    ]


@pytest.mark.parametrize("refusal", LATER, ids=lambda each: each[1])
def test_what_passes_is_waited_for(job: Job, refusal: tuple[HTTPStatus, str]) -> None:
    """A refusal is reported once: no later run would repeat it."""
    job.github.refusals = [refusal, refusal]
    assert job.run(status(A), pauses="0 0 0").returncode == 0
    assert len(job.github.statuses) == 1


@pytest.mark.parametrize("refusal", NEVER, ids=lambda each: each[1])
def test_what_lasts_is_said_at_once(job: Job, refusal: tuple[HTTPStatus, str]) -> None:
    """The other commits get theirs all the same, and the run is red."""
    job.github.refusals = [refusal]
    done = job.run(status(A), status(B), pauses="0 0 0")
    assert done.returncode == 1
    assert f"report: {A}: " in done.stderr
    assert refusal[1] in done.stderr
    assert [each.commit for each in job.github.statuses] == [B]


def test_an_end_is_put_to_waiting(job: Job) -> None:
    """A job has a limit, and the next run sets what is missing."""
    job.github.refuses = True
    assert job.run(status(A), pauses="0 0").returncode == 1
    assert job.github.refused == 2


@pytest.mark.parametrize(
    "commit", ["7.2.17", "", "../../../user", f"{A}/../..", f"{A}\n", "A" * 40, None]
)
def test_what_is_no_commit_is_passed_over(job: Job, commit: str) -> None:
    """Whoever dispatches a bump chooses it, and a third party's tag is a version."""
    assert job.run(status(commit), status(B)).returncode == 0
    assert [each.commit for each in job.github.statuses] == [B]


def test_nothing_to_report_is_no_request(job: Job) -> None:
    """A refused bump of a third party."""
    assert job.run(status("7.2.17")).returncode == 0
    assert job.run().returncode == 0
    assert job.github.statuses == []


def test_a_long_description_is_cut(job: Job) -> None:
    """GitHub refuses more than 140 characters, which a sentence of ours may have."""
    job.run(status(A, description="ü" * 200))
    assert job.github.statuses[0].description == "ü" * 140
