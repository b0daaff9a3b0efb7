"""Allowances in commit messages: which lines count, and what they allow."""

from pathlib import Path

import pytest

from delivery.rehearsal.allowances import Allowance, AllowanceError, Line, recorded
from delivery.rehearsal.verdicts import Verdict
from remotes import run_git

ENVIRONMENTS = ("dev", "staging")
MOVED = "staging StatefulSet/redis=data-at-risk it was moved"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit, tagged `base`."""
    run_git(tmp_path, "init", "--quiet")
    commit(tmp_path, "Base\n\nRehearsal-Allow: staging StatefulSet/redis=data-at-risk long ago")
    run_git(tmp_path, "tag", "base")
    return tmp_path


def commit(repository: Path, message: str) -> str:
    """Make an empty commit; return the first twelve digits of its hash."""
    run_git(repository, "commit", "--quiet", "--allow-empty", "--message", message)
    return run_git(repository, "rev-parse", "HEAD")[:12]


def texts(repository: Path) -> list[str]:
    """Return the texts of the lines since the base."""
    return [line.text.strip() for line in recorded(repository, "base")]


def test_commits_since_the_base_count(repository: Path) -> None:
    """An old allowance was for another change."""
    assert texts(repository) == []
    commit(repository, f"Move redis\n\nRehearsal-Allow: {MOVED}")
    assert texts(repository) == [MOVED]


def test_the_other_parent_of_a_merge_counts(repository: Path) -> None:
    """CI checks out a pull request as a merge whose first parent is the base."""
    run_git(repository, "switch", "--quiet", "--create", "change")
    commit(repository, f"Move redis\n\nRehearsal-Allow: {MOVED}")
    run_git(repository, "switch", "--quiet", "-")
    run_git(repository, "merge", "--quiet", "--no-ff", "--message", "Merge", "change")
    assert texts(repository) == [MOVED]


def test_a_squashed_message_counts(repository: Path) -> None:
    """GitHub joins the messages of all commits, so the line is not among the trailers."""
    commit(repository, f"All\n\n* Move redis\n\nRehearsal-Allow: {MOVED}\n\n* More\n\nA word.")
    assert texts(repository) == [MOVED]


def test_a_message_may_have_several(repository: Path) -> None:
    """A change may need one for each environment."""
    commit(repository, "Move\n\nRehearsal-Allow: dev a\nRehearsal-Allow: staging b")
    assert texts(repository) == ["dev a", "staging b"]


def test_a_mention_in_a_sentence_does_not_count(repository: Path) -> None:
    """Whoever explains the keyword allows nothing."""
    commit(repository, f"Explain\n\nWith Rehearsal-Allow: {MOVED} it would pass.")
    assert texts(repository) == []


@pytest.mark.parametrize(
    "trailer",
    ["Service: redis", "Release: redis 7.2.16", "Pin: staging redis 7.2.16", "Unpin: a b"],
)
def test_a_change_of_images_allows_nothing(repository: Path, trailer: str) -> None:
    """Its message quotes a reason that no reviewer took for an allowance."""
    commit(repository, f"Hold redis\n\nRehearsal-Allow: {MOVED}\n\n{trailer}")
    assert texts(repository) == []


def test_the_reason_names_author_and_commit(repository: Path) -> None:
    """A reviewer may want to ask the author."""
    made = commit(repository, f"Move redis\n\nRehearsal-Allow: {MOVED}")
    [line] = recorded(repository, "base")
    assert line.read(ENVIRONMENTS) == (
        "staging",
        Allowance(
            kind="StatefulSet",
            name="redis",
            verdict=Verdict.DATA_AT_RISK,
            reason=f"it was moved (A Person, {made})",
        ),
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "staging",
        "staging StatefulSet/redis=data-at-risk",
        "StatefulSet/redis=data-at-risk it was moved",
        "production StatefulSet/redis=data-at-risk it was moved",
        "staging StatefulSet=data-at-risk it was moved",
        "staging StatefulSet/redis=pruned it was moved",
    ],
)
def test_a_malformed_line_is_an_error(text: str) -> None:
    """Its author would otherwise wonder why the verdict still blocks."""
    with pytest.raises(AllowanceError, match=r"KIND/NAME=VERDICT"):
        Line("0123456789ab", "A Person", text).read(ENVIRONMENTS)
