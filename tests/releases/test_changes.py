"""Changes of images.yaml: what lands on the branch, and what stays as it is."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

import remotes
from delivery.git import GitError
from delivery.manifests.applications import UnknownEnvironmentError
from delivery.manifests.tree import TreeError
from delivery.releases import changes, landing
from delivery.releases.changes import Build
from delivery.releases.landing import Landing
from delivery.releases.provenance import ProvenanceError
from delivery.releases.sandbox import sandbox
from fraud_detection.images import COMMIT, ImagesError
from fraud_detection.platform.image import Image
from remotes import Remote, run_git

NEW = "a" * 40
DIGEST = f"sha256:{'b' * 64}"
REDIS = Build(service="redis", tag="7.2.17", digest=DIGEST)

pytestmark = pytest.mark.usefixtures("git_environment")


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """Create a remote and a clone."""
    return Remote.create(tmp_path)


def land(remote: Remote, change: changes.Change, *, branch: str = "develop") -> Landing:
    """Land a change from the clone."""
    return landing.land(remote.clone, change, remote="origin", branch=branch, render=remotes.render)


def bump(*builds: Build) -> changes.Change:
    """Return a bump without a history."""
    return changes.bump(
        builds or [Build(service="payment-api", tag=NEW, digest=DIGEST)], prove=remotes.trust
    )


def test_a_bump_lands_with_its_dist(remote: Remote) -> None:
    """Argo CD applies dist, not images.yaml: both arrive in one commit."""
    landed = land(remote, bump())
    assert landed.commit == remote.head()
    assert f"payment-api:{NEW}@{DIGEST}" in remote.file("dist/dev/payment-api.yaml")
    assert f"payment-api:{NEW}@{DIGEST}" in remote.file("dist/staging/payment-api.yaml")


def test_a_bump_changes_one_service(remote: Remote) -> None:
    """The others keep their images."""
    before = remote.images()
    land(remote, bump())
    assert remote.images() == {**before, "payment-api": NEW}


def test_the_commit_names_what_it_releases(remote: Remote) -> None:
    """A program reads the trailers, long after the workflow run is gone."""
    build = Build(service="payment-api", tag=NEW, digest=DIGEST)
    land(remote, changes.bump([build], source_run="https://ci.test/runs/1", prove=remotes.trust))
    trailers = run_git(remote.bare, "log", "-1", "--format=%(trailers:unfold)", "develop")
    assert trailers.splitlines() == [
        f"Release: payment-api {NEW}@{DIGEST}",
        "Source-Run: https://ci.test/runs/1",
    ]
    subject = run_git(remote.bare, "log", "-1", "--format=%s", "develop")
    assert subject == f"Bump payment-api to {NEW[:12]}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda: changes.hold("redis", reason="#7: slow"),
            "Hold redis\n\n#7: slow\n\nService: redis",
        ),
        (
            lambda: changes.unhold("redis", reason="fixed"),
            "Unhold redis\n\nfixed\n\nService: redis",
        ),
        (lambda: changes.unhold("redis", reason=None), "Unhold redis\n\nService: redis"),
        (
            lambda: changes.pin(REDIS, "dev", reason="slow", prove=remotes.trust),
            f"Pin redis in dev to 7.2.17\n\nslow\n\nPin: dev redis 7.2.17@{DIGEST}",
        ),
        (
            lambda: changes.unpin("redis", "dev", reason="fixed"),
            "Unpin redis in dev\n\nfixed\n\nUnpin: dev redis",
        ),
    ],
    ids=["hold", "unhold", "unhold-without-a-reason", "pin", "unpin"],
)
def test_each_commit_message_has_the_change_and_the_reason(
    remote: Remote, change: Callable[[], changes.Change], message: str
) -> None:
    """A program can read it too, whatever the caller's settings for commit messages."""
    remotes.declare(remote, "redis", hold="slow", pins={"dev": REDIS.tag})
    run_git(remote.clone, "config", "commit.cleanup", "strip")
    land(remote, change())
    assert run_git(remote.bare, "log", "-1", "--format=%B", "develop") == message


