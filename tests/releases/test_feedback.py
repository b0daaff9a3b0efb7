"""What the application's own commits are to say about where they run."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import remotes
from delivery.cli import main
from delivery.commands import CommandError
from delivery.releases import changes, feedback
from delivery.releases.feedback import CommitStatus
from fraud_detection.repositories import APPLICATION
from github import GitHub
from promoting import bump, land, pin, promote
from remotes import DEV, STAGING, Remote, commit, run_git, write_applications

A, B, C = ("a" * 40, "b" * 40, "c" * 40)
ADDRESS = "https://github.com/owner/configuration"

pytestmark = pytest.mark.usefixtures("git_environment")


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """Create a remote both of whose environments report."""
    return Remote.create(tmp_path, *(replace(each, reports=True) for each in (DEV, STAGING)))


@pytest.fixture(autouse=True)
def github(remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GitHub:
    """Put a stand-in for gh on the PATH, which knows an application repository."""
    github = GitHub.of(remote, tmp_path / "gh", monkeypatch)
    github.publish(*(f"{number}" * 40 for number in range(1, 3)), A, B, C)
    return github


def missing(remote: Remote) -> list[CommitStatus]:
    """Return the statuses that the commits lack."""
    return feedback.missing(
        remote.clone, remote="origin", application="owner/application", address=ADDRESS
    )


def said(remote: Remote, commit: str) -> dict[str, tuple[str, str]]:
    """Return state and description by context, of those that a commit of the application lacks."""
    return {
        each.context: (each.state, each.description)
        for each in missing(remote)
        if each.commit == commit
    }


def settle(remote: Remote, github: GitHub) -> None:
    """Set the statuses that are missing, as the workflow does."""
    for each in missing(remote):
        github.report(
            each.commit,
            each.state,
            name=each.context,
            description=each.description,
            repository="owner/application",
        )


def test_a_build_is_followed_from_its_bump_to_staging(remote: Remote, github: GitHub) -> None:
    """Its developer never has to look into this repository."""
    bump(remote, A)
    assert said(remote, A) == {
        "payment-api/dev": ("pending", "Released to dev; Argo CD has not reported yet"),
        "payment-api/staging": ("pending", "Not promoted to staging yet"),
    }
    github.report(remote.head(), "success", description="Synced, Healthy for 5 minutes")
    assert said(remote, A)["payment-api/dev"] == ("success", "dev: Synced, Healthy for 5 minutes")
    landed = promote(remote)
    assert said(remote, A)["payment-api/staging"] == (
        "pending",
        "Released to staging; Argo CD has not reported yet",
    )
    github.report(landed, "success", environment="staging")
    assert said(remote, A)["payment-api/staging"] == ("success", "staging: Synced, Healthy")


def test_an_unhealthy_environment_is_named_with_what_is_wrong(
    remote: Remote, github: GitHub
) -> None:
    """The developer is the one who can repair it."""
    bump(remote, A)
    github.report(remote.head(), "failure", description="Synced, Degraded: Deployment/payment-api")
    assert said(remote, A)["payment-api/dev"] == (
        "failure",
        "dev: Synced, Degraded: Deployment/payment-api",
    )


def test_a_report_about_an_older_commit_proves_nothing(remote: Remote, github: GitHub) -> None:
    """The environment ran another build then."""
    github.report(remote.head(), "success")
    bump(remote, A)
    assert said(remote, A)["payment-api/dev"][0] == "pending"


def test_a_report_about_a_later_commit_counts(remote: Remote, github: GitHub) -> None:
    """Of several commits in one poll Argo CD reports about the newest alone."""
    bump(remote, A)
    bump(remote, B, service="alert-monitor")
    github.report(remote.head(), "success")
    assert said(remote, A)["payment-api/dev"][0] == "success"


def test_where_nothing_reports_the_release_itself_counts(remote: Remote) -> None:
    """The setting is optional, and a status that waits for ever is no answer."""
    run_git(remote.clone, "switch", "--quiet", "develop")
    write_applications(remote.clone, (DEV, STAGING))
    bump(remote, A)
    assert said(remote, A)["payment-api/dev"] == ("success", "Released to dev")


def test_what_is_known_is_not_repeated(remote: Remote, github: GitHub) -> None:
    """GitHub takes a thousand statuses of a commit, and each run asks again."""
    bump(remote, A)
    assert missing(remote) != []
    settle(remote, github)
    assert missing(remote) == []


def test_a_replaced_build_does_not_wait_for_ever(remote: Remote, github: GitHub) -> None:
    """Nobody promotes it any more; the newer build contains it."""
    bump(remote, A)
    settle(remote, github)
    bump(remote, B)
    github.report(remote.head(), "success")
    assert said(remote, A)["payment-api/dev"] == ("success", f"dev runs a newer build: {B[:12]}")
    assert "payment-api/staging" not in said(remote, A)
    promote(remote)
    assert said(remote, A)["payment-api/staging"] == (
        "success",
        f"staging runs a newer build: {B[:12]}",
    )


def test_what_was_replaced_before_anybody_asked_is_left_out(remote: Remote) -> None:
    """On the first day GitHub would get a status for each build of a year, at once."""
    bump(remote, A)
    bump(remote, B)
    assert said(remote, A) == {}


@pytest.mark.parametrize("state", ["success", "failure"])
def test_a_replaced_build_keeps_its_verdict(remote: Remote, github: GitHub, state: str) -> None:
    """That it was unhealthy is worth knowing, also after its repair."""
    bump(remote, A)
    github.report(remote.head(), state)
    settle(remote, github)
    bump(remote, B)
    assert "payment-api/dev" not in said(remote, A)


def test_a_build_that_was_rolled_back_says_why(remote: Remote, github: GitHub) -> None:
    """In dev, and where it can no longer arrive."""
    bump(remote, A)
    bump(remote, B)
    settle(remote, github)
    land(remote, changes.hold("payment-api", reason="loses transactions"))
    bump_again(remote, A)
    why = f"dev went back to {A[:12]}: loses transactions"
    assert said(remote, B) == {
        "payment-api/dev": ("failure", why),
        "payment-api/staging": ("failure", why),
    }


def bump_again(remote: Remote, tag: str) -> None:
    """Release a build of a held service, as a rollback does."""
    held = remote.file("images.yaml")
    released = remote.images()["payment-api"]
    run_git(remote.clone, "switch", "--quiet", "--detach", "origin/develop")
    (remote.clone / "images.yaml").write_text(held.replace(released, tag), encoding="utf-8")
    remotes.render(remote.clone)
    commit(remote.clone, "Roll back")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")
    run_git(remote.clone, "fetch", "--quiet")


def test_a_pin_says_why_a_build_is_not_in_staging(remote: Remote, github: GitHub) -> None:
    """Where it ran before, and where it never arrived."""
    bump(remote, A)
    promote(remote)
    settle(remote, github)
    pin(remote, "1" * 40, service="payment-api", reason="slow")
    assert said(remote, A)["payment-api/staging"] == (
        "failure",
        f"staging went back to {'1' * 12}: slow",
    )
    bump(remote, B)
    promote(remote)
    assert said(remote, B)["payment-api/staging"] == (
        "pending",
        f"staging is pinned to {'1' * 12}: slow",
    )


def test_third_parties_have_no_commit(remote: Remote, github: GitHub) -> None:
    """Nobody reads the status of a commit of Redis."""
    github.publish("7.2.17")
    bump(remote, "7.2.17", service="redis")
    assert {each.context.partition("/")[0] for each in missing(remote)} == {
        "alert-monitor",
        "payment-api",
    }


def test_a_commit_that_github_does_not_know_is_left_out(remote: Remote) -> None:
    """Each attempt to set its status would fail, at every run."""
    bump(remote, "d" * 40)
    assert said(remote, "d" * 40) == {}


def test_the_status_leads_to_the_commit_that_released_it(remote: Remote) -> None:
    """It says who, when, and from which run."""
    bump(remote, A)
    bump(remote, B, service="alert-monitor")
    [found] = [each for each in missing(remote) if each.context == "payment-api/dev"]
    assert found.target_url == f"{ADDRESS}/commit/{remote.commits()[-2]}"


def test_a_long_reason_fits(remote: Remote, github: GitHub) -> None:
    """GitHub refuses more than 140 characters."""
    bump(remote, A)
    github.report(remote.head(), "failure", description="x" * 140)
    state, description = said(remote, A)["payment-api/dev"]
    assert (state, len(description), description[-1]) == ("failure", 140, "…")
    settle(remote, github)
    assert missing(remote) == []


def test_a_private_application_is_an_error(remote: Remote) -> None:
    """GitHub answers as if there were no such repository."""
    bump(remote, A)
    with pytest.raises(CommandError, match="Could not resolve to a Repository"):
        feedback.missing(remote.clone, remote="origin", application="owner/none", address=ADDRESS)


def test_the_command_prints_an_output_of_a_step(
    remote: Remote, github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, whatever others have written."""
    github.publish(A, repository=APPLICATION.removeprefix("https://github.com/"))
    bump(remote, A)
    github.report(remote.head(), "failure", description="a\n::error::b\x1b[2K")
    monkeypatch.chdir(remote.clone)
    done = CliRunner().invoke(main, ["report"])
    assert done.exit_code == 0, done.output
    name, _, value = done.stdout.rstrip("\n").partition("=")
    assert name == "statuses"
    assert "\n" not in value
    [dev, _] = json.loads(value)
    assert set(dev) == {"commit", "context", "state", "description", "target_url"}
    assert (dev["commit"], dev["description"]) == (A, r"dev: a\n::error::b\x1b[2K")
