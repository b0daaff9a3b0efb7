"""The released image of each service, and the report of it."""

import json
import os
from pathlib import Path

import pytest

import remotes
from delivery.commands import CommandError
from delivery.releases import changes, status, status_report
from delivery.releases.chain import ChainError
from delivery.releases.status import Held, Lag, Pinned, Running, Status
from promoting import bump, land, pin, promote
from remotes import DEV, PRODUCTION, STAGING, Remote, run_git

NEW = "b" * 40


pytestmark = pytest.mark.usefixtures("git_environment")


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """Create a remote whose branches develop and main are equal."""
    return Remote.create(tmp_path)


def find(
    remote: Remote,
    service: str = "payment-api",
    context: str | None = None,
    now: float | None = None,
) -> Status:
    """Return the state of one service."""
    found = status.status(remote.clone, remote="origin", context=context, now=now)
    [one] = [each for each in found if each.service == service]
    return one


def test_equal_branches_have_no_lag(remote: Remote) -> None:
    """A promotion leaves nothing behind."""
    found = find(remote)
    assert found.images["dev"] == found.images["staging"]
    assert found.behind == {"staging": Lag(bumps=0, seconds=0)}


def test_each_branch_has_its_image(remote: Remote) -> None:
    """Dev runs develop's image, staging main's."""
    old = find(remote).images["staging"]
    bump(remote, NEW)
    assert find(remote).images == {"dev": NEW, "staging": old}


@pytest.mark.parametrize("how", ["--no-ff", "--squash", "--rebase"])
def test_bumps_since_the_last_promotion_are_counted(remote: Remote, how: str) -> None:
    """Only those of this service; however the last promotion was merged."""
    bump(remote, "c" * 40)
    promote(remote, how=how)
    for service, tag in (("payment-api", "a" * 40), ("payment-api", NEW), ("redis", "7.2.17")):
        bump(remote, tag, service=service)
    assert find(remote).behind["staging"].bumps == 2


def test_a_reverted_promotion_is_behind_again(remote: Remote) -> None:
    """Main has the commits of the release, but not what they released."""
    bump(remote, NEW)
    landed = promote(remote)
    run_git(remote.clone, "revert", "--no-edit", "-m1", landed)
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:main")
    found = find(remote)
    assert found.images["staging"] != NEW
    assert found.behind["staging"].bumps == 1


