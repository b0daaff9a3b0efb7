"""Argo CD's own notifications controller reports to GitHub which commits an environment has proved.

One cluster serves all tests; each commits what nobody has reported yet.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
import yaml
from cdk8s import App, YamlOutputType
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from delivery.clusters.argocd import API_VERSION, NAMESPACE, refresh
from delivery.control_plane.assets import ControlPlaneAssets
from delivery.control_plane.client import Reference
from delivery.control_plane.programs import Program, require_running
from delivery.manifests.applications import FOLDER
from delivery_by_argocd import BROKEN, System, first_synced, speed_up_syncs, with_unkind_pods
from fraud_detection.argocd import ArgoCd
from fraud_detection.commit_status import context
from fraud_detection.environments import DEV, ENVIRONMENTS, STAGING, Environment
from fraud_detection.repositories import REPOSITORY
from github_api import GitHubApi, github_api
from rendering import kinds
from working_tree import bump

pytestmark = [
    # They wait for the controller, which looks at each Application once a minute.
    pytest.mark.confirmation,
    pytest.mark.xdist_group("argocd-gate"),
    pytest.mark.timeout(300),
]

SOAK = 3
"""Seconds."""
CONFIG_MAP = Reference("v1", "ConfigMap", "argocd-notifications-cm", NAMESPACE)
ROOT = "fraud-detection-root"
DEV_STATUS = context(DEV.name)


def report_to(github: GitHubApi, repository: Path) -> None:
    """Render `dist/argocd` with environments that report to a stand-in after a short soak."""
    folder = repository / FOLDER
    app = App(
        outdir=str(folder),
        output_file_extension=".yaml",
        yaml_output_type=YamlOutputType.FILE_PER_CHART,
    )
    reporting = [replace(each, soak=SOAK / 60) for each in ENVIRONMENTS]
    ArgoCd(app, environments=reporting, kinds={each.name: kinds(each) for each in ENVIRONMENTS})
    app.synth()
    address = (repository.parent / "origin.git").as_uri()
    for file in folder.iterdir():
        text = file.read_text(encoding="utf-8").replace(REPOSITORY, address)
        service = "appID: $fraud-detection-app-id\n"
        text = text.replace(service, f"{service}    enterpriseBaseURL: {github.url}\n")
        file.write_text(text, encoding="utf-8")
    speed_up_syncs(repository)


def credentials() -> dict[str, object]:
    """Return the Secret that docs/github.md has an owner fill."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "argocd-notifications-secret", "namespace": NAMESPACE},
        "stringData": {
            "fraud-detection-app-id": "1",
            "fraud-detection-installation-id": "2",
            "fraud-detection-private-key": key.decode(),
        },
    }


@pytest.fixture(scope="module")
def github() -> Iterator[GitHubApi]:
    """A stand-in for GitHub."""
    with github_api() as github:
        yield github


@pytest.fixture(scope="module")
def system(
    assets: ControlPlaneAssets, tmp_path_factory: pytest.TempPathFactory, github: GitHubApi
) -> Iterator[System]:
    """All environments, which report to the stand-in once the controller runs."""
    programs = with_unkind_pods(assets, tmp_path_factory.mktemp("stages"))
    git = tmp_path_factory.mktemp("git")
    with first_synced(programs, git, change=lambda tree: report_to(github, tree)) as first_sync:
        first_sync.system.client.apply(credentials(), field_manager="a-person")
        yield first_sync.system


@pytest.fixture
def controller(system: System) -> Iterator[Program]:
    """The notifications controller, started for each test."""
    with system.argo.notifications() as program:
        yield program


def wait(system: System, environment: Environment, condition: Callable[[], bool]) -> None:
    """Wait for a condition, and have the controller look much more often than once a minute."""

    def looked() -> bool:
        if condition():
            return True
        system.refresh(environment)
        return condition()

    system.wait(looked, f"{environment.name} was not reported")


def commit(system: System, change: Callable[[Path], object]) -> str:
    """Commit to develop, have Argo CD see it, and return the commit."""
    system.origin.commit(DEV, change)
    refresh(system.client, DEV.application)
    return system.origin.head(DEV)


def finished_at(system: System) -> float:
    """Return when dev's newest sync ended, in seconds since the epoch."""
    ended: str = system.operation(DEV)["finishedAt"]
    return datetime.strptime(ended, "%Y-%m-%dT%H:%M:%S%z").timestamp()


def soak_unseen(system: System) -> None:
    """Wait until dev has soaked, without having the controller look."""
    system.settle(DEV)
    finished = finished_at(system)
    system.wait(lambda: time.time() - finished > SOAK + 2, "the clock stood still")


def write_text(repository: Path) -> None:
    """Change what no environment runs."""
    (repository / "NOTES.md").write_text(str(time.time()), encoding="utf-8")


def break_payment_api(repository: Path) -> None:
    """Release an image that never starts, which Kubernetes soon notices."""
    file = repository / "dist" / DEV.name / "payment-api.yaml"
    manifests = list(yaml.load_all(file.read_bytes(), yaml.CSafeLoader))
    [spec] = [
        each["spec"]
        for each in manifests
        if each["kind"] == "Deployment" and each["metadata"]["name"] == "payment-api"
    ]
    spec |= {"progressDeadlineSeconds": 1, "minReadySeconds": 0}
    main = spec["template"]["spec"]["containers"][0]
    main["image"] = f"{main['image'].rpartition(':')[0]}:{BROKEN}"
    file.write_text(yaml.safe_dump_all(manifests), encoding="utf-8")


