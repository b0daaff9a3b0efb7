"""Where a change lands if the remote has rules, as GitHub's rulesets are."""

from pathlib import Path

import pytest

import remotes
from delivery.git import GitError
from delivery.releases import changes, landing
from delivery.releases.changes import ReleaseError
from delivery.releases.landing import Landing
from github import GitHub
from remotes import Remote, run_git

RULES = """\
#!/bin/sh
case $1 in
refs/heads/develop | refs/heads/main) ;;
*) exit 0 ;;
esac
echo "error: GH013: Repository rule violations found for $1." >&2
echo "- Changes must be made through a pull request." >&2
exit 1
"""
"""Answers as our rulesets do to everybody but the App."""

pytestmark = pytest.mark.usefixtures("git_environment")


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """Create a remote that takes pull requests only."""
    remote = Remote.create(tmp_path)
    hook = remote.bare / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(RULES, encoding="utf-8")
    hook.chmod(0o755)
    return remote


@pytest.fixture(autouse=True)
def github(remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GitHub:
    """Put a stand-in for GitHub on the PATH."""
    return GitHub.of(remote, tmp_path / "bin", monkeypatch)


def land(remote: Remote, branch: str = "develop", *, propose: bool = False) -> Landing:
    """Hold redis."""
    return landing.land(
        remote.clone,
        changes.hold("redis", reason="slow *always*"),
        remote="origin",
        branch=branch,
        propose=propose,
        render=remotes.render,
    )


def test_a_refused_push_becomes_a_pull_request(remote: Remote, github: GitHub) -> None:
    """Under the rulesets nobody could hold a service, or roll one back."""
    before = remote.head()
    landed = land(remote)
    assert landed.proposed == "https://github.test/pull/7"
    [pull] = github.pulls
    assert pull == {
        "number": 7,
        "open": True,
        "head": f"hold/redis-{str(landed.commit)[:7]}",
        "base": "develop",
        "title": "Hold redis",
        "body": "slow \\*always\\*",
    }
    assert remote.head(pull["head"]) == landed.commit
    assert remote.head() == before


def test_a_branch_with_reviews_is_never_pushed_to(remote: Remote, github: GitHub) -> None:
    """Not even by somebody whom the rules would let pass."""
    (remote.bare / "hooks" / "update").unlink()
    before = remote.head("main")
    land(remote, "main", propose=True)
    assert github.pulls[0]["base"] == "main"
    assert remote.head("main") == before


def test_without_the_rules_it_is_pushed(remote: Remote, github: GitHub) -> None:
    """The App may."""
    (remote.bare / "hooks" / "update").unlink()
    landed = land(remote)
    assert (landed.proposed, landed.commit) == (None, remote.head())
    assert github.pulls == []


def test_a_pull_request_that_cannot_be_opened_is_the_persons_to_open(
    remote: Remote, github: GitHub
) -> None:
    """The commit is on the remote, so nothing has to be typed again."""
    github.refuse("To get started, run: gh auth login")
    with pytest.raises(
        ReleaseError,
        match=r"^develop takes pull requests only: open one from the branch hold/redis-\w{7}, which"
        r" was pushed; it could not be opened here: To get started",
    ) as caught:
        land(remote)
    assert "\n" not in str(caught.value)
    assert "hold/redis-" in run_git(remote.bare, "branch")


def test_a_remote_that_fails_is_no_rule(remote: Remote, github: GitHub) -> None:
    """A broken connection is to be repeated, not to be reviewed."""
    hook = remote.clone / ".git" / "hooks" / "pre-push"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    hook.chmod(0o755)
    with pytest.raises(GitError, match="git push failed"):
        land(remote)
    assert github.pulls == []
