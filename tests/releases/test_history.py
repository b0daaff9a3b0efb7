"""The order of builds, by the application's history."""

import os
from pathlib import Path

import pytest

import remotes
from delivery.releases.history import HistoryError, Order, order

OLD, NEW = "a" * 40, "b" * 40


pytestmark = pytest.mark.usefixtures("git_environment")


def test_a_clone_orders_its_commits(tmp_path: Path) -> None:
    """A commit is newer than all that it is built on."""
    old, new = remotes.application(tmp_path / "application", 2)
    history = str(tmp_path / "application")
    assert order(history, recorded=old, build=new) is Order.NEWER
    assert order(history, recorded=new, build=old) is Order.OLDER
    assert order(history, recorded=new, build=new) is Order.SAME


def test_two_lines_of_history_have_no_order(tmp_path: Path) -> None:
    """A build of a side branch is not newer, whenever it ran."""
    folder = tmp_path / "application"
    [start] = remotes.application(folder, 1)
    one = remotes.commit(folder, "One")
    remotes.run_git(folder, "reset", "--quiet", "--hard", start)
    other = remotes.commit(folder, "Other")
    assert order(str(folder), recorded=one, build=other) is Order.UNRELATED


def test_an_unknown_commit_is_named(tmp_path: Path) -> None:
    """The clone is stale, or it is the wrong one."""
    folder = tmp_path / "application"
    [known] = remotes.application(folder, 1)
    for recorded, build in [(known, NEW), (NEW, known)]:
        with pytest.raises(HistoryError, match=f"application .* no commit '{NEW}' here; fetch it"):
            order(str(folder), recorded=recorded, build=build)


def test_a_folder_that_is_no_repository_is_said(tmp_path: Path) -> None:
    """To fetch would not help."""
    with pytest.raises(HistoryError, match=f"{tmp_path} .*: fatal: not a git repository"):
        order(str(tmp_path), recorded=OLD, build=NEW)


def test_versions_are_not_ordered_by_a_history() -> None:
    """They are not commits of ours; a person bumps them."""
    assert order("anything", recorded="7.2.0", build="7.4.0") is Order.NEWER


@pytest.mark.parametrize(
    "history",
    ["no such folder", "../application", "./application", "owner/..", "a/b/c", "--help"],
)
def test_a_history_is_a_folder_or_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, history: str
) -> None:
    """A path that is mistyped is none on GitHub, whose address it would leave."""
    fake_gh(tmp_path, monkeypatch, "echo ahead")
    with pytest.raises(HistoryError, match="give --history the application repository"):
        order(history, recorded=OLD, build=NEW)


def fake_gh(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a gh of ours on the path."""
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
def test_github_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, expected: Order
) -> None:
    """A runner has no clone of the application."""
    path = f"repos/Mordris/app/compare/{OLD}...{NEW}"
    fake_gh(tmp_path, monkeypatch, f'test "$*" = "api {path} --jq .status" && echo {answer}')
    assert order("Mordris/app", recorded=OLD, build=NEW) is expected


def test_a_refusal_of_github_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong token and a wrong repository look alike otherwise."""
    fake_gh(tmp_path, monkeypatch, "echo 'gh: Not Found (HTTP 404)' >&2; exit 1")
    with pytest.raises(HistoryError, match=r"in Mordris/app: gh: Not Found \(HTTP 404\)"):
        order("Mordris/app", recorded=OLD, build=NEW)


def test_a_missing_gh_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are two ways out."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HistoryError, match="install it, or give --history a local clone"):
        order("Mordris/app", recorded=OLD, build=NEW)
