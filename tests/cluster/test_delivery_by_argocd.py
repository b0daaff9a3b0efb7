"""A real Argo CD delivers what is in the working tree: to both environments, and nothing else.

One cluster serves all tests, as starting it and the first sync take half a minute. Each test begins
with both branches at the same commit and both environments settled there, whatever the ones before
it did. Kubelets are simulated: a pod is ready and a Job done as soon as it is scheduled.
"""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from delivery.control_plane.argocd import (
    API_VERSION,
    NAMESPACE,
    ArgoCd,
    applications,
    argocd,
    refresh,
)
from delivery.control_plane.build import ControlPlaneAssets
from delivery.control_plane.client import ApiError, Client, Manifest, Reference
from delivery.control_plane.programs import wait_until
from delivery.dist import synthesize
from fraud_detection.environments import DEV, ENVIRONMENTS, STAGING, Environment
from manifests import REPOSITORY
from working_tree import bump, commit_all, copy_working_tree, git

pytestmark = [pytest.mark.xdist_group("argocd"), pytest.mark.timeout(300)]

WAIT_SECONDS = 120
MANAGER = "a-person"


class Origin:
    """A bare repository with both branches, and a clone in which to work.

    Args:
        folder: Where they live: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.bare = folder / "origin.git"
        self.clone = folder / "clone"
        copy_working_tree(self.clone)
        self.git("init", "--quiet", "--initial-branch", STAGING.branch)
        commit_all(self.clone, "What is in the working tree")
        self.git("branch", DEV.branch)
        self.git("clone", "--quiet", "--bare", ".", str(self.bare))
        self.git("remote", "add", "origin", str(self.bare))
        self.start = self.head(STAGING)

    @property
    def url(self) -> str:
        """How Argo CD fetches it."""
        return self.bare.as_uri()

    def head(self, environment: Environment) -> str:
        """The newest commit of an environment's branch."""
        return self.git("rev-parse", environment.branch)

    def commit(self, environment: Environment, change: Callable[[Path], object]) -> None:
        """Change the files on an environment's branch, and push that."""
        self.git("checkout", "--quiet", environment.branch)
        change(self.clone)
        commit_all(self.clone, "A change")
        self.push()

    def push(self, *options: str) -> None:
        """Publish both branches."""
        self.git("push", "--quiet", *options, "origin", DEV.branch, STAGING.branch)

    def go_back(self) -> bool:
        """Set both branches to where they started; whether they were elsewhere."""
        moved = [e.branch for e in ENVIRONMENTS if self.head(e) != self.start]
        if moved:
            self.git("checkout", "--quiet", "--force", "--detach", self.start)
            for branch in moved:
                self.git("branch", "--force", branch, self.start)
            self.push("--force")
        return bool(moved)

    def git(self, *arguments: str) -> str:
        """What Git answers in the clone."""
        return git(self.clone, *arguments)


class State(NamedTuple):
    """What runs in an environment.

    Attributes:
        generations: Of every workload that stays: how often its specification changed.
        pods: The name of every pod of theirs, and which pod it is.
    """

    generations: dict[str, int]
    pods: dict[str, str]


class Event(NamedTuple):
    """A change of an object.

    Attributes:
        version: Of the store: counts up over all objects.
        type: `ADDED`, `MODIFIED` or `DELETED`.
        manifest: The object after it, or at its end.
    """

    version: int
    type: str
    manifest: Manifest


