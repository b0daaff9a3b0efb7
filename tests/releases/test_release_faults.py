"""Releases under faults: concurrent pushes, kills, refusals and broken machines."""

import ctypes
import itertools
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

import remotes
from delivery.git import GitError
from delivery.manifests.dist import RenderError
from delivery.releases import changes, landing
from delivery.releases.changes import Build
from delivery.releases.landing import Landing
from fraud_detection.images import COMMIT
from remotes import Remote, run_git

NEW = "a" * 40

rivals = pytest.mark.parametrize(
    # Fifty keep two processors busy for half a minute.
    "rivals",
    [6, pytest.param(50, marks=pytest.mark.confirmation)],
)

# A bump as a process of its own; its arguments: clone, service, tag, history or empty.
BUMP = """\
import os, signal, sys
from pathlib import Path
import remotes
from delivery.releases import changes, landing

def render(worktree):
    if "KILL_IN_RENDER" in os.environ:
        os.kill(os.getpid(), signal.SIGKILL)
    remotes.render(worktree)

changes.SERVICES = landing.SERVICES = remotes.SERVICES
clone, service, tag, history = sys.argv[1:]
build = changes.Build(service=service, tag=tag)
change = changes.bump([build], prove=remotes.trust, history=history or None)
try:
    landing.land(Path(clone), change, remote="origin", branch="develop", render=render)
except changes.OlderError:
    sys.exit(4)
"""

# A command as a process of its own.
COMMAND = """\
import remotes
from delivery.cli import main
from delivery.releases import changes, landing

changes.SERVICES = landing.SERVICES = remotes.SERVICES
main()
"""

# A stand-in for Git that kills its caller instead of the Git call with a certain number.
KILLER = """\
#!/bin/sh
echo . >> "$KILL_COUNT"
if [ "$(wc -l < "$KILL_COUNT")" -eq "$KILL_AT" ]; then
    kill -KILL $PPID
    exit 1
fi
exec "$REAL_GIT" "$@"
"""


@pytest.fixture(autouse=True)
def git_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Isolate Git from the user's settings, also in child processes."""
    for name, value in remotes.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """Create a remote and a clone."""
    return Remote.create(tmp_path)


def bump_process(
    clone: Path, service: str, tag: str, history: str = "", **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Bump in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", BUMP, clone, service, tag, history],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def land(
    remote: Remote, *, render: Callable[[Path], object] = remotes.render, tag: str = NEW
) -> Landing:
    """Bump in this process."""
    change = changes.bump([Build(service="payment-api", tag=tag)], prove=remotes.trust)
    return landing.land(remote.clone, change, remote="origin", branch="develop", render=render)


def assert_whole(remote: Remote, folder: Path) -> None:
    """Assert that the history is linear, and that each of its commits is consistent."""
    assert run_git(remote.bare, "rev-list", "--merges", "develop") == ""
    assert remote.inconsistent(folder) == []


