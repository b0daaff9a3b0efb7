"""Releases: what lands on the branch, and what is left alone."""

from collections.abc import Mapping
from pathlib import Path

import pytest

import remotes
from delivery import release
from delivery.git import GitError
from delivery.release import Build, Landing
from delivery.sandbox import sandbox
from fraud_detection.images import ImagesError
from remotes import Remote, run_git

NEW = "a" * 40
DIGEST = f"sha256:{'b' * 64}"


@pytest.fixture(autouse=True)
def git_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of whoever runs the tests."""
    for name, value in remotes.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """A remote and a clone."""
    return Remote.create(tmp_path)


def land(remote: Remote, change: release.Change, *, branch: str = "develop") -> Landing:
    """Land a change from the clone."""
    return release.land(remote.clone, change, remote="origin", branch=branch, render=remotes.render)


def bump(*builds: Build) -> release.Change:
    """A bump without a history."""
    return release.bump(builds or [Build(service="payment-api", tag=NEW, digest=DIGEST)])


def test_a_bump_lands_with_its_dist(remote: Remote) -> None:
    """Argo CD applies dist, not images.yaml: both arrive in one commit."""
    landing = land(remote, bump())
    assert landing.commit == remote.head()
    assert f"payment-api:{NEW}@{DIGEST}" in remote.file("dist/dev/payment-api.yaml")
    assert f"payment-api:{NEW}@{DIGEST}" in remote.file("dist/staging/payment-api.yaml")


def test_a_bump_changes_one_service(remote: Remote, tmp_path: Path) -> None:
    """The others keep what they run."""
    before = remote.images(tmp_path)
    land(remote, bump())
    assert remote.images(tmp_path) == {**before, "payment-api": NEW}


def test_the_commit_names_what_it_releases(remote: Remote) -> None:
    """A machine reads it from the trailers, long after the run that made it is gone."""
    build = Build(service="payment-api", tag=NEW, digest=DIGEST)
    land(remote, release.bump([build], source_run="https://ci.test/runs/1"))
    trailers = run_git(remote.bare, "log", "-1", "--format=%(trailers:unfold)", "develop")
    assert trailers.splitlines() == [
        f"Release: payment-api {NEW}@{DIGEST}",
        "Source-Run: https://ci.test/runs/1",
    ]
    subject = run_git(remote.bare, "log", "-1", "--format=%s", "develop")
    assert subject == f"Bump payment-api to {NEW[:12]}"


def test_several_services_are_one_commit(remote: Remote) -> None:
    """Two services that need each other's new version must not meet the old one."""
    builds = [Build(service=name, tag=NEW) for name in ("payment-api", "alert-monitor")]
    land(remote, bump(*builds))
    assert len(remote.commits()) == 2
    assert remote.file("images.yaml").count(NEW) == 2


def test_the_same_image_again_is_no_commit(remote: Remote) -> None:
    """A repeated run must not make a second one."""
    land(remote, bump())
    assert land(remote, bump()).commit is None
    assert len(remote.commits()) == 2


def test_a_repeated_bump_keeps_the_digest(remote: Remote) -> None:
    """Who repeats it by hand seldom types the digest."""
    land(remote, bump())
    assert land(remote, bump(Build(service="payment-api", tag=NEW))).commit is None


def test_a_new_tag_never_inherits_a_digest(remote: Remote) -> None:
    """It would name the old image under the new tag."""
    land(remote, bump())
    land(remote, bump(Build(service="payment-api", tag="c" * 40)))
    assert DIGEST not in remote.file("images.yaml")


def test_a_held_service_is_not_bumped(remote: Remote) -> None:
    """Somebody stopped it, and says why."""
    land(remote, release.hold("payment-api", reason="loses transactions"))
    head = remote.head()
    with pytest.raises(release.HeldError, match=r"^payment-api is held: loses transactions$"):
        land(remote, bump())
    assert remote.head() == head


def test_one_held_service_stops_the_whole_call(remote: Remote) -> None:
    """Half of what belongs together must not land."""
    land(remote, release.hold("redis", reason="slow"))
    head = remote.head()
    with pytest.raises(release.HeldError):
        land(
            remote, bump(Build(service="payment-api", tag=NEW), Build(service="redis", tag="7.4.1"))
        )
    assert remote.head() == head


def test_a_released_service_is_bumped_again(remote: Remote) -> None:
    """The hold leaves no trace but the commits."""
    before = remote.file("images.yaml")
    land(remote, release.hold("payment-api", reason="loses transactions"))
    land(remote, release.release("payment-api", reason="mended"))
    assert remote.file("images.yaml") == before
    assert "mended" in run_git(remote.bare, "log", "-1", "--format=%b", "develop")
    assert land(remote, bump()).commit is not None


