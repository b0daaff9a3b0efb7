"""Releases under faults: rivals, kills and refusals, with real Git remotes."""

import itertools
import os
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
from delivery.releases import changes as release
from delivery.releases.changes import Build, Landing
from remotes import Remote, run_git

NEW = "a" * 40
RIVALS = 50

# One bump as a process of its own; the arguments: clone, service, tag, history or nothing.
BUMP = """\
import os, signal, sys
from pathlib import Path
import remotes
from delivery.releases import changes as release

def render(worktree):
    if "KILL_IN_RENDER" in os.environ:
        os.kill(os.getpid(), signal.SIGKILL)
    remotes.render(worktree)

clone, service, tag, history = sys.argv[1:]
change = release.bump([release.Build(service=service, tag=tag)], history=history or None)
try:
    release.land(Path(clone), change, remote="origin", branch="develop", render=render)
except release.OlderError:
    sys.exit(4)
"""

# Kills the process that runs Git at the call of that number, in the place of Git.
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
    """Nothing of whoever runs the tests."""
    for name, value in remotes.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """A remote and a clone."""
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
    change = release.bump([Build(service="payment-api", tag=tag)])
    return release.land(remote.clone, change, remote="origin", branch="develop", render=render)


def assert_whole(remote: Remote, folder: Path) -> None:
    """The history is a line, and Argo CD could apply each of its commits."""
    assert run_git(remote.bare, "rev-list", "--merges", "develop") == ""
    assert remote.inconsistent(folder) == []


