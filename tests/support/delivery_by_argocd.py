"""All environments in a cluster of their own, delivered by a real Argo CD from a repository.

Kubelets are simulated: a pod is ready as soon as it is scheduled.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import yaml

from delivery.clusters.argocd import (
    API_VERSION,
    NAMESPACE,
    ArgoCd,
    argocd,
    refresh,
)
from delivery.control_plane.assets import ControlPlaneAssets
from delivery.control_plane.client import Client, Reference
from delivery.control_plane.programs import wait_until
from delivery.manifests.applications import FOLDER
from delivery.manifests.manifest import Manifest
from delivery.manifests.tree import manifests, read_folder
from fraud_detection.environments import ENVIRONMENTS, Environment
from fraud_detection.repositories import REPOSITORY
from remotes import run_git
from working_tree import commit_all, copy_working_tree

WAIT_SECONDS = 120
PAUSE_SECONDS = 0.2
"""Between two questions: with the default pause they cost more processor time than what we test."""
MANAGER = "a-person"
BROKEN = "broken"
"""Tag of images that never start, where some do not run."""
CRASHING = "crashing"
"""Tag of images whose containers fail once they were ready, where some do not run."""
CRASHED = "Crashed"
"""The reason why pods with such an image are not ready."""
_CRASH = f"""
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {{name: pod-crash}}
spec:
  resourceRef: {{apiGroup: v1, kind: Pod}}
  selector:
    matchExpressions:
      - {{key: .metadata.deletionTimestamp, operator: DoesNotExist}}
      - {{key: '.spec.containers.[].image | select(endswith(":{CRASHING}"))', operator: Exists}}
      - key: '.status.conditions.[] | select( .type == "Ready" ) | .status'
        operator: In
        values: ["True"]
  next:
    statusTemplate: |
      conditions:
      - {{type: Ready, status: "False", reason: {CRASHED}}}
      - {{type: ContainersReady, status: "False"}}
"""


class Origin:
    """A bare repository with the branches of all environments, and a clone to work in.

    Args:
        folder: Empty folder for both.
        change: Change of the working tree's files before they are committed.
    """

    def __init__(self, folder: Path, change: Callable[[Path], object]) -> None:
        self.bare = folder / "origin.git"
        self.clone = folder / "clone"
        copy_working_tree(self.clone)
        # The root Application keeps what is committed, so that must name this repository.
        for file in (
            self.clone / "constructs" / "fraud_detection" / "repositories.py",
            *(self.clone / FOLDER).iterdir(),
        ):
            text = file.read_text(encoding="utf-8")
            file.write_text(text.replace(REPOSITORY, self.url), encoding="utf-8")
        change(self.clone)
        first, *others = ENVIRONMENTS
        self.git("init", "--quiet", "--initial-branch", first.branch)
        commit_all(self.clone, "The working tree")
        for environment in others:
            self.git("branch", environment.branch)
        self.git("clone", "--quiet", "--bare", ".", str(self.bare))
        self.git("remote", "add", "origin", str(self.bare))
        self.start = self.head(first)

    @property
    def url(self) -> str:
        """Address for Argo CD."""
        return self.bare.as_uri()

    def head(self, environment: Environment) -> str:
        """Return the newest commit of an environment's branch."""
        return self.git("rev-parse", environment.branch)

    def commit(self, environment: Environment, change: Callable[[Path], object]) -> None:
        """Change files on an environment's branch, and push it."""
        self.git("checkout", "--quiet", environment.branch)
        change(self.clone)
        commit_all(self.clone, "A change")
        self.push()

    def push(self, *options: str) -> None:
        """Push all branches."""
        self.git("push", "--quiet", *options, "origin", *(each.branch for each in ENVIRONMENTS))

    def go_back(self) -> bool:
        """Reset all branches to the start; return whether one had moved."""
        moved = [e.branch for e in ENVIRONMENTS if self.head(e) != self.start]
        if moved:
            self.git("checkout", "--quiet", "--force", "--detach", self.start)
            for branch in moved:
                self.git("branch", "--force", branch, self.start)
            self.push("--force")
        return bool(moved)

    def git(self, *arguments: str) -> str:
        """Run Git in the clone."""
        return run_git(self.clone, *arguments)


class State(NamedTuple):
    """The state of an environment.

    Attributes:
        generations: Generation of each Deployment and StatefulSet, which counts its changes.
        pods: UID of each of their pods, by name.
    """

    generations: dict[str, int]
    pods: dict[str, str]


