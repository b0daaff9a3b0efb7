"""What is released where."""

import json
import os
from pathlib import Path

import pytest

import remotes
from delivery.releases import changes as release
from delivery.releases import status, status_report
from delivery.releases.changes import Build
from delivery.releases.status import Pinned, Running, Status
from remotes import Remote

NEW = "b" * 40


pytestmark = pytest.mark.usefixtures("git_environment")


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """A remote on which the branches develop and main are alike."""
    return Remote.create(tmp_path)


def land(remote: Remote, change: release.Change) -> None:
    """Land a change on develop."""
    release.land(remote.clone, change, remote="origin", branch="develop", render=remotes.render)


def find(remote: Remote, service: str = "payment-api", context: str | None = None) -> Status:
    """Where a service is."""
    found = status.status(remote.clone, remote="origin", context=context)
    [one] = [each for each in found if each.service == service]
    return one


def test_branches_that_are_alike_are_not_apart(remote: Remote) -> None:
    """That is the state to return to."""
    found = find(remote)
    assert found.images["dev"] == found.images["staging"]
    assert (found.bumps, found.days) == (0, 0)


def test_each_branch_has_its_image(remote: Remote) -> None:
    """Dev runs what develop says, staging what main says."""
    old = find(remote).images["staging"]
    land(remote, release.bump([Build(service="payment-api", tag=NEW)]))
    assert find(remote).images == {"dev": NEW, "staging": old}


def test_bumps_since_the_last_promotion_are_counted(remote: Remote) -> None:
    """Those of this service alone."""
    for service, tag in (("payment-api", "a" * 40), ("payment-api", NEW), ("redis", "1.0.0")):
        land(remote, release.bump([Build(service=service, tag=tag)]))
    assert find(remote).bumps == 2


