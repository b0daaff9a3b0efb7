"""What Argo CD is told: the seed's two Applications, within a project that allows nothing else."""

from dataclasses import replace
from functools import cache
from tempfile import gettempdir

import pytest
from cdk8s import App, Testing

from fraud_detection.argocd import ArgoCd
from fraud_detection.environments import DEV, ENVIRONMENTS, REPOSITORY, STAGING
from fraud_detection.platform.publication import Publication
from rendering import Manifest, both, render


@cache
def _manifests() -> dict[str, Manifest]:
    app = App(outdir=f"{gettempdir()}/never-written")
    ArgoCd(app, environments=ENVIRONMENTS)
    return {
        f"{manifest['kind']}/{manifest['metadata']['name']}": manifest
        for chart in app.charts
        for manifest in Testing.synth(chart)
    }


def _project() -> Manifest:
    spec: Manifest = _manifests()["AppProject/fraud-detection"]["spec"]
    return spec


APPLICATIONS = {
    "fraud-detection-system": ("develop", "dist/dev", "fraud-detection"),
    "fraud-detection-system-staging": ("main", "dist/staging", "fraud-detection-staging"),
}


@pytest.fixture(params=APPLICATIONS)
def application(request: pytest.FixtureRequest) -> Manifest:
    """The spec of each Application."""
    spec: Manifest = _manifests()[f"Application/{request.param}"]["spec"]
    return spec


@pytest.mark.parametrize("name", APPLICATIONS)
def test_an_application_applies_its_branch_and_folder_to_its_namespace(name: str) -> None:
    """The branch is the stage: mixing these up would promote without a review."""
    branch, folder, namespace = APPLICATIONS[name]
    spec = _manifests()[f"Application/{name}"]["spec"]
    assert spec["source"] == {"repoURL": REPOSITORY, "targetRevision": branch, "path": folder}
    assert spec["destination"] == {
        "server": "https://kubernetes.default.svc",
        "namespace": namespace,
    }


def test_applications_belong_to_the_project(application: Manifest) -> None:
    """In the project `default` they could apply anything anywhere."""
    assert application["project"] == "fraud-detection"


def test_syncs_need_no_human(application: Manifest) -> None:
    """What left Git is pruned, what was changed by hand is healed."""
    assert application["syncPolicy"]["automated"] == {"prune": True, "selfHeal": True}


def test_sync_options_are_those_of_the_seed(application: Manifest) -> None:
    """The namespace is made by Argo CD, and objects are applied by the API server."""
    assert application["syncPolicy"]["syncOptions"] == [
        "CreateNamespace=true",
        "ServerSideApply=true",
    ]


def test_the_job_controller_s_own_fields_are_no_difference(application: Manifest) -> None:
    """They are added to every Job, and would leave it OutOfSync for ever."""
    assert application["ignoreDifferences"] == [
        {
            "group": "batch",
            "kind": "Job",
            "jsonPointers": ["/spec/selector", "/spec/template/metadata/labels"],
        }
    ]


def test_the_namespace_refuses_pods_that_are_not_restricted(application: Manifest) -> None:
    """The standard is enforced by the cluster, not only by our tests."""
    assert application["syncPolicy"]["managedNamespaceMetadata"]["labels"] == {
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/audit": "restricted",
        "pod-security.kubernetes.io/warn": "restricted",
    }


def test_a_failed_sync_is_tried_again_but_not_for_ever(application: Manifest) -> None:
    """Without retry a failed revision is neither repeated nor healed."""
    assert 0 < application["syncPolicy"]["retry"]["limit"] <= 10


def test_a_retry_takes_the_newest_commit(application: Manifest) -> None:
    """Otherwise the commit that mends it waits for minutes until the broken one is given up."""
    assert application["syncPolicy"]["retry"]["refresh"] is True


def test_applied_objects_are_not_deleted_with_the_application(application: Manifest) -> None:
    """No finalizer: whoever deletes an Application by mistake deletes an Application."""
    for manifest in _manifests().values():
        assert "finalizers" not in manifest["metadata"]
    assert application


def test_the_project_allows_this_repository_only() -> None:
    """Whoever can edit an Application still cannot point it at another repository."""
    assert _project()["sourceRepos"] == [REPOSITORY]


def test_the_project_allows_these_two_namespaces_only() -> None:
    """A manifest with a foreign namespace is refused."""
    assert _project()["destinations"] == [
        {"server": "https://kubernetes.default.svc", "namespace": namespace}
        for namespace in ("fraud-detection", "fraud-detection-staging")
    ]


def test_the_project_allows_nothing_cluster_scoped_but_its_namespaces() -> None:
    """Argo CD makes these; no ClusterRole, no CRD, no webhook can come from this repository."""
    assert _project()["clusterResourceWhitelist"] == [
        {"group": "", "kind": "Namespace", "name": namespace}
        for namespace in ("fraud-detection", "fraud-detection-staging")
    ]


def test_the_project_allows_exactly_the_kinds_that_the_constructs_render() -> None:
    """A kind too few fails the sync; a kind too many is a right that nobody uses."""
    door = Publication(
        host="pay.example.test",
        ingress_class="nginx",
        controller_namespace="ingress-nginx",
        controller_labels={"app": "nginx"},
    )
    published = render(replace(DEV, payment_api=replace(DEV.payment_api, publication=door)))
    rendered = {
        (manifest["apiVersion"].rpartition("/")[0].partition("/")[0], manifest["kind"])
        for manifest in [*both(), *published]
    }
    allowed = {(kind["group"], kind["kind"]) for kind in _project()["namespaceResourceWhitelist"]}
    assert allowed == rendered


def test_the_repository_is_written_down_once() -> None:
    """A fork changes one line: every URL in the manifests is that one."""
    urls = {
        url
        for manifest in _manifests().values()
        for url in (
            manifest["spec"].get("source", {}).get("repoURL"),
            *manifest["spec"].get("sourceRepos", []),
        )
        if url
    }
    assert urls == {REPOSITORY}


def test_environments_share_neither_branch_nor_namespace_nor_name() -> None:
    """Two environments in one place would overwrite each other."""
    for attribute in ("name", "branch", "namespace", "application"):
        assert getattr(DEV, attribute) != getattr(STAGING, attribute)
