"""Git alone fixes what Git broke, and a broken service holds back no other release.

One cluster with the pods of both environments serves all tests.
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
from delivery_by_argocd import BROKEN, CRASHED, CRASHING, Origin, System
from fraud_detection.environments import DEV, ENVIRONMENTS, Environment
from repository import REPOSITORY

UPGRADES = REPOSITORY / "docs" / "upgrades.md"
pytestmark = [pytest.mark.xdist_group("argocd-faults"), pytest.mark.timeout(300)]

SECONDS = 90
"""From a commit until it has the effect that a test expects."""
TIMEOUT_SECONDS = 15
"""Argo CD's limit of a sync; `delivery kind` sets minutes."""
KINDS = {"Deployment", "StatefulSet"}
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


NEVER_STARTS = partial(_tag, BROKEN)
CRASHES = partial(_tag, CRASHING)
RELEASES = (NEVER_STARTS, None, CRASHES, None, _too_large, None, None)
"""The releases of each workload, in order: the fault of each; None: it is good."""


def _workloads(folder: Path) -> list[str]:
    return sorted(
        manifest["metadata"]["name"]
        for file in folder.glob("*.yaml")
        for manifest in yaml.load_all(file.read_bytes(), yaml.CSafeLoader)
        if manifest["kind"] in KINDS
    )


WORKLOADS = _workloads(REPOSITORY / "dist" / DEV.name)


def _change(
    environment: Environment, changes: Mapping[str, Fault], origin: Origin, repository: Path
) -> None:
    """Restore the rendered files of an environment, and change some workloads in them."""
    origin.git("checkout", "--quiet", origin.start, "--", f"dist/{environment.name}")
    for file in (repository / "dist" / environment.name).glob("*.yaml"):
        manifests = list(yaml.load_all(file.read_bytes(), yaml.CSafeLoader))
        for manifest in manifests:
            if manifest["kind"] in KINDS:
                changes.get(manifest["metadata"]["name"], _nothing)(manifest)
        file.write_text(yaml.safe_dump_all(manifests), encoding="utf-8")


class Release:
    """What is committed to all environments at once.

    Args:
        system: The environments.
    """

    def __init__(self, system: System) -> None:
        self._system = system
        self._committed = 0.0

    def commit(self, changes: Mapping[str, Fault]) -> None:
        """Commit the files of the start with some workloads changed, and have Argo CD see them."""
        self._committed = time.monotonic()
        origin = self._system.origin
        for environment in ENVIRONMENTS:
            origin.commit(environment, partial(_change, environment, changes, origin))
            refresh(self._system.client, environment.application)

    def wait(self, condition: Callable[[System, Environment], bool]) -> None:
        """Wait until a condition holds for each environment, `SECONDS` after the commit at most."""
        for environment in ENVIRONMENTS:
            met = partial(condition, self._system, environment)
            self._system.wait(met, f"{environment.name} was not released")
        assert time.monotonic() - self._committed < SECONDS

    def repair(self) -> None:
        """Commit what was there at the start, and nothing else."""
        self.commit({})
        self.wait(lambda system, environment: _unhealthy(system, environment) == set())


def _unhealthy(system: System, environment: Environment) -> set[str] | None:
    """Return the workloads that are not healthy, or None until the newest commit is applied."""
    status = system.application(environment)["status"]
    sync = status["sync"]
    if sync["status"] != "Synced" or sync["revision"] != system.origin.head(environment):
        return None
    return {
        each["name"]
        for each in status["resources"]
        if each["kind"] in KINDS and each["health"]["status"] != "Healthy"
    }


def _ready(system: System, environment: Environment, tag: str) -> Iterator[tuple[str, Manifest]]:
    """Yield the workload and the condition `Ready` of each pod whose image has a tag."""
    for pod in system.client.list("v1", "Pod", namespace=environment.namespace):
        if pod["spec"]["containers"][0]["image"].endswith(f":{tag}"):
            for condition in pod.get("status", {}).get("conditions", []):
                if condition["type"] == "Ready":
                    yield pod["metadata"]["labels"]["app.kubernetes.io/name"], condition


