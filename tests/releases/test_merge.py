"""Merging branches: images.yaml by hand, dist by rendering it again."""

import subprocess
from pathlib import Path

import pytest

import remotes
from delivery.manifests import dist
from delivery.manifests.dist import Flaw
from delivery.releases import changes, landing
from delivery.releases.changes import Build
from remotes import Remote, run_git

pytestmark = pytest.mark.usefixtures("git_environment")


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """Create a remote, and a clone on the branch main."""
    remote = Remote.create(tmp_path)
    run_git(remote.clone, "switch", "--quiet", "main")
    return remote


def bump(remote: Remote, service: str, tag: str, branch: str) -> None:
    """Release a build on a branch, and fetch it."""
    change = changes.bump([Build(service=service, tag=tag)], prove=remotes.trust)
    landing.land(remote.clone, change, remote="origin", branch=branch, render=remotes.render)
    run_git(remote.clone, "fetch", "--quiet")


def merge(remote: Remote) -> int:
    """Merge the remote's develop into its main, and return Git's exit code."""
    run_git(remote.clone, "reset", "--quiet", "--hard", "origin/main")
    command = ["git", "merge", "--quiet", "--no-edit", "origin/develop"]
    return subprocess.run(command, cwd=remote.clone, check=False, capture_output=True).returncode


def flaws(remote: Remote, tmp_path: Path) -> set[Flaw]:
    """Return what `delivery check` finds in the clone."""
    fresh = tmp_path / "fresh" / "dist"
    run_git(tmp_path, "clone", "--quiet", str(remote.clone), str(fresh.parent))
    (fresh.parent / "images.yaml").write_text(
        (remote.clone / "images.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    remotes.render(fresh.parent)
    return {finding.flaw for finding in dist.prove(remote.clone, fresh)}


def test_bumps_of_two_services_merge(remote: Remote, tmp_path: Path) -> None:
    """Each branch bumped another service; the rendered dist has both."""
    bump(remote, "payment-api", "a" * 40, "develop")
    bump(remote, "redis", "7.2.17", "main")
    merge(remote)
    remotes.render(remote.clone)
    run_git(remote.clone, "add", "dist")
    run_git(remote.clone, "diff", "--quiet")
    dev = remote.clone / "dist" / "dev"
    assert "a" * 40 in (dev / "payment-api.yaml").read_text(encoding="utf-8")
    assert "redis:7.2.17" in (dev / "redis.yaml").read_text(encoding="utf-8")
    assert flaws(remote, tmp_path) == set()


def test_bumps_of_the_same_service_are_a_conflict(remote: Remote) -> None:
    """Only a person knows which of the two is right."""
    bump(remote, "redis", "7.2.20", "develop")
    bump(remote, "redis", "7.2.17", "main")
    assert merge(remote) != 0
    unmerged = run_git(remote.clone, "diff", "--name-only", "--diff-filter=U")
    assert "images.yaml" in unmerged.splitlines()


def test_a_resolved_conflict_is_rendered_again(remote: Remote, tmp_path: Path) -> None:
    """The three steps of CONTRIBUTING.md: resolve, render, add."""
    bump(remote, "redis", "7.2.20", "develop")
    bump(remote, "redis", "7.2.17", "main")
    merge(remote)
    run_git(remote.clone, "checkout", "--theirs", "images.yaml")
    run_git(remote.clone, "checkout", "--theirs", "dist")
    remotes.render(remote.clone)
    run_git(remote.clone, "add", "images.yaml", "dist")
    assert flaws(remote, tmp_path) == set()


def test_a_merge_that_kept_one_side_of_dist_is_refused(remote: Remote, tmp_path: Path) -> None:
    """Keeping one side is the quickest resolution, and wrong."""
    bump(remote, "redis", "7.2.20", "develop")
    bump(remote, "redis", "7.2.17", "main")
    merge(remote)
    run_git(remote.clone, "checkout", "--theirs", "images.yaml")
    run_git(remote.clone, "checkout", "--ours", "dist")
    run_git(remote.clone, "add", "images.yaml", "dist")
    assert flaws(remote, tmp_path) == {Flaw.STALE}


def test_an_unfinished_merge_is_refused(remote: Remote, tmp_path: Path) -> None:
    """A file in conflict is not committed, whatever its content."""
    bump(remote, "redis", "7.2.20", "develop")
    bump(remote, "redis", "7.2.17", "main")
    merge(remote)
    run_git(remote.clone, "checkout", "--theirs", "images.yaml")
    assert Flaw.UNMERGED in flaws(remote, tmp_path)