@pytest.mark.timeout(300)
@rivals
def test_bumps_of_different_services_all_land(remote: Remote, tmp_path: Path, rivals: int) -> None:
    """Nobody might notice a lost bump for weeks."""
    tags = [
        (service, f"{number + 1:040x}" if rule is COMMIT else f"7.2.{number + 100}")
        for number in range(rivals // len(remotes.SERVICES))
        for service, rule in remotes.SERVICES.items()
    ]
    with ThreadPoolExecutor(len(tags)) as pool:
        done = list(pool.map(lambda tag: bump_process(remote.clone, *tag), tags))
    assert [process.stderr for process in done if process.returncode] == []
    assert len(remote.commits()) == 1 + len(tags)
    landed = run_git(remote.bare, "log", "--format=%(trailers:key=Release,valueonly)", "develop")
    assert {tuple(line.split()) for line in landed.splitlines() if line} == set(tags)
    assert_whole(remote, tmp_path)


@pytest.mark.timeout(300)
@rivals
def test_the_newest_of_many_builds_wins(remote: Remote, tmp_path: Path, rivals: int) -> None:
    """Workflow runs end in any order, but the last build must be released in the end."""
    history = tmp_path / "application"
    builds = remotes.application(history, rivals + 1)
    land(remote, tag=builds[0])
    clones = []
    for number in range(rivals):
        clones.append(tmp_path / f"clone-{number}")
        run_git(tmp_path, "clone", "--quiet", "--shared", str(remote.bare), str(clones[-1]))
    with ThreadPoolExecutor(rivals) as pool:
        done = list(
            pool.map(
                lambda pair: bump_process(pair[0], "payment-api", pair[1], str(history)),
                zip(clones, builds[1:], strict=True),
            )
        )
    assert {process.returncode for process in done} <= {0, 4}
    assert remote.images()["payment-api"] == builds[-1]
    landed = sum(process.returncode == 0 for process in done)
    assert len(remote.commits()) == 2 + landed
    assert_whole(remote, tmp_path)


@pytest.mark.timeout(300)
def test_a_killed_bump_leaves_the_old_or_the_new_state(remote: Remote, tmp_path: Path) -> None:
    """A runner may vanish at any point; the remote must be whole, and the next run land."""
    killer = tmp_path / "bin" / "git"
    killer.parent.mkdir()
    killer.write_text(KILLER, encoding="utf-8")
    killer.chmod(0o755)
    count = tmp_path / "count"
    environment = {
        "PATH": f"{killer.parent}{os.pathsep}{os.environ['PATH']}",
        "REAL_GIT": str(shutil.which("git")),
        "KILL_COUNT": str(count),
    }
    # The last number is higher than the number of calls.
    for call in itertools.count(1):
        count.write_text("", encoding="utf-8")
        tag, before = f"{call:040x}", remote.commits()
        killed = bump_process(remote.clone, "payment-api", tag, KILL_AT=str(call), **environment)
        now = remote.commits()
        assert now[: len(before)] == before
        assert len(now) - len(before) in {0, 1}
        land(remote, tag=tag)
        assert len(remote.commits()) == len(before) + 1
        if killed.returncode == 0:
            break
        assert killed.returncode == -signal.SIGKILL
    assert call > len(("fetch", "reset", "diff", "add", "commit", "push", "fetch"))
    assert_whole(remote, tmp_path)


def test_a_bump_killed_while_it_renders_leaves_nothing(remote: Remote) -> None:
    """A bump spends most of its time there."""
    head = remote.head()
    killed = bump_process(remote.clone, "payment-api", NEW, KILL_IN_RENDER="1")
    assert (killed.returncode, remote.head()) == (-signal.SIGKILL, head)


def test_what_a_killed_bump_left_is_removed_by_the_next(remote: Remote) -> None:
    """Otherwise every kill would fill the disk with another checkout."""
    bump_process(remote.clone, "payment-api", NEW, KILL_IN_RENDER="1")
    private = remote.clone / ".git" / "delivery"
    assert list(private.iterdir()) != []
    land(remote)
    assert list(private.iterdir()) == []


def test_a_bump_in_progress_is_left_alone(remote: Remote) -> None:
    """Another bump must not remove its repository."""

    def render(worktree: Path) -> None:
        land(remote, tag="b" * 40)
        assert (worktree / "images.yaml").exists()
        remotes.render(worktree)

    assert land(remote, render=render).commit == remote.head()


def test_a_commit_in_between_is_kept(remote: Remote) -> None:
    """A person pushed during the render: our commit goes on top of theirs."""
    theirs: list[str] = []

    def render(worktree: Path) -> None:
        if not theirs:
            (remote.clone / "theirs").touch()
            theirs.append(remotes.commit(remote.clone, "Theirs"))
            run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")
        remotes.render(worktree)

    landed = land(remote, render=render)
    assert landed.attempts == 2
    assert remote.commits()[-2:] == [*theirs, landed.commit]


def test_a_commit_in_between_is_rendered(remote: Remote, tmp_path: Path) -> None:
    """A rebased dist would have the old image of their service."""
    done: list[int] = []

    def render(worktree: Path) -> None:
        if not done:
            done.append(bump_process(remote.clone, "redis", "7.2.21").returncode)
        remotes.render(worktree)

    land(remote, render=render)
    assert "redis:7.2.21" in remote.file("dist/dev/redis.yaml")
    assert_whole(remote, tmp_path)


def test_a_branch_that_was_moved_is_not_moved_back(remote: Remote) -> None:
    """Commits that somebody has removed by force must not return with our push."""
    removed = land(remote).commit
    moved: list[str] = []

    def render(worktree: Path) -> None:
        if not moved:
            moved.append(remote.commits()[0])
            run_git(remote.clone, "push", "--quiet", "--force", "origin", f"{moved[0]}:develop")
        remotes.render(worktree)

    landed = land(remote, render=render, tag="b" * 40)
    assert remote.commits() == [moved[0], landed.commit]
    assert removed not in remote.commits()


def test_a_push_that_the_remote_lost_is_repeated(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A workflow once stayed green although its push never arrived."""
    start = remote.head()
    hook = remote.bare / "hooks" / "post-update"
    # Accepts the first push, and then resets the branch.
    hook.write_text(
        "#!/bin/sh\ntest -e forgot && exit\ntouch forgot\n"
        f"git update-ref refs/heads/develop {start}\n",
        encoding="utf-8",
    )
    hook.chmod(0o755)
    monkeypatch.setattr(landing, "_LONGEST_PAUSE_SECONDS", 0)
    landed = land(remote)
    assert (landed.attempts, landed.commit) == (2, remote.head())


def test_a_concurrent_push_is_awaited(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another push locks the branch, Git fails although the branch has not moved."""
    monkeypatch.setattr(landing, "_LONGEST_PAUSE_SECONDS", 0)
    lock = remote.bare / "refs" / "heads" / "develop.lock"
    lock.touch()
    steps = []

    def report(line: str) -> None:
        steps.append(line)
        if "attempt 2" in line:
            lock.unlink()

    change = changes.bump([Build(service="payment-api", tag=NEW)], prove=remotes.trust)
    landed = landing.land(
        remote.clone,
        change,
        remote="origin",
        branch="develop",
        render=remotes.render,
        report=report,
    )
    assert (landed.attempts, landed.commit) == (2, remote.head())
    assert steps[3] == "origin/develop has moved: attempt 2"


def test_a_commit_on_top_of_ours_is_a_success(remote: Remote) -> None:
    """Others may push between our push and our check of the remote."""
    hook = remote.bare / "hooks" / "post-update"
    hook.write_text(
        "#!/bin/sh\ngit update-ref refs/heads/develop"
        ' "$(git commit-tree -p develop -m Theirs "develop^{tree}")"\n',
        encoding="utf-8",
    )
    hook.chmod(0o755)
    landed = land(remote)
    assert (landed.attempts, landed.commit) == (1, remote.commits()[-2])


def test_each_attempt_starts_clean(remote: Remote, tmp_path: Path) -> None:
    """Files of one attempt, ignored or not, must not be part of the next."""
    (tmp_path / "ignored").write_text("*.pyc\n", encoding="utf-8")
    run_git(remote.clone, "config", "core.excludesFile", str(tmp_path / "ignored"))
    found = []

    def render(worktree: Path) -> None:
        found.append(sorted(path.name for path in worktree.glob("left*")))
        (worktree / "left.pyc").touch()
        (worktree / "left.yaml").touch()
        if len(found) == 1:
            remotes.commit(remote.clone, "Theirs")
            run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")
        remotes.render(worktree)

    land(remote, render=render)
    assert found == [[], []]


@pytest.mark.parametrize(
    ("attempt_seconds", "longest"),
    [(1, [2, 4, 8, 16, 16]), (4, [8, 16, 20, 20, 20])],
    ids=["quick", "slow"],
)
def test_pauses_grow_and_end(
    remote: Remote, monkeypatch: pytest.MonkeyPatch, attempt_seconds: int, longest: list[int]
) -> None:
    """Concurrent bumps have to drift apart, but nobody should wait for minutes."""
    pauses = []

    def random(low: float, high: float) -> float:
        pauses.append((low, high))
        return high / 2

    clock = SimpleNamespace(monotonic=itertools.count(step=attempt_seconds).__next__, slept=[])
    clock.sleep = clock.slept.append
    monkeypatch.setattr(landing, "ATTEMPTS", len(longest))
    monkeypatch.setattr(landing, "time", clock)
    monkeypatch.setattr(landing, "random", SimpleNamespace(uniform=random))
    (remote.bare / "refs" / "heads" / "develop.lock").touch()
    with pytest.raises(landing.RaceError):
        land(remote)
    assert pauses == [(0, seconds) for seconds in longest]
    assert clock.slept == [seconds / 2 for seconds in longest]


def test_a_lost_race_ends_with_an_error(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing changed, and with the remedy."""
    monkeypatch.setattr(landing, "ATTEMPTS", 3)
    monkeypatch.setattr(landing, "_LONGEST_PAUSE_SECONDS", 0)

    def render(worktree: Path) -> None:
        remotes.commit(remote.clone, "Theirs")
        run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")
        remotes.render(worktree)

    with pytest.raises(landing.RaceError, match="first on 3 attempts"):
        land(remote, render=render)
    assert "Bump" not in run_git(remote.bare, "log", "--format=%s", "develop")


def test_there_are_many_attempts() -> None:
    """Twelve concurrent bumps took up to eleven attempts, without pauses."""
    assert landing.ATTEMPTS >= 30


def assert_refused(remote: Remote, sentence: str) -> None:
    """Assert that a bump fails at once with one sentence, and without a change."""
    before = remote.commits()
    with pytest.raises(GitError, match=sentence) as caught:
        land(remote)
    assert "\n" not in str(caught.value)
    assert remote.commits() == before


def _hook(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{text}' >&2\nexit 1\n", encoding="utf-8")
    path.chmod(0o755)


def test_a_protected_branch_is_reported(remote: Remote) -> None:
    """GitHub refuses in a hook; another attempt would never help."""
    _hook(remote.bare / "hooks" / "update", "GH006: Protected branch update is blocked")
    assert_refused(remote, "git push failed: .*GH006: Protected branch update is blocked")


def test_a_hook_that_refuses_the_commit_is_reported(remote: Remote) -> None:
    """The user's own rules apply to the robot, too."""
    _hook(remote.clone / ".git" / "hooks" / "commit-msg", "No commit today")
    assert_refused(remote, "git commit failed: No commit today")


def test_an_unreachable_remote_is_reported(remote: Remote) -> None:
    """With its address."""
    run_git(remote.clone, "remote", "set-url", "origin", str(remote.bare.with_name("gone")))
    assert_refused(remote, "git fetch failed: .*gone")


@pytest.mark.parametrize("credentials", ["", "robot:wrong@"])
def test_a_wrong_token_is_reported(remote: Remote, locked_server: str, credentials: str) -> None:
    """Git must not wait for a password."""
    url = f"http://{credentials}{locked_server}/remote.git"
    run_git(remote.clone, "remote", "set-url", "origin", url)
    assert_refused(remote, "git fetch failed: .*(could not read|Authentication failed)")


def test_a_password_is_never_printed(remote: Remote, locked_server: str) -> None:
    """The log of a workflow is public, and a terminal is shared in a call."""
    address = f"http://robot:s3cret@{locked_server}/remote.git"
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "hold", "redis", "--reason=slow", f"--remote={address}"],
        cwd=remote.clone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert f"fetch http://{locked_server}/remote.git/develop\n" in done.stderr
    assert "s3cret" not in done.stderr


def limit_file_size() -> None:
    """Allow no file of more than 100 bytes, as a stand-in for a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))


def obey_permissions() -> None:
    """Drop root's capability to write read-only files; other users do not have it."""
    drop_from_bounding_set, override_file_permissions = 24, 1
    ctypes.CDLL(None).prctl(drop_from_bounding_set, override_file_permissions)


def assert_command_fails(
    remote: Remote, sentence: str, *, prepare: Callable[[], object] | None = None, path: str = ""
) -> None:
    """Assert that `delivery hold` exits with 2 and one sentence, and changes nothing."""
    before = remote.commits()
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "hold", "redis", "--reason=slow"],
        cwd=remote.clone,
        preexec_fn=prepare,
        env={**os.environ, "PATH": path or os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    [error] = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert done.stderr.endswith(f"{error}\n")
    assert re.search(sentence, error)
    assert (done.returncode, remote.commits()) == (2, before)


def test_a_full_disk_is_reported(remote: Remote) -> None:
    """Once there is space, the same bump lands."""
    # Git is killed by the signal; our own write fails with the error.
    assert_command_fails(remote, "SIGXFSZ|File too large", prepare=limit_file_size)
    assert land(remote).commit == remote.head()


def test_a_read_only_repository_is_reported(remote: Remote) -> None:
    """Some checkouts belong to another user."""
    git = remote.clone / ".git"
    git.chmod(0o555)
    assert_command_fails(
        remote, f"Permission denied: {git / 'delivery'}$", prepare=obey_permissions
    )
    git.chmod(0o755)


def test_a_read_only_checkout_can_bump(remote: Remote) -> None:
    """A bump writes only below `.git`."""
    remote.clone.chmod(0o555)
    done = subprocess.run(
        [sys.executable, "-c", BUMP, remote.clone, "payment-api", NEW, ""],
        preexec_fn=obey_permissions,
        capture_output=True,
        text=True,
        check=False,
    )
    remote.clone.chmod(0o755)
    assert (done.returncode, done.stderr) == (0, "")
    assert NEW in remote.file("images.yaml")


def test_a_missing_git_is_reported(remote: Remote, tmp_path: Path) -> None:
    """With the remedy."""
    assert_command_fails(remote, "there is no git on the PATH; install Git", path=str(tmp_path))


def test_a_branch_that_does_not_render_stays_as_it_is(remote: Remote) -> None:
    """An image alone cannot break it, but an earlier commit may have."""
    before = remote.commits()

    def fail(_: Path) -> None:
        raise RenderError("images.yaml:3: wrong.")

    with pytest.raises(RenderError, match="wrong"):
        land(remote, render=fail)
    assert remote.commits() == before
