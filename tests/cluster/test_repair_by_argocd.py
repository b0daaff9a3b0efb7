"""Git alone fixes what Git broke, and a broken service holds back no other release.

Two clusters with the pods of both environments serve all tests, side by side.
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest
import yaml

from delivery.clusters.argocd import API_VERSION, NAMESPACE, refresh
from delivery.control_plane.assets import ControlPlaneAssets
from delivery.control_plane.client import Reference
from delivery.manifests.manifest import Manifest
from delivery_by_argocd import BROKEN, CRASHING, FirstSync, System
from fraud_detection.environments import DEV, ENVIRONMENTS, Environment
from repository import REPOSITORY

UPGRADES = REPOSITORY / "docs" / "upgrades.md"
pytestmark = pytest.mark.timeout(300)
OF_REPAIR = pytest.mark.xdist_group("argocd-repair")
OF_REFUSALS = pytest.mark.xdist_group("argocd-refusals")

REPAIR_SECONDS = 90
"""From the good commit until everything is healthy again."""
TIMEOUT_SECONDS = 20
"""Argo CD's limit of a sync; `delivery kind` sets minutes."""
RELEASE_SECONDS = 90
"""From a release beside broken services until it runs."""
Fault = Callable[[Manifest], None]


def _tag(tag: str, workload: Manifest) -> None:
    main = workload["spec"]["template"]["spec"]["containers"][0]
    main["image"] = f"{main['image'].rpartition(':')[0]}:{tag}"


def _too_large(workload: Manifest) -> None:
    """Ask for more memory than the namespace allows."""
    resources = workload["spec"]["template"]["spec"]["containers"][0]["resources"]
    for amounts in resources.values():
        amounts["memory"] = "64Gi"


def _invalid(workload: Manifest) -> None:
    """Make the API server refuse the manifest."""
    workload["spec"]["replicas"] = -1


def _nothing(_workload: Manifest) -> None:
    pass


FAULTS: Mapping[str, Fault] = {
    "never starts": partial(_tag, BROKEN),
    "crashes": partial(_tag, CRASHING),
    "bad setting": _too_large,
}


def _workloads(folder: Path) -> list[str]:
    return sorted(
        manifest["metadata"]["name"]
        for file in folder.glob("*.yaml")
        for manifest in yaml.load_all(file.read_bytes(), yaml.CSafeLoader)
        if manifest["kind"] in {"Deployment", "StatefulSet"}
    )


WORKLOADS = _workloads(REPOSITORY / "dist" / DEV.name)


def edit(environment: Environment, changes: Mapping[str, Fault], repository: Path) -> None:
    """Change workloads in the rendered files of an environment."""
    for file in (repository / "dist" / environment.name).glob("*.yaml"):
        manifests = list(yaml.load_all(file.read_bytes(), yaml.CSafeLoader))
        for manifest in manifests:
            if manifest["kind"] in {"Deployment", "StatefulSet"}:
                changes.get(manifest["metadata"]["name"], _nothing)(manifest)
        file.write_text(yaml.safe_dump_all(manifests), encoding="utf-8")


@pytest.fixture
def system(unkind_sync: FirstSync) -> System:
    """All environments, synced and healthy, whatever earlier tests did."""
    unkind_sync.system.go_back()
    return unkind_sync.system


class Release:
    """What is committed to all environments at once.

    Args:
        system: The environments.
    """

    def __init__(self, system: System) -> None:
        self._system = system

    def commit(self, changes: Mapping[str, Fault]) -> None:
        """Commit changes of workloads to each environment, and have Argo CD see them."""
        for environment in ENVIRONMENTS:
            self._system.origin.commit(environment, partial(edit, environment, changes))
            refresh(self._system.client, environment.application)

    def roll(self, workload: str) -> None:
        """Release another image of a workload, which must run in time."""
        tag = f"{time.monotonic_ns():040x}"
        start = time.monotonic()
        self.commit({workload: partial(_tag, tag)})
        self._system.wait(
            lambda: all(self._runs(each, workload, tag) for each in ENVIRONMENTS),
            f"{workload} was not released",
        )
        assert time.monotonic() - start < RELEASE_SECONDS

    def repair(self) -> None:
        """Commit what was there before, and nothing else; all must be healthy in time."""
        start = time.monotonic()
        self.restore()
        self._system.settle(*ENVIRONMENTS)
        assert time.monotonic() - start < REPAIR_SECONDS

    def restore(self) -> None:
        """Commit what was there before, and have Argo CD see it."""
        for environment in ENVIRONMENTS:
            self._system.origin.commit(environment, partial(_restore, environment, self._system))
            refresh(self._system.client, environment.application)

    def _runs(self, environment: Environment, workload: str, tag: str) -> bool:
        pods = self._system.client.list("v1", "Pod", namespace=environment.namespace)
        return any(
            pod["spec"]["containers"][0]["image"].endswith(f":{tag}")
            and any(
                condition["type"] == "Ready" and condition["status"] == "True"
                for condition in pod.get("status", {}).get("conditions", [])
            )
            for pod in pods
            if pod["metadata"]["labels"]["app.kubernetes.io/name"] == workload
        )


def _restore(environment: Environment, system: System, _repository: Path) -> None:
    system.origin.git("checkout", "--quiet", system.origin.start, "--", f"dist/{environment.name}")


def _is_broken(system: System, workload: str, environment: Environment) -> bool:
    """Whether Argo CD has applied everything, and one workload is not healthy."""
    status = system.application(environment)["status"]
    health = {
        each["name"]: each.get("health", {}).get("status")
        for each in status["resources"]
        if each["kind"] in {"Deployment", "StatefulSet"}
    }
    return bool(status["sync"]["status"] == "Synced" and health[workload] != "Healthy")


