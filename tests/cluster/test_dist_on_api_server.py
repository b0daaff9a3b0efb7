"""dist on a real API server: accepted completely, without warnings, and stable."""

import io
import secrets
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import NamedTuple

import pytest
import yaml

from delivery.control_plane.admission import Admission
from delivery.control_plane.api_server import api_server, make_namespace
from delivery.control_plane.assets import ApiServerAssets
from delivery.control_plane.client import Answer, Client, Reference
from delivery.manifests.manifest import Manifest
from fraud_detection.environments import ENVIRONMENTS
from repository import REPOSITORY

# One API server serves them all.
pytestmark = pytest.mark.xdist_group("api-server")

# As Argo CD applies: by this name, and taking over what others own.
MANAGER = "argocd-controller"
POD_SECURITY = {
    f"pod-security.kubernetes.io/{setting}": value
    for mode in ("enforce", "audit", "warn")
    for setting, value in ((mode, "restricted"), (f"{mode}-version", "latest"))
}
WORKLOADS = ("Deployment", "StatefulSet")
REPLACED = ("StatefulSet", "redis")
"""Was created in order at first, which is immutable: docs/upgrades.md has the move."""


class Dist(NamedTuple):
    """The manifests of one environment, workloads last.

    Attributes:
        environment: Name of the environment.
        manifests: All manifests, moved to a namespace of their own.
        namespace: That namespace, which exists.
    """

    environment: str
    manifests: list[Manifest]
    namespace: str


@pytest.fixture(scope="module")
def client(api_server_assets: ApiServerAssets) -> Iterator[Client]:
    """A client of an API server."""
    with api_server(api_server_assets) as server, closing(server.client()) as client:
        yield client


@pytest.fixture(params=[environment.name for environment in ENVIRONMENTS])
def dist(request: pytest.FixtureRequest, client: Client) -> Dist:
    """The working tree's dist of an environment, and an empty namespace with Pod Security.

    Namespaces cannot be deleted without a controller, so each test has its own.
    """
    namespace = f"test-{secrets.token_hex(4)}"
    make_namespace(client, namespace, labels=POD_SECURITY)
    files = sorted((REPOSITORY / "dist" / request.param).glob("*.yaml"))
    texts = [file.read_text(encoding="utf-8") for file in files]
    return Dist(request.param, moved(texts, namespace), namespace)


def moved(texts: Iterable[str], namespace: str) -> list[Manifest]:
    """Move manifests to another namespace, workloads last."""
    manifests = [
        {**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}}
        for text in texts
        for manifest in yaml.load_all(text, yaml.CSafeLoader)
    ]
    return sorted(manifests, key=lambda manifest: manifest["kind"] in WORKLOADS)


def apply(client: Client, manifests: Iterable[Manifest]) -> dict[Reference, Answer]:
    """Apply manifests as Argo CD does."""
    return {
        Reference.of(manifest): client.apply(manifest, field_manager=MANAGER)
        for manifest in manifests
    }


def warnings(answers: dict[Reference, Answer]) -> dict[Reference, tuple[str, ...]]:
    """Return the warnings of the API server."""
    return {reference: answer.warnings for reference, answer in answers.items() if answer.warnings}


def versions(answers: dict[Reference, Answer]) -> dict[Reference, str]:
    """Return the versions, which change with every write."""
    return {
        reference: answer.body["metadata"]["resourceVersion"]
        for reference, answer in answers.items()
    }


def kept(manifests: Iterable[Manifest]) -> list[Manifest]:
    """Return what is updated in place, unlike a hook or what has a move of its own."""
    return [
        manifest
        for manifest in manifests
        if "argocd.argoproj.io/hook" not in manifest["metadata"].get("annotations", {})
        and (manifest["kind"], manifest["metadata"]["name"]) != REPLACED
    ]


def first_commit(environment: str) -> list[str]:
    """Return the environment's files in its first commit; none if it is not committed yet.

    In a shallow clone, the oldest commit counts as the one that added everything.
    """
    folder = f"dist/{environment}"
    commits = git("log", "--diff-filter=A", "--format=%H", "--", folder).decode().split()
    if not commits:
        return []
    with tarfile.open(fileobj=io.BytesIO(git("archive", commits[-1], folder))) as archive:
        members = [archive.extractfile(member) for member in archive if member.isfile()]
        return [member.read().decode() for member in members if member is not None]


