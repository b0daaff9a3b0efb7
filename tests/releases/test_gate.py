"""Only what dev has proved is promoted, where Argo CD reports that."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from delivery.cli import main
from delivery.commands import CommandError
from delivery.manifests.applications import environments
from delivery.releases import promotion
from delivery.releases.gate import UnprovedError
from delivery.releases.record import record
from github import GitHub
from hostile import MARKUP, structure
from promoting import bump, prepare, prepare_any, promote, write
from remotes import DEV, STAGING, Remote, run_git, write_applications

REPORTING = replace(DEV, reports=True)
ONE, TWO, THREE = "a" * 40, "b" * 40, "c" * 40

pytestmark = pytest.mark.usefixtures("git_environment")


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """Create a remote whose branches develop and main are equal."""
    return Remote.create(tmp_path)


@pytest.fixture
def github(remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GitHub:
    """Put a stand-in for gh on the PATH."""
    return GitHub.of(remote, tmp_path / "gh", monkeypatch)


def release(remote: Remote, tag: str) -> str:
    """Release a build, and return the commit."""
    bump(remote, tag)
    return remote.head()


def head(remote: Remote) -> str:
    """Return the commit that is promoted."""
    return prepare(remote, REPORTING, STAGING).head


def test_the_newest_proved_commit_is_promoted(remote: Remote, github: GitHub) -> None:
    """A busy branch does not starve: its newest commit has never soaked."""
    proved, soaking = (release(remote, tag) for tag in (ONE, TWO))
    github.report(proved, "success")
    github.report(soaking, "pending")
    assert head(remote) == proved


def test_a_failed_commit_is_passed_over(remote: Remote, github: GitHub) -> None:
    """What broke dev must not ride along, and its repair must."""
    broken, repaired = (release(remote, tag) for tag in (ONE, TWO))
    github.report(broken, "failure")
    github.report(repaired, "success")
    assert head(remote) == repaired


@pytest.mark.parametrize("state", ["pending", "failure", "error"])
def test_without_a_proved_commit_there_is_no_promotion(
    remote: Remote, github: GitHub, state: str
) -> None:
    """The message says what dev reports."""
    commit = release(remote, ONE)
    github.report(commit, state, description="Synced, Degraded")
    with pytest.raises(
        UnprovedError,
        match=f"^dev has proved no commit of develop that is not promoted yet: {state} for "
        rf"{commit[:12]} \(Synced, Degraded\), reported 2026-01-02T03:04:00Z by argocd\[bot\]\.$",
    ):
        prepare_any(remote, REPORTING, STAGING)


@pytest.mark.usefixtures("github")
def test_silence_proves_nothing(remote: Remote) -> None:
    """A cluster that is down must not let everything pass."""
    release(remote, ONE)
    with pytest.raises(UnprovedError, match="promoted yet: no report yet"):
        prepare_any(remote, REPORTING, STAGING)


def test_a_promoted_commit_proves_no_newer_one(remote: Remote, github: GitHub) -> None:
    """Each release is proved by itself."""
    github.report(release(remote, ONE), "success")
    promote(remote, REPORTING, STAGING)
    release(remote, TWO)
    with pytest.raises(UnprovedError):
        prepare_any(remote, REPORTING, STAGING)


def test_the_order_of_the_commits_counts_not_that_of_the_reports(
    remote: Remote, github: GitHub
) -> None:
    """A report about an older commit may arrive after that of a newer one."""
    older, newer = (release(remote, tag) for tag in (ONE, TWO))
    github.report(newer, "success")
    github.report(older, "failure")
    assert head(remote) == newer


def test_the_newest_report_about_a_commit_counts(remote: Remote, github: GitHub) -> None:
    """What has soaked can fail an hour later."""
    older, newer = (release(remote, tag) for tag in (ONE, TWO))
    github.report(older, "success")
    github.report(newer, "success")
    github.report(newer, "failure")
    assert head(remote) == older


def test_a_commit_that_changes_nothing_in_dev_is_proved_with_the_one_before(
    remote: Remote, github: GitHub
) -> None:
    """Argo CD reports about the newest commit alone, and nothing new is running."""
    github.report(release(remote, ONE), "success")
    text = write(remote, "develop", "README.md", "A text\n")
    assert head(remote) == text


def test_a_report_about_such_a_commit_counts_for_those_before(
    remote: Remote, github: GitHub
) -> None:
    """Argo CD may have seen only the newest of them."""
    release(remote, ONE)
    text = write(remote, "develop", "README.md", "A text\n")
    github.report(text, "success")
    release(remote, TWO)
    assert head(remote) == text


def test_the_newest_report_about_the_same_manifests_counts(remote: Remote, github: GitHub) -> None:
    """What failed after a text was committed has failed."""
    github.report(release(remote, ONE), "success")
    github.report(write(remote, "develop", "README.md", "A text\n"), "failure")
    with pytest.raises(UnprovedError):
        prepare_any(remote, REPORTING, STAGING)


def test_such_a_commit_after_a_promotion_is_proved(remote: Remote, github: GitHub) -> None:
    """The promoted commit that has the same manifests is not looked for in vain."""
    github.report(release(remote, ONE), "success")
    promote(remote, REPORTING, STAGING)
    text = write(remote, "develop", "README.md", "A text\n")
    assert head(remote) == text


def test_a_revert_needs_a_proof_of_its_own(remote: Remote, github: GitHub) -> None:
    """The data of the release in between may be there still."""
    github.report(release(remote, ONE), "success")
    promote(remote, REPORTING, STAGING)
    broken = release(remote, TWO)
    github.report(broken, "failure")
    run_git(remote.clone, "fetch", "--quiet")
    run_git(remote.clone, "switch", "--quiet", "--detach", broken)
    run_git(remote.clone, "revert", "--no-edit", broken)
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")
    write(remote, "develop", "README.md", "A text\n")
    with pytest.raises(UnprovedError):
        prepare_any(remote, REPORTING, STAGING)


def test_another_environment_proves_nothing(remote: Remote, github: GitHub) -> None:
    """Each has a status of its own."""
    github.report(release(remote, ONE), "success", environment="staging")
    with pytest.raises(UnprovedError):
        prepare_any(remote, REPORTING, STAGING)


def test_an_unreachable_github_is_an_error(remote: Remote, github: GitHub) -> None:
    """It must not pass for "not proved yet", which a workflow takes for a good end."""
    release(remote, ONE)
    github.refuse("HTTP 500")
    with pytest.raises(CommandError, match="HTTP 500"):
        prepare_any(remote, REPORTING, STAGING)


def test_the_text_shows_the_proof(remote: Remote, github: GitHub) -> None:
    """A reviewer reads what dev said, when, and what is not offered yet."""
    proved = release(remote, ONE)
    release(remote, TWO)
    github.report(proved, "success")
    body = prepare(remote, REPORTING, STAGING).body
    assert re.search(
        rf"^dev reports success for {proved[:12]} \(Synced, Healthy\), "
        r"reported 2026-01-02T03:&#8203;04:00Z by argocd\\\[bot\\\]. "
        "<code>develop</code> has 1 newer commit, not proved yet.$",
        body,
        re.MULTILINE,
    )


def test_without_reports_the_text_says_so_and_the_newest_is_promoted(remote: Remote) -> None:
    """A reviewer must not take silence for a proof."""
    newest = release(remote, ONE)
    found = prepare(remote)
    assert found.head == newest
    assert "Nobody measures whether dev runs this well" in found.body


def test_a_hostile_description_stays_text(remote: Remote, github: GitHub) -> None:
    """Whoever may write here can set a status."""
    commit = release(remote, ONE)
    github.report(commit, "success")
    harmless = structure(prepare(remote, REPORTING, STAGING).body)
    github.report(commit, "success", description=" ".join(MARKUP), by=None)
    assert structure(prepare(remote, REPORTING, STAGING).body) == harmless


def declare(remote: Remote) -> None:
    """Have dev report, as the working tree declares it."""
    write_applications(remote.clone, (REPORTING, STAGING))
    assert environments(remote.clone)[0].reports


def test_the_command_fails_for_what_is_not_proved_any_more(
    remote: Remote, github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check of the pull request notices what failed after it was opened."""
    declare(remote)
    commit = release(remote, ONE)
    github.report(commit, "success")
    promoted = prepare(remote, REPORTING, STAGING).commit
    monkeypatch.chdir(remote.clone)
    proved = CliRunner().invoke(main, ["proved", promoted])
    assert (proved.exit_code, proved.output.startswith("dev reports success")) == (0, True)
    github.report(commit, "failure")
    failed = CliRunner().invoke(main, ["proved", promoted])
    assert (failed.exit_code, "failure for" in failed.output) == (1, True)