def test_a_pin_changes_one_environment(remote: Remote) -> None:
    """That is what a hotfix or a rollback of staging is."""
    build = Build(service="redis", tag="7.0.1", digest=DIGEST)
    land(remote, release.pin(build, "staging", reason="slow"), branch="main")
    assert f"redis:7.0.1@{DIGEST}" in remote.file("dist/staging/redis.yaml", "main")
    assert "7.0.1" not in remote.file("dist/dev/redis.yaml", "main")
    assert len(remote.commits("develop")) == 1


def test_a_bump_leaves_a_pin_alone(remote: Remote) -> None:
    """The reason for the pin still holds."""
    build = Build(service="payment-api", tag="d" * 40)
    land(remote, release.pin(build, "staging", reason="slow"))
    land(remote, bump())
    assert "d" * 40 in remote.file("dist/staging/payment-api.yaml")
    assert NEW in remote.file("dist/dev/payment-api.yaml")


def test_an_unpinned_environment_runs_the_release(remote: Remote) -> None:
    """The way back is as short as the way there."""
    before = remote.file("images.yaml")
    build = Build(service="redis", tag="7.0.1")
    land(remote, release.pin(build, "staging", reason="slow"))
    land(remote, release.unpin("redis", "staging", reason=None))
    assert remote.file("images.yaml") == before


@pytest.mark.parametrize(
    "change",
    [
        release.release("redis", reason=None),
        release.unpin("redis", "staging", reason=None),
    ],
    ids=["release", "unpin"],
)
def test_what_is_so_already_is_no_commit(remote: Remote, change: release.Change) -> None:
    """Every command may be repeated."""
    assert land(remote, change).commit is None


@pytest.mark.parametrize(
    "change",
    [
        release.hold("nobody", reason="r"),
        release.pin(Build(service="redis", tag="7.0.1"), "production", reason="r"),
    ],
    ids=["service", "environment"],
)
def test_unknown_names_are_refused(remote: Remote, change: release.Change) -> None:
    """The sentence lists those that exist."""
    with pytest.raises(ImagesError, match=r"redis|staging"):
        land(remote, change)
    assert len(remote.commits()) == 1


def _build(**values: str) -> Build:
    return Build(**{"service": "payment-api", "tag": NEW, **values})


@pytest.mark.parametrize(
    "values",
    [
        {"tag": "$(touch gotcha)"},
        {"tag": "latest"},
        {"tag": f"{NEW}\nhold: x"},
        {"tag": f"{NEW}\n"},
        {"tag": "--upload-pack=x"},
        {"service": "payment-api: {}"},
        {"service": "--help"},
        {"digest": "sha256:123"},
        {"digest": f"{DIGEST}\n"},
    ],
)
def test_malicious_text_is_refused_before_anything_runs(values: Mapping[str, str]) -> None:
    """It comes from another repository's run; no remote is even asked."""
    with pytest.raises(ImagesError):
        release.bump([_build(**values)])


@pytest.mark.parametrize("reason", ["", "two\nlines", "Source-Run: x\nSigned: y"])
def test_a_reason_is_one_line(reason: str) -> None:
    """A second line could pose as a trailer."""
    with pytest.raises(ImagesError):
        release.hold("redis", reason=reason)


def test_a_source_run_is_one_line() -> None:
    """As for reasons."""
    with pytest.raises(release.ReleaseError):
        release.bump([_build()], source_run="https://ci.test\nRelease: redis 1.2.3")


def test_the_callers_checkout_is_not_touched(remote: Remote) -> None:
    """Somebody may be in the middle of something, on the very same branch."""
    (remote.clone / "images.yaml").write_text("half an edit", encoding="utf-8")
    (remote.clone / "new").touch()
    run_git(remote.clone, "add", "new")
    state = ("status", "--porcelain"), ("rev-parse", "HEAD"), ("for-each-ref",), ("branch",)
    before = [run_git(remote.clone, *arguments) for arguments in state]
    land(remote, bump())
    assert [run_git(remote.clone, *arguments) for arguments in state] == before


def test_nothing_is_left_behind(remote: Remote) -> None:
    """Each run would cost the disk a checkout."""
    land(remote, bump())
    assert list((remote.clone / ".git" / "delivery").iterdir()) == []


def test_a_dry_run_shows_the_change_and_pushes_nothing(remote: Remote) -> None:
    """It does all the rest, so that it fails where the real one would."""
    head = remote.head()
    landing = release.land(
        remote.clone, bump(), remote="origin", branch="develop", dry_run=True, render=remotes.render
    )
    assert f'+  tag: "{NEW}"' in landing.difference
    assert remote.head() == head


