"""Argo CD applies the system in order and repeatably, and never deletes data."""

import shutil
from operator import attrgetter

import pytest

from fraud_detection.platform import pods
from rendering import LIVE, Manifest, Manifests, wave
from settings import SMALL


@pytest.fixture(params=LIVE, ids=attrgetter("environment.name"))
def system(request: pytest.FixtureRequest) -> Manifests:
    """Each live environment in turn."""
    found: Manifests = request.param
    return found


def _waves(system: Manifests, *files: str) -> set[int]:
    return {
        wave(manifest)
        for file in files
        for manifest in system.files[file]
        if manifest["kind"] != "NetworkPolicy"
    }


def test_waves_run_from_data_stores_over_the_topic_to_the_applications(system: Manifests) -> None:
    """An application that starts before its broker or its topic never recovers by itself."""
    stores = _waves(system, "redis", "redpanda")
    topic = _waves(system, "transactions-topic")
    applications = _waves(system, "flink", "payment-api", "alert-monitor")
    assert max(stores) < min(topic)
    assert max(topic) < min(applications)


def test_quota_and_limits_come_before_the_first_pod(system: Manifests) -> None:
    """A quota does not refuse pods that were admitted before it existed."""
    assert max(_waves(system, "namespace")) < min(_waves(system, "redis", "redpanda"))


def test_every_object_states_its_wave(system: Manifests) -> None:
    """Without the annotation an object would be applied together with the data stores."""
    for manifest in system:
        assert "argocd.argoproj.io/sync-wave" in manifest["metadata"]["annotations"]


def test_no_sync_prunes_or_deletes_a_claim(system: Manifests) -> None:
    """Claims hold the only copy of the data."""
    claims = system.kind("PersistentVolumeClaim")
    for stateful_set in system.kind("StatefulSet"):
        claims += stateful_set["spec"]["volumeClaimTemplates"]
    assert claims
    for claim in claims:
        options = claim["metadata"]["annotations"]["argocd.argoproj.io/sync-options"]
        assert set(options.split(",")) == {"Prune=false", "Delete=false"}


def test_every_job_is_a_hook(system: Manifests) -> None:
    """The template of an ordinary Job is immutable: the next image would fail the sync."""
    for job in system.kind("Job"):
        annotations = job["metadata"]["annotations"]
        assert annotations["argocd.argoproj.io/hook"] in {"Sync", "PostSync"}
        assert annotations["argocd.argoproj.io/hook-delete-policy"] == "BeforeHookCreation"


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
