"""What a branch released, and when."""

from pathlib import Path

import pytest

from delivery.releases.timeline import timeline, unpromoted
from fraud_detection.platform.image import Image
from promoting import bump, write
from remotes import Remote, run_git

pytestmark = pytest.mark.usefixtures("git_environment")


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """Create a remote whose branches develop and main are equal."""
    return Remote.create(tmp_path)


def image(letter: str) -> Image:
    """Return a build of payment-api."""
    return Image(repository="registry.test/payment-api", tag=letter * 40)


def commits(remote: Remote, found: Image | None) -> list[str]:
    """Return the commits that released what is newer than an image."""
    states = timeline(remote.clone, "origin/develop")
    return [state.commit for state in unpromoted(states, "payment-api", found)]


def test_releases_after_an_image_are_found(remote: Remote) -> None:
    """Also one that goes back to an earlier build; the newest is first."""
    heads = []
    for letter in "abab":
        bump(remote, letter * 40)
        heads.append(remote.head())
        bump(remote, "7.2.17" if letter == "a" else "7.2.18", service="redis")
    assert commits(remote, image("b")) == []
    assert commits(remote, image("a")) == [heads[3]]
    assert commits(remote, image("1")) == heads[::-1]


def test_an_image_that_was_never_released_is_older_than_all(remote: Remote) -> None:
    """A service that the target does not know is one such case."""
    bump(remote, "a" * 40)
    assert len(commits(remote, image("c"))) == len(commits(remote, None)) == 2


def test_a_merged_bump_counts_where_it_landed(remote: Remote) -> None:
    """Under the rulesets a bump by hand is a pull request, which may wait for days."""
    run_git(remote.bare, "branch", "bump", "develop")
    bump(remote, "a" * 40, "bump")
    run_git(remote.clone, "switch", "--quiet", "--detach", "origin/develop")
    run_git(remote.clone, "merge", "--quiet", "--no-ff", "--no-edit", "origin/bump")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")
    assert commits(remote, image("1")) == [remote.head()]


def test_a_damaged_state_is_left_out(remote: Remote) -> None:
    """A commit that was repaired long ago must not hide the history."""
    good = remote.file("images.yaml")
    write(remote, "develop", "images.yaml", "<<<<<<< HEAD\n")
    write(remote, "develop", "images.yaml", good)
    bump(remote, "a" * 40)
    assert commits(remote, image("1")) == [remote.head()]