class System:
    """Both environments, Argo CD that looks after them, and the repository that it looks at.

    Args:
        argo: Argo CD.
        client: Of its cluster's API server.
        origin: The repository.
    """

    def __init__(self, argo: ArgoCd, client: Client, origin: Origin) -> None:
        self.argo = argo
        self.client = client
        self.origin = origin

    def application(self, environment: Environment) -> Manifest:
        """What Argo CD says of an environment."""
        return self.client.get(_application(environment))

    def operation(self, environment: Environment) -> Manifest:
        """What Argo CD says of its newest sync."""
        state: Manifest = self.application(environment).get("status", {}).get("operationState", {})
        return state

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something, and fail with all logs if it does not come."""
        programs = self.argo.programs
        wait_until(condition, programs=programs, seconds=WAIT_SECONDS, what=what)

    def refresh(self, environment: Environment, *, hard: bool = False) -> None:
        """Have Argo CD look at the branch, and wait until it did."""
        refresh(self.client, environment.application, hard=hard)
        self.wait(
            lambda: not self.application(environment)["metadata"].get("annotations"),
            f"{environment.name} was not refreshed",
        )

    def is_settled(self, environment: Environment, commit: str) -> bool:
        """Whether all of a commit is applied and healthy, and nothing is going on."""
        application = self.application(environment)
        try:
            status = application["status"]
            return "operation" not in application and (
                status["sync"]["revision"],
                status["sync"]["status"],
                status["health"]["status"],
            ) == (commit, "Synced", "Healthy")
        except KeyError:
            return False

    def settle(self, *environments: Environment) -> None:
        """Have Argo CD look at the branches, and wait until all is applied and healthy."""
        for environment in environments:
            refresh(self.client, environment.application)
        for environment in environments:
            commit = self.origin.head(environment)
            self.wait(
                partial(self.is_settled, environment, commit),
                f"{environment.name} was not Synced and Healthy",
            )

    def go_back(self) -> None:
        """Undo whatever a test did; end what would go on trying."""
        if not self.origin.go_back() and all(
            self.is_settled(environment, self.origin.start) for environment in ENVIRONMENTS
        ):
            return
        for environment in ENVIRONMENTS:
            is_running = "operation" in self.application(environment)
            if is_running and self.operation(environment).get("retryCount"):
                end = {"status": {"operationState": {"phase": "Terminating"}}}
                self.client.merge(_application(environment), end)
        self.settle(*ENVIRONMENTS)

    def state(self, environment: Environment) -> State:
        """What runs there now."""
        namespace = environment.namespace
        return State(
            {
                f"{kind}/{item['metadata']['name']}": item["metadata"]["generation"]
                for kind in ("Deployment", "StatefulSet")
                for item in self.client.list("apps/v1", kind, namespace=namespace)
            },
            {
                pod["metadata"]["name"]: pod["metadata"]["uid"]
                for pod in self.client.list("v1", "Pod", namespace=namespace)
                if pod["metadata"]["ownerReferences"][0]["kind"] != "Job"
            },
        )

    def image(self, environment: Environment, deployment: str) -> str:
        """What a Deployment's first container runs."""
        manifest = self.client.get(deployed(environment, deployment))
        return str(manifest["spec"]["template"]["spec"]["containers"][0]["image"])

    def events(self, kind: str, environment: Environment, *, since: str) -> list[Event]:
        """All changes of the objects of a kind, in their order, since a version of the store."""
        group = "batch" if kind == "jobs" else "apps"
        server = self.argo.cluster.server
        watch = f"watch=1&resourceVersion={since}&timeoutSeconds=1"
        path = f"/apis/{group}/v1/namespaces/{environment.namespace}/{kind}?{watch}"
        said = subprocess.run(
            [server.kubectl, f"--kubeconfig={server.kubeconfig}", "get", "--raw", path],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
        return [
            Event(int(m["object"]["metadata"]["resourceVersion"]), m["type"], m["object"])
            for m in map(json.loads, said.splitlines())
        ]


class FirstSync(NamedTuple):
    """The system, and what happened when it was empty.

    Attributes:
        system: The system.
        statuses: What Argo CD said at its end, by environment.
        events: The changes of StatefulSets, Jobs and Deployments, by environment and kind.
    """

    system: System
    statuses: Mapping[str, Manifest]
    events: Mapping[tuple[str, str], list[Event]]


@pytest.fixture(scope="module")
def first_sync(
    assets: ControlPlaneAssets, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FirstSync]:
    """Both environments, brought up from nothing."""
    origin = Origin(tmp_path_factory.mktemp("git"))
    with argocd(assets) as argo, closing(argo.cluster.server.client()) as client:
        system = System(argo, client, origin)
        since = client.request("GET", "/api/v1/namespaces").body["metadata"]["resourceVersion"]
        for manifest in applications(REPOSITORY / "dist" / "argocd", repository=origin.url):
            client.apply(manifest, field_manager=MANAGER)
        system.settle(*ENVIRONMENTS)
        events = {
            (environment.name, kind): system.events(kind, environment, since=since)
            for environment in ENVIRONMENTS
            for kind in ("statefulsets", "jobs", "deployments")
        }
        statuses = {each.name: system.application(each)["status"] for each in ENVIRONMENTS}
        yield FirstSync(system, statuses, events)


@pytest.fixture
def system(first_sync: FirstSync) -> System:
    """Both environments, settled at the same commit."""
    first_sync.system.go_back()
    return first_sync.system


def _application(environment: Environment) -> Reference:
    return Reference(API_VERSION, "Application", environment.application, NAMESPACE)


def deployed(environment: Environment, name: str) -> Reference:
    """A Deployment of an environment."""
    return Reference("apps/v1", "Deployment", name, environment.namespace)


def bump_and_render(repository: Path) -> None:
    """Release another payment-api, as a robot does."""
    bump(repository)
    synthesize(repository)


def added(manifest: Manifest) -> Callable[[Path], object]:
    """A change that adds an object to dev."""
    return lambda repository: (repository / "dist" / DEV.name / "added.yaml").write_text(
        json.dumps(manifest), encoding="utf-8"
    )


def pods_of(state: State, deployment: str) -> set[str]:
    """The names of a Deployment's pods."""
    return {name for name in state.pods if name.startswith(f"{deployment}-")}


def assert_only_payment_api_rolled(before: State, after: State) -> None:
    """Exactly this Deployment has another specification and other pods."""
    changed = {
        name for name, value in after.generations.items() if before.generations.get(name) != value
    }
    assert changed == {"Deployment/payment-api"}
    assert not before.pods.items() & {
        item for item in after.pods.items() if item[0] in pods_of(after, "payment-api")
    }
    gone = before.pods.keys() - after.pods.keys()
    new = after.pods.keys() - before.pods.keys()
    assert gone == pods_of(before, "payment-api")
    assert new == pods_of(after, "payment-api")


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda environment: environment.name)
def test_an_environment_becomes_synced_and_healthy(
    first_sync: FirstSync, environment: Environment
) -> None:
    """Everything that is committed runs, as far as Argo CD and Kubernetes can tell."""
    status = first_sync.statuses[environment.name]
    assert status["operationState"]["phase"] == "Succeeded"
    assert status["sync"]["status"] == "Synced"
    assert status["health"]["status"] == "Healthy"
    assert status.get("conditions", []) == []
    health = {r["health"]["status"] for r in status["resources"] if "health" in r}
    assert health == {"Healthy"}


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda environment: environment.name)
def test_the_namespace_enforces_pod_security(system: System, environment: Environment) -> None:
    """Argo CD makes it, from labels that no manifest in the folder carries."""
    namespace = system.client.get(Reference("v1", "Namespace", environment.namespace))
    labels = namespace["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda environment: environment.name)
def test_nothing_is_out_of_sync_after_hard_refreshes(
    system: System, environment: Environment
) -> None:
    """What differs for ever hides what really changed, and is applied again and again."""
    before = system.operation(environment)["startedAt"]
    for _ in range(3):
        system.refresh(environment, hard=True)
        status = system.application(environment)["status"]
        assert [r for r in status["resources"] if r.get("status", "Synced") != "Synced"] == []
        assert status["sync"]["status"] == "Synced"
    assert system.operation(environment)["startedAt"] == before


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda environment: environment.name)
def test_the_topic_is_made_between_brokers_and_applications(
    first_sync: FirstSync, environment: Environment
) -> None:
    """Without brokers it fails; after the applications, one of them has made a lesser topic."""
    events = first_sync.events
    brokers_ready = min(
        event.version
        for event in events[environment.name, "statefulsets"]
        if event.manifest["metadata"]["name"] == "redpanda"
        and event.manifest.get("status", {}).get("readyReplicas") == environment.redpanda.brokers
    )
    job = [
        event
        for event in events[environment.name, "jobs"]
        if event.manifest["metadata"]["name"] == "transactions-topic"
    ]
    made = min(event.version for event in job if event.manifest["status"].get("succeeded"))
    first_application = min(
        event.version for event in events[environment.name, "deployments"] if event.type == "ADDED"
    )
    assert brokers_ready < min(event.version for event in job)
    assert made < first_application


