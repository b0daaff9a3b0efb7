"""Git as functions: the output, or one sentence about the failure."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from delivery.git import GitError, file_of, git, is_ancestor, lacks_branch, resolve
from remotes import commit, run_git

NOWHERE = "a" * 40


pytestmark = pytest.mark.usefixtures("git_environment")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """An empty repository."""
    run_git(tmp_path, "init", "--quiet", "--initial-branch=main", "repository")
    return tmp_path / "repository"


def hook(repository: Path, script: str) -> None:
    """Run a script in the next commit."""
    path = repository / ".git" / "hooks" / "pre-commit"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def failure(folder: Path, *arguments: str) -> str:
    """Return the message of a Git command that fails."""
    with pytest.raises(GitError) as caught:
        git(folder, *arguments)
    return str(caught.value)


def test_the_output_has_no_final_newline(repository: Path) -> None:
    """Callers compare it with names and commits."""
    assert git(repository, "symbolic-ref", "HEAD") == "refs/heads/main"


def test_a_failure_is_one_sentence_with_the_command(repository: Path) -> None:
    """People read it in a log, among other lines."""
    assert failure(repository, "-c", "a.b=c", "switch", "nowhere") == (
        "git switch failed: fatal: invalid reference: nowhere."
    )


def test_a_silent_failure_is_a_whole_sentence(repository: Path) -> None:
    """Some commands fail without a message."""
    assert failure(repository, "config", "no.such") == "git config failed: no error message."


def test_only_the_message_of_a_remote_is_shown(repository: Path) -> None:
    """Git surrounds it with hints and addresses."""
    hook(repository, "printf 'remote: GH006: no.\\nhint: try\\nTo somewhere\\n' >&2; exit 1")
    assert failure(repository, "commit", "--allow-empty", "-m", "x") == (
        "git commit failed: GH006: no."
    )


def test_a_long_message_is_truncated(repository: Path) -> None:
    """A server's greeting may fill a page; the error keeps it for callers that search it."""
    hook(repository, "seq 9 >&2; exit 1")
    with pytest.raises(GitError, match=r"^git commit failed: 1; 2; 3; 4\.$") as caught:
        git(repository, "commit", "--allow-empty", "-m", "x")
    assert caught.value.output.split() == [str(number) for number in range(1, 10)]