def test_an_older_proof_is_not_that_of_the_promoted_commit(
    remote: Remote, github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is merged is the promoted commit, whatever else could be promoted."""
    declare(remote)
    older, promoted = (release(remote, tag) for tag in (ONE, TWO))
    for commit in (older, promoted):
        github.report(commit, "success")
    commit = prepare(remote, REPORTING, STAGING).commit
    github.report(promoted, "failure")
    monkeypatch.chdir(remote.clone)
    failed = CliRunner().invoke(main, ["proved", commit])
    assert (failed.exit_code, promoted[:12] in failed.output) == (1, True)


def test_the_command_lets_other_commits_pass(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pin of staging and a hotfix have never been in dev."""
    declare(remote)
    monkeypatch.chdir(remote.clone)
    passed = CliRunner().invoke(main, ["proved", "origin/main"])
    assert (passed.exit_code, "nothing to prove" in passed.output) == (0, True)


def test_the_command_says_that_nothing_is_reported(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A green check without a proof must not look like one."""
    release(remote, ONE)
    promoted = prepare(remote).commit
    monkeypatch.chdir(remote.clone)
    passed = CliRunner().invoke(main, ["proved", promoted])
    assert (passed.exit_code, passed.output) == (0, "dev does not report what it has proved\n")


def test_nothing_proved_is_a_good_end_of_a_workflow(
    remote: Remote, github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each push runs it, minutes before anything can be proved."""
    declare(remote)
    github.report(release(remote, ONE), "pending")
    monkeypatch.chdir(remote.clone)
    ended = CliRunner().invoke(main, ["promote"])
    assert (ended.exit_code, "pending for" in ended.output) == (0, True)
    assert promotion.PROMOTES not in ended.output


def test_the_status_shows_what_dev_reports(
    remote: Remote, github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever released sees in a terminal whether it runs, or why not."""
    declare(remote)
    monkeypatch.chdir(remote.clone)
    assert "\ndev reports nothing on GitHub\n" in CliRunner().invoke(main, ["status"]).output
    commit = release(remote, ONE)
    github.report(commit, "failure", description="Synced, Degraded: Deployment/payment-api")
    release(remote, TWO)
    expected = (
        f"\ndev reports failure for {commit[:12]} (Synced, Degraded: Deployment/payment-api), "
        "reported 2026-01-02T03:04:00Z by argocd[bot]\n"
    )
    assert expected in CliRunner().invoke(main, ["status"]).output


def test_the_history_shows_what_was_reported(remote: Remote, github: GitHub) -> None:
    """Whoever rolls back looks for a release that ran well."""
    declare(remote)
    for tag, state in ((ONE, "success"), (TWO, "failure")):
        github.report(release(remote, tag), state)
    release(remote, THREE)
    runs = record(remote.clone, "payment-api", remote="origin")
    assert {run.image: run.report for run in runs if run.environment == "dev"} == {
        ONE: "success",
        TWO: "failure",
        THREE: None,
        "1" * 40: None,
    }