def test_the_smoke_test_runs_once_all_is_healthy(first_sync: FirstSync) -> None:
    """Earlier it would fail, and so would the sync."""
    events = first_sync.events
    smoke_test = [
        event
        for event in events[DEV.name, "jobs"]
        if event.manifest["metadata"]["name"] == "smoke-test"
    ]
    available: dict[str, int] = {}
    for event in events[DEV.name, "deployments"]:
        if event.manifest["status"].get("availableReplicas"):
            available.setdefault(event.manifest["metadata"]["name"], event.version)
    assert len(available) == len(
        first_sync.system.client.list("apps/v1", "Deployment", namespace=DEV.namespace)
    )
    assert max(available.values()) < min(event.version for event in smoke_test)
    assert any(event.manifest["status"].get("succeeded") for event in smoke_test)


def test_a_bump_on_develop_rolls_one_deployment_in_dev_alone(system: System) -> None:
    """A developer's release must not touch a colleague's service, nor staging."""
    before = {environment.name: system.state(environment) for environment in ENVIRONMENTS}
    system.origin.commit(DEV, bump_and_render)
    system.settle(*ENVIRONMENTS)
    assert_only_payment_api_rolled(before[DEV.name], system.state(DEV))
    assert system.state(STAGING) == before[STAGING.name]


