"""Both environments in a cluster of their own, delivered by a real Argo CD from a repository.

Kubelets are simulated: a pod is ready and a Job done as soon as it is scheduled.
"""

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from delivery.clusters.argocd import (
    API_VERSION,
    NAMESPACE,
    ArgoCd,
    applications,
    argocd,
    refresh,
)
from delivery.control_plane.build import ControlPlaneAssets
from delivery.control_plane.client import Client, Reference
from delivery.control_plane.programs import wait_until
from delivery.manifests.manifest import Manifest
from fraud_detection.environments import DEV, ENVIRONMENTS, STAGING, Environment
from remotes import run_git
from repository import REPOSITORY
from working_tree import commit_all, copy_working_tree

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
        return run_git(self.clone, *arguments)


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

    def refresh(self, *environments: Environment, hard: bool = False) -> None:
        """Have Argo CD look at the branches, and wait until it did: two wishes may become one."""
        for environment in environments:
            refresh(self.client, environment.application, hard=hard)
        self.wait(
            lambda: (
                not any(
                    self.application(each)["metadata"].get("annotations") for each in environments
                )
            ),
            "an environment was not refreshed",
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
        self.refresh(*environments)
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


@contextmanager
def first_synced(assets: ControlPlaneAssets, folder: Path) -> Iterator[FirstSync]:
    """Bring up both environments from nothing.

    Args:
        assets: The programs.
        folder: Where the repository lives: an empty folder.
    """
    origin = Origin(folder)
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


def deployed(environment: Environment, name: str) -> Reference:
    """A Deployment of an environment."""
    return Reference("apps/v1", "Deployment", name, environment.namespace)


def _application(environment: Environment) -> Reference:
    return Reference(API_VERSION, "Application", environment.application, NAMESPACE)
