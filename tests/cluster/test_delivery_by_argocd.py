"""A real Argo CD delivers the working tree to all environments, and nothing else.

One cluster serves all tests, and those of test_local_users.py, as its start and the first sync take
at least ten seconds. Each test begins with all environments synced to their branches, whatever
earlier tests released.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

import promtool
from delivery.clusters.argocd import refresh
from delivery.control_plane.client import Reference
from delivery.manifests.dist import synthesize
from delivery_by_argocd import FirstSync, State, System, deployed
from fraud_detection.environments import DEV, ENVIRONMENTS, STAGING, Environment
from rendering import large
from working_tree import bump

pytestmark = [pytest.mark.xdist_group("argocd-delivery"), pytest.mark.timeout(300)]


RULES = {
    "networkpolicies": "apis/networking.k8s.io/v1",
    "resourcequotas": "api/v1",
    "limitranges": "api/v1",
}
WORKLOADS = {"deployments": "apis/apps/v1", "statefulsets": "apis/apps/v1"}
"""The kinds whose creation is compared, each with the path of its API."""


@pytest.fixture(scope="module", autouse=True)
def created(first_sync: FirstSync) -> dict[tuple[str, str], list[int]]:
    """Return the resource versions at which objects were created, by environment and kind.

    It runs before the first test, because the API server forgets them after minutes.
    """
    server = first_sync.system.argo.cluster.server
    watches = {}
    for environment in ENVIRONMENTS:
        for kind, api in {**RULES, **WORKLOADS}.items():
            path = f"/{api}/namespaces/{environment.namespace}/{kind}"
            query = f"watch=1&resourceVersion={first_sync.since}&timeoutSeconds=3"
            kubectl: list[str | Path] = [server.kubectl, f"--kubeconfig={server.kubeconfig}"]
            watches[environment.name, kind] = subprocess.Popen(
                [*kubectl, "get", "--raw", f"{path}?{query}"], stdout=subprocess.PIPE, text=True
            )
    outputs = {place: watch.communicate()[0] for place, watch in watches.items()}
    assert {watch.returncode for watch in watches.values()} == {0}
    return {
        place: [
            int(event["object"]["metadata"]["resourceVersion"])
            for event in map(json.loads, output.splitlines())
            if event["type"] == "ADDED"
        ]
        for place, output in outputs.items()
    }


@pytest.fixture
def system(first_sync: FirstSync) -> System:
    """All environments, synced and healthy."""
    first_sync.system.settle(*ENVIRONMENTS)
    return first_sync.system


def bump_and_render(repository: Path) -> None:
    """Release another payment-api, as `delivery bump` does."""
    bump(repository)
    synthesize(repository)


def users_of_its_image(state: State) -> set[str]:
    """Return the names of the pods that run payment-api's image."""
    return {name for name in state.pods if name.startswith(("payment-api-", "prober-"))}


def assert_only_payment_api_rolled(before: State, after: State) -> None:
    """Assert that exactly the Deployments with its image have a new spec and new pods."""
    changed = {
        name for name, value in after.generations.items() if before.generations.get(name) != value
    }
    assert changed == {"Deployment/payment-api", "Deployment/prober"}
    assert before.pods.keys() - after.pods.keys() == users_of_its_image(before)
    assert after.pods.keys() - before.pods.keys() == users_of_its_image(after)


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda environment: environment.name)
def test_an_environment_becomes_synced_and_healthy(
    first_sync: FirstSync, environment: Environment
) -> None:
    """Everything that is committed runs, as far as Argo CD and Kubernetes report."""
    status = first_sync.statuses[environment.name]
    assert status["operationState"]["phase"] == "Succeeded"
    assert status["sync"]["status"] == "Synced"
    assert status["health"]["status"] == "Healthy"
    assert status.get("conditions", []) == []
    health = {r["health"]["status"] for r in status["resources"] if "health" in r}
    assert health == {"Healthy"}


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda environment: environment.name)
def test_the_namespace_enforces_pod_security(system: System, environment: Environment) -> None:
    """Argo CD creates it, with labels that no manifest in the folder has."""
    namespace = system.client.get(Reference("v1", "Namespace", environment.namespace))
    labels = namespace["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda environment: environment.name)
def test_nothing_is_out_of_sync_after_hard_refreshes(
    system: System, environment: Environment
) -> None:
    """A permanent difference hides real ones, and is applied again and again."""
    before = system.operation(environment)["startedAt"]
    for _ in range(3):
        system.refresh(environment, hard=True)
        status = system.application(environment)["status"]
        assert [r for r in status["resources"] if r.get("status", "Synced") != "Synced"] == []
        assert status["sync"]["status"] == "Synced"
    assert system.operation(environment)["startedAt"] == before


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda environment: environment.name)
def test_the_rules_of_the_namespace_precede_its_pods(
    created: dict[tuple[str, str], list[int]], environment: Environment
) -> None:
    """A quota does not refuse pods that exist already, and a pod starts wide open without policies.

    All are applied in one wave; within it Argo CD goes by the kind.
    """
    rules = [version for kind in RULES for version in created[environment.name, kind]]
    pods = [version for kind in WORKLOADS for version in created[environment.name, kind]]
    assert max(rules) < min(pods)