def test_a_version_is_not_shortened_in_a_subject(remote: Remote) -> None:
    """Part of 7.2.15-bookworm would be another version; the start of a commit is enough."""
    land(remote, bump(Build(service="redis", tag="7.2.15-bookworm")))
    subject = run_git(remote.bare, "log", "-1", "--format=%s", "develop")
    assert subject == "Bump redis to 7.2.15-bookworm"


def test_several_services_are_one_commit(remote: Remote) -> None:
    """Two services that need each other's new version must not run with the old one."""
    builds = [Build(service=name, tag=NEW) for name in ("payment-api", "alert-monitor")]
    land(remote, bump(*builds))
    assert len(remote.commits()) == 2
    assert remote.file("images.yaml").count(NEW) == 2


def test_the_same_image_again_makes_no_commit(remote: Remote) -> None:
    """A repeated workflow run must not make a second one."""
    land(remote, bump())
    assert land(remote, bump()).commit is None
    assert len(remote.commits()) == 2


def test_a_repeated_bump_keeps_the_digest(remote: Remote) -> None:
    """People who repeat it by hand seldom type the digest."""
    land(remote, bump())
    assert land(remote, bump(Build(service="payment-api", tag=NEW))).commit is None


def test_a_new_tag_never_inherits_a_digest(remote: Remote) -> None:
    """The digest of the old image would win over the new tag."""
    land(remote, bump())
    land(remote, bump(Build(service="payment-api", tag="c" * 40)))
    assert DIGEST not in remote.file("images.yaml")


def test_an_image_that_cannot_be_proved_is_not_released(remote: Remote) -> None:
    """A runtime follows the digest, whoever has made it up."""

    def refuse(_: Image) -> Image:
        raise ProvenanceError("It was built by a stranger.")

    build = Build(service="payment-api", tag=NEW, digest=DIGEST)
    for change in (
        changes.bump([build], prove=refuse),
        changes.pin(build, "dev", prove=refuse, reason="slow"),
    ):
        with pytest.raises(ProvenanceError):
            land(remote, change)
    assert len(remote.commits()) == 1


def test_the_digest_that_was_proved_is_written(remote: Remote) -> None:
    """Whoever rolls back by hand has to type no digest."""

    def prove(image: Image) -> Image:
        return replace(image, digest=DIGEST)

    build = Build(service="payment-api", tag=NEW)
    land(remote, changes.bump([build], prove=prove))
    land(remote, changes.pin(build, "dev", prove=prove, reason="slow"))
    assert remote.file("images.yaml").count(DIGEST) == 2


def test_a_held_service_is_not_bumped(remote: Remote) -> None:
    """Somebody held it, with a reason."""
    land(remote, changes.hold("payment-api", reason="loses transactions"))
    head = remote.head()
    with pytest.raises(changes.HeldError, match=r"held \(loses transactions\): run `delivery"):
        land(remote, bump())
    assert remote.head() == head


def test_one_held_service_stops_the_whole_bump(remote: Remote) -> None:
    """Services that belong together must not land in part."""
    land(remote, changes.hold("redis", reason="slow"))
    head = remote.head()
    with pytest.raises(changes.HeldError):
        land(
            remote, bump(Build(service="payment-api", tag=NEW), Build(service="redis", tag="7.4.1"))
        )
    assert remote.head() == head


def test_an_unheld_service_is_bumped_again(remote: Remote) -> None:
    """The hold leaves no trace except its commits."""
    before = remote.file("images.yaml")
    land(remote, changes.hold("payment-api", reason="loses transactions"))
    land(remote, changes.unhold("payment-api", reason="fixed"))
    assert remote.file("images.yaml") == before
    assert "fixed" in run_git(remote.bare, "log", "-1", "--format=%b", "develop")
    assert land(remote, bump()).commit is not None