def test_a_merge_to_main_moves_exactly_the_release_to_staging(system: System) -> None:
    """What the reviewer of the promotion read is what staging gets; dev has it already."""
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
    """This is how a bad release is taken back."""
    old = system.image(DEV, "payment-api")
    system.origin.commit(DEV, bump)
    system.settle(DEV)
    assert system.image(DEV, "payment-api") != old
    system.origin.git("revert", "--no-edit", "HEAD")
    system.origin.push()
    system.settle(DEV)
    assert system.image(DEV, "payment-api") == old


def test_a_change_by_hand_is_healed(system: System) -> None:
    """The repository says what runs, not whoever was on the cluster last."""
    deployment = deployed(STAGING, "alert-monitor")
    before = system.client.get(deployment)["spec"]
    system.client.merge(deployment, {"spec": {"replicas": 0}})
    system.client.delete(Reference("v1", "Service", "payment-api", STAGING.namespace))
    system.wait(
        lambda: system.client.get(deployment)["spec"] == before, "the Deployment was not healed"
    )
    system.settle(STAGING)
    assert system.client.get(Reference("v1", "Service", "payment-api", STAGING.namespace))


def test_a_deleted_file_is_pruned_but_no_claim_is(system: System) -> None:
    """The data of Flink, Redis and the brokers must outlive any mistake in a commit."""

    def claims() -> dict[str, str]:
        found = system.client.list("v1", "PersistentVolumeClaim", namespace=DEV.namespace)
        return {claim["metadata"]["name"]: claim["metadata"]["uid"] for claim in found}

    def delete(repository: Path) -> None:
        for name in ("flink.yaml", "redis.yaml", "redpanda.yaml"):
            (repository / "dist" / DEV.name / name).unlink()

    before = claims()
    assert len(before) == 3
    system.origin.commit(DEV, delete)
    system.refresh(DEV)
    pruned = {"Deployment/flink-jobmanager", "Deployment/flink-taskmanager"}
    system.wait(lambda: not pruned & system.state(DEV).generations.keys(), "nothing was pruned")
    system.wait(lambda: "operation" not in system.application(DEV), "the sync did not end")
    assert claims() == before