def test_a_bump_on_develop_rolls_one_deployment_in_dev_alone(system: System) -> None:
    """A developer's release must not touch another service, or another environment."""
    before = {environment.name: system.state(environment) for environment in ENVIRONMENTS}
    system.origin.commit(DEV, bump_and_render)
    system.settle(*ENVIRONMENTS)
    assert_only_payment_api_rolled(before[DEV.name], system.state(DEV))
    others = [environment for environment in ENVIRONMENTS if environment is not DEV]
    assert {e.name: system.state(e) for e in others} == {e.name: before[e.name] for e in others}


def test_a_merge_to_main_moves_exactly_the_release_to_staging(system: System) -> None:
    """Staging gets what the reviewer of the promotion has read; dev has it already."""
    system.origin.commit(DEV, bump)
    system.settle(DEV)
    before = {environment.name: system.state(environment) for environment in ENVIRONMENTS}
    system.origin.git("checkout", "--quiet", STAGING.branch)
    system.origin.git("merge", "--quiet", "--no-ff", "--message", "Promote", DEV.branch)
    system.origin.push()
    system.settle(*ENVIRONMENTS)
    assert_only_payment_api_rolled(before[STAGING.name], system.state(STAGING))
    assert system.image(STAGING, "payment-api") == system.image(DEV, "payment-api")
    assert system.state(DEV) == before[DEV.name]


def test_a_revert_brings_the_old_image_back(system: System) -> None:
    """A revert undoes a bad release."""
    old = system.image(DEV, "payment-api")
    system.origin.commit(DEV, bump)
    system.settle(DEV)
    assert system.image(DEV, "payment-api") != old
    system.origin.git("revert", "--no-edit", "HEAD")
    system.origin.push()
    system.settle(DEV)
    assert system.image(DEV, "payment-api") == old


def test_a_change_by_hand_is_healed(system: System) -> None:
    """The repository decides what runs, not the last person on the cluster."""
    deployment = deployed(STAGING, "alert-monitor")
    before = system.client.get(deployment)["spec"]
    system.client.merge(deployment, {"spec": {"replicas": 0}})
    system.client.delete(Reference("v1", "Service", "payment-api", STAGING.namespace))
    system.wait(
        lambda: system.client.get(deployment)["spec"] == before,
        "Argo CD did not restore the Deployment",
    )
    system.settle(STAGING)
    assert system.client.get(Reference("v1", "Service", "payment-api", STAGING.namespace))


def test_a_sync_that_was_interrupted_is_finished(system: System) -> None:
    """The node that runs Argo CD may fail at any moment."""
    before = system.operation(DEV)["startedAt"]
    system.origin.commit(DEV, bump)
    refresh(system.client, DEV.application)
    system.wait(lambda: system.operation(DEV).get("startedAt") not in {None, before}, "no sync")
    with system.argo.without_controller():
        pass
    system.settle(DEV)


def listening(process: int) -> Iterator[int]:
    """Return the ports on which a process listens."""
    open_files = {str(each.readlink()) for each in Path(f"/proc/{process}/fd").iterdir()}
    for table in ("tcp", "tcp6"):
        _, *rows = Path(f"/proc/{process}/net/{table}").read_text(encoding="ascii").splitlines()
        for _, address, _, state, *_, inode in (row.split()[:10] for row in rows):
            if state == "0A" and f"socket:[{inode}]" in open_files:
                yield int(address.rpartition(":")[2], 16)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="The port is found on Linux alone.")
def test_argo_cd_reports_what_alerts_and_panels_read(system: System) -> None:
    """With another name or value of a label, frozen delivery would raise no alert."""
    *_, controller = system.argo.programs
    [port] = listening(controller.process.pid)
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        metrics = answer.read().decode()
    read = [
        selector
        for expression in promtool.expressions(large).values()
        for selector in promtool.selectors(expression)
        if selector[0].startswith("argocd_")
    ]
    assert read
    for name, labels in read:
        found = re.findall(rf"^{name}\{{(.*)\}} \d", metrics, re.MULTILINE)
        assert labels <= set(re.findall(r'(\w+)="', found[0])), name
    for environment in ENVIRONMENTS:
        healthy = (
            rf'^argocd_app_info\{{.*dest_namespace="{environment.namespace}".*'
            rf'health_status="Healthy".*name="{environment.application}".*sync_status="Synced".*'
        )
        assert re.search(healthy, metrics, re.MULTILINE)