def test_git_speaks_english(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some errors are recognized by their text."""
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    hook(repository, 'echo "$LC_ALL" >&2; exit 1')
    assert failure(repository, "commit", "--allow-empty", "-m", "x") == "git commit failed: C."


def test_output_that_is_not_utf8_is_accepted(repository: Path) -> None:
    """An old file name or author must not end in a traceback."""
    (repository / "file").write_bytes(b"M\xfcnchen\n")
    assert file_of(repository, commit(repository, "Latin"), "file") == "M\ufffdnchen\n"


def test_a_killed_git_is_reported(repository: Path) -> None:
    """A machine without memory would look like a silent failure."""
    hook(repository, "kill -TERM $PPID")
    assert failure(repository, "commit", "--allow-empty", "-m", "x") == (
        f"git commit failed: killed by {signal.SIGTERM.name}."
    )


def test_a_missing_git_is_reported(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git is one of the three programs that a machine must have."""
    monkeypatch.setenv("PATH", str(repository))
    assert failure(repository, "status") == (
        "git status failed: there is no git on the PATH; install Git."
    )


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    """It must not look as if Git was missing."""
    gone = tmp_path / "gone"
    assert failure(gone, "status") == f"git status failed: {gone}: No such file or directory."


def test_a_folder_outside_of_a_repository_is_reported(tmp_path: Path) -> None:
    """People download archives instead of cloning."""
    assert failure(tmp_path, "status").startswith("git status failed: fatal: not a git repository")


def test_git_has_no_standard_input(repository: Path) -> None:
    """It would wait for input that never comes."""
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
def test_the_locations_of_a_hook_are_ignored(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """In a hook, Git's variables point to the caller's repository."""
    made = commit(repository, "Here")
    monkeypatch.setenv(name, str(tmp_path))
    assert resolve(repository, "HEAD") == made
    assert git(repository, "rev-parse", "--show-toplevel") == str(repository)


@pytest.mark.parametrize("name", ["GIT_TRACE", "GIT_TRACE2", "GIT_TRACE_SETUP"])
def test_a_trace_is_not_part_of_a_message(
    repository: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Its first lines would take the place of the reason."""
    monkeypatch.setenv(name, "1")
    assert failure(repository, "switch", "nowhere") == (
        "git switch failed: fatal: invalid reference: nowhere."
    )


def test_a_trace_of_the_configuration_is_not_part_of_a_message(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git reads this setting before its command line."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    run_git(tmp_path, "config", "--file", "gitconfig", "trace2.normalTarget", "2")
    assert failure(repository, "switch", "nowhere") == (
        "git switch failed: fatal: invalid reference: nowhere."
    )


def test_a_local_replacement_of_a_commit_is_ignored(repository: Path) -> None:
    """Nobody else has it, and it is never shown."""
    (repository / "file").write_text("one\n", encoding="utf-8")
    old = commit(repository, "One")
    (repository / "file").write_text("two\n", encoding="utf-8")
    new = commit(repository, "Two")
    run_git(repository, "replace", old, new)
    assert file_of(repository, old, "file") == "one\n"


def test_a_local_graft_is_ignored(repository: Path) -> None:
    """It is the older way to change history on one machine."""
    old, new = commit(repository, "One"), commit(repository, "Two")
    (repository / ".git" / "info").mkdir(exist_ok=True)
    (repository / ".git" / "info" / "grafts").write_text(f"{new}\n", encoding="utf-8")
    assert is_ancestor(repository, old, new)


def test_access_to_remotes_is_that_of_the_user(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials, proxies and SSH are settings that only the user knows."""
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\necho "ssh $*" >&2; exit 1\n', encoding="utf-8")
    ssh.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(ssh))
    run_git(repository, "config", "url.ssh://other.test/.insteadOf", "https://git.test/")
    assert "ssh -o SendEnv=GIT_PROTOCOL other.test" in failure(
        repository, "fetch", "https://git.test/a.git"
    )


def test_git_never_asks_for_a_password(repository: Path, locked_server: str) -> None:
    """In a workflow nobody sees the question; it would wait until the run is canceled."""
    message = failure(repository, "fetch", f"http://{locked_server}/remote.git")
    assert f"could not read Username for 'http://{locked_server}': terminal prompts" in message


def test_a_token_never_appears_in_a_message(repository: Path, locked_server: str) -> None:
    """Many people read logs."""
    message = failure(repository, "fetch", f"http://robot:secret@{locked_server}/remote.git")
    assert f"Authentication failed for 'http://{locked_server}/remote.git/'" in message
    assert "secret" not in message


def test_a_broken_credential_helper_is_reported(repository: Path, locked_server: str) -> None:
    """In our workflows that is gh without a token."""
    run_git(repository, "config", "credential.helper", "!echo no token >&2; false")
    message = failure(repository, "fetch", f"http://{locked_server}/remote.git")
    assert message.startswith("git fetch failed: no token; fatal: could not read Username")


def test_a_revision_becomes_a_commit(repository: Path) -> None:
    """Also an annotated tag."""
    made = commit(repository, "One")
    run_git(repository, "tag", "--annotate", "--message=x", "v1")
    assert resolve(repository, "v1") == made


@pytest.mark.parametrize("revision", ["nowhere", NOWHERE, "HEAD:file"])
def test_an_unknown_revision_is_reported(repository: Path, revision: str) -> None:
    """With the remedy: most often it was never fetched."""
    (repository / "file").touch()
    commit(repository, "One")
    with pytest.raises(GitError, match=f"there is no commit '{revision}' here; fetch it first"):
        resolve(repository, revision)


def test_a_revision_is_not_an_option(repository: Path) -> None:
    """A program may have written the command line."""
    commit(repository, "One")
    with pytest.raises(GitError, match="there is no commit '--all'"):
        resolve(repository, "--all")


def test_outside_of_a_repository_the_real_cause_is_reported(tmp_path: Path) -> None:
    """Fetching would not help there."""
    with pytest.raises(GitError, match="not a git repository"):
        resolve(tmp_path, "HEAD")


def test_a_commit_is_its_own_ancestor(repository: Path) -> None:
    """A pushed commit is on the branch also while it is the newest."""
    old, new = commit(repository, "One"), commit(repository, "Two")
    assert is_ancestor(repository, old, old)
    assert is_ancestor(repository, old, new)
    assert not is_ancestor(repository, new, old)


def test_no_with_a_warning_is_still_no(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git also writes warnings and traces to standard error."""
    old, new = commit(repository, "One"), commit(repository, "Two")
    warning = tmp_path / "bin" / "git"
    warning.parent.mkdir()
    warning.write_text(f'#!/bin/sh\necho warning >&2\nexec {shutil.which("git")} "$@"\n', "utf-8")
    warning.chmod(0o755)
    monkeypatch.setenv("PATH", str(warning.parent), prepend=os.pathsep)
    assert not is_ancestor(repository, new, old)
    with pytest.raises(GitError, match="there is no commit 'nowhere' here"):
        resolve(repository, "nowhere")


def test_an_unknown_commit_has_no_answer(repository: Path) -> None:
    """False would be an answer."""
    with pytest.raises(GitError, match="Not a valid commit name"):
        is_ancestor(repository, NOWHERE, commit(repository, "One"))


def test_a_branch_that_nobody_pushed_does_not_exist_yet(repository: Path, tmp_path: Path) -> None:
    """An environment is declared before its branch is made."""
    commit(repository, "One")
    run_git(tmp_path, "clone", "--quiet", "--single-branch", str(repository), "clone")
    run_git(repository, "branch", "unfetched")
    assert lacks_branch(tmp_path / "clone", "origin", "production")
    assert not lacks_branch(tmp_path / "clone", "origin", "main")
    assert not lacks_branch(tmp_path / "clone", "origin", "unfetched")


def test_without_an_answer_a_branch_may_exist(repository: Path) -> None:
    """A remote that is down must not make everything look new."""
    assert not lacks_branch(repository, str(repository / "nowhere"), "main")


def test_a_password_in_an_address_is_never_shown(repository: Path) -> None:
    """Git repeats the address in some of its errors, and so do ours about a silent remote."""
    with pytest.raises(GitError) as caught:
        git(repository, "fetch", "--", "https://robot:s3@cret@127.0.0.1:1/remote.git")
    for shown in (str(caught.value), caught.value.output):
        assert "127.0.0.1:1/remote.git" in shown
        assert "cret" not in shown
