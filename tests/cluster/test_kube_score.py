"""kube-score, a linter of manifests, has nothing to say of what is committed but what we know.

It stands in for kube-linter, whose module Go's public proxy does not hand out.
"""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from delivery.control_plane.build import ControlPlaneAssets
from fraud_detection.environments import ENVIRONMENTS
from repository import REPOSITORY

OK = 10
"""The best of its grades: it has nothing to say."""
EVERYTHING = {
    "alert-monitor",
    "flink-jobmanager",
    "flink-taskmanager",
    "payment-api",
    "redis",
    "redpanda",
    "smoke-test",
    "transactions-topic",
}
KNOWN = {
    # Every image is named by a tag that is never pushed twice: one that is there is the right one.
    "container-image-pull-policy": EVERYTHING,
    # What a container writes outside of its claims has a size limit of its own, as an emptyDir.
    "container-ephemeral-storage-request-and-limit": EVERYTHING,
    # The users that the official images are made for, below 10000.
    "container-security-context-user-group-id": {
        "flink-jobmanager",
        "flink-taskmanager",
        "redis",
        "redpanda",
        "transactions-topic",
    },
    # Spread by topology constraints instead, which a cluster of one node can still satisfy.
    "deployment-has-host-podantiaffinity": {"flink-taskmanager", "payment-api"},
    # A TaskManager that is evicted costs seconds from the checkpoint; a budget of one would stop
    # every drain of its node.
    "deployment-has-poddisruptionbudget": {"flink-taskmanager"},
    # dev has one of everything. Two JobManagers would run the job twice, and two alert-monitors
    # would each take a part of the alerts from the other's users.
    "deployment-replicas": {"alert-monitor", "flink-jobmanager", "payment-api"},
    # Recreate, for the same reason.
    "deployment-strategy": {"alert-monitor", "flink-jobmanager"},
    # A quiet night needs one TaskManager.
    "horizontalpodautoscaler-replicas": {"flink-taskmanager"},
    # The applications have one address to ask; to be alive they need a few failures more.
    "pod-probes-identical": {"alert-monitor", "flink-taskmanager", "payment-api"},
    # Its clients need an address that stays, which a headless Service is not.
    "statefulset-has-servicename": {"redis"},
}
"""By check: of which workloads it complains, with why that may be so."""


@pytest.fixture
def complaints(assets: ControlPlaneAssets) -> Callable[[Path], dict[str, set[str]]]:
    """The names of the objects that a check of kube-score complains of, by the check's name."""

    def check(folder: Path) -> dict[str, set[str]]:
        files = sorted(folder.glob("*/*.yaml"))
        said = subprocess.run(
            [assets.kube_score, "score", "--output-format=json", *files],
            check=False,
            stdout=subprocess.PIPE,
        ).stdout
        found: dict[str, set[str]] = {}
        for judged in json.loads(said):
            for one in judged["checks"]:
                if one["grade"] < OK and not one["skipped"]:
                    name = judged["object_meta"]["name"]
                    found.setdefault(one["check"]["id"], set()).add(name)
        return found

    return check


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    """A copy of what is committed for the environments."""
    for environment in ENVIRONMENTS:
        shutil.copytree(REPOSITORY / "dist" / environment.name, tmp_path / environment.name)
    return tmp_path


def test_kube_score_complains_of_nothing_else(
    complaints: Callable[[Path], dict[str, set[str]]], dist: Path
) -> None:
    """A new complaint is a defect, or has its reason added above; a settled one goes from there."""
    assert complaints(dist) == KNOWN


@pytest.mark.parametrize(
    ("file", "edit", "check"),
    [
        pytest.param(
            "dev/redis.yaml",
            ("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false"),
            "container-security-context-readonlyrootfilesystem",
            id="writable root",
        ),
        pytest.param(
            "staging/payment-api.yaml",
            ("kind: PodDisruptionBudget", "kind: Unknown"),
            "deployment-has-poddisruptionbudget",
            id="no budget",
        ),
        pytest.param(
            "dev/alert-monitor.yaml",
            ("readinessProbe:", "notAProbe:"),
            "pod-probes",
            id="no probe",
        ),
    ],
)
def test_kube_score_finds_a_mistake(
    complaints: Callable[[Path], dict[str, set[str]]],
    dist: Path,
    file: str,
    edit: tuple[str, str],
    check: str,
) -> None:
    """Its silence means something only if it can speak."""
    text = (dist / file).read_text(encoding="utf-8")
    assert edit[0] in text
    (dist / file).write_text(text.replace(*edit), encoding="utf-8")
    found = complaints(dist)
    assert found.get(check, set()) - KNOWN.get(check, set())
