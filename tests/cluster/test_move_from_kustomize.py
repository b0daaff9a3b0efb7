"""The move from the Kustomize overlays and Helm's stores, as docs/move-from-kustomize.md has it."""

import re
import secrets
from typing import Any

import pytest
import yaml

from delivery.control_plane.api_server import make_namespace
from delivery.control_plane.client import ApiError, Client, Reference
from delivery.manifests.manifest import Manifest
from repository import REPOSITORY

pytestmark = pytest.mark.xdist_group("move")

ARGO_CD = "argocd-controller"
_GUIDE = (REPOSITORY / "docs/move-from-kustomize.md").read_text(encoding="utf-8")
_API_VERSIONS = {"deployment": "apps/v1", "job": "batch/v1", "pvc": "v1"}
_KINDS = {"deployment": "Deployment", "job": "Job", "pvc": "PersistentVolumeClaim"}
_DEPLOYMENTS = ("payment-api", "alert-monitor", "flink-jobmanager", "flink-taskmanager")


@pytest.fixture
def namespace(client: Client) -> str:
    """A namespace with what the overlay and Helm have made there."""
    name = f"move-{secrets.token_hex(4)}"
    make_namespace(client, name)
    for manifest in _overlay(name):
        client.apply(manifest, field_manager=ARGO_CD)
    for manifest in _releases(name):
        client.apply(manifest, field_manager="helm")
    return name


def _overlay(namespace: str) -> list[Manifest]:
    """Return stand-ins for the overlay: the names and kinds count, and the selectors."""
    deployments = [
        _object(
            namespace,
            "apps/v1",
            "Deployment",
            name,
            {"selector": {"matchLabels": {"app": name}}, "template": _template(name)},
        )
        for name in _DEPLOYMENTS
    ]
    services = [
        _object(
            namespace,
            "v1",
            "Service",
            name,
            {"selector": {"app": name}, "ports": [{"port": port, "name": "web"}]},
        )
        for name, port in (("payment-api", 80), ("alert-monitor", 80), ("flink-jobmanager", 8081))
    ]
    job = _object(
        namespace,
        "batch/v1",
        "Job",
        "flink-job-submitter",
        {"template": {"spec": {**_template("x")["spec"], "restartPolicy": "Never"}}},
    )
    return [*deployments, *services, job]


def _releases(namespace: str) -> list[Manifest]:
    """Return stand-ins for what Helm's charts make, with the claims of their StatefulSets."""
    found = []
    for release, name, service, claim in (
        ("redis", "redis-master", "redis-headless", "redis-data"),
        ("redpanda", "redpanda", "redpanda", "datadir"),
    ):
        stateful_set = {
            "serviceName": service,
            "selector": {"matchLabels": {"app": release}},
            "template": _template(release),
            "volumeClaimTemplates": [{"metadata": {"name": claim}, "spec": _CLAIM}],
        }
        headless = {"clusterIP": "None", "selector": {"app": release}, "ports": [{"port": 1}]}
        made = [
            _object(namespace, "apps/v1", "StatefulSet", name, stateful_set),
            _object(namespace, "v1", "Service", service, headless),
        ]
        for manifest in made:
            manifest["metadata"]["annotations"] = {"meta.helm.sh/release-name": release}
        pvc = _object(namespace, "v1", "PersistentVolumeClaim", f"{claim}-{name}-0", _CLAIM)
        found += [*made, pvc]
    return found


_CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "20Gi"}}}


def _template(name: str) -> Manifest:
    containers = [{"name": "main", "image": f"registry.test/{name}:1"}]
    return {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}}


def _object(namespace: str, version: str, kind: str, name: str, spec: Any) -> Manifest:  # noqa: ANN401 - YAML
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def _dist(namespace: str) -> list[Manifest]:
    """Return dist/dev, moved to the namespace."""
    return [
        {**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}}
        for file in sorted((REPOSITORY / "dist/dev").glob("*.yaml"))
        for manifest in yaml.load_all(file.read_bytes(), yaml.CSafeLoader)
    ]


def _refused(client: Client, namespace: str) -> set[str]:
    """Apply dist/dev as Argo CD does, and return what the API server refuses."""
    refused = set()
    for manifest in _dist(namespace):
        try:
            client.apply(manifest, field_manager=ARGO_CD)
        except ApiError:  # noqa: PERF203 - all that are refused count
            refused.add(f"{manifest['kind']}/{manifest['metadata']['name']}")
    return refused


def _follow_the_guide(client: Client, namespace: str) -> None:
    """Delete what the commands of the guide delete."""
    for line in _GUIDE.splitlines():
        if match := re.fullmatch(r"kubectl -n \$NS delete (\w+) (.+)", line):
            version, kind = _API_VERSIONS[match[1]], _KINDS[match[1]]
            every = client.list(version, kind, namespace=namespace)
            names = match[2].split()
            if names == ["--all"]:
                names = [each["metadata"]["name"] for each in every]
            for name in names:
                client.delete(Reference(version, kind, name, namespace))
        elif match := re.fullmatch(r"helm -n \$NS uninstall (.+)", line):
            for version, kind in (("apps/v1", "StatefulSet"), ("v1", "Service")):
                for each in client.list(version, kind, namespace=namespace):
                    annotations = each["metadata"].get("annotations") or {}
                    if annotations.get("meta.helm.sh/release-name") in match[1].split():
                        client.delete(Reference.of(each))


def test_an_unprepared_takeover_is_refused(client: Client, namespace: str) -> None:
    """This is what the guide is for; the rest would change under the feet of what runs."""
    assert _refused(client, namespace) == {
        # Our TaskManager runs in the pod of the JobManager.
        *(f"Deployment/{name}" for name in _DEPLOYMENTS if name != "flink-taskmanager"),
        "Service/redpanda",
        "StatefulSet/redpanda",
    }


def test_after_the_guide_everything_is_accepted(client: Client, namespace: str) -> None:
    """One refused object stops the whole sync."""
    _follow_the_guide(client, namespace)
    assert _refused(client, namespace) == set()


def test_after_the_guide_services_select_only_our_pods(client: Client, namespace: str) -> None:
    """A label that is left in a selector makes a Service without pods, without any error."""
    _follow_the_guide(client, namespace)
    _refused(client, namespace)
    wanted = {
        each["metadata"]["name"]: each for each in _dist(namespace) if each["kind"] == "Service"
    }
    for name, each in wanted.items():
        live = client.get(Reference.of(each))["spec"]
        assert live["selector"] == each["spec"]["selector"], name
        assert len(live["ports"]) == len(each["spec"]["ports"]), name


def test_the_guide_leaves_no_claim_that_the_quota_counts(client: Client, namespace: str) -> None:
    """With the old claims the new ones exceed it, and their pods stay Pending."""
    _follow_the_guide(client, namespace)
    claims = client.list("v1", "PersistentVolumeClaim", namespace=namespace)
    # Deleted, but for the finalizer that a controller removes.
    assert [each for each in claims if "deletionTimestamp" not in each["metadata"]] == []


def test_volumes_are_kept_before_their_claims_go() -> None:
    """Most storage classes delete a volume with its claim."""
    keep = _GUIDE.index('"persistentVolumeReclaimPolicy":"Retain"')
    assert keep < _GUIDE.index("helm -n $NS uninstall") < _GUIDE.index("delete pvc --all")