def test_the_robot_has_a_name_where_git_knows_nobody(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fresh runner has no identity, and a commit needs one."""
    for name in remotes.ENVIRONMENT:
        if "AUTHOR" in name or "COMMITTER" in name:
            monkeypatch.delenv(name)
    land(remote, bump())
    author = run_git(remote.bare, "log", "-1", "--format=%an <%ae>", "develop")
    assert author == "fraud-detection delivery <delivery@fraud-detection.invalid>"


@pytest.mark.parametrize("branch", ["--force", "a:b", "a b", "../main", ""])
def test_a_branch_is_a_name(remote: Remote, branch: str) -> None:
    """It ends up in a command line."""
    with pytest.raises(release.ReleaseError, match="is no name for a branch"):
        land(remote, bump(), branch=branch)


def test_an_unknown_branch_is_named(remote: Remote) -> None:
    """The sentence of Git says which."""
    with pytest.raises(GitError, match=r"remote ref refs/heads/nowhere\.$"):
        land(remote, bump(), branch="nowhere")


@pytest.mark.parametrize(
    ("recorded", "built", "lands"),
    [(0, 1, True), (1, 1, True), (1, 0, False)],
    ids=["newer", "same", "older"],
)
def test_only_a_newer_build_lands(
    remote: Remote, tmp_path: Path, recorded: int, built: int, *, lands: bool
) -> None:
    """Runs of the same repository may finish in any order."""
    builds = remotes.application(tmp_path / "application", 2)
    land(remote, bump(Build(service="payment-api", tag=builds[recorded])))
    change = release.bump(
        [Build(service="payment-api", tag=builds[built], digest=DIGEST)],
        history=str(tmp_path / "application"),
    )
    if lands:
        assert land(remote, change).commit == remote.head()
    else:
        with pytest.raises(release.OlderError, match=r"older than the recorded one"):
            land(remote, change)
        assert builds[recorded] in remote.file("images.yaml")


def test_an_older_build_lands_on_purpose(remote: Remote, tmp_path: Path) -> None:
    """That is a rollback."""
    builds = remotes.application(tmp_path / "application", 2)
    land(remote, bump(Build(service="payment-api", tag=builds[1])))
    change = release.bump(
        [Build(service="payment-api", tag=builds[0])],
        history=str(tmp_path / "application"),
        allow_older=True,
    )
    assert land(remote, change).commit == remote.head()


def test_a_service_is_named_once() -> None:
    """The last of two would win without a word."""
    with pytest.raises(release.ReleaseError, match="named twice"):
        bump(Build(service="redis", tag="1.0.0"), Build(service="redis", tag="1.0.1"))


def test_a_hook_of_the_caller_does_not_lead_us_back(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a hook Git names its index and repository to all that it starts."""
    index = remote.clone / ".git" / "index"
    before = index.read_bytes()
    monkeypatch.setenv("GIT_INDEX_FILE", str(index))
    monkeypatch.setenv("GIT_DIR", str(remote.clone / ".git"))
    assert land(remote, bump()).commit is not None
    assert index.read_bytes() == before


def test_a_person_who_ignores_dist_everywhere_can_bump(remote: Remote, tmp_path: Path) -> None:
    """Many do, for the sake of Python packages."""
    (tmp_path / "ignored").write_text("dist/\n", encoding="utf-8")
    run_git(remote.clone, "config", "core.excludesFile", str(tmp_path / "ignored"))
    land(remote, bump())
    assert NEW in remote.file("dist/dev/payment-api.yaml")


def test_a_relative_address_starts_at_the_callers_repository(remote: Remote) -> None:
    """The private repository is elsewhere."""
    run_git(remote.clone, "remote", "set-url", "origin", "../remote.git")
    assert land(remote, bump()).commit == remote.head()


def test_the_callers_credentials_are_used_once(remote: Remote, tmp_path: Path) -> None:
    """They come from a file that the configuration includes; doubled, a server refuses them."""
    included = tmp_path / "credentials"
    run_git(remote.clone, "config", "--file", str(included), "http.extraHeader", "Authorization: x")
    run_git(remote.clone, "config", "include.path", str(included))
    with sandbox(remote.clone) as private:
        assert private.git("config", "--get-all", "http.extraHeader") == "Authorization: x"
        assert "Authorization" not in (private.folder / ".git" / "config").read_text("utf-8")


def test_a_shallow_clone_can_bump(remote: Remote, tmp_path: Path) -> None:
    """That is what a runner checks out."""
    land(remote, bump())
    url = f"file://{remote.bare}"
    run_git(tmp_path, "clone", "--quiet", "--depth=1", "--branch=develop", url, "shallow")
    shallow = Remote(remote.bare, tmp_path / "shallow")
    assert land(shallow, bump(Build(service="redis", tag="1.0.0"))).commit == remote.head()