@pytest.mark.timeout(300)
def test_bumps_of_different_services_all_land(remote: Remote, tmp_path: Path) -> None:
    """A push that was rejected and forgotten is a release that nobody misses for weeks."""
    services = list(remote.images(tmp_path))
    tags = [
        (service, f"{number + 1:040x}" if service in remotes.OURS else f"1.0.{number + 1}")
        for number in range(RIVALS // len(services))
        for service in services
    ]
    with ThreadPoolExecutor(len(tags)) as pool:
        done = list(pool.map(lambda tag: bump_process(remote.clone, *tag), tags))
    assert [process.stderr for process in done if process.returncode] == []
    assert len(remote.commits()) == 1 + len(tags)
    landed = run_git(remote.bare, "log", "--format=%(trailers:key=Release,valueonly)", "develop")
    assert {tuple(line.split()) for line in landed.splitlines() if line} == set(tags)
    assert_whole(remote, tmp_path)


@pytest.mark.timeout(300)
def test_the_newest_of_many_builds_wins(remote: Remote, tmp_path: Path) -> None:
    """Runs end in any order; whatever lands last must be what was built last."""
    history = tmp_path / "application"
    builds = remotes.application(history, RIVALS + 1)
    land(remote, tag=builds[0])
    clones = []
    for number in range(RIVALS):
        clones.append(tmp_path / f"clone-{number}")
        run_git(tmp_path, "clone", "--quiet", "--shared", str(remote.bare), str(clones[-1]))
    with ThreadPoolExecutor(RIVALS) as pool:
        done = list(
            pool.map(
                lambda pair: bump_process(pair[0], "payment-api", pair[1], str(history)),
                zip(clones, builds[1:], strict=True),
            )
        )
    assert {process.returncode for process in done} <= {0, 4}
    assert remote.images(tmp_path)["payment-api"] == builds[-1]
    landed = sum(process.returncode == 0 for process in done)
    assert len(remote.commits()) == 2 + landed
    assert_whole(remote, tmp_path)


@pytest.mark.timeout(300)
def test_a_killed_bump_leaves_before_or_after(remote: Remote, tmp_path: Path) -> None:
    """A runner may vanish at any point: the remote is whole, and the next run goes on."""
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
    # The last call is one that the bump no longer makes.
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
    """That is where it spends its time."""
    head = remote.head()
    killed = bump_process(remote.clone, "payment-api", NEW, KILL_IN_RENDER="1")
    assert (killed.returncode, remote.head()) == (-signal.SIGKILL, head)


def test_what_a_killed_bump_left_is_removed_by_the_next(remote: Remote) -> None:
    """Otherwise each kill would cost the disk a checkout, for ever."""
    bump_process(remote.clone, "payment-api", NEW, KILL_IN_RENDER="1")
    private = remote.clone / ".git" / "delivery"
    assert list(private.iterdir()) != []
    land(remote)
    assert list(private.iterdir()) == []


def test_a_bump_in_progress_is_left_alone(remote: Remote) -> None:
    """A neighbour must not tidy it away."""

    def render(worktree: Path) -> None:
        land(remote, tag="b" * 40)
        assert (worktree / "images.yaml").exists()
        remotes.render(worktree)

    assert land(remote, render=render).commit == remote.head()


def test_a_commit_in_between_is_kept(remote: Remote) -> None:
    """A person pushed while we rendered: theirs comes first, and ours on top of it."""
    theirs: list[str] = []

    def render(worktree: Path) -> None:
        if not theirs:
            (remote.clone / "theirs").touch()
            theirs.append(remotes.commit(remote.clone, "Theirs"))
            run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")
        remotes.render(worktree)

    landing = land(remote, render=render)
    assert landing.attempts == 2
    assert remote.commits()[-2:] == [*theirs, landing.commit]


def test_a_commit_in_between_renders_anew(remote: Remote, tmp_path: Path) -> None:
    """Rebased, our dist would show their service at its old image."""
    done: list[int] = []

    def render(worktree: Path) -> None:
        if not done:
            done.append(bump_process(remote.clone, "redis", "1.2.3").returncode)
        remotes.render(worktree)

    land(remote, render=render)
    assert "redis:1.2.3" in remote.file("dist/dev/redis.yaml")
    assert_whole(remote, tmp_path)


def test_a_branch_that_was_moved_is_not_moved_back(remote: Remote) -> None:
    """Whoever moved it by force meant it; what they removed must not return with our push."""
    removed = land(remote).commit
    moved: list[str] = []

    def render(worktree: Path) -> None:
        if not moved:
            moved.append(remote.commits()[0])
            run_git(remote.clone, "push", "--quiet", "--force", "origin", f"{moved[0]}:develop")
        remotes.render(worktree)

    landing = land(remote, render=render, tag="b" * 40)
    assert remote.commits() == [moved[0], landing.commit]
    assert removed not in remote.commits()


def test_a_push_that_the_remote_forgot_is_made_again(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job once stayed green whose push never arrived; so the remote is asked afterwards."""
    start = remote.head()
    hook = remote.bare / "hooks" / "post-update"
    # Takes the first push, and then puts the branch back.
    hook.write_text(
        "#!/bin/sh\ntest -e forgot && exit\ntouch forgot\n"
        f"git update-ref refs/heads/develop {start}\n",
        encoding="utf-8",
    )
    hook.chmod(0o755)
    monkeypatch.setattr(release, "_LONGEST_PAUSE_SECONDS", 0)
    landing = land(remote)
    assert (landing.attempts, landing.commit) == (2, remote.head())


def test_a_push_under_way_is_waited_for(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a rival's push holds the branch, nobody has moved it yet, and Git only complains."""
    monkeypatch.setattr(release, "_LONGEST_PAUSE_SECONDS", 0)
    lock = remote.bare / "refs" / "heads" / "develop.lock"
    lock.touch()
    told = []

    def report(line: str) -> None:
        told.append(line)
        if "attempt 2" in line:
            lock.unlink()

    change = release.bump([Build(service="payment-api", tag=NEW)])
    landing = release.land(
        remote.clone,
        change,
        remote="origin",
        branch="develop",
        render=remotes.render,
        report=report,
    )
    assert (landing.attempts, landing.commit) == (2, remote.head())
    assert told[3] == "origin/develop has moved: attempt 2"


def test_a_commit_on_top_of_ours_is_no_loss(remote: Remote) -> None:
    """A rival may push between our push and our look at the remote."""
    hook = remote.bare / "hooks" / "post-update"
    hook.write_text(
        "#!/bin/sh\ngit update-ref refs/heads/develop"
        ' "$(git commit-tree -p develop -m Theirs "develop^{tree}")"\n',
        encoding="utf-8",
    )
    hook.chmod(0o755)
    landing = land(remote)
    assert (landing.attempts, landing.commit) == (1, remote.commits()[-2])


def test_each_attempt_starts_clean(remote: Remote, tmp_path: Path) -> None:
    """What one left behind, ignored or not, must not be part of the next."""
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
    """Rivals that start together drift apart, but nobody sleeps for minutes."""
    pauses = []

    def random(low: float, high: float) -> float:
        pauses.append((low, high))
        return high / 2

    clock = SimpleNamespace(monotonic=itertools.count(step=attempt_seconds).__next__, slept=[])
    clock.sleep = clock.slept.append
    monkeypatch.setattr(release, "ATTEMPTS", len(longest))
    monkeypatch.setattr(release, "time", clock)
    monkeypatch.setattr(release, "random", SimpleNamespace(uniform=random))
    (remote.bare / "refs" / "heads" / "develop.lock").touch()
    with pytest.raises(release.RaceError):
        land(remote)
    assert pauses == [(0, seconds) for seconds in longest]
    assert clock.slept == [seconds / 2 for seconds in longest]


def test_others_who_are_always_first_are_told(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends, with nothing changed, and says what to do."""
    monkeypatch.setattr(release, "ATTEMPTS", 3)
    monkeypatch.setattr(release, "_LONGEST_PAUSE_SECONDS", 0)

    def render(worktree: Path) -> None:
        remotes.commit(remote.clone, "Theirs")
        run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")
        remotes.render(worktree)

    with pytest.raises(release.RaceError, match="first, 3 times"):
        land(remote, render=render)
    assert "Bump" not in run_git(remote.bare, "log", "--format=%s", "develop")


def test_there_are_many_attempts() -> None:
    """Twelve writers needed up to eleven, without a pause between them."""
    assert release.ATTEMPTS >= 30


def assert_refused(remote: Remote, sentence: str) -> None:
    """The bump fails at once with one sentence, and the remote is as before."""
    before = remote.commits()
    with pytest.raises(GitError, match=sentence) as caught:
        land(remote)
    assert "\n" not in str(caught.value)
    assert remote.commits() == before


def _hook(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{text}' >&2\nexit 1\n", encoding="utf-8")
    path.chmod(0o755)


def test_a_protected_branch_is_said(remote: Remote) -> None:
    """GitHub refuses in a hook; trying again would never help."""
    _hook(remote.bare / "hooks" / "update", "GH006: Protected branch update is blocked")
    assert_refused(remote, "git push failed: .*GH006: Protected branch update is blocked")


def test_a_hook_that_refuses_the_commit_is_said(remote: Remote) -> None:
    """The user's own rules hold for the robot, too."""
    _hook(remote.clone / ".git" / "hooks" / "commit-msg", "No commit today")
    assert_refused(remote, "git commit failed: No commit today")


def test_an_unreachable_remote_is_said(remote: Remote) -> None:
    """The name stands in the sentence."""
    run_git(remote.clone, "remote", "set-url", "origin", str(remote.bare.with_name("gone")))
    assert_refused(remote, "git fetch failed: .*gone")


@pytest.mark.parametrize("credentials", ["", "robot:wrong@"])
def test_a_wrong_token_is_said(remote: Remote, locked_server: str, credentials: str) -> None:
    """Nobody is there to answer Git's question for a password."""
    url = f"http://{credentials}{locked_server}/remote.git"
    run_git(remote.clone, "remote", "set-url", "origin", url)
    assert_refused(remote, "git fetch failed: .*(could not read|Authentication failed)")


def test_a_full_disk_is_said(remote: Remote) -> None:
    """Here a file may have no more than 100 bytes."""
    before = remote.commits()
    done = subprocess.run(
        [sys.executable, "-c", BUMP, remote.clone, "payment-api", NEW, ""],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "SIGXFSZ" in done.stderr or "File too large" in done.stderr
    assert remote.commits() == before
    assert land(remote).commit == remote.head()


def test_a_branch_that_does_not_render_stays_as_it_is(remote: Remote) -> None:
    """An image alone cannot break it, but whoever committed before may have."""
    before = remote.commits()

    def fail(_: Path) -> None:
        raise RenderError("images.yaml:3: wrong.")

    with pytest.raises(RenderError, match="wrong"):
        land(remote, render=fail)
    assert remote.commits() == before