def test_an_environment_lags_since_the_first_release_that_it_lacks(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for the days between two commits: staging waits for as long as nobody promotes."""
    start = int(run_git(remote.bare, "log", "-1", "--format=%ct", "main"))
    for hours, letter in ((5, "a"), (7, "b")):
        monkeypatch.setenv("GIT_COMMITTER_DATE", f"{start + hours * 60 * 60} +0000")
        bump(remote, letter * 40)
    now = start + 24 * 60 * 60
    assert find(remote, now=now).behind["staging"] == Lag(bumps=2, seconds=19 * 60 * 60)


def test_a_pin_does_not_change_the_lag(remote: Remote) -> None:
    """It is no release of develop, and staging misses the same ones as before."""
    pin(remote)
    assert find(remote, "redis").behind["staging"] == Lag(bumps=0, seconds=0)


def test_holds_and_pins_of_every_branch_are_shown(remote: Remote) -> None:
    """People look here for the reason why a service does not move."""
    for branch in ("develop", "main"):
        land(remote, changes.hold("redis", reason="slow"), branch)
    land(remote, changes.hold("payment-api", reason="only here"), "main")
    pin(remote, environment="dev", branch="develop")
    found = find(remote, "redis")
    assert found.holds == [Held(branches=["develop", "main"], reason="slow")]
    assert find(remote).holds == [Held(branches=["main"], reason="only here")]
    assert found.pins == [
        Pinned(environment="dev", branches=["develop"], tag="7.2.17", reason="leaks")
    ]


def test_an_image_without_a_digest_is_named(remote: Remote) -> None:
    """Whoever can write to the registry decides what it is."""
    digest = f"sha256:{'d' * 64}"
    bump(remote, NEW, digest=digest)
    assert find(remote).without_digest == ["staging"]
    promote(remote)
    assert find(remote).without_digest == []


def test_a_pin_only_on_main_is_shown(remote: Remote) -> None:
    """A hotfix is made there, and staging runs it."""
    pin(remote)
    found = find(remote, "redis")
    assert found.images["staging"] == "7.2.17"
    assert [pin.branches for pin in found.pins] == [["main"]]


def test_a_service_that_only_one_branch_knows_is_shown(remote: Remote) -> None:
    """A service is in dev for days before it is promoted."""
    remotes.add_service(remote, "ledger", NEW)
    found = find(remote, "ledger")
    assert found.images == {"dev": NEW, "staging": None}
    assert found.behind["staging"].bumps == 1


def test_every_later_environment_is_compared_with_the_first(tmp_path: Path) -> None:
    """Production may be further behind than staging."""
    remote = Remote.create(tmp_path, DEV, STAGING, PRODUCTION)
    old = remote.images()["payment-api"]
    bump(remote, "a" * 40)
    run_git(remote.clone, "fetch", "--quiet")
    run_git(remote.clone, "push", "--quiet", "origin", "origin/develop:main")
    bump(remote, NEW)
    found = find(remote)
    assert found.images == {"dev": NEW, "staging": "a" * 40, "production": old}
    assert {name: lag.bumps for name, lag in found.behind.items()} == {
        "staging": 1,
        "production": 2,
    }


def test_a_missing_branch_concerns_only_its_environment(tmp_path: Path) -> None:
    """The branch of a new environment is created after the environment is declared."""
    remote = Remote.create(tmp_path, DEV, STAGING, PRODUCTION)
    run_git(remote.bare, "update-ref", "-d", "refs/heads/production")
    found = find(remote)
    assert found.missing == {"production": "production"}
    assert set(found.images) == {"dev", "staging"}


def test_without_the_first_branch_the_next_one_is_compared_with(tmp_path: Path) -> None:
    """The others still have something to compare."""
    remote = Remote.create(tmp_path, DEV, STAGING, PRODUCTION)
    run_git(remote.bare, "update-ref", "-d", "refs/heads/develop")
    assert set(find(remote).behind) == {"production"}


def test_a_remote_without_any_branch_is_refused(remote: Remote) -> None:
    """An empty table would look like a system without services."""
    for branch in ("develop", "main"):
        run_git(remote.bare, "update-ref", "-d", f"refs/heads/{branch}")
    with pytest.raises(ChainError, match=r"^origin has none of the branches develop, main: push"):
        find(remote)


def test_one_environment_has_nothing_to_compare(tmp_path: Path) -> None:
    """Its images are shown all the same."""
    found = find(Remote.create(tmp_path, DEV))
    assert (set(found.images), found.behind) == ({"dev"}, {})


KUBECTL = """\
#!/bin/sh
echo "$*" >> calls
test ! -e refusal || { cat refusal >&2; exit 1; }
cat "$4.json"
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a folder with a stand-in for kubectl and its answers."""
    folder = tmp_path / "kubectl"
    folder.mkdir()
    program = folder / "kubectl"
    program.write_text(KUBECTL.replace("#!/bin/sh\n", f"#!/bin/sh\ncd {folder}\n"), "utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    application = {
        "metadata": {"name": DEV.application},
        "status": {
            "sync": {"status": "Synced", "revision": "c" * 40},
            "health": {"status": "Degraded"},
        },
    }
    (folder / "applications.argoproj.io.json").write_text(json.dumps({"items": [application]}))
    pods = [
        {
            "spec": {"containers": [{"image": f"registry.test/payment-api:{tag}"}]},
            "status": {"phase": phase},
        }
        for tag, phase in (("new", "Running"), ("new", "Running"), ("old", "Succeeded"))
    ]
    (folder / "pods.json").write_text(json.dumps({"items": pods}))
    return folder


def test_the_cluster_shows_what_runs(remote: Remote, cluster: Path) -> None:
    """A release may not run yet; pods that have ended do not count."""
    dev, staging = find(remote, context="kind").running
    assert dev == Running(
        environment="dev", sync="Synced", health="Degraded", revision="c" * 40, images=["new"]
    )
    assert staging.sync == "no Application"
    calls = (cluster / "calls").read_text(encoding="utf-8").splitlines()
    get = "--context=kind --namespace=argocd get applications.argoproj.io --output=json"
    assert f"{get} --request-timeout=20s" in calls


def test_a_service_that_does_not_run_is_shown(remote: Remote, cluster: Path) -> None:
    """All of its pods may be pending."""
    (cluster / "pods.json").write_text('{"items": []}', encoding="utf-8")
    assert [each.images for each in find(remote, context="kind").running] == [[], []]


@pytest.mark.usefixtures("cluster")
def test_pods_of_other_services_do_not_count(remote: Remote) -> None:
    """All services share a namespace."""
    assert [each.images for each in find(remote, "redis", context="kind").running] == [[], []]


def test_a_cluster_that_does_not_answer_is_reported(remote: Remote, cluster: Path) -> None:
    """In the words of kubectl."""
    (cluster / "refusal").write_text('error: context "kind" does not exist', encoding="utf-8")
    with pytest.raises(CommandError, match='failed: error: context "kind" does not exist'):
        find(remote, context="kind")


def example(**values: object) -> Status:
    """Return a service whose staging is three bumps behind."""
    fields = {
        "service": "redis",
        "images": {"dev": "7.2.18", "staging": "7.2.17"},
        "behind": {"staging": Lag(bumps=3, seconds=90_000)},
        "missing": {},
        "without_digest": [],
        "holds": [Held(branches=["develop"], reason="slow")],
        "pins": [Pinned(environment="staging", branches=["main"], tag="7.2.17", reason="leaks")],
        "reports": {},
    }
    return Status(**{**fields, **values})  # type: ignore[arg-type] # the types are those above


def test_the_table_is_for_a_person() -> None:
    """Below it is everything that keeps a service from moving."""
    text = status_report.text([example()])
    assert [word for word in text.splitlines()[-3].split() if word] == [
        *("redis", "7.2.18", "7.2.17"),
        *("3", "bumps,", "25", "hours"),
    ]
    assert text.endswith(
        "redis is held on develop: slow\nredis is pinned in staging to 7.2.17 on main: leaks\n"
    )


def test_a_version_is_not_shortened() -> None:
    """Part of 7.2.16-bookworm would be another version; the start of a commit is enough."""
    text = status_report.text([example(images={"dev": NEW, "staging": "7.2.16-bookworm"})])
    assert f" {NEW[:12]} " in text
    assert " 7.2.16-bookworm " in text


def test_the_state_in_argo_cd_is_shown_once() -> None:
    """It is the state of the whole environment."""
    running = Running(
        environment="dev", sync="Synced", health="Healthy", revision="c" * 40, images=[NEW]
    )
    text = status_report.text([example(running=[running]), example(running=[running])])
    assert text.count(f"Argo CD reports dev as Synced, Healthy, commit {'c' * 12}\n") == 1


def test_each_later_environment_has_a_lag_of_its_own() -> None:
    """With three environments, two may be behind; one that is not has an empty cell."""
    text = status_report.text(
        [
            example(
                images={"dev": "7.2.19", "staging": "7.2.19", "production": "7.2.17"},
                behind={
                    "staging": Lag(bumps=0, seconds=0),
                    "production": Lag(bumps=4, seconds=777_600),
                },
            )
        ]
    )
    heading, _, row, *_ = text.splitlines()
    assert heading.split() == ["service", "dev", "staging", "behind", "production", "behind"]
    assert row.split() == ["redis", "7.2.19", "7.2.19", "7.2.17", "4", "bumps,", "9", "days"]


def test_a_missing_branch_is_shown_below_the_table() -> None:
    """Otherwise the environment would be missing without an explanation."""
    text = status_report.text([example(missing={"production": "live"})])
    assert "\nproduction: the remote has no branch live\n" in text


def test_a_missing_digest_is_shown_with_its_remedy() -> None:
    """Nobody would look for it."""
    text = status_report.text([example(without_digest=["dev", "staging"])])
    assert text.endswith("redis has no digest in dev and staging: run `delivery refresh`\n")


def test_json_is_for_a_program() -> None:
    """It has every field."""
    [found] = json.loads(status_report.as_json([example()]))
    assert found["images"] == {"dev": "7.2.18", "staging": "7.2.17"}
    assert found["holds"] == [{"branches": ["develop"], "reason": "slow"}]