class System:
    """All environments, Argo CD, and the repository that it syncs.

    Args:
        argo: Argo CD.
        client: Client of its cluster's API server.
        origin: The repository.
    """

    def __init__(self, argo: ArgoCd, client: Client, origin: Origin) -> None:
        self.argo = argo
        self.client = client
        self.origin = origin

    def application(self, environment: Environment) -> Manifest:
        """Return the Application of an environment."""
        return self.client.get(_application(environment))

    def operation(self, environment: Environment) -> Manifest:
        """Return the state of an environment's newest sync."""
        state: Manifest = self.application(environment).get("status", {}).get("operationState", {})
        return state

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition; fail with all logs if it does not hold in time."""
        programs = self.argo.programs
        wait_until(
            condition, programs=programs, seconds=WAIT_SECONDS, what=what, pause=PAUSE_SECONDS
        )

    def refresh(self, *environments: Environment, hard: bool = False) -> None:
        """Have Argo CD refresh environments, and wait: two requests at once may become one."""
        for environment in environments:
            refresh(self.client, environment.application, hard=hard)
        self.wait(
            lambda: (
                not any(
                    "argocd.argoproj.io/refresh"
                    in self.application(each)["metadata"].get("annotations", {})
                    for each in environments
                )
            ),
            "an environment was not refreshed",
        )

    def is_settled(self, environment: Environment, commit: str) -> bool:
        """Whether a commit is applied and healthy, and no sync runs."""
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
        """Have Argo CD refresh environments, and wait until they are applied and healthy."""
        self.refresh(*environments)
        for environment in environments:
            commit = self.origin.head(environment)
            self.wait(
                partial(self.is_settled, environment, commit),
                f"{environment.name} was not Synced and Healthy",
            )

    def go_back(self) -> None:
        """Undo the changes of a test, and end syncs that would be retried."""
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
        """Return the current state of an environment."""
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
            },
        )

    def image(self, environment: Environment, deployment: str) -> str:
        """Return the image of a Deployment's first container."""
        manifest = self.client.get(deployed(environment, deployment))
        return str(manifest["spec"]["template"]["spec"]["containers"][0]["image"])


class FirstSync(NamedTuple):
    """The system, with a record of its first sync.

    Attributes:
        system: The system.
        statuses: Status of each Application after the first sync, by environment.
        since: Resource version before it.
    """

    system: System
    statuses: Mapping[str, Manifest]
    since: str


@contextmanager
def first_synced(
    assets: ControlPlaneAssets,
    folder: Path,
    *,
    change: Callable[[Path], object] = lambda _: None,
) -> Iterator[FirstSync]:
    """Bring up all environments from nothing.

    Args:
        assets: The programs.
        folder: Empty folder for the repository.
        change: Change of the working tree's files. Default: none.
    """
    origin = Origin(folder, change)
    with argocd(assets) as argo, closing(argo.cluster.server.client()) as client:
        system = System(argo, client, origin)
        since = client.request("GET", "/api/v1/namespaces").body["metadata"]["resourceVersion"]
        files = read_folder(origin.clone, str(FOLDER))
        for each in manifests(files, FOLDER):
            client.apply(each.manifest, field_manager=MANAGER)
        system.settle(*ENVIRONMENTS)
        statuses = {each.name: system.application(each)["status"] for each in ENVIRONMENTS}
        yield FirstSync(system, statuses, since)


def with_unkind_pods(assets: ControlPlaneAssets, folder: Path) -> ControlPlaneAssets:
    """Return programs of a cluster in which images with some tags do not run.

    Args:
        assets: The programs.
        folder: Empty folder for the life cycles of the pods.
    """
    for stage in assets.kwok_stages:
        manifest = yaml.safe_load(stage.read_bytes())
        if manifest["metadata"]["name"] == "pod-ready":
            never = f'.spec.containers.[].image | select(endswith(":{BROKEN}"))'
            expressions = manifest["spec"]["selector"]["matchExpressions"]
            expressions.append({"key": never, "operator": "DoesNotExist"})
        (folder / stage.name).write_text(yaml.safe_dump(manifest), encoding="utf-8")
    (folder / "pod-crash.yaml").write_text(_CRASH, encoding="utf-8")
    return replace(assets, kwok_stages=tuple(sorted(folder.iterdir())))


def speed_up_syncs(repository: Path) -> None:
    """Make Argo CD retry failed syncs every second, so that it gives up soon, and skip validation.

    Validation takes two thirds of Argo CD's processor time: it parses the API's schema once per
    object. Without it the API server still refuses invalid manifests, but not unknown fields.
    """
    for file in (repository / FOLDER).iterdir():
        text = file.read_text(encoding="utf-8")
        for slow, quick in (
            ("duration: 10s", "duration: 1s"),
            ("factor: 2", "factor: 1"),
            ("- ServerSideApply=true", "- ServerSideApply=true\n      - Validate=false"),
        ):
            text = text.replace(slow, quick)
        file.write_text(text, encoding="utf-8")


def deployed(environment: Environment, name: str) -> Reference:
    """Return the address of a Deployment."""
    return Reference("apps/v1", "Deployment", name, environment.namespace)


def _application(environment: Environment) -> Reference:
    return Reference(API_VERSION, "Application", environment.application, NAMESPACE)
