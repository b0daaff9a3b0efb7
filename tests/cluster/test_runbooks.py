"""The commands of the runbooks are accepted where they are needed."""

import subprocess
from pathlib import Path

import pytest
import yaml

from delivery.control_plane.api_server import ApiServer, make_namespace
from delivery.control_plane.client import Client, Reference
from repository import REPOSITORY

pytestmark = pytest.mark.xdist_group("api-server")

RUNBOOK = REPOSITORY / "docs" / "runbooks" / "poison-message.md"
NAMESPACE = "fraud-detection"
MAKER = ("Deployment", "flink-jobmanager")


def _commands() -> str:
    """Return the shell lines of the block that skips the message."""
    blocks = RUNBOOK.read_text(encoding="utf-8").split("```")[1::2]
    [found] = [block for block in blocks if "trim-prefix" in block]
    return found


def test_a_poison_message_is_skipped_from_the_pod_that_may(
    client: Client, server: ApiServer, tmp_path: Path
) -> None:
    """Pod Security refuses an ordinary debugging container, and the network every other pod."""
    make_namespace(client, NAMESPACE, labels={"pod-security.kubernetes.io/enforce": "restricted"})
    for file in ("flink", "redpanda"):
        text = (REPOSITORY / "dist" / "dev" / f"{file}.yaml").read_bytes()
        for manifest in yaml.load_all(text, yaml.CSafeLoader):
            if manifest["kind"] == "StatefulSet":
                client.create(manifest)
            elif (manifest["kind"], manifest["metadata"]["name"]) == MAKER:
                pod = {"apiVersion": "v1", "kind": "Pod", **manifest["spec"]["template"]}
                pod["metadata"] |= {"name": "flink-jobmanager-x", "namespace": NAMESPACE}
                client.create(pod)
    kubectl = tmp_path / "kubectl"
    # Nothing runs the container, so there is nothing to attach to.
    kubectl.write_text(
        "#!/bin/sh\n"
        'for argument; do shift; test "$argument" = --attach || set -- "$@" "$argument"; done\n'
        f'exec {server.kubectl} --kubeconfig={server.kubeconfig} --cache-dir={tmp_path} "$@"\n'
    )
    kubectl.chmod(0o755)
    subprocess.run(
        ["bash", "-euc", _commands()], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=True
    )
    spec = client.get(Reference("v1", "Pod", "flink-jobmanager-x", NAMESPACE))["spec"]
    [container] = spec["ephemeralContainers"]
    assert (container.get("command") or container["args"])[:3] == ["rpk", "topic", "trim-prefix"]