def test_a_pin_changes_one_environment(remote: Remote) -> None:
    """A hotfix or a rollback of staging must not reach dev."""
    build = Build(service="redis", tag="7.2.17", digest=DIGEST)
    land(remote, changes.pin(build, "staging", reason="slow", prove=remotes.trust), branch="main")
    assert f"redis:7.2.17@{DIGEST}" in remote.file("dist/staging/redis.yaml", "main")
    assert "7.2.17" not in remote.file("dist/dev/redis.yaml", "main")
    assert len(remote.commits("develop")) == 1


def test_a_bump_leaves_a_pin_alone(remote: Remote) -> None:
    """Only `delivery unpin` ends a pin."""
    build = Build(service="payment-api", tag="d" * 40)
    land(remote, changes.pin(build, "dev", reason="slow", prove=remotes.trust))
    land(remote, bump())
    assert "d" * 40 in remote.file("dist/dev/payment-api.yaml")
    assert NEW in remote.file("dist/staging/payment-api.yaml")


def test_each_environment_has_its_own_pin(remote: Remote) -> None:
    """A hotfix of dev, and its end, must leave what another environment runs alone."""
    remotes.declare(remote, "redis", hold="slow", pins={"staging": "7.2.17", "dev": "7.2.18"})
    land(remote, changes.unpin("redis", "dev", reason=None))
    assert "redis:7.2.17" in remote.file("dist/staging/redis.yaml")
    assert "7.2.18" not in remote.file("images.yaml")