@pytest.mark.usefixtures("controller")
def test_a_release_is_pending_until_it_has_soaked(system: System, github: GitHubApi) -> None:
    """What has just started may still fall over."""
    released = commit(system, bump)
    wait(system, DEV, lambda: "success" in github.states(released, DEV_STATUS))
    arrived = time.time()
    assert github.states(released, DEV_STATUS) == ["pending", "success"]
    finished = finished_at(system)
    assert arrived - finished >= SOAK
    assert github.statuses[-1].description == "Synced, Healthy for 0.05 minutes"


@pytest.mark.usefixtures("controller")
def test_every_environment_reports_its_own_branch(system: System, github: GitHubApi) -> None:
    """What dev has proved says nothing about staging; GitHub's page of deployments shows both."""
    head, status = system.origin.head(STAGING), context(STAGING.name)
    wait(system, STAGING, lambda: "success" in github.states(head, status))
    number = github.deployments.index((head, STAGING.name))
    assert (number, "success") in github.deployed


@pytest.mark.usefixtures("controller")
def test_a_release_that_another_one_replaces_is_never_proved(
    system: System, github: GitHubApi
) -> None:
    """It did not run long enough for anybody to know."""
    first = commit(system, bump)
    wait(system, DEV, lambda: bool(github.states(first, DEV_STATUS)))
    second = commit(system, bump)
    wait(system, DEV, lambda: "success" in github.states(second, DEV_STATUS))
    assert github.states(first, DEV_STATUS) == ["pending"]


@pytest.mark.usefixtures("controller")
def test_a_degraded_release_fails_and_its_rollback_is_proved(
    system: System, github: GitHubApi
) -> None:
    """The text says what is wrong, and the repair is offered like any other commit."""
    broken = commit(system, break_payment_api)
    wait(system, DEV, lambda: "failure" in github.states(broken, DEV_STATUS))
    assert "Synced, Degraded: Deployment/payment-api" in {
        each.description for each in github.statuses if each.commit == broken
    }
    system.origin.git("revert", "--no-edit", broken)
    system.origin.push()
    repaired = system.origin.head(DEV)
    wait(system, DEV, lambda: "success" in github.states(repaired, DEV_STATUS))
    assert github.states(broken, DEV_STATUS) == ["pending", "failure"]


def test_what_happens_while_the_controller_is_down_is_reported_later(
    system: System, github: GitHubApi
) -> None:
    """A node that is replaced must not stop promotions until the next release."""
    with system.argo.notifications():
        before = commit(system, write_text)
        wait(system, DEV, lambda: "success" in github.states(before, DEV_STATUS))
    meanwhile = commit(system, bump)
    soak_unseen(system)
    with system.argo.notifications():
        wait(system, DEV, lambda: "success" in github.states(meanwhile, DEV_STATUS))


@pytest.mark.usefixtures("controller")
def test_a_failing_github_hears_it_later(system: System, github: GitHubApi) -> None:
    """An hour of errors must not stop promotions until the next release."""
    github.refuses = True
    released = commit(system, bump)
    soak_unseen(system)
    refused = github.refused
    # By now it can only be the success that is refused.
    wait(system, DEV, lambda: github.refused > refused)
    github.refuses = False
    wait(system, DEV, lambda: "success" in github.states(released, DEV_STATUS))


@pytest.mark.usefixtures("controller")
def test_a_commit_that_changes_nothing_in_dev_is_proved_with_it(
    system: System, github: GitHubApi
) -> None:
    """Argo CD does not sync it; a branch whose newest commit is a text must not wait for ever."""
    text = commit(system, write_text)
    wait(system, DEV, lambda: "success" in github.states(text, DEV_STATUS))


def test_the_keys_stand_beside_those_of_the_installation(
    system: System, controller: Program, github: GitHubApi
) -> None:
    """Argo CD's own notifications go on, and its address is where a status leads."""
    ours = system.client.get(CONFIG_MAP)["data"].keys()
    others = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CONFIG_MAP.name, "namespace": NAMESPACE},
        "data": {"context": "argocdUrl: https://argocd.test"},
    }
    system.client.apply(others, field_manager="installation")
    root = Reference(API_VERSION, "Application", ROOT, NAMESPACE)
    refresh(system.client, ROOT, hard=True)
    system.wait(
        lambda: (
            "annotations" not in (found := system.client.get(root)["metadata"])
            or "argocd.argoproj.io/refresh" not in found["annotations"]
        ),
        "the root Application was not refreshed",
    )
    assert system.client.get(root)["status"]["sync"]["status"] == "Synced"
    assert system.client.get(CONFIG_MAP)["data"].keys() == {*ours, "context"}
    text = commit(system, write_text)
    wait(system, DEV, lambda: "success" in github.states(text, DEV_STATUS))
    page = f"https://argocd.test/applications/argocd/{DEV.application}"
    assert github.statuses[-1].target == page
    require_running([controller])