def git(*arguments: str) -> bytes:
    """Run Git in this repository."""
    return subprocess.run(
        ["git", *arguments], cwd=REPOSITORY, check=True, stdout=subprocess.PIPE
    ).stdout


def replicas(manifests: Iterable[Manifest]) -> Iterator[tuple[Manifest, str]]:
    """Yield every workload with the name of each of its pods, at maximum scale."""
    manifests = list(manifests)
    largest = {
        manifest["spec"]["scaleTargetRef"]["name"]: manifest["spec"]["maxReplicas"]
        for manifest in manifests
        if manifest["kind"] == "HorizontalPodAutoscaler"
    }
    for workload in manifests:
        if workload["kind"] in WORKLOADS:
            name = workload["metadata"]["name"]
            for number in range(largest.get(name, workload["spec"].get("replicas", 1))):
                yield workload, f"{name}-{number}"


def pod(workload: Manifest, name: str) -> Manifest:
    """Return a pod of a workload, as its controller creates it."""
    template = workload["spec"]["template"]
    volumes = [
        {"name": claim["metadata"]["name"], "persistentVolumeClaim": {"claimName": "any"}}
        for claim in workload["spec"].get("volumeClaimTemplates", [])
    ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template["metadata"], **named(name, workload)},
        "spec": {**template["spec"], "volumes": [*template["spec"].get("volumes", []), *volumes]},
    }


def claims(workload: Manifest, pod_name: str) -> Iterator[Manifest]:
    """Yield the claims that a StatefulSet creates for one of its pods."""
    for template in workload["spec"].get("volumeClaimTemplates", []):
        yield {
            **template,
            "metadata": named(f"{template['metadata']['name']}-{pod_name}", workload),
        }


def named(name: str, neighbour: Manifest) -> Manifest:
    """Return the metadata of an object in the namespace of another."""
    return {"name": name, "namespace": neighbour["metadata"]["namespace"]}


def test_every_manifest_is_accepted_without_a_warning(client: Client, dist: Dist) -> None:
    """A refusal stops every sync, and a warning may become one in a later version.

    Pod Security only warns about a workload whose pods it will refuse.
    """
    assert warnings(apply(client, dist.manifests)) == {}


def test_every_pod_is_admitted(client: Client, dist: Dist) -> None:
    """A Deployment is accepted even if its pods are refused, and then waits for ever."""
    answers = [
        client.create(pod(workload, name), dry_run=True)
        for workload, name in replicas(dist.manifests)
    ]
    assert answers
    assert [answer.warnings for answer in answers if answer.warnings] == []


def assert_settled(client: Client, manifests: Iterable[Manifest]) -> None:
    """Assert that a further apply changes nothing.

    The second apply of a new PersistentVolumeClaim creates a version with the same content; the
    third must not.
    """
    manifests = list(manifests)
    apply(client, manifests)
    settled = apply(client, manifests)
    assert versions(apply(client, manifests)) == versions(settled)


def test_a_further_apply_changes_nothing(client: Client, dist: Dist) -> None:
    """A field that the API server changes or drops would be applied again by every sync."""
    assert_settled(client, dist.manifests)


def test_the_first_commit_can_be_upgraded_in_place(client: Client, dist: Dist) -> None:
    """An immutable field that changed since then would stop the sync of an old installation."""
    apply(client, kept(moved(first_commit(dist.environment), dist.namespace)))
    assert warnings(apply(client, dist.manifests)) == {}
    assert_settled(client, dist.manifests)


def test_quota_and_limits_admit_everything_at_its_largest(client: Client, dist: Dist) -> None:
    """The quota must not stop a busy day, with all autoscalers at maximum."""
    [quota] = [m for m in dist.manifests if m["kind"] == "ResourceQuota"]
    admission = Admission(client)
    rules = [m for m in dist.manifests if m["kind"] in {"ResourceQuota", "LimitRange"}]
    for answer in apply(client, rules).values():
        admission.note(answer.body)
    admission.start_quota(quota)
    admission.wait()
    apply(client, (m for m in dist.manifests if m["kind"] not in WORKLOADS))
    pods = 0
    for workload, name in replicas(dist.manifests):
        for claim in claims(workload, name):
            client.create(claim)
        client.create(pod(workload, name))
        pods += 1
    assert client.get(Reference.of(quota))["status"]["used"]["pods"] == str(pods)
