"""A real Argo CD protects what runs from bad commits and from changes by hand.

One cluster serves all tests, and those of test_repair_by_argocd.py, as its start and the first sync
take at least ten seconds. Each test begins with all branches at the same commit and all
environments synced to it, whatever earlier tests did.
"""

import json
import re
import shutil
from functools import partial
from pathlib import Path, PurePosixPath

import pytest
import yaml

from attack import write_attack
from delivery.clusters.argocd import API_VERSION, NAMESPACE
from delivery.control_plane.client import ApiError, Reference
from delivery.manifests.manifest import Manifest
from delivery.manifests.tree import manifests, read_dist
from delivery.rehearsal.storage import claims as claims_of
from delivery_by_argocd import System, deployed
from fraud_detection.environments import DEV, ENVIRONMENTS, STAGING
from remotes import run_git
from repository import REPOSITORY
from working_tree import bump

pytestmark = [pytest.mark.xdist_group("argocd-faults"), pytest.mark.timeout(300)]


def sync_in_vain(system: System, *refusals: str) -> None:
    """Have Argo CD sync dev, and wait until it reports why it cannot.

    Each retry replaces the report for a moment.
    """

    def is_refused() -> bool:
        message = system.operation(DEV).get("message", "")
        return all(refusal in message for refusal in refusals)

    system.refresh(DEV)
    system.wait(is_refused, "the sync was not refused")


def test_a_deleted_file_is_pruned_but_no_claim_is(system: System) -> None:
    """The data of Flink, Redis and the brokers must outlive any mistake in a commit."""

    def claims() -> dict[str, str]:
        found = system.client.list("v1", "PersistentVolumeClaim", namespace=DEV.namespace)
        return {claim["metadata"]["name"]: claim["metadata"]["uid"] for claim in found}

    def delete(repository: Path) -> None:
        for name in {Path(each.file).name for each in stateful}:
            (repository / "dist" / DEV.name / name).unlink()

    folder = PurePosixPath("dist", DEV.name)
    desired = manifests(read_dist(REPOSITORY), folder)
    stateful = [each for each in desired if claims_of(each.manifest)]
    files = {each.file for each in stateful}
    pruned = {str(each.key) for each in desired if each.file in files} & {
        *system.state(DEV).generations
    }
    before = claims()
    assert before
    assert pruned
    system.origin.commit(DEV, delete)
    system.refresh(DEV)
    system.wait(lambda: not pruned & system.state(DEV).generations.keys(), "nothing was pruned")
    system.wait(lambda: "operation" not in system.application(DEV), "the sync did not end")
    assert claims() == before


@pytest.mark.parametrize(
    ("manifest", "refusal"),
    [
        pytest.param(
            {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": "most-important"},
                "value": 1000,
            },
            "resource scheduling.k8s.io:PriorityClass is not permitted in project",
            id="cluster-scoped kind",
        ),
        pytest.param(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "stray", "namespace": "kube-system"},
            },
            "namespace kube-system is not permitted in project",
            id="foreign namespace",
        ),
    ],
)
def test_a_forbidden_object_is_reported_and_changes_nothing(
    system: System, manifest: Manifest, refusal: str
) -> None:
    """A bad line in a commit must neither stop what runs nor reach beyond its namespace."""

    def change(repository: Path) -> None:
        bump(repository)
        file = repository / "dist" / DEV.name / "added.yaml"
        file.write_text(json.dumps(manifest), encoding="utf-8")

    before = {environment.name: system.state(environment) for environment in ENVIRONMENTS}
    system.origin.commit(DEV, change)
    sync_in_vain(system, refusal)
    assert {e.name: system.state(e) for e in ENVIRONMENTS} == before
    assert system.application(DEV)["status"]["health"]["status"] == "Healthy"
    with pytest.raises(ApiError) as caught:
        system.client.get(Reference.of(manifest))
    assert caught.value.reason == "NotFound"