def _is_released(
    broken: set[str], crashing: set[str], system: System, environment: Environment
) -> bool:
    """Return whether exactly the broken workloads are unhealthy, and the crashing ones crashed."""
    return _unhealthy(system, environment) == broken and crashing == {
        workload
        for workload, ready in _ready(system, environment, CRASHING)
        if ready.get("reason") == CRASHED
    }


@pytest.mark.timeout(600)
def test_broken_services_hold_back_neither_a_release_nor_their_repair(system: System) -> None:
    """A sync that waits for health starts no other: one bad image froze the environment.

    Each commit breaks some workloads, repairs those that the previous one broke, and releases
    others, until every workload of both environments has had every fault.
    """
    release = Release(system)
    for number in range(len(RELEASES)):
        planned = {
            workload: RELEASES[(number + place) % len(RELEASES)]
            for place, workload in enumerate(WORKLOADS)
        }
        broken = {workload for workload, fault in planned.items() if fault}
        crashing = {workload for workload, fault in planned.items() if fault is CRASHES}
        good = partial(_tag, f"{number:040}")
        release.commit({workload: fault or good for workload, fault in planned.items()})
        release.wait(partial(_is_released, broken, crashing))
    release.repair()


def _is_retried(system: System, environment: Environment) -> bool:
    return bool(system.operation(environment).get("retryCount"))


def _is_refused(system: System, environment: Environment) -> bool:
    message: str = system.operation(environment).get("message", "")
    return "podManagementPolicy" in message


def _is_given_up(system: System, environment: Environment) -> bool:
    return system.operation(environment).get("phase") == "Failed"


@pytest.mark.parametrize(
    ("half", "state"), [(0, _is_retried), (1, _is_given_up)], ids=["retried", "given up"]
)
def test_refused_manifests_hold_back_neither_a_release_nor_their_repair(
    system: System, half: int, state: Callable[[System, Environment], bool]
) -> None:
    """Argo CD gives a revision up after its last retry, but not the ones after it.

    Half of the workloads are refused, then the other half.
    """
    tag = f"{half:040}"
    released, *_ = WORKLOADS[1 - half :: 2]
    refused = dict.fromkeys(WORKLOADS[half::2], _invalid)
    release = Release(system)
    release.commit(refused)
    release.wait(state)
    release.commit({**refused, released: partial(_tag, tag)})
    release.wait(
        lambda system, environment: any(
            workload == released and ready["status"] == "True"
            for workload, ready in _ready(system, environment, tag)
        )
    )
    release.repair()


def _wait_for_health(workload: Manifest) -> None:
    """Never start, and be waited for: a sync of two waves waits for the health of the first."""
    workload["metadata"]["annotations"] = {"argocd.argoproj.io/sync-wave": "-1"}
    _tag(BROKEN, workload)


def _is_waiting(system: System, environment: Environment) -> bool:
    return "waiting for healthy state" in system.operation(environment).get("message", "")


def _is_overdue(system: System, environment: Environment) -> bool:
    """Return whether the newest sync is past its limit; Argo CD ends it at its next refresh."""
    limit = time.gmtime(time.time() - TIMEOUT_SECONDS)
    started: str = system.operation(environment)["startedAt"]
    return started < time.strftime("%Y-%m-%dT%H:%M:%SZ", limit)


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
def test_a_sync_that_waits_for_health_is_ended(system: System) -> None:
    """Should somebody add a wave or a hook, the repair must not wait without end, as by default."""
    release = Release(system)
    release.commit({"redis": _wait_for_health})
    release.wait(_is_waiting)
    release.wait(_is_overdue)
    release.repair()


START = json.loads("".join(re.findall(r"--patch '(.*)'", UPGRADES.read_text(encoding="utf-8"))))
"""What the guide patches an Application with."""


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
    for changes in ({"redis": start_in_order}, {}):
        release.commit(changes)
        release.wait(_is_refused)
        for environment in ENVIRONMENTS:
            reference = Reference("apps/v1", "StatefulSet", "redis", environment.namespace)
            system.client.delete(reference, propagation="Orphan")
            application = Reference(API_VERSION, "Application", environment.application, NAMESPACE)
            system.client.merge(application, START)
        system.settle(*ENVIRONMENTS)
    assert {each.name: redis(each) for each in ENVIRONMENTS} == before