@pytest.mark.parametrize(
    ("manifest", "refusal"),
    [
        pytest.param(
            {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": "most-important"},
                "value": 1000,
            },
            "resource scheduling.k8s.io:PriorityClass is not permitted in project",
            id="cluster-scoped kind",
        ),
        pytest.param(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "stray", "namespace": "kube-system"},
            },
            "namespace kube-system is not permitted in project",
            id="foreign namespace",
        ),
    ],
)
def test_what_may_not_be_applied_is_reported_and_touches_nothing(
    system: System, manifest: Manifest, refusal: str
) -> None:
    """One bad line in a commit must not take down what runs, nor reach beyond its namespace."""

    def change(repository: Path) -> None:
        bump(repository)
        added(manifest)(repository)

    before = {environment.name: system.state(environment) for environment in ENVIRONMENTS}
    system.origin.commit(DEV, change)
    system.refresh(DEV)
    system.wait(lambda: system.operation(DEV).get("retryCount", 0) > 0, "the sync did not fail")
    assert refusal in system.operation(DEV)["message"]
    assert {e.name: system.state(e) for e in ENVIRONMENTS} == before
    assert system.application(DEV)["status"]["health"]["status"] == "Healthy"
    with pytest.raises(ApiError) as caught:
        system.client.get(Reference.of(manifest))
    assert caught.value.reason == "NotFound"


def test_what_the_api_server_refuses_is_reported_and_goes_on_running(system: System) -> None:
    """The old pods serve until somebody has mended the commit."""

    def change_selector(repository: Path) -> None:
        file = repository / "dist" / DEV.name / "payment-api.yaml"
        manifests = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
        [deployment] = [m for m in manifests if m["kind"] == "Deployment"]
        for labels in (
            deployment["spec"]["selector"]["matchLabels"],
            deployment["spec"]["template"]["metadata"]["labels"],
        ):
            labels["version"] = "2"
        file.write_text(yaml.safe_dump_all(manifests), encoding="utf-8")

    before = system.state(DEV)
    system.origin.commit(DEV, change_selector)
    system.refresh(DEV)
    system.wait(lambda: system.operation(DEV).get("retryCount", 0) > 0, "the sync did not fail")
    assert "field is immutable" in system.operation(DEV)["message"]
    assert system.application(DEV)["status"]["sync"]["status"] == "OutOfSync"
    assert system.state(DEV) == before


def test_a_foreign_repository_is_refused(system: System, tmp_path: Path) -> None:
    """Whoever can write Applications must not bring in manifests that nobody here reviewed."""
    foreign = tmp_path / "foreign.git"
    shutil.copytree(system.origin.bare, foreign)
    application = system.application(DEV)
    name = "foreign"
    system.client.create(
        {
            "apiVersion": API_VERSION,
            "kind": "Application",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                **application["spec"],
                "source": {**application["spec"]["source"], "repoURL": foreign.as_uri()},
            },
        }
    )
    reference = Reference(API_VERSION, "Application", name, NAMESPACE)
    try:
        system.wait(
            lambda: any(
                "is not permitted in project" in condition["message"]
                for condition in system.client.get(reference)
                .get("status", {})
                .get("conditions", [])
            ),
            "the repository was not refused",
        )
        assert "operationState" not in system.client.get(reference)["status"]
    finally:
        system.client.delete(reference)


def test_a_sync_that_was_interrupted_is_finished(system: System) -> None:
    """A node may go away at any moment, with Argo CD on it."""
    system.origin.commit(DEV, bump)
    refresh(system.client, DEV.application)
    system.wait(lambda: system.operation(DEV).get("phase") == "Running", "no sync")
    with system.argo.without_controller():
        assert system.operation(DEV)["phase"] == "Running"
    system.settle(DEV)


def test_the_scaling_of_the_autoscaler_is_not_fought_over(system: System) -> None:
    """Argo CD would take back at once what the load needs."""
    most = STAGING.payment_api.max_replicas
    payment_api = deployed(STAGING, "payment-api")

    def replicas() -> int:
        return int(system.client.get(payment_api)["spec"]["replicas"])

    # Stays so: it would scale down in the middle of another test.
    system.argo.cluster.metrics.millicores[STAGING.namespace, "payment-api"] = 1000
    system.wait(lambda: replicas() == most, "the autoscaler did not scale")
    system.refresh(STAGING, hard=True)
    assert system.application(STAGING)["status"]["sync"]["status"] == "Synced"
    system.origin.commit(STAGING, bump)
    system.settle(STAGING)
    assert replicas() == most
