"""Pull requests on GitHub, and which of them a promotion changes."""

from pathlib import Path

import pytest

import remotes
from delivery.commands import CommandError
from delivery.git import GitError
from delivery.releases import changes, landing, promotion, pull_request
from delivery.releases.changes import Build
from github import GitHub
from remotes import DEV, STAGING, Remote, run_git

pytestmark = pytest.mark.usefixtures("git_environment")


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """Create a remote whose branches develop and main are equal."""
    return Remote.create(tmp_path)


@pytest.fixture(autouse=True)
def github(remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GitHub:
    """Put a stand-in for GitHub on the PATH."""
    return GitHub.of(remote, tmp_path / "bin", monkeypatch)


def bump(remote: Remote, letter: str) -> None:
    """Release a build of payment-api on develop."""
    build = Build(service="payment-api", tag=letter * 40)
    change = changes.bump([build], prove=remotes.trust)
    landing.land(remote.clone, change, remote="origin", branch="develop", render=remotes.render)


def pin(remote: Remote) -> None:
    """Pin redis in staging, on main."""
    build = Build(service="redis", tag="7.2.17")
    change = changes.pin(build, "staging", reason="leaks", prove=remotes.trust)
    landing.land(remote.clone, change, remote="origin", branch="main", render=remotes.render)


def propose(remote: Remote, *, refresh: bool = False) -> str:
    """Propose the promotion to staging, and return what was done."""
    found = promotion.prepare(remote.clone, DEV, STAGING, remote="origin", render=remotes.render)
    assert found is not None
    return promotion.propose(remote.clone, found, remote="origin", refresh=refresh)


def parents(remote: Remote) -> list[str]:
    """Return the parents of what is offered."""
    return run_git(remote.bare, "log", "-1", "--format=%P", "promote/staging").split()


def test_it_is_opened_from_a_branch_of_its_own(remote: Remote, github: GitHub) -> None:
    """What is reviewed is one commit, which no push to develop changes."""
    bump(remote, "a")
    assert propose(remote) == "Opened https://github.test/pull/7"
    [pull] = github.pulls
    assert (pull["head"], pull["base"], pull["title"]) == (
        "promote/staging",
        "main",
        "Promote develop to main",
    )
    assert parents(remote) == [remote.head("main"), remote.head()]


def test_an_open_one_is_refreshed(remote: Remote, github: GitHub) -> None:
    """GitHub refuses a second one for the same branches."""
    bump(remote, "a")
    propose(remote)
    bump(remote, "b")
    assert propose(remote) == "Updated https://github.test/pull/7"
    assert "b" * 12 in github.pulls[0]["body"]
    assert parents(remote)[1] == remote.head()


def test_an_approved_one_stays_as_it_is(remote: Remote, github: GitHub) -> None:
    """A reviewer must get what they have read."""
    bump(remote, "a")
    propose(remote)
    github.review("APPROVED", "COMMENTED")
    before = remote.head("promote/staging"), github.pulls
    bump(remote, "b")
    assert propose(remote) == (
        "https://github.test/pull/7 is approved and stays as it is; develop has 1 newer commit,"
        " which --refresh would add"
    )
    assert (remote.head("promote/staging"), github.pulls) == before


def test_an_approved_one_is_refreshed_on_purpose(remote: Remote, github: GitHub) -> None:
    """A newer release may be more urgent than a finished review."""
    bump(remote, "a")
    propose(remote)
    github.review("APPROVED")
    bump(remote, "b")
    assert propose(remote, refresh=True) == "Updated https://github.test/pull/7"
    assert parents(remote)[1] == remote.head()


def test_an_approved_one_follows_its_target(remote: Remote, github: GitHub) -> None:
    """A pin on main would otherwise make it unmergeable, or be undone."""
    bump(remote, "a")
    propose(remote)
    github.review("APPROVED")
    pin(remote)
    assert propose(remote) == "Updated https://github.test/pull/7"
    assert parents(remote)[0] == remote.head("main")


def empty(remote: Remote, *, refresh: bool = False) -> str | None:
    """Take back on develop what was proposed, and return what is done about it."""
    run_git(remote.clone, "fetch", "--quiet")
    run_git(remote.clone, "switch", "--quiet", "--detach", "origin/develop")
    run_git(remote.clone, "revert", "--no-edit", "HEAD")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")
    assert (
        promotion.prepare(remote.clone, DEV, STAGING, remote="origin", render=remotes.render)
        is None
    )
    return promotion.withdraw(remote.clone, STAGING, refresh=refresh)


def test_one_that_has_become_empty_is_closed(remote: Remote, github: GitHub) -> None:
    """Its merge would bring to staging what dev has taken back."""
    bump(remote, "a")
    propose(remote)
    assert empty(remote) == "Closed https://github.test/pull/7"
    assert not github.pulls[0]["open"]
    assert promotion.withdraw(remote.clone, STAGING) is None


def test_an_approved_one_is_closed_on_purpose_alone(remote: Remote, github: GitHub) -> None:
    """Whoever approved it decides."""
    bump(remote, "a")
    propose(remote)
    github.review("APPROVED")
    assert empty(remote) == (
        "https://github.test/pull/7 is approved and stays as it is; --refresh would close it"
    )
    assert github.pulls[0]["open"]
    assert promotion.withdraw(remote.clone, STAGING, refresh=True) == (
        "Closed https://github.test/pull/7"
    )


@pytest.mark.parametrize(
    ("states", "association"),
    [
        (("APPROVED", "CHANGES_REQUESTED"), "MEMBER"),
        (("APPROVED", "DISMISSED"), "MEMBER"),
        (("COMMENTED",), "MEMBER"),
        (("APPROVED",), "NONE"),
    ],
    ids=["taken-back", "dismissed", "comment", "stranger"],
)
def test_only_an_approval_in_force_counts(
    remote: Remote, github: GitHub, states: tuple[str, ...], association: str
) -> None:
    """Anybody may review a public repository: a stranger could stop every promotion."""
    bump(remote, "a")
    propose(remote)
    github.review(*states, association=association)
    bump(remote, "b")
    assert propose(remote) == "Updated https://github.test/pull/7"


def test_the_next_one_follows_the_merge(remote: Remote, github: GitHub) -> None:
    """Nobody has to close, delete or rebase anything."""
    bump(remote, "a")
    propose(remote)
    bump(remote, "b")
    landed = github.merge(remote.clone, 7)
    assert propose(remote) == "Opened https://github.test/pull/8"
    assert parents(remote) == [landed, remote.head()]


def test_a_branch_that_was_pushed_meanwhile_is_not_overwritten(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two runs at once, the one with the older commit must not be the last."""
    bump(remote, "a")
    propose(remote)
    newer = remote.head()
    bump(remote, "b")

    def is_approved(*_: object) -> bool:
        run_git(remote.bare, "update-ref", "refs/heads/promote/staging", newer)
        return False

    monkeypatch.setattr(pull_request, "is_approved", is_approved)
    with pytest.raises(GitError, match="stale info"):
        propose(remote)
    assert remote.head("promote/staging") == newer


def test_an_error_of_gh_is_quoted(remote: Remote, github: GitHub) -> None:
    """Only gh knows the cause: no login, no network, no permission."""
    bump(remote, "a")
    github.refuse("To get started, run:\n  gh auth login\n")
    with pytest.raises(CommandError, match=r"(?s)`gh api .*` failed: To .* gh auth login"):
        propose(remote)


def test_a_missing_gh_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the remedy."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CommandError, match="no gh on the PATH: install the GitHub CLI"):
        pull_request.find(tmp_path, head="promote/staging", base="main")
