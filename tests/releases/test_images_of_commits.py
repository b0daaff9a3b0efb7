"""What a commit releases."""

from pathlib import Path

import pytest

from delivery.git import GitError
from delivery.releases.images import images_of
from delivery.text import short
from fraud_detection.images import Image, ImagesError, Pin, Release
from remotes import commit, run_git

TEXT = """\
ledger:
  repository: r.test/ledger
  tag: 7.20
  hold: slow
  pins:
    test:
      tag: "7.1.0"
      reason: leaks
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """An empty repository."""
    run_git(tmp_path, "init", "--quiet")
    return tmp_path


def write(repository: Path, text: str) -> str:
    """Commit an images.yaml."""
    (repository / "images.yaml").write_text(text, encoding="utf-8")
    return commit(repository, "Images")


def test_a_service_that_our_code_does_not_know_is_read(repository: Path) -> None:
    """The other branch may have one more, or one less."""
    found = images_of(repository, write(repository, TEXT))
    assert found.services == {
        "ledger": Release(
            image=Image(repository="r.test/ledger", tag="7.20"),
            hold="slow",
            pins={"test": Pin(tag="7.1.0", reason="leaks")},
        )
    }


def test_the_working_tree_is_read(repository: Path) -> None:
    """Where no commit is named."""
    write(repository, "")
    (repository / "images.yaml").write_text(TEXT, encoding="utf-8")
    assert list(images_of(repository).services) == ["ledger"]


@pytest.mark.parametrize(
    "text", ["a: [", "", "a: b", "a:\n  tag: b", "- a", TEXT + "      rea: b"], ids=str
)
def test_a_wrong_one_is_said(repository: Path, text: str) -> None:
    """With the commit, for it may be on a branch that nobody has checked out."""
    wrong = write(repository, text)
    with pytest.raises(ImagesError, match=f"images.yaml of {wrong} is wrong: run `make synth`"):
        images_of(repository, wrong)


def test_a_missing_one_is_said(repository: Path) -> None:
    """By Git."""
    with pytest.raises(GitError, match=r"images\.yaml"):
        images_of(repository, commit(repository, "Nothing"))


@pytest.mark.parametrize(
    ("tag", "shown"),
    [
        ("a" * 40, "a" * 12),
        ("7.2.16-bookworm", "7.2.16-bookworm"),
        (f"1.0.0@sha256:{'b' * 64}", f"1.0.0@sha256:{'b' * 12}"),
    ],
    ids=["commit", "version", "digest"],
)
def test_a_tag_is_shortened_where_its_beginning_is_enough(tag: str, shown: str) -> None:
    """A version has nothing to spare."""
    assert short(tag) == shown
