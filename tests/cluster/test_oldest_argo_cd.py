"""dist/argocd against the definitions of the oldest Argo CD that works, and of the one before."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath

import pytest
import yaml

from delivery.clusters.kind import OLDEST_ARGO_CD
from delivery.control_plane.api_server import api_server, make_namespace
from delivery.control_plane.assets import ApiServerAssets
from delivery.control_plane.client import ApiError, Client
from delivery.control_plane.programs import wait_until
from delivery.manifests.manifest import Manifest
from delivery.manifests.tree import manifests, read_dist
from repository import REPOSITORY

# As kubectl's, which applies dist/argocd at the first installation.
MANAGER = "kubectl"
OLDEST = ".".join(map(str, OLDEST_ARGO_CD))
DEFINITIONS = Path(__file__).parent / "data" / f"argo-cd-{OLDEST}.yaml"

Refusals = Callable[[Sequence[Manifest]], dict[str, str]]


@pytest.fixture
def refusals(api_server_assets: ApiServerAssets) -> Iterator[Refusals]:
    """Applies dist/argocd to an API server with some definitions; returns each refusal."""
    with api_server(api_server_assets) as server, closing(server.client()) as client:

        def apply(definitions: Sequence[Manifest]) -> dict[str, str]:
            make_namespace(client, "argocd")
            for definition in definitions:
                client.apply(definition, field_manager=MANAGER)
            wait_until(
                lambda: all(is_served(client, each) for each in definitions),
                programs=server.programs,
                seconds=30,
                what="Argo CD's kinds were not served",
            )
            found = {
                str(each.key): refusal(client, each.manifest)
                for each in manifests(read_dist(REPOSITORY), PurePosixPath("dist/argocd"))
            }
            return {key: message for key, message in found.items() if message}

        yield apply


def is_served(client: Client, definition: Manifest) -> bool:
    """Return whether the objects of a definition can be listed."""
    try:
        client.list("argoproj.io/v1alpha1", definition["spec"]["names"]["kind"])
    except ApiError:
        return False
    return True


def refusal(client: Client, manifest: Manifest) -> str:
    """Return why a manifest is refused; empty if it is not."""
    try:
        client.apply(manifest, field_manager=MANAGER)
    except ApiError as error:
        return str(error)
    return ""


def definitions() -> list[Manifest]:
    """Return the definitions of the oldest Argo CD that works."""
    return list(yaml.load_all(DEFINITIONS.read_text(encoding="utf-8"), yaml.CSafeLoader))


def test_the_oldest_argo_cd_accepts_everything(refusals: Refusals) -> None:
    """Whoever has a cluster wants to know before the first `kubectl apply`."""
    assert refusals(definitions()) == {}


def test_the_argo_cd_before_it_refuses_the_root_project(refusals: Refusals) -> None:
    """It has no field for the names of the Namespaces that this project may change."""
    older = definitions()
    for definition in older:
        spec = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        for field in ("clusterResourceBlacklist", "clusterResourceWhitelist"):
            if field in spec["properties"]:
                del spec["properties"][field]["items"]["properties"]["name"]
    [(refused, message)] = refusals(older).items()
    assert refused == "AppProject/fraud-detection-root"
    assert "clusterResourceWhitelist[0].name" in message


def test_the_page_about_upgrades_and_the_readme_name_it() -> None:
    """A version in a text does not move with the constant."""
    for page in ("README.md", "docs/upgrades.md"):
        assert f"Argo CD {OLDEST} or newer" in (REPOSITORY / page).read_text(encoding="utf-8")
