"""The chain of environments and its branches."""

from pathlib import Path

import pytest

import remotes
from delivery.git import GitError
from delivery.releases.chain import ChainError, fetch, lacking
from promoting import bump, promote
from remotes import DEV, PRODUCTION, STAGING, Remote, run_git

pytestmark = pytest.mark.usefixtures("git_environment")


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """Create a remote whose branches develop and main are equal."""
    return Remote.create(tmp_path)


def clone(remote: Remote, folder: Path, *options: str) -> Path:
    """Create another clone of develop."""
    address = remote.bare.as_uri()
    run_git(folder, "clone", "--quiet", "--branch=develop", *options, address, "other")
    return folder / "other"


def test_the_newest_commits_are_fetched(remote: Remote, tmp_path: Path) -> None:
    """By branch, so that none is taken for another."""
    other = clone(remote, tmp_path)
    newest = remotes.commit(other, "Newer")
    run_git(other, "push", "--quiet", "origin", "HEAD:main")
    found = fetch(remote.clone, "origin", [DEV, STAGING])
    assert found == {"develop": remote.head("develop"), "main": newest}


def test_a_clone_of_one_branch_gets_the_others(remote: Remote, tmp_path: Path) -> None:
    """Git would not store them in remote-tracking branches."""
    other = clone(remote, tmp_path, "--single-branch")
    found = fetch(other, "origin", [DEV, STAGING])
    assert found == {"develop": remote.head("develop"), "main": remote.head("main")}


def test_a_branch_that_was_moved_back_is_fetched(remote: Remote, tmp_path: Path) -> None:
    """Removed commits are no longer released."""
    start = remote.head("main")
    other = clone(remote, tmp_path)
    remotes.commit(other, "Newer")
    run_git(other, "push", "--quiet", "origin", "HEAD:main")
    fetch(remote.clone, "origin", [DEV, STAGING])
    run_git(other, "push", "--quiet", "--force", "origin", f"{start}:main")
    assert fetch(remote.clone, "origin", [STAGING]) == {"main": start}


def test_a_branch_that_does_not_exist_is_left_out(remote: Remote) -> None:
    """A new environment must not stop the others."""
    found = fetch(remote.clone, "origin", [DEV, STAGING, PRODUCTION])
    assert set(found) == {"develop", "main"}


def test_only_the_exact_branch_counts(remote: Remote) -> None:
    """Git also lists branches whose name ends alike."""
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:refs/heads/old/refs/heads/production")
    assert fetch(remote.clone, "origin", [PRODUCTION]) == {}


def test_an_unreachable_remote_is_reported(remote: Remote) -> None:
    """It must not look like a remote without branches."""
    run_git(remote.clone, "remote", "set-url", "origin", str(remote.bare.with_name("gone")))
    with pytest.raises(GitError, match=r"^git ls-remote failed: .*gone"):
        fetch(remote.clone, "origin", [DEV])


def test_nothing_else_is_fetched(remote: Remote, tmp_path: Path) -> None:
    """Reading the remote must change as little of the clone as possible."""
    other = clone(remote, tmp_path)
    remotes.commit(other, "Newer")
    run_git(other, "tag", "v1")
    run_git(other, "push", "--quiet", "origin", "HEAD:main", "v1", "HEAD:other")
    fetch(remote.clone, "origin", [DEV, STAGING])
    names = run_git(remote.clone, "for-each-ref", "--format=%(refname)").split()
    assert names == [
        "refs/heads/develop",
        "refs/remotes/origin/develop",
        "refs/remotes/origin/main",
    ]


def test_a_shallow_clone_is_refused(remote: Remote, tmp_path: Path) -> None:
    """Its history has no earlier releases."""
    other = clone(remote, tmp_path, "--depth=1")
    with pytest.raises(ChainError, match="run `git fetch --unshallow origin`"):
        fetch(other, "origin", [DEV])


def test_a_checkout_is_compared_with_the_branch_that_it_began_from(remote: Remote) -> None:
    """The promotions that only main has are not work of others that develop lacks."""
    bump(remote, "3" * 40)
    promote(remote)
    for letter in "45":
        bump(remote, letter * 40)
    for start, expected in (
        ("origin/develop", ("origin/develop", 0)),
        ("origin/develop~1", ("origin/develop", 1)),
        ("origin/main", ("origin/main", 0)),
    ):
        run_git(remote.clone, "switch", "--quiet", "--detach", start)
        remotes.commit(remote.clone, "Mine")
        assert lacking(remote.clone, "origin", [DEV, STAGING]) == expected


def test_without_anything_fetched_nothing_is_lacking(tmp_path: Path) -> None:
    """A first commit has no remote yet."""
    run_git(tmp_path, "init", "--quiet")
    assert lacking(tmp_path, "origin", [DEV, STAGING]) == ("", 0)


def test_a_remote_may_be_an_address(remote: Remote) -> None:
    """Every command says so of --remote; nothing is written to the clone's own branches."""
    before = run_git(remote.clone, "for-each-ref")
    assert fetch(remote.clone, str(remote.bare), [DEV, STAGING]) == {
        "develop": remote.head(),
        "main": remote.head("main"),
    }
    assert run_git(remote.clone, "for-each-ref") == before