def test_a_service_that_only_another_branch_knows_is_no_obstacle(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new service is on develop for days, and staging must be pinned from any checkout."""
    land(remote, changes.hold("redis", reason="slow"), branch="main")
    for module in (changes, landing):
        monkeypatch.setattr(module, "SERVICES", {**remotes.SERVICES, "ledger": COMMIT})
    pin = changes.pin(REDIS, "staging", reason="slow", prove=remotes.trust)
    land(remote, pin, branch="main")
    assert "7.2.17" in remote.file("dist/staging/redis.yaml", "main")
    with pytest.raises(ImagesError, match=r"^Unknown service 'ledger'; known services: "):
        land(remote, bump(Build(service="ledger", tag=NEW)), branch="main")


def test_a_service_that_only_the_branch_knows_stays(remote: Remote) -> None:
    """An older checkout may still hold what it knows."""
    remotes.add_service(remote, "ledger", NEW)
    land(remote, changes.hold("redis", reason="slow"))
    assert remote.images()["ledger"] == NEW


def test_a_pin_that_nothing_reads_is_refused(remote: Remote) -> None:
    """It would say that staging runs it, and staging would not."""
    pin = changes.pin(REDIS, "staging", reason="slow", prove=remotes.trust)
    with pytest.raises(
        changes.ReleaseError, match=r"^Nothing reads a pin of staging on develop: add --branch main"
    ):
        land(remote, pin)
    assert len(remote.commits()) == 1


def test_a_pin_that_nothing_reads_can_be_removed(remote: Remote) -> None:
    """An earlier version wrote such pins."""
    remotes.declare(remote, "redis", hold="slow", pins={"staging": "7.0.1"})
    land(remote, changes.unpin("redis", "staging", reason=None))
    assert "7.0.1" not in remote.file("images.yaml")


def test_an_unpinned_environment_runs_the_release(remote: Remote) -> None:
    """Nothing of the pin is left."""
    before = remote.file("images.yaml")
    build = Build(service="redis", tag="7.2.17")
    land(remote, changes.pin(build, "dev", reason="slow", prove=remotes.trust))
    land(remote, changes.unpin("redis", "dev", reason=None))
    assert remote.file("images.yaml") == before


@pytest.mark.parametrize(
    "change",
    [
        changes.unhold("redis", reason=None),
        changes.unpin("redis", "staging", reason=None),
    ],
    ids=["unhold", "unpin"],
)
def test_a_change_without_effect_makes_no_commit(remote: Remote, change: changes.Change) -> None:
    """Every command may be repeated."""
    assert land(remote, change).commit is None


@pytest.mark.parametrize(
    "change",
    [
        lambda: changes.hold("nobody", reason="r"),
        lambda: changes.unpin("nobody", "dev", reason=None),
        lambda: changes.pin(REDIS, "nowhere", reason="r", prove=remotes.trust),
        lambda: changes.unpin("redis", "nowhere", reason=None),
    ],
    ids=["hold", "unpin", "pin-environment", "unpin-environment"],
)
def test_unknown_names_are_refused(remote: Remote, change: Callable[[], changes.Change]) -> None:
    """Doing nothing would look like success; the message lists the known names."""
    with pytest.raises(
        (ImagesError, UnknownEnvironmentError), match=r"^Unknown .*; known .*(redis|staging)"
    ):
        land(remote, change())
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
    """It comes from another repository's workflow; no remote is even contacted."""
    with pytest.raises(ImagesError):
        changes.bump([_build(**values)], prove=remotes.trust)
    with pytest.raises(ImagesError):
        changes.pin(_build(**values), "staging", reason="r", prove=remotes.trust)


@pytest.mark.parametrize("reason", ["", "two\nlines", "Source-Run: x\nSigned: y"])
@pytest.mark.parametrize(
    "change",
    [
        lambda reason: changes.hold("redis", reason=reason),
        lambda reason: changes.unhold("redis", reason=reason),
        lambda reason: changes.pin(REDIS, "staging", reason=reason, prove=remotes.trust),
        lambda reason: changes.unpin("redis", "staging", reason=reason),
    ],
    ids=["hold", "unhold", "pin", "unpin"],
)
def test_a_reason_is_one_line(change: Callable[[str], changes.Change], reason: str) -> None:
    """A second line could pose as a trailer."""
    with pytest.raises(ImagesError):
        change(reason)


@pytest.mark.parametrize(
    "reason",
    [
        "Rehearsal-Allow: staging StatefulSet/redis=data-at-risk it was moved",
        "rehearsal-allow : staging StatefulSet/redis=data-at-risk it was moved",
        "Rehearsal-Allow:staging StatefulSet/redis=data-at-risk it was moved",
        " Rehearsal-Allow: staging StatefulSet/redis=data-at-risk it was moved",
        "Release: redis 1.2.3",
    ],
)
def test_a_reason_that_could_be_a_trailer_is_refused(reason: str) -> None:
    """Workflows pass on what a payload gives; a rehearsal and a promotion count trailers."""
    with pytest.raises(ImagesError, match="could be read as a trailer"):
        changes.hold("redis", reason=reason)
    with pytest.raises(ImagesError, match="could be read as a trailer"):
        changes.unhold("redis", reason=reason)
    with pytest.raises(ImagesError, match="could be read as a trailer"):
        changes.pin(
            changes.Build(service="redis", tag="7.2.16"),
            "staging",
            prove=remotes.trust,
            reason=reason,
        )


@pytest.mark.parametrize(
    "reason",
    [
        "https://github.com/acme/fraud/issues/12",
        "loses transactions: see issue 12",
        "کند می\u200cشود",
        "slow 👩\u200d🚒",
    ],
)
def test_a_reason_is_what_people_write(reason: str) -> None:
    """Nobody should have to leave out a link, or their own language."""
    assert changes.hold("redis", reason=reason).body == reason


def test_a_source_run_is_one_line() -> None:
    """A second line could pose as a trailer."""
    with pytest.raises(changes.ReleaseError):
        changes.bump(
            [_build()], source_run="https://ci.test\nRelease: redis 1.2.3", prove=remotes.trust
        )


def test_the_callers_checkout_stays_as_it_is(remote: Remote) -> None:
    """People work there, maybe on the same branch."""
    (remote.clone / "images.yaml").write_text("half an edit", encoding="utf-8")
    (remote.clone / "new").touch()
    run_git(remote.clone, "add", "new")
    state = ("status", "--porcelain"), ("rev-parse", "HEAD"), ("for-each-ref",), ("branch",)
    before = [run_git(remote.clone, *arguments) for arguments in state]
    land(remote, bump())
    assert [run_git(remote.clone, *arguments) for arguments in state] == before


def test_nothing_is_left_behind(remote: Remote) -> None:
    """Every run would fill the disk with a checkout."""
    land(remote, bump())
    assert list((remote.clone / ".git" / "delivery").iterdir()) == []


def test_a_dry_run_shows_the_change_and_pushes_nothing(remote: Remote) -> None:
    """It does everything else, so that it fails where a real run would."""
    head = remote.head()
    landed = landing.land(
        remote.clone, bump(), remote="origin", branch="develop", dry_run=True, render=remotes.render
    )
    assert f'+  tag: "{NEW}"' in landed.difference.splitlines()
    assert remote.head() == head


def test_a_bundle_holds_the_one_commit(remote: Remote, tmp_path: Path) -> None:
    """A job with a token pushes it, without running the code that rendered it."""
    head, file = remote.head(), tmp_path / "change.bundle"
    landed = landing.land(
        remote.clone, bump(), remote="origin", branch="develop", bundle=file, render=remotes.render
    )
    assert remote.head() == head
    run_git(remote.bare, "fetch", "--quiet", str(file), "refs/heads/develop:refs/heads/landed")
    assert run_git(remote.bare, "rev-list", f"{head}..landed") == landed.commit
    assert list(tmp_path.glob(".bundle-*")) == []


def test_progress_is_reported(remote: Remote) -> None:
    """A render takes seconds, a slow remote minutes."""
    steps: list[str] = []
    landing.land(
        remote.clone,
        bump(),
        remote="origin",
        branch="develop",
        render=remotes.render,
        report=steps.append,
    )
    assert steps == ["fetch origin/develop", "render", "push"]


def test_a_render_adds_only_dist(remote: Remote) -> None:
    """Programs leave caches behind, and ignored files are added, too."""

    def render(worktree: Path) -> None:
        remotes.render(worktree)
        (worktree / "by-product").touch()

    landed = landing.land(remote.clone, bump(), remote="origin", branch="develop", render=render)
    changed = run_git(remote.bare, "show", "--name-only", "--format=", str(landed.commit))
    assert changed.split() == [
        "dist/dev/payment-api.yaml",
        "dist/staging/payment-api.yaml",
        "images.yaml",
    ]


@pytest.fixture
def nobody(git_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - which it changes
    """Take the identity of the person who runs the tests away, and that of a workflow."""
    monkeypatch.delenv("CI", raising=False)
    for name in remotes.ENVIRONMENT:
        if "AUTHOR" in name or "COMMITTER" in name:
            monkeypatch.delenv(name)


@pytest.mark.usefixtures("nobody")
def test_without_an_identity_a_workflow_commits_as_the_robot(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A workflow has no Git identity, and a commit requires one."""
    monkeypatch.setenv("CI", "true")
    land(remote, bump())
    author = run_git(remote.bare, "log", "-1", "--format=%an <%ae>", "develop")
    assert author == "fraud-detection delivery <delivery@fraud-detection.invalid>"


@pytest.mark.usefixtures("nobody")
def test_without_an_identity_a_person_is_asked_for_one(remote: Remote) -> None:
    """A hold of the robot's would have nobody to ask."""
    with pytest.raises(changes.ReleaseError, match=r"git config --global user\.name NAME"):
        land(remote, changes.hold("redis", reason="slow"))
    assert len(remote.commits()) == 1


@pytest.mark.usefixtures("nobody")
def test_a_person_commits_under_their_name(remote: Remote) -> None:
    """Others want to know whom to ask about a hold."""
    run_git(remote.clone, "config", "user.name", "Ada")
    run_git(remote.clone, "config", "user.email", "ada@example.test")
    land(remote, bump())
    author = run_git(remote.bare, "log", "-1", "--format=%an <%ae>", "develop")
    assert author == "Ada <ada@example.test>"


@pytest.mark.parametrize("branch", ["--force", "a:b", "a b", "../main", ""])
def test_a_branch_is_a_name(remote: Remote, branch: str) -> None:
    """It becomes an argument of Git."""
    with pytest.raises(GitError, match="is not a valid branch name"):
        land(remote, bump(), branch=branch)


def test_an_unknown_branch_is_reported(remote: Remote) -> None:
    """With its name, in Git's own words."""
    with pytest.raises(GitError, match=r"remote ref refs/heads/nowhere\.$"):
        land(remote, bump(), branch="nowhere")


def test_a_remote_is_not_an_option(remote: Remote, tmp_path: Path) -> None:
    """Some options of Git run programs."""
    trap = f"--upload-pack=touch {tmp_path}/gotcha;"
    with pytest.raises(GitError, match=r"^git fetch failed: "):
        landing.land(remote.clone, bump(), remote=trap, branch="develop", render=remotes.render)
    assert not (tmp_path / "gotcha").exists()


def test_an_empty_remote_is_not_the_callers_own_repository(remote: Remote) -> None:
    """A workflow passes an empty name if a variable is not set."""
    with pytest.raises(GitError, match=r"^git fetch failed: "):
        landing.land(remote.clone, bump(), remote="", branch="develop", render=remotes.render)


def test_a_tag_named_like_the_branch_is_ignored(remote: Remote) -> None:
    """Git prefers tags, and every change would build on an old commit."""
    run_git(remote.bare, "tag", "develop")
    land(remote, bump())
    assert land(remote, bump(REDIS)).commit == run_git(remote.bare, "rev-parse", "heads/develop")


def test_a_damaged_dist_on_the_branch_is_reported(remote: Remote) -> None:
    """Somebody pushed an unresolved merge."""
    (remote.clone / "dist" / "argocd" / "dev.yaml").write_text("<<<<<<< HEAD\n", encoding="utf-8")
    remotes.commit(remote.clone, "Half a merge")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")
    with pytest.raises(TreeError, match=r"^dist/argocd/dev\.yaml"):
        land(remote, bump())


@pytest.mark.parametrize("content", [None, b"payment-api: \xff\n"], ids=["missing", "not-text"])
def test_a_damaged_images_yaml_on_the_branch_is_reported(
    remote: Remote, content: bytes | None
) -> None:
    """With the remedy, and without a traceback."""
    images = remote.clone / "images.yaml"
    images.unlink() if content is None else images.write_bytes(content)
    remotes.commit(remote.clone, "Break it")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")
    with pytest.raises(ImagesError, match=r"images\.yaml.*(restore|save) the file"):
        land(remote, bump())


def test_a_build_of_a_side_branch_does_not_land(remote: Remote, tmp_path: Path) -> None:
    """It lacks commits that are released."""
    folder = tmp_path / "application"
    [start] = remotes.application(folder, 1)
    land(remote, bump(_build(tag=remotes.commit(folder, "One"))))
    run_git(folder, "reset", "--quiet", "--hard", start)
    change = changes.bump(
        [_build(tag=remotes.commit(folder, "Other"))], history=str(folder), prove=remotes.trust
    )
    with pytest.raises(changes.OlderError, match="not on the same line of history"):
        land(remote, change)


@pytest.mark.parametrize(
    ("released", "built", "lands"),
    [(0, 1, True), (1, 1, True), (1, 0, False)],
    ids=["newer", "same", "older"],
)
def test_only_a_newer_build_lands(
    remote: Remote, tmp_path: Path, released: int, built: int, *, lands: bool
) -> None:
    """Workflow runs of the same repository finish in any order."""
    builds = remotes.application(tmp_path / "application", 2)
    land(remote, bump(Build(service="payment-api", tag=builds[released])))
    change = changes.bump(
        [Build(service="payment-api", tag=builds[built], digest=DIGEST)],
        history=str(tmp_path / "application"),
        prove=remotes.trust,
    )
    if lands:
        assert land(remote, change).commit == remote.head()
    else:
        with pytest.raises(changes.OlderError, match=r"older than the released build"):
            land(remote, change)
        assert builds[released] in remote.file("images.yaml")


def test_an_older_build_lands_if_allowed(remote: Remote, tmp_path: Path) -> None:
    """A rollback releases an older build."""
    builds = remotes.application(tmp_path / "application", 2)
    land(remote, bump(Build(service="payment-api", tag=builds[1])))
    change = changes.bump(
        [Build(service="payment-api", tag=builds[0])],
        history=str(tmp_path / "application"),
        allow_older=True,
        prove=remotes.trust,
    )
    assert land(remote, change).commit == remote.head()


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        ("7.0.15", "the older release cannot read what the newer wrote"),
        ("7.2.17-alpine", "has no bash"),
    ],
)
def test_a_version_that_the_data_forbids_is_refused(remote: Remote, tag: str, reason: str) -> None:
    """Redis would crash at its start, on files that are whole."""
    build, head = Build(service="redis", tag=tag), remote.head()
    for change in (
        bump(build),
        changes.pin(build, "dev", reason="slow", prove=remotes.trust),
    ):
        with pytest.raises(changes.OlderError, match=reason) as error:
            land(remote, change)
        assert str(error.value).endswith("add --allow-older if that is intended.")
    assert remote.head() == head


def test_an_unpin_to_a_version_that_the_data_forbids_is_refused(remote: Remote) -> None:
    """The pinned version has rewritten the data in its own format."""
    build = Build(service="redis", tag="7.4.1")
    land(remote, changes.pin(build, "dev", reason="fast", prove=remotes.trust))
    with pytest.raises(changes.OlderError, match=r"from 7\.4\.1 to 7\.2\.16"):
        land(remote, changes.unpin("redis", "dev", reason=None))


def test_a_version_that_the_data_forbids_can_be_allowed(remote: Remote) -> None:
    """Somebody may have restored a backup of the older version."""
    build = Build(service="redis", tag="7.0.15")
    land(
        remote,
        changes.pin(build, "dev", reason="r", prove=remotes.trust, allow_older=True),
    )
    assert "redis:7.0.15" in remote.file("dist/dev/redis.yaml")
    land(remote, changes.bump([build], prove=remotes.trust, allow_older=True))
    newer = Build(service="redis", tag="7.4.1")
    land(remote, changes.pin(newer, "dev", reason="r", prove=remotes.trust))
    land(remote, changes.unpin("redis", "dev", reason=None, allow_older=True))
    assert "redis:7.0.15" in remote.file("dist/dev/redis.yaml")


def test_a_service_has_one_build() -> None:
    """The last of two would silently win."""
    with pytest.raises(changes.ReleaseError, match="has two builds"):
        bump(Build(service="redis", tag="8.0.0"), Build(service="redis", tag="8.0.1"))


def test_the_variables_of_a_hook_are_ignored(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a hook, Git's variables point to the caller's index and repository."""
    index = remote.clone / ".git" / "index"
    before = index.read_bytes()
    monkeypatch.setenv("GIT_INDEX_FILE", str(index))
    monkeypatch.setenv("GIT_DIR", str(remote.clone / ".git"))
    assert land(remote, bump()).commit is not None
    assert index.read_bytes() == before


def test_a_person_who_ignores_dist_everywhere_can_bump(remote: Remote, tmp_path: Path) -> None:
    """Many Python developers do."""
    (tmp_path / "ignored").write_text("dist/\n", encoding="utf-8")
    run_git(remote.clone, "config", "core.excludesFile", str(tmp_path / "ignored"))
    land(remote, bump())
    assert NEW in remote.file("dist/dev/payment-api.yaml")


@pytest.mark.parametrize("key", ["url", "pushurl"])
def test_a_relative_address_starts_at_the_callers_repository(remote: Remote, key: str) -> None:
    """The private repository is in another folder."""
    run_git(remote.clone, "config", f"remote.origin.{key}", "../remote.git")
    assert land(remote, bump()).commit == remote.head()


def test_a_remote_may_be_an_address(remote: Remote) -> None:
    """Also one that is relative to the caller's repository."""
    change = bump()
    landed = landing.land(
        remote.clone, change, remote="../remote.git", branch="develop", render=remotes.render
    )
    assert landed.commit == remote.head()


def test_the_refspec_of_a_mirror_is_ignored(remote: Remote) -> None:
    """It would update the branch that is checked out, which Git refuses."""
    run_git(remote.clone, "config", "remote.origin.fetch", "+refs/heads/*:refs/heads/*")
    run_git(remote.clone, "config", "init.defaultBranch", "develop")
    assert land(remote, bump()).commit == remote.head()


@pytest.mark.parametrize("condition", ["include.path", "includeIf.gitdir:/.path"])
def test_the_callers_credentials_are_used_once(
    remote: Remote, tmp_path: Path, condition: str
) -> None:
    """They may be in an included file; a server refuses a duplicate header."""
    included = tmp_path / "credentials"
    run_git(remote.clone, "config", "--file", str(included), "http.extraHeader", "Authorization: x")
    run_git(remote.clone, "config", condition, str(included))
    with sandbox(remote.clone) as private:
        assert private.git("config", "--get-all", "http.extraHeader") == "Authorization: x"
        assert "Authorization" not in (private.folder / ".git" / "config").read_text("utf-8")


def test_settings_from_everywhere_are_used_once(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workflows use variables, people a global file, clones their own."""
    home = tmp_path / "gitconfig"
    run_git(remote.clone, "config", "--file", str(home), "test.key", "home")
    run_git(remote.clone, "config", "test.key", "clone")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "test.key")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "variable")
    with sandbox(remote.clone) as private:
        found = private.git("config", "--get-all", "test.key").split()
    assert found == ["home", "variable", "clone"]


def test_objects_of_the_caller_are_not_fetched_again(remote: Remote) -> None:
    """A bump of a large repository must not take longer than one of a small one."""
    with sandbox(remote.clone) as private:
        private.git("cat-file", "-e", remote.head())
        assert private.git("count-objects") == "0 objects, 0 kilobytes"


def test_no_maintenance_runs_in_the_background(remote: Remote) -> None:
    """It would write into a folder that is being removed."""
    with sandbox(remote.clone) as private:
        assert private.git("config", "maintenance.auto") == "false"


def test_a_worktree_of_a_bare_repository_can_bump(remote: Remote, tmp_path: Path) -> None:
    """Some people keep all of their checkouts this way."""
    bare = tmp_path / "bare.git"
    run_git(tmp_path, "clone", "--quiet", "--bare", str(remote.bare), str(bare))
    run_git(bare, "worktree", "add", "--quiet", str(tmp_path / "tree"), "develop")
    assert land(Remote(remote.bare, tmp_path / "tree"), bump()).commit == remote.head()


def test_a_submodule_can_bump(remote: Remote) -> None:
    """Its configuration has the location of its files."""
    run_git(remote.clone, "config", "core.worktree", str(remote.clone))
    before = run_git(remote.clone, "status", "--porcelain")
    assert land(remote, bump()).commit == remote.head()
    assert run_git(remote.clone, "status", "--porcelain") == before


def test_a_partial_clone_can_bump(remote: Remote, tmp_path: Path) -> None:
    """It fetches missing objects on demand."""
    run_git(remote.bare, "config", "uploadpack.allowFilter", "true")
    url = f"file://{remote.bare}"
    options = ("--quiet", "--filter=blob:none", "--no-checkout", "--branch=develop")
    run_git(tmp_path, "clone", *options, url, "partial")
    partial = Remote(remote.bare, tmp_path / "partial")
    assert land(partial, bump()).commit == remote.head()


def test_a_shallow_clone_can_bump(remote: Remote, tmp_path: Path) -> None:
    """Workflows check out only the newest commit."""
    land(remote, bump())
    url = f"file://{remote.bare}"
    run_git(tmp_path, "clone", "--quiet", "--depth=1", "--branch=develop", url, "shallow")
    shallow = Remote(remote.bare, tmp_path / "shallow")
    assert land(shallow, bump(Build(service="redis", tag="8.0.0"))).commit == remote.head()
