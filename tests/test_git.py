"""Git, as functions: what it answers, and the one sentence about why it does not."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from delivery.git import GitError, file_of, git, is_ancestor, resolve
from remotes import commit, run_git

NOWHERE = "a" * 40


pytestmark = pytest.mark.usefixtures("git_environment")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """An empty repository."""
    run_git(tmp_path, "init", "--quiet", "--initial-branch=main", "repository")
    return tmp_path / "repository"


def hook(repository: Path, script: str) -> None:
    """Have the next commit end in a script."""
    path = repository / ".git" / "hooks" / "pre-commit"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def refusal(folder: Path, *arguments: str) -> str:
    """What is said where Git refuses."""
    with pytest.raises(GitError) as caught:
        git(folder, *arguments)
    return str(caught.value)


def test_an_answer_has_no_last_line_end(repository: Path) -> None:
    """It is compared with names and commits."""
    assert git(repository, "symbolic-ref", "HEAD") == "refs/heads/main"


def test_a_refusal_is_one_sentence_with_the_command(repository: Path) -> None:
    """A person reads it in a log, between others."""
    assert refusal(repository, "-c", "a.b=c", "switch", "nowhere") == (
        "git switch failed: fatal: invalid reference: nowhere."
    )


def test_a_refusal_without_a_word_says_so(repository: Path) -> None:
    """Better than half a sentence."""
    assert refusal(repository, "config", "no.such") == "git config failed: it did not say why."


def test_a_remote_speaks_for_itself(repository: Path) -> None:
    """What a server says is what matters; hints and addresses of Git's are not."""
    hook(repository, "printf 'remote: GH006: no.\\nhint: try\\nTo somewhere\\n' >&2; exit 1")
    assert refusal(repository, "commit", "--allow-empty", "-m", "x") == (
        "git commit failed: GH006: no."
    )


def test_a_long_refusal_is_cut(repository: Path) -> None:
    """A server's greeting may fill a page; the error itself keeps all of it."""
    hook(repository, "seq 9 >&2; exit 1")
    with pytest.raises(GitError, match=r"^git commit failed: 1; 2; 3; 4\.$") as caught:
        git(repository, "commit", "--allow-empty", "-m", "x")
    assert caught.value.said.split() == [str(number) for number in range(1, 10)]


def test_git_speaks_plainly_everywhere(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some answers are recognised by their text, whatever the caller's language."""
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    hook(repository, 'echo "$LC_ALL" >&2; exit 1')
    assert refusal(repository, "commit", "--allow-empty", "-m", "x") == "git commit failed: C."


def test_bytes_that_are_no_text_are_no_trouble(repository: Path) -> None:
    """A file name or an author of 1998 must not end in a trace."""
    (repository / "file").write_bytes(b"M\xfcnchen\n")
    assert file_of(repository, commit(repository, "Latin"), "file") == "M\ufffdnchen\n"


def test_an_ended_git_is_said(repository: Path) -> None:
    """Otherwise a machine without memory would look like a refusal without a word."""
    hook(repository, "kill -TERM $PPID")
    assert refusal(repository, "commit", "--allow-empty", "-m", "x") == (
        f"git commit failed: it was ended by {signal.SIGTERM.name}."
    )


def test_a_missing_git_is_said(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one of the three things that a machine must have."""
    monkeypatch.setenv("PATH", str(repository))
    assert refusal(repository, "status") == "git status failed: git: No such file or directory."


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    """Not the program is missing."""
    gone = tmp_path / "gone"
    assert refusal(gone, "status") == f"git status failed: {gone}: No such file or directory."


def test_a_folder_that_is_no_repository_is_said(tmp_path: Path) -> None:
    """Somebody downloaded an archive instead of cloning."""
    assert refusal(tmp_path, "status").startswith("git status failed: fatal: not a git repository")


def test_git_reads_nothing_of_what_is_typed(repository: Path) -> None:
    """What it could read, it could wait for."""
    script = (
        "from pathlib import Path; from delivery.git import git;"
        "print(git(Path(), 'hash-object', '--stdin'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        input="typed",
        capture_output=True,
        text=True,
        check=True,
    )
    nothing = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert done.stdout.strip() == nothing


@pytest.mark.parametrize("name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_OBJECT_DIRECTORY"])
def test_a_hooks_places_are_forgotten(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Git in a hook tells its children to work in the caller's repository."""
    made = commit(repository, "Here")
    monkeypatch.setenv(name, str(tmp_path))
    assert resolve(repository, "HEAD") == made
    assert git(repository, "rev-parse", "--show-toplevel") == str(repository)


def test_git_asks_nobody_for_a_password(repository: Path, locked_server: str) -> None:
    """In a run nobody sees the question; it would wait until the run is ended."""
    said = refusal(repository, "fetch", f"http://{locked_server}/remote.git")
    assert (
        f"could not read Username for 'http://{locked_server}': terminal prompts disabled" in said
    )


def test_a_wrong_token_is_never_repeated(repository: Path, locked_server: str) -> None:
    """Logs are read by many."""
    said = refusal(repository, "fetch", f"http://robot:secret@{locked_server}/remote.git")
    assert f"Authentication failed for 'http://{locked_server}/remote.git/'" in said
    assert "secret" not in said


def test_a_broken_credential_helper_is_said(repository: Path, locked_server: str) -> None:
    """In our workflows that is gh, without a token."""
    run_git(repository, "config", "credential.helper", "!echo no token >&2; false")
    said = refusal(repository, "fetch", f"http://{locked_server}/remote.git")
    assert said.startswith("git fetch failed: no token; fatal: could not read Username")


def test_a_revision_becomes_a_commit(repository: Path) -> None:
    """An annotated tag, too."""
    made = commit(repository, "One")
    run_git(repository, "tag", "--annotate", "--message=x", "v1")
    assert resolve(repository, "v1") == made


@pytest.mark.parametrize("revision", ["nowhere", NOWHERE, "HEAD:file"])
def test_a_revision_that_is_no_commit_is_named(repository: Path, revision: str) -> None:
    """With what to do: most often it was never fetched."""
    (repository / "file").touch()
    commit(repository, "One")
    with pytest.raises(GitError, match=f"there is no commit '{revision}' here; fetch it first"):
        resolve(repository, revision)


def test_a_revision_is_no_option(repository: Path) -> None:
    """It may come from a command line that a program wrote."""
    commit(repository, "One")
    with pytest.raises(GitError, match="there is no commit '--all'"):
        resolve(repository, "--all")


def test_where_nothing_can_be_resolved_the_reason_is_said(tmp_path: Path) -> None:
    """To fetch would not help outside of a repository."""
    with pytest.raises(GitError, match="not a git repository"):
        resolve(tmp_path, "HEAD")


def test_a_commit_is_its_own_ancestor(repository: Path) -> None:
    """What was pushed is there also if it is the newest."""
    old, new = commit(repository, "One"), commit(repository, "Two")
    assert is_ancestor(repository, old, old)
    assert is_ancestor(repository, old, new)
    assert not is_ancestor(repository, new, old)


def test_an_unknown_commit_is_nobodys_ancestor_by_mistake(repository: Path) -> None:
    """A no would be an answer; that there is none is another."""
    with pytest.raises(GitError, match="Not a valid commit name"):
        is_ancestor(repository, NOWHERE, commit(repository, "One"))
