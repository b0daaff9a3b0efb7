"""The releases of any commit."""

from pathlib import Path

import pytest

from delivery.git import GitError
from delivery.releases.images import images_of
from fraud_detection.images import ImagesError, Pin, Release
from fraud_detection.platform.image import Image
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


def test_a_service_that_only_the_commit_knows_is_read(repository: Path) -> None:
    """Another branch may have one service more, or one less."""
    found = images_of(repository, write(repository, TEXT))
    assert found.services == {
        "ledger": Release(
            image=Image(repository="r.test/ledger", tag="7.20"),
            hold="slow",
            pins={"test": Pin(tag="7.1.0", reason="leaks")},
        )
    }


def test_the_working_tree_is_read(repository: Path) -> None:
    """It is the default."""
    write(repository, "")
    (repository / "images.yaml").write_text(TEXT, encoding="utf-8")
    assert list(images_of(repository).services) == ["ledger"]


@pytest.mark.parametrize(
    "text", ["a: [", "", "a: b", "a:\n  tag: b", "- a", TEXT + "      rea: b"], ids=str
)
def test_a_wrong_images_yaml_is_reported(repository: Path, text: str) -> None:
    """With the commit, which may be on a branch that is not checked out."""
    wrong = write(repository, text)
    with pytest.raises(ImagesError, match=f"images.yaml of {wrong} is wrong: run `make synth`"):
        images_of(repository, wrong)


def test_a_missing_images_yaml_is_reported(repository: Path) -> None:
    """With the file, in Git's own words."""
    with pytest.raises(GitError, match=r"images\.yaml"):
        images_of(repository, commit(repository, "Nothing"))
