"""Conflicts in images.yaml between people, as CONTRIBUTING.md resolves them."""

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import remotes
from delivery.cli import main
from delivery.manifests import dist
from delivery.releases import changes
from delivery.releases.images import images_of
from promoting import bump, land, write
from remotes import Remote, run_git

pytestmark = pytest.mark.usefixtures("git_environment")


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Remote:
    """Create a remote with a bump, and a branch `work` from before it."""
    remote = Remote.create(tmp_path)
    run_git(remote.bare, "branch", "work", "develop")
    bump(remote, "7.2.18", service="redis")
    monkeypatch.chdir(remote.clone)
    monkeypatch.setattr(dist, "synthesize", remotes.render)
    return remote


def merge(remote: Remote) -> None:
    """Merge develop into the branch, which stops at a conflict."""
    run_git(remote.clone, "switch", "--quiet", "--force-create", "work", "origin/work")
    command = ["git", "merge", "--quiet", "origin/develop"]
    assert subprocess.run(command, cwd=remote.clone, check=False, capture_output=True).returncode


def resolve(*options: str) -> Result:
    """Run the command in the clone."""
    return CliRunner().invoke(main, ["resolve", *options])


def test_fields_that_one_side_changed_are_merged(remote: Remote) -> None:
    """A hold and a bump are on neighboring lines; both are meant."""
    land(remote, changes.hold("redis", reason="slow"), "work")
    merge(remote)
    assert resolve().exit_code == 0
    run_git(remote.clone, "commit", "--quiet", "--no-edit")
    release = images_of(remote.clone, "HEAD").services["redis"]
    assert (release.image.tag, release.hold) == ("7.2.18", "slow")
    remotes.render(remote.clone)
    assert run_git(remote.clone, "status", "--porcelain") == ""


def test_comments_and_order_of_our_side_stay(remote: Remote) -> None:
    """It is a file that people write."""
    land(remote, changes.hold("redis", reason="slow"), "work")
    merge(remote)
    resolve()
    expected = remote.file("images.yaml", "work").replace("7.2.16", "7.2.18")
    assert (remote.clone / "images.yaml").read_text(encoding="utf-8") == f"{expected}\n"


@pytest.mark.parametrize(("side", "tag"), [("ours", "7.2.17"), ("theirs", "7.2.18")])
def test_a_field_that_both_sides_changed_is_a_persons_to_decide(
    remote: Remote, side: str, tag: str
) -> None:
    """Nobody else knows which release is right."""
    bump(remote, "7.2.17", "work", service="redis")
    merge(remote)
    before = (remote.clone / "images.yaml").read_bytes()
    refused = resolve()
    assert refused.exit_code == 2
    assert refused.stderr == (
        "Error: Both sides changed redis.tag: decide with `delivery resolve --prefer ours`"
        " or `--prefer theirs`.\n"
    )
    assert (remote.clone / "images.yaml").read_bytes() == before
    assert resolve("--prefer", side).exit_code == 0
    assert images_of(remote.clone).services["redis"].image.tag == tag


def test_other_conflicts_come_first(remote: Remote) -> None:
    """What they mean decides what is rendered."""
    write(remote, "develop", "code.py", "x = 1\n")
    write(remote, "work", "code.py", "x = 2\n")
    land(remote, changes.hold("redis", reason="slow"), "work")
    merge(remote)
    assert resolve().stderr == "Error: Resolve code.py first, and `git add` them.\n"


def test_without_a_conflict_nothing_happens(remote: Remote) -> None:
    """The command is only for a merge that stopped."""
    before = run_git(remote.clone, "status", "--porcelain")
    assert resolve().exit_code == 2
    assert run_git(remote.clone, "status", "--porcelain") == before