def test_days_are_those_between_the_commits(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How long staging has been behind."""
    seconds = int(remotes.run_git(remote.bare, "log", "-1", "--format=%ct", "main"))
    monkeypatch.setenv("GIT_COMMITTER_DATE", f"{seconds + 3 * 24 * 60 * 60 + 1} +0000")
    land(remote, release.bump([Build(service="payment-api", tag=NEW)]))
    assert find(remote).days == 3


def test_holds_and_pins_are_shown(remote: Remote) -> None:
    """Whoever wonders why nothing moves looks here."""
    land(remote, release.hold("redis", reason="slow"))
    land(remote, release.pin(Build(service="redis", tag="1.0.0"), "staging", reason="leaks"))
    found = find(remote, "redis")
    assert found.hold == "slow"
    assert found.pins == [
        Pinned(environment="staging", branches=["develop"], tag="1.0.0", reason="leaks")
    ]


def test_a_pin_of_main_alone_is_shown(remote: Remote) -> None:
    """A hotfix is made there, and is what staging runs."""
    pin = release.pin(Build(service="redis", tag="1.0.0"), "staging", reason="leaks")
    release.land(remote.clone, pin, remote="origin", branch="main", render=remotes.render)
    found = find(remote, "redis")
    assert found.images["staging"] == "1.0.0"
    assert [pin.branches for pin in found.pins] == [["main"]]


def test_a_pin_of_both_branches_is_one(remote: Remote) -> None:
    """Right after a promotion, both say so."""
    pin = release.pin(Build(service="redis", tag="1.0.0"), "staging", reason="leaks")
    for branch in ("develop", "main"):
        release.land(remote.clone, pin, remote="origin", branch=branch, render=remotes.render)
    assert [pin.branches for pin in find(remote, "redis").pins] == [["develop", "main"]]


def test_a_service_that_only_one_branch_knows_is_shown(remote: Remote) -> None:
    """Between adding a service and promoting it lie days."""
    remotes.add_service(remote, "ledger", NEW)
    found = find(remote, "ledger")
    assert found.images == {"dev": NEW, "staging": None}
    assert found.days == 0


KUBECTL = """\
#!/bin/sh
echo "$*" >> calls
test ! -e refusal || { cat refusal >&2; exit 1; }
cat "$4.json"
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what a stand-in for kubectl answers."""
    folder = tmp_path / "kubectl"
    folder.mkdir()
    program = folder / "kubectl"
    program.write_text(KUBECTL.replace("#!/bin/sh\n", f"#!/bin/sh\ncd {folder}\n"), "utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    application = {
        "metadata": {"name": "fraud-detection-system"},
        "status": {
            "sync": {"status": "Synced", "revision": "c" * 40},
            "health": {"status": "Degraded"},
        },
    }
    (folder / "applications.argoproj.io.json").write_text(json.dumps({"items": [application]}))
    pods = [
        {
            "spec": {"containers": [{"image": f"ghcr.io/mordris/payment-api:{tag}"}]},
            "status": {"phase": phase},
        }
        for tag, phase in (("new", "Running"), ("new", "Running"), ("old", "Succeeded"))
    ]
    (folder / "pods.json").write_text(json.dumps({"items": pods}))
    return folder


def test_a_cluster_says_what_runs(remote: Remote, cluster: Path) -> None:
    """Released is not yet running; pods that have ended do not count."""
    dev, staging = find(remote, context="kind").running
    assert dev == Running(
        environment="dev", sync="Synced", health="Degraded", revision="c" * 40, images=["new"]
    )
    assert staging.sync == "no Application"
    calls = (cluster / "calls").read_text(encoding="utf-8").splitlines()
    get = "--context=kind --namespace=argocd get applications.argoproj.io --output=json"
    assert f"{get} --request-timeout=20s" in calls


def test_a_service_that_does_not_run_is_seen(remote: Remote, cluster: Path) -> None:
    """Its pods may all be pending."""
    (cluster / "pods.json").write_text('{"items": []}', encoding="utf-8")
    assert [each.images for each in find(remote, context="kind").running] == [[], []]


@pytest.mark.usefixtures("cluster")
def test_another_services_pods_are_not_its_own(remote: Remote) -> None:
    """One namespace has them all."""
    assert [each.images for each in find(remote, "redis", context="kind").running] == [[], []]


def test_a_cluster_that_does_not_answer_is_said(remote: Remote, cluster: Path) -> None:
    """In the words of kubectl."""
    (cluster / "refusal").write_text('error: context "kind" does not exist', encoding="utf-8")
    with pytest.raises(status.StatusError, match='failed: error: context "kind" does not exist'):
        find(remote, context="kind")


def example(**values: object) -> Status:
    """A service that is three bumps apart."""
    fields = {
        "service": "redis",
        "images": {"dev": "2.0.0", "staging": "1.0.0"},
        "bumps": 3,
        "days": 1,
        "hold": "slow",
        "pins": [Pinned(environment="staging", branches=["main"], tag="1.0.0", reason="leaks")],
    }
    return Status(**{**fields, **values})  # type: ignore[arg-type] # the types are those above


def test_the_table_is_read_by_a_person() -> None:
    """What keeps a service from moving stands below it."""
    text = status_report.text([example()])
    assert [word for word in text.splitlines()[-3].split() if word] == [
        *("redis", "2.0.0", "1.0.0"),
        *("3", "bumps,", "1", "day"),
    ]
    assert text.endswith(
        "redis is held: slow\nredis is pinned in staging to 1.0.0 on main: leaks\n"
    )


def test_a_version_is_not_shortened() -> None:
    """Of 7.2.16-bookworm nothing may be missing; of a commit the beginning is enough."""
    text = status_report.text([example(images={"dev": NEW, "staging": "7.2.16-bookworm"})])
    assert f" {NEW[:12]} " in text
    assert " 7.2.16-bookworm " in text


def test_what_argo_cd_says_is_told_once() -> None:
    """It is about the whole environment."""
    running = Running(
        environment="dev", sync="Synced", health="Healthy", revision="c" * 40, images=[NEW]
    )
    text = status_report.text([example(running=[running]), example(running=[running])])
    assert text.count(f"Argo CD says of dev: Synced, Healthy, commit {'c' * 12}\n") == 1


def test_json_is_read_by_a_program() -> None:
    """It has all that there is."""
    [found] = json.loads(status_report.as_json([example()]))
    assert found["images"] == {"dev": "2.0.0", "staging": "1.0.0"}
    assert found["hold"] == "slow"
