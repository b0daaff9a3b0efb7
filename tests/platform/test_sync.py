"""Argo CD applies the system at once and repeatably, and never deletes data."""

import shutil
from operator import attrgetter

import pytest

from fraud_detection.platform import pods
from rendering import LIVE, Manifest, Manifests
from settings import SMALL


@pytest.fixture(params=LIVE, ids=attrgetter("environment.name"))
def system(request: pytest.FixtureRequest) -> Manifests:
    """Each live environment in turn."""
    found: Manifests = request.param
    return found


def test_no_sync_waits_for_health(system: Manifests) -> None:
    """A sync of several waves or phases waits, and a broken release then holds back its own fix."""
    order = {"sync-wave", "hook"}
    for manifest in system:
        annotations = manifest["metadata"].get("annotations", {})
        assert not order & {name.partition("/")[2] for name in annotations}, manifest["metadata"]


def test_a_broken_pod_does_not_hold_back_the_fixed_one(system: Manifests) -> None:
    """In order, a StatefulSet waits for its broken pod before it makes the fixed one."""
    for stateful_set in system.kind("StatefulSet"):
        assert stateful_set["spec"]["podManagementPolicy"] == "Parallel"


def test_no_sync_prunes_or_deletes_a_claim(system: Manifests) -> None:
    """Claims hold the only copy of the data."""
    claims = system.kind("PersistentVolumeClaim")
    for stateful_set in system.kind("StatefulSet"):
        claims += stateful_set["spec"]["volumeClaimTemplates"]
    assert claims
    for claim in claims:
        options = claim["metadata"]["annotations"]["argocd.argoproj.io/sync-options"]
        assert set(options.split(",")) == {"Prune=false", "Delete=false"}


def test_there_is_no_job(system: Manifests) -> None:
    """Its template is immutable, so the next image would fail the sync; a hook makes it wait."""
    assert system.kind("Job") == []


def test_no_two_objects_share_kind_and_name(system: Manifests) -> None:
    """The second would silently overwrite the first."""
    seen = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in system]
    assert len(seen) == len(set(seen))


def test_every_object_names_its_own_namespace(system: Manifests) -> None:
    """Applied by hand into another namespace, it still lands where it belongs."""
    assert {manifest["metadata"]["namespace"] for manifest in system} == {
        system.environment.namespace
    }


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [str(value)]


def test_no_environment_mentions_another(system: Manifests) -> None:
    """Staging once pointed at dev's Redis and Redpanda, and nobody noticed for months."""
    others = [other.environment.namespace for other in LIVE if other is not system]
    for manifest in system:
        # The namespace of dev is also the name of the whole system, which is a label everywhere.
        metadata = {k: v for k, v in manifest["metadata"].items() if k != "labels"}
        texts = _texts({**manifest, "metadata": metadata})
        assert [text for text in texts for other in others if _names(text, other)] == []


def _names(text: str, namespace: str) -> bool:
    """Return whether a text holds a namespace as a whole DNS label or word."""
    words = text.replace(".", " ").replace("/", " ").replace(":", " ").split()
    return namespace in words


def test_a_changed_file_rolls_its_pods(system: Manifests) -> None:
    """Kubernetes does not restart a pod whose ConfigMap changed; the checksum does."""
    for name, template in system.pod_templates():
        volumes = template["spec"].get("volumes", [])
        if any("configMap" in volume for volume in volumes):
            checksum = template["metadata"]["annotations"]["checksum/files"]
            assert len(checksum) == 64, name


def test_the_checksum_follows_the_content(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A checksum that stays the same would leave pods with the old file."""

    def checksum() -> str:
        template: Manifest = Manifests(SMALL).get("StatefulSet", "redis")["spec"]["template"]
        found: str = template["metadata"]["annotations"]["checksum/files"]
        return found

    before = checksum()
    changed = tmp_path_factory.mktemp("files") / "files"
    shutil.copytree(pods._FILES, changed)  # noqa: SLF001 - the seam for this one test
    with (changed / "redis" / "redis.conf").open("a", encoding="utf-8") as configuration:
        configuration.write("# changed\n")
    monkeypatch.setattr(pods, "_FILES", changed)
    assert checksum() != before
