"""A real API server alone, on which the rehearsal and the cluster tests rely."""

import secrets
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from delivery.control_plane.admission import Admission
from delivery.control_plane.api_server import ApiServer, api_server, make_namespace
from delivery.control_plane.assets import ApiServerAssets
from delivery.control_plane.client import ApiError, Client, Reference
from delivery.control_plane.programs import StartError
from delivery.manifests.manifest import Manifest

# One API server serves them all.
pytestmark = pytest.mark.xdist_group("api-server")

POD_SECURITY = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}


@pytest.fixture
def namespace(client: Client) -> str:
    """A namespace that enforces Pod Security, for one test alone."""
    name = f"test-{secrets.token_hex(4)}"
    make_namespace(client, name, labels=POD_SECURITY)
    return name


@pytest.fixture
def folders(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The empty parent of the API servers' folders, with a path short enough for sockets."""
    # Otherwise pytest would create its own folder in there.
    tmp_path_factory.getbasetemp()
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def config_map(namespace: str, **data: str) -> Manifest:
    """Return the simplest object."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "some", "namespace": namespace},
        "data": data,
    }


def pod(namespace: str, *, name: str = "some", memory: str = "64Mi") -> Manifest:
    """Return a pod that Pod Security admits."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "main",
                    "image": "some",
                    "resources": {"limits": {"memory": memory}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }


def apply(client: Client, manifest: Manifest, *, manager: str = "us") -> Manifest:
    """Apply an object without force."""
    return client.apply(manifest, field_manager=manager, force=False).body


def test_kubectl_reaches_it_with_the_kubeconfig(server: ApiServer) -> None:
    """A person uses kubectl, and Argo CD reads the same file."""
    answer = subprocess.run(
        [server.kubectl, "--kubeconfig", server.kubeconfig, "get", "--raw", "/readyz"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert answer.stdout == "ok"


def test_it_listens_on_this_machine_alone(server: ApiServer) -> None:
    """Others on the network of a laptop must not reach it."""
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)):
        pass
    with pytest.raises(OSError, match=r"."), socket.create_connection(("127.0.0.2", port)):
        pass


def test_nobody_gets_in_without_the_token(server: ApiServer) -> None:
    """Other users of the machine can reach the port, too."""
    stranger = Client(server.url, token="guessed", certificate=server.certificate)  # noqa: S106 - a wrong one
    with closing(stranger), pytest.raises(ApiError, match="Unauthorized"):
        stranger.get(Reference("v1", "Namespace", "default"))


def test_nobody_else_may_read_its_folder(server: ApiServer) -> None:
    """It contains the token and the store."""
    assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700


def test_two_run_side_by_side(
    server: ApiServer, client: Client, api_server_assets: ApiServerAssets
) -> None:
    """A demo may run beside the tests; neither sees the other's objects."""
    with api_server(api_server_assets) as other, closing(other.client()) as other_client:
        assert other.url != server.url
        make_namespace(other_client, "only-there")
        with pytest.raises(ApiError, match="not found"):
            client.get(Reference("v1", "Namespace", "only-there"))
    assert client.get(Reference("v1", "Namespace", "default"))


def test_nothing_is_left_of_it(api_server_assets: ApiServerAssets, folders: Path) -> None:
    """A build machine may start it thousands of times."""
    with api_server(api_server_assets) as server:
        assert [*folders.iterdir()] == [server.folder]
    assert not [*folders.iterdir()]
    assert all(program.process.poll() is not None for program in server.programs)


def test_nothing_is_left_of_it_after_a_failure_of_ours(
    api_server_assets: ApiServerAssets, folders: Path
) -> None:
    """A failed test and a Ctrl-C clean up, too."""
    with pytest.raises(KeyboardInterrupt), api_server(api_server_assets) as server:
        raise KeyboardInterrupt
    assert not [*folders.iterdir()]
    assert all(program.process.poll() is not None for program in server.programs)


@pytest.mark.parametrize("broken", ["etcd", "kube_apiserver"])
def test_a_failed_start_keeps_and_shows_the_logs(
    api_server_assets: ApiServerAssets, folders: Path, tmp_path: Path, broken: str
) -> None:
    """The log names the cause, such as a flag that a new version does not know."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho no such flag\nexit 1\n", encoding="utf-8")
    program.chmod(0o755)
    failing = replace(api_server_assets, **{broken: program})
    with pytest.raises(StartError, match="no such flag"), api_server(failing):
        pass
    [log] = folders.glob("*/program.log")
    assert log.read_text(encoding="utf-8") == "no such flag\n"


def test_an_applied_object_can_be_read(client: Client, namespace: str) -> None:
    """The paths of core, other and cluster-scoped kinds all differ."""
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "some", "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": "some"}},
            "template": {
                "metadata": {"labels": {"app": "some"}},
                "spec": pod(namespace)["spec"],
            },
        },
    }
    priority = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": namespace},
        "value": 1,
    }
    for manifest in (config_map(namespace), deployment, priority):
        applied = apply(client, manifest)
        read = client.get(Reference.of(manifest))
        assert read["metadata"]["uid"] == applied["metadata"]["uid"]


def test_lists_are_of_one_namespace_or_of_all(client: Client, namespace: str) -> None:
    """Items carry kind and version, so that they can be deleted, applied or compared."""
    apply(client, config_map(namespace))
    [item] = client.list("v1", "ConfigMap", namespace=namespace)
    assert Reference.of(item) == Reference("v1", "ConfigMap", "some", namespace)
    assert namespace in {found["metadata"]["namespace"] for found in client.list("v1", "ConfigMap")}


def test_lists_can_be_filtered_by_labels(client: Client, namespace: str) -> None:
    """A selector finds the pods of a Service."""
    apply(client, config_map(namespace))
    assert not client.list("v1", "ConfigMap", namespace=namespace, labels="app=some")


def test_a_dry_run_changes_nothing(client: Client, namespace: str) -> None:
    """It answers as if, and stores nothing."""
    manifest = config_map(namespace)
    assert client.apply(manifest, field_manager="us", dry_run=True).body["metadata"]["uid"]
    assert client.create(manifest, dry_run=True).body["metadata"]["uid"]
    assert not client.list("v1", "ConfigMap", namespace=namespace)
    apply(client, manifest)
    client.delete(Reference.of(manifest), dry_run=True)
    assert client.get(Reference.of(manifest))


def test_a_deleted_object_is_gone(client: Client, namespace: str) -> None:
    """No finalizer needs a controller here."""
    manifest = apply(client, config_map(namespace))
    client.delete(Reference.of(manifest))
    with pytest.raises(ApiError) as caught:
        client.get(Reference.of(manifest))
    assert caught.value.reason == "NotFound"


def test_a_rule_holds_once_it_was_waited_for(client: Client, namespace: str) -> None:
    """Without the wait about one claim in thirty is judged by the previous LimitRange."""
    admission = Admission(client)
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "some", "namespace": namespace},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "2Gi"}},
        },
    }
    for largest in ["1Gi", "2Gi"] * 50:
        limits = {
            "apiVersion": "v1",
            "kind": "LimitRange",
            "metadata": {"name": "some", "namespace": namespace},
            "spec": {"limits": [{"type": "PersistentVolumeClaim", "max": {"storage": largest}}]},
        }
        admission.note(apply(client, limits))
        admission.wait()
        if largest == "2Gi":
            client.create(claim, dry_run=True)
        else:
            with pytest.raises(ApiError, match="maximum storage usage"):
                client.create(claim, dry_run=True)


def test_another_manager_s_field_is_a_conflict_without_force(
    client: Client, namespace: str
) -> None:
    """Applying without force shows whose fields Argo CD would take over."""
    apply(client, config_map(namespace, key="theirs"), manager="them")
    mine = config_map(namespace, key="mine")
    with pytest.raises(ApiError, match="conflict") as caught:
        apply(client, mine)
    assert caught.value.reason == "Conflict"
    assert client.apply(mine, field_manager="us", force=True).body["data"] == {"key": "mine"}


def test_a_field_that_is_left_out_is_removed(client: Client, namespace: str) -> None:
    """A line deleted from a manifest must be deleted from the cluster."""
    apply(client, config_map(namespace, key="value"))
    assert "data" not in apply(client, config_map(namespace))


def test_a_field_that_does_not_exist_is_refused(client: Client, namespace: str) -> None:
    """A misspelt field would be dropped silently."""
    manifest = {**config_map(namespace), "dataa": {}}
    with pytest.raises(ApiError, match="dataa"):
        apply(client, manifest)
    with pytest.raises(ApiError, match="dataa"):
        client.create(manifest)


def test_a_kind_that_does_not_exist_is_not_found(client: Client, namespace: str) -> None:
    """A custom resource may come before its CRD."""
    for api_version in ("v1", "example.test/v1"):
        manifest = {**config_map(namespace), "apiVersion": api_version, "kind": "Unheard"}
        with pytest.raises(ApiError) as caught:
            apply(client, manifest)
        assert caught.value.status["code"] == 404


def test_warnings_are_returned(client: Client, namespace: str) -> None:
    """Pod Security only warns about a workload; quotes in warnings are escaped."""
    refused = pod(namespace)
    del refused["spec"]["securityContext"]["runAsNonRoot"]
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "some", "namespace": namespace},
        "spec": {"template": {"spec": {**refused["spec"], "restartPolicy": "Never"}}},
    }
    [warning] = client.apply(job, field_manager="us").warnings
    assert warning.startswith('would violate PodSecurity "restricted:latest": runAsNonRoot')


def test_pod_security_is_enforced(client: Client, namespace: str) -> None:
    """The namespace's labels have the same effect as in any cluster of this version."""
    assert client.create(pod(namespace), dry_run=True).warnings == ()
    refused = pod(namespace)
    refused["spec"]["hostNetwork"] = True
    with pytest.raises(ApiError, match='violates PodSecurity "restricted:latest"'):
        client.create(refused, dry_run=True)


def test_a_quota_counts_although_no_controller_runs(client: Client, namespace: str) -> None:
    """Admission adds up each request; the controller would only correct the sum."""
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "some", "namespace": namespace},
        "spec": {"hard": {"limits.memory": "100Mi"}},
    }
    admission = Admission(client)
    admission.start_quota(apply(client, quota))
    admission.wait()
    client.create(pod(namespace, name="first"))
    with pytest.raises(ApiError, match="exceeded quota"):
        client.create(pod(namespace, name="second"))


def test_limits_have_their_defaults(client: Client, namespace: str) -> None:
    """LimitRanger is enabled, as in any cluster."""
    apply(
        client,
        {
            "apiVersion": "v1",
            "kind": "LimitRange",
            "metadata": {"name": "some", "namespace": namespace},
            "spec": {"limits": [{"type": "Container", "default": {"cpu": "100m"}}]},
        },
    )
    created = client.create(pod(namespace), dry_run=True).body
    [container] = created["spec"]["containers"]
    assert container["resources"]["limits"] == {"cpu": "100m", "memory": "64Mi"}


def test_a_closed_connection_is_opened_again(client: Client) -> None:
    """The server closes a connection that is idle for long."""
    namespace = Reference("v1", "Namespace", "default")
    client.get(namespace)
    client._connection.sock.shutdown(socket.SHUT_RDWR)  # noqa: SLF001 - nobody waits for minutes
    assert client.get(namespace)