@OF_REPAIR
@pytest.mark.parametrize("shift", range(len(FAULTS) + 1))
def test_broken_services_hold_back_neither_a_release_nor_their_repair(
    system: System, shift: int
) -> None:
    """A sync that waits for health starts no other: one bad image froze the environment.

    In these four rounds every workload of both environments has every fault, and is released while
    others have theirs.
    """
    release = Release(system)
    # The last place in each round is free of faults.
    places = [*FAULTS.values(), None]
    planned = {
        workload: places[(number + shift) % len(places)]
        for number, workload in enumerate(WORKLOADS)
    }
    release.commit({workload: fault for workload, fault in planned.items() if fault})
    for workload in (workload for workload, fault in planned.items() if fault):
        for environment in ENVIRONMENTS:
            broken = partial(_is_broken, system, workload, environment)
            system.wait(broken, f"{workload} is healthy in {environment.name}")
    for workload in (workload for workload, fault in planned.items() if not fault):
        release.roll(workload)
    release.repair()


def _is_retried(system: System, environment: Environment) -> bool:
    return bool(system.operation(environment).get("retryCount"))


def _is_refused(system: System, environment: Environment) -> bool:
    message: str = system.operation(environment).get("message", "")
    return "podManagementPolicy" in message


def _is_given_up(system: System, environment: Environment) -> bool:
    return system.operation(environment).get("phase") == "Failed"


@OF_REFUSALS
@pytest.mark.parametrize(
    ("half", "state"), [(0, _is_retried), (1, _is_given_up)], ids=["retried", "given up"]
)
def test_refused_manifests_hold_back_neither_a_release_nor_their_repair(
    system: System, half: int, state: Callable[[System, Environment], bool]
) -> None:
    """Argo CD gives a revision up after its last retry, but not the ones after it.

    Half of the workloads are refused, then the other half.
    """
    release = Release(system)
    released, *_ = WORKLOADS[1 - half :: 2]
    release.commit(dict.fromkeys(WORKLOADS[half::2], _invalid))
    for environment in ENVIRONMENTS:
        system.wait(partial(state, system, environment), f"{environment.name} did not fail")
    release.roll(released)
    release.repair()


def _wait_for_health(workload: Manifest) -> None:
    """Never start, and be waited for: a sync of two waves waits for the health of the first."""
    workload["metadata"]["annotations"] = {"argocd.argoproj.io/sync-wave": "-1"}
    _tag(BROKEN, workload)


def _is_waiting(system: System, environment: Environment) -> bool:
    return "waiting for healthy state" in system.operation(environment).get("message", "")


@pytest.fixture
def _sync_timeout(
    system: System, assets: ControlPlaneAssets, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Give Argo CD's controller the setting of `delivery kind`, as its pod would get it."""
    [variable] = [
        variable["name"]
        for manifest in yaml.load_all(assets.argocd_install.read_bytes(), yaml.CSafeLoader)
        if manifest["metadata"]["name"] == "argocd-application-controller"
        and manifest["kind"] == "StatefulSet"
        for variable in manifest["spec"]["template"]["spec"]["containers"][0]["env"]
        if variable.get("valueFrom", {}).get("configMapKeyRef", {}).get("key")
        == "controller.sync.timeout.seconds"
    ]
    with monkeypatch.context() as patched:
        patched.setenv(variable, str(TIMEOUT_SECONDS))
        with system.argo.without_controller():
            pass
    yield
    with system.argo.without_controller():
        pass


@pytest.mark.usefixtures("_sync_timeout")
@OF_REPAIR
def test_a_sync_that_waits_for_health_is_ended(system: System) -> None:
    """Should somebody add a wave or a hook, the repair must not wait without end, as by default."""
    release = Release(system)
    release.commit({"redis": _wait_for_health})
    for environment in ENVIRONMENTS:
        system.wait(partial(_is_waiting, system, environment), f"{environment.name} did not wait")
    release.repair()


START = json.loads("".join(re.findall(r"--patch '(.*)'", UPGRADES.read_text(encoding="utf-8"))))
"""What the guide patches an Application with."""


@OF_REPAIR
def test_a_stateful_set_is_replaced_without_its_pod(system: System) -> None:
    """docs/upgrades.md: the order in which its pods start is immutable, and Redis's had another."""

    def redis(environment: Environment) -> dict[str, str]:
        claims = system.client.list("v1", "PersistentVolumeClaim", namespace=environment.namespace)
        uids = {each["metadata"]["name"]: each["metadata"]["uid"] for each in claims}
        return {"pod": system.state(environment).pods["redis-0"], "claim": uids["data-redis-0"]}

    def start_in_order(workload: Manifest) -> None:
        workload["spec"]["podManagementPolicy"] = "OrderedReady"

    before = {each.name: redis(each) for each in ENVIRONMENTS}
    release = Release(system)
    for change in (partial(release.commit, {"redis": start_in_order}), release.restore):
        change()
        for environment in ENVIRONMENTS:
            refused = partial(_is_refused, system, environment)
            system.wait(refused, f"{environment.name} was not refused")
            reference = Reference("apps/v1", "StatefulSet", "redis", environment.namespace)
            system.client.delete(reference, propagation="Orphan")
            application = Reference(API_VERSION, "Application", environment.application, NAMESPACE)
            system.client.merge(application, START)
        system.settle(*ENVIRONMENTS)
    assert {each.name: redis(each) for each in ENVIRONMENTS} == before
