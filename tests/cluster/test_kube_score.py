"""kube-score, a linter of manifests, complains of nothing in dist that has no reason.

It replaces kube-linter, whose module Go's public proxy does not serve.
"""

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from delivery.control_plane.assets import ControlPlaneAssets
from fraud_detection.environments import ENVIRONMENTS
from fraud_detection.platform.monitoring import Monitoring
from rendering import Manifests
from repository import REPOSITORY
from settings import LARGE, MONITORING

OK = 10
"""Its best grade."""
EVERYWHERE = {
    # Every image is named by a tag that is never pushed twice: a present image is the right one.
    "container-image-pull-policy",
    # Whatever a container writes outside its claims has a size limit of its own, as an emptyDir.
    "container-ephemeral-storage-request-and-limit",
    # The users that official images are made for are below 10000.
    "container-security-context-user-group-id",
    # Topology constraints spread the pods instead, which a cluster of one node can satisfy.
    "deployment-has-host-podantiaffinity",
    # The first environment has one pod of everything.
    "deployment-replicas",
    # An application has one health endpoint, and only needs more failures to be restarted.
    "pod-probes-identical",
}
"""Complaints that are acceptable for every workload, with the reason."""
KNOWN = {
    # Recreate: two alert-monitors would each get part of the alerts.
    "deployment-strategy": {"alert-monitor"},
    # Its clients need a stable address, which a headless Service does not have.
    "statefulset-has-servicename": {"redis"},
}
"""Workloads for which a complaint is acceptable, by check, with the reason."""


@pytest.fixture
def complaints(assets: ControlPlaneAssets) -> Callable[[Path], dict[str, set[str]]]:
    """Returns the names of the objects that kube-score complains of, by check."""

    def lint(folder: Path) -> dict[str, set[str]]:
        files = sorted(folder.glob("*/*.yaml"))
        output = subprocess.run(
            [assets.kube_score, "score", "--output-format=json", *files],
            check=False,
            stdout=subprocess.PIPE,
        ).stdout
        found: dict[str, set[str]] = {}
        for judged in json.loads(output):
            for one in judged["checks"]:
                check = one["check"]["id"]
                if one["grade"] < OK and not one["skipped"] and check not in EVERYWHERE:
                    found.setdefault(check, set()).add(judged["object_meta"]["name"])
        return found

    return lint


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    """A copy of the environments' manifests."""
    for environment in ENVIRONMENTS:
        shutil.copytree(REPOSITORY / "dist" / environment.name, tmp_path / environment.name)
    return tmp_path


def test_kube_score_complains_of_nothing_else(
    complaints: Callable[[Path], dict[str, set[str]]], dist: Path
) -> None:
    """A new complaint is a defect, or its reason goes into KNOWN; a solved one is removed there."""
    assert complaints(dist) == KNOWN


def test_monitoring_adds_no_complaint(
    complaints: Callable[[Path], dict[str, set[str]]], tmp_path: Path
) -> None:
    """Whoever switches it on should not have to find reasons for the tool's verdicts."""

    def found(monitoring: Monitoring | None) -> dict[str, set[str]]:
        folder = tmp_path / f"{monitoring is None}" / "large"
        folder.mkdir(parents=True)
        for name, manifests in Manifests(replace(LARGE, monitoring=monitoring)).files.items():
            text = "\n---\n".join(map(json.dumps, manifests))
            (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        return complaints(folder.parent)

    assert found(MONITORING) == found(None)


@pytest.mark.parametrize(
    ("edit", "check"),
    [
        pytest.param(
            ("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false"),
            "container-security-context-readonlyrootfilesystem",
            id="writable root",
        ),
        pytest.param(
            ("kind: PodDisruptionBudget", "kind: Unknown"),
            "deployment-has-poddisruptionbudget",
            id="no budget",
        ),
        pytest.param(("readinessProbe:", "notAProbe:"), "pod-probes", id="no probe"),
    ],
)
def test_kube_score_finds_a_mistake(
    complaints: Callable[[Path], dict[str, set[str]]],
    dist: Path,
    edit: tuple[str, str],
    check: str,
) -> None:
    """No complaints mean something only if it complains of mistakes."""
    for file in dist.glob("*/*.yaml"):
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace(*edit), encoding="utf-8")
    assert complaints(dist).get(check, set()) - KNOWN.get(check, set())