def test_an_attack_on_another_environment_changes_nothing_and_its_revert_heals(
    system: System,
) -> None:
    """Once its revert pruned staging's namespace, with all data."""
    policies = partial(
        system.client.list, "networking.k8s.io/v1", "NetworkPolicy", namespace=STAGING.namespace
    )

    def observed() -> list[object]:
        names = [Reference("v1", "Namespace", each.namespace) for each in ENVIRONMENTS]
        found = [system.client.get(each)["metadata"] for each in names]
        return [
            *((each["uid"], each["labels"], each.get("deletionTimestamp")) for each in found),
            system.state(STAGING),
            system.image(STAGING, "alert-monitor"),
            system.client.list("batch/v1", "Job", namespace=DEV.namespace),
            len(policies()),
        ]

    before = observed()
    system.origin.commit(DEV, write_attack)
    sync_in_vain(
        system,
        f"namespace {STAGING.namespace} is not permitted in project",
        "resource :Namespace is not permitted in project",
        "resource batch:Job is not permitted in project",
    )
    assert observed() == before
    system.origin.commit(DEV, lambda folder: run_git(folder, "revert", "--no-commit", "HEAD"))
    system.settle(DEV)
    assert observed() == before


def test_a_refused_change_is_reported_and_the_old_pods_run_on(system: System) -> None:
    """The old pods serve until somebody fixes the commit."""

    def change_selector(repository: Path) -> None:
        file = repository / "dist" / DEV.name / "payment-api.yaml"
        manifests = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
        [deployment] = [m for m in manifests if m["kind"] == "Deployment"]
        for labels in (
            deployment["spec"]["selector"]["matchLabels"],
            deployment["spec"]["template"]["metadata"]["labels"],
        ):
            labels["version"] = "2"
        file.write_text(yaml.safe_dump_all(manifests), encoding="utf-8")

    before = system.state(DEV)
    system.origin.commit(DEV, change_selector)
    sync_in_vain(system, "field is immutable")
    assert system.application(DEV)["status"]["sync"]["status"] == "OutOfSync"
    assert system.state(DEV) == before


def test_a_foreign_repository_is_refused(system: System, tmp_path: Path) -> None:
    """Whoever can create Applications must not deploy manifests that nobody reviewed."""
    foreign = tmp_path / "foreign.git"
    shutil.copytree(system.origin.bare, foreign)
    application = system.application(DEV)
    name = "foreign"
    system.client.create(
        {
            "apiVersion": API_VERSION,
            "kind": "Application",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                **application["spec"],
                "source": {**application["spec"]["source"], "repoURL": foreign.as_uri()},
            },
        }
    )
    reference = Reference(API_VERSION, "Application", name, NAMESPACE)
    try:
        system.wait(
            lambda: any(
                "is not permitted in project" in condition["message"]
                for condition in system.client.get(reference)
                .get("status", {})
                .get("conditions", [])
            ),
            "the repository was not refused",
        )
        assert "operationState" not in system.client.get(reference)["status"]
    finally:
        system.client.delete(reference)


def test_the_replicas_of_an_autoscaler_are_left_alone(system: System) -> None:
    """Argo CD would undo at once what the load needs."""

    def scale_at_once(repository: Path) -> None:
        file = repository / "dist" / STAGING.name / "payment-api.yaml"
        text = re.sub(r"(stabilizationWindowSeconds): \d+", r"\1: 0", file.read_text("utf-8"))
        file.write_text(text, encoding="utf-8")

    most = STAGING.payment_api.max_replicas
    payment_api = deployed(STAGING, "payment-api")

    def replicas() -> int:
        return int(system.client.get(payment_api)["spec"]["replicas"])

    system.origin.commit(STAGING, scale_at_once)
    system.settle(STAGING)
    # The load stays: the Deployment would otherwise scale down during another test.
    system.argo.cluster.millicores[STAGING.namespace, "payment-api"] = 1000
    system.wait(lambda: replicas() == most, "the autoscaler did not scale")
    system.refresh(STAGING, hard=True)
    assert system.application(STAGING)["status"]["sync"]["status"] == "Synced"
    system.origin.commit(STAGING, bump)
    system.settle(STAGING)
    assert replicas() == most
