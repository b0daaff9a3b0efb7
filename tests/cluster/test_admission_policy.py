"""The optional policy of docs/admission, on a real API server."""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
import yaml

from delivery.control_plane.api_server import ApiServer, make_namespace
from delivery.control_plane.client import ApiError, Client
from delivery.releases.images import images_of
from fraud_detection.environments import ENVIRONMENTS
from repository import REPOSITORY

# One API server serves them all.
pytestmark = pytest.mark.xdist_group("api-server")

POLICY, BINDING = yaml.safe_load_all((REPOSITORY / "docs/admission/images.yaml").read_text())
DIGEST = f"sha256:{'a' * 64}"
OURS = f"ghcr.io/mordris/payment-api:{'b' * 40}"
_PATIENCE_SECONDS = 60
"""The API server compiles a policy some time after it is created."""


def pod(image: str, **spec: object) -> dict[str, Any]:
    """Return a pod with one container, in the first environment's namespace."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "pod", "namespace": ENVIRONMENTS[0].namespace},
        "spec": {"containers": [{"name": "main", "image": image}], **spec},
    }


@pytest.fixture(scope="module")
def guarded(server: ApiServer) -> Iterator[Client]:
    """Enforce the policy, and wait until it is."""
    with closing(server.client()) as client:
        for namespace in (*(each.namespace for each in ENVIRONMENTS), "other"):
            make_namespace(client, namespace)
        for each in (POLICY, BINDING):
            client.apply(each, field_manager="test")
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline and refused(client, pod("evil.test/image")) is None:
            time.sleep(0.1)
        yield client


def refused(client: Client, manifest: dict[str, Any]) -> str | None:
    """Return why a pod is refused, or None if it is not."""
    try:
        client.create(manifest, dry_run=True)
    except ApiError as error:
        return str(error)
    return None


def test_every_image_of_ours_runs_by_digest(guarded: Client) -> None:
    """A new service or a third party that the policy does not know would never start."""
    images = [release.image for release in images_of(REPOSITORY).services.values()]
    pods = [pod(replace(image, digest=DIGEST).reference) for image in images]
    assert [refused(guarded, each) for each in pods] == [None] * len(images)


@pytest.mark.parametrize(
    "image",
    [
        OURS,
        "redis",
        f"evil.test/ghcr.io/mordris/payment-api@{DIGEST}",
        f"ghcr.io/mordris-evil/payment-api@{DIGEST}",
        f"ghcrXio/mordris/payment-api@{DIGEST}",
        f"docker.io/library/redis-evil@{DIGEST}",
        f"{OURS}@{DIGEST}0",
    ],
)
@pytest.mark.parametrize("kind", ["containers", "initContainers"])
def test_another_image_is_refused(guarded: Client, kind: str, image: str) -> None:
    """A tag can be moved, and a name that only looks like ours is not."""
    containers = [{"name": "other", "image": image}]
    why = refused(guarded, pod(f"{OURS}@{DIGEST}", **{kind: containers}))
    assert why is not None
    assert f"not an image of fraud-detection by digest: {image}" in why


def test_other_namespaces_are_left_alone(guarded: Client) -> None:
    """The cluster has other tenants."""
    manifest = pod("evil.test/image")
    manifest["metadata"]["namespace"] = "other"
    assert refused(guarded, manifest) is None


def test_every_environment_is_guarded() -> None:
    """One that the binding does not name would run anything."""
    [selector] = BINDING["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"]
    assert set(selector["values"]) == {each.namespace for each in ENVIRONMENTS}
