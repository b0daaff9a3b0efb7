"""The order of builds by the application's history."""

import os
from pathlib import Path

import pytest

import remotes
from delivery.commands import CommandError
from delivery.releases.history import HistoryError, Order, order

OLD, NEW = "a" * 40, "b" * 40


pytestmark = pytest.mark.usefixtures("git_environment")


def test_a_clone_orders_its_commits(tmp_path: Path) -> None:
    """A commit is newer than its ancestors."""
    old, new = remotes.application(tmp_path / "application", 2)
    history = str(tmp_path / "application")
    assert order(history, released=old, build=new) is Order.NEWER
    assert order(history, released=new, build=old) is Order.OLDER
    assert order(history, released=new, build=new) is Order.SAME


def test_two_lines_of_history_have_no_order(tmp_path: Path) -> None:
    """A build of a side branch is not newer, however late it ran."""
    folder = tmp_path / "application"
    [start] = remotes.application(folder, 1)
    one = remotes.commit(folder, "One")
    remotes.run_git(folder, "reset", "--quiet", "--hard", start)
    other = remotes.commit(folder, "Other")
    assert order(str(folder), released=one, build=other) is Order.UNRELATED


def test_an_unknown_commit_is_reported(tmp_path: Path) -> None:
    """The clone is stale, or of the wrong repository."""
    folder = tmp_path / "application"
    [known] = remotes.application(folder, 1)
    for released, build in [(known, NEW), (NEW, known)]:
        with pytest.raises(HistoryError, match=f"application: .* no commit '{NEW}' here; fetch it"):
            order(str(folder), released=released, build=build)


def test_a_folder_outside_of_a_repository_is_reported(tmp_path: Path) -> None:
    """Fetching would not help."""
    with pytest.raises(HistoryError, match=f"{tmp_path}: .*: fatal: not a git repository"):
        order(str(tmp_path), released=OLD, build=NEW)


def test_versions_are_not_ordered_by_a_history() -> None:
    """They are not our commits; a person bumps them."""
    assert order("anything", released="7.2.0", build="7.4.0") is Order.NEWER


@pytest.mark.parametrize(
    "history",
    ["no such folder", "../application", "./application", "owner/..", "a/b/c", "--help"],
)
def test_a_history_is_a_folder_or_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, history: str
) -> None:
    """A mistyped path must not be sent to GitHub, as part of a URL."""
    fake_gh(tmp_path, monkeypatch, "echo ahead")
    with pytest.raises(HistoryError, match="give --history the application repository"):
        order(history, released=OLD, build=NEW)


def fake_gh(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a stand-in for gh on the PATH."""
    gh = folder / "gh"
    gh.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    gh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.defpath}")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("ahead", Order.NEWER),
        ("behind", Order.OLDER),
        ("identical", Order.SAME),
        ("diverged", Order.UNRELATED),
    ],
)
def test_github_orders_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, expected: Order
) -> None:
    """A workflow has no clone of the application."""
    path = f"repos/Mordris/app/compare/{OLD}...{NEW}"
    fake_gh(tmp_path, monkeypatch, f'test "$*" = "api {path} --jq .status" && echo {answer}')
    assert order("Mordris/app", released=OLD, build=NEW) is expected


def test_an_error_of_github_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong token and a wrong repository look alike otherwise."""
    fake_gh(tmp_path, monkeypatch, "echo 'gh: Not Found (HTTP 404)' >&2; exit 1")
    with pytest.raises(CommandError, match=r"repos/Mordris/app/.*: gh: Not Found \(HTTP 404\)"):
        order("Mordris/app", released=OLD, build=NEW)


def test_a_missing_gh_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the remedy."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CommandError, match="no gh on the PATH: install the GitHub CLI"):
        order("Mordris/app", released=OLD, build=NEW)
