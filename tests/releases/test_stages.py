"""The branches on which environments are released."""

from pathlib import Path

import pytest

import remotes
from delivery.releases.stages import StagesError, fetch, stages
from remotes import Remote, run_git

pytestmark = pytest.mark.usefixtures("git_environment")


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """A remote on which the branches develop and main are alike."""
    return Remote.create(tmp_path)


def clone(remote: Remote, folder: Path, *options: str) -> Path:
    """Another clone of develop."""
    address = remote.bare.as_uri()
    run_git(folder, "clone", "--quiet", "--branch=develop", *options, address, "other")
    return folder / "other"


def test_releases_begin_in_dev(remote: Remote) -> None:
    """The order is that of a promotion."""
    assert [stage.branch for stage in stages(remote.clone)] == ["develop", "main"]


def test_a_missing_dist_is_said(tmp_path: Path) -> None:
    """To find no difference there would be a lie."""
    with pytest.raises(StagesError, match="has no Application: run `make synth`"):
        stages(tmp_path)


@pytest.mark.parametrize("text", ["<<<<<<< HEAD\nkind: a\n", "a: [", "kind: Application", "- a"])
def test_a_damaged_one_is_said(tmp_path: Path, text: str) -> None:
    """A merge leaves such files behind."""
    folder = tmp_path / "dist" / "argocd"
    folder.mkdir(parents=True)
    (folder / "a.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(StagesError, match="is damaged: run `make synth`"):
        stages(tmp_path)


def test_the_newest_commits_are_fetched(remote: Remote, tmp_path: Path) -> None:
    """In the order of the environments."""
    other = clone(remote, tmp_path)
    newest = remotes.commit(other, "Newer")
    run_git(other, "push", "--quiet", "origin", "HEAD:main")
    found = fetch(remote.clone, "origin", stages(remote.clone))
    assert found == [remote.head("develop"), newest]


def test_a_clone_of_one_branch_gets_the_others(remote: Remote, tmp_path: Path) -> None:
    """Git would fetch them and give them no name."""
    other = clone(remote, tmp_path, "--single-branch")
    assert fetch(other, "origin", stages(other)) == [remote.head("develop"), remote.head("main")]


def test_a_branch_that_was_moved_back_is_fetched(remote: Remote, tmp_path: Path) -> None:
    """What was removed is no longer released."""
    start = remote.head("main")
    other = clone(remote, tmp_path)
    remotes.commit(other, "Newer")
    run_git(other, "push", "--quiet", "origin", "HEAD:main")
    fetch(remote.clone, "origin", stages(remote.clone))
    run_git(other, "push", "--quiet", "--force", "origin", f"{start}:main")
    assert fetch(remote.clone, "origin", stages(remote.clone))[-1] == start


def test_nothing_else_is_fetched(remote: Remote, tmp_path: Path) -> None:
    """To look at the remote must not change more of the clone than it needs."""
    other = clone(remote, tmp_path)
    remotes.commit(other, "Newer")
    run_git(other, "tag", "v1")
    run_git(other, "push", "--quiet", "origin", "HEAD:main", "v1", "HEAD:other")
    fetch(remote.clone, "origin", stages(remote.clone))
    names = run_git(remote.clone, "for-each-ref", "--format=%(refname)").split()
    assert names == [
        "refs/heads/develop",
        "refs/remotes/origin/develop",
        "refs/remotes/origin/main",
    ]


def test_a_shallow_clone_is_refused(remote: Remote, tmp_path: Path) -> None:
    """Its history would say that nothing was ever released."""
    other = clone(remote, tmp_path, "--depth=1")
    with pytest.raises(StagesError, match="run `git fetch --unshallow origin`"):
        fetch(other, "origin", stages(other))
