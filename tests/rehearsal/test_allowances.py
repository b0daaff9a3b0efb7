"""What may go through although it blocks: recorded in the messages of commits, for all to read."""

from pathlib import Path

import pytest

from delivery.rehearsal.allowances import Allowance, Line, recorded
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
    """Commit nothing but a message; the first twelve digits of the commit."""
    run_git(repository, "commit", "--quiet", "--allow-empty", "--message", message)
    return run_git(repository, "rev-parse", "HEAD")[:12]


def texts(repository: Path) -> list[str]:
    """What the lines since the base say."""
    return [line.text.strip() for line in recorded(repository, "base")]


def test_commits_since_the_base_count(repository: Path) -> None:
    """What was allowed once is not allowed for ever."""
    assert texts(repository) == []
    commit(repository, f"Move redis\n\nRehearsal-Allow: {MOVED}")
    assert texts(repository) == [MOVED]


def test_the_other_parent_of_a_merge_counts(repository: Path) -> None:
    """CI sees a pull request as its merge, whose first parent is the base."""
    run_git(repository, "switch", "--quiet", "--create", "change")
    commit(repository, f"Move redis\n\nRehearsal-Allow: {MOVED}")
    run_git(repository, "switch", "--quiet", "-")
    run_git(repository, "merge", "--quiet", "--no-ff", "--message", "Merge", "change")
    assert texts(repository) == [MOVED]


def test_a_squashed_message_counts(repository: Path) -> None:
    """It has the messages of all commits one after the other."""
    commit(repository, f"All\n\n* Move redis\n\nRehearsal-Allow: {MOVED}\n\n* More\n\nA word.")
    assert texts(repository) == [MOVED]


def test_a_message_may_have_several(repository: Path) -> None:
    """Of two environments, for example."""
    commit(repository, "Move\n\nRehearsal-Allow: dev a\nRehearsal-Allow: staging b")
    assert texts(repository) == ["dev a", "staging b"]


def test_a_word_about_it_does_not_count(repository: Path) -> None:
    """Only a line of its own does."""
    commit(repository, f"Explain\n\nWith Rehearsal-Allow: {MOVED} it would pass.")
    assert texts(repository) == []


def test_whoever_allowed_it_is_named(repository: Path) -> None:
    """The report says so to whoever asks later."""
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
def test_what_cannot_be_read_is_said(text: str) -> None:
    """A misspelt line would else look as if the rehearsal did not listen."""
    with pytest.raises(ValueError, match=r"KIND/NAME=VERDICT"):
        Line("0123456789ab", "A Person", text).read(ENVIRONMENTS)
