"""The project and the Applications: those of the seed, in a project that allows nothing else."""

from dataclasses import replace
from functools import cache
from operator import attrgetter

import pytest

from fraud_detection.environments import ENVIRONMENTS, Environment
from fraud_detection.repositories import REPOSITORY
from rendering import Manifest, argocd, kinds
from settings import LARGE, PUBLICATION, SMALL


def _project() -> Manifest:
    spec: Manifest = argocd()["AppProject/fraud-detection"]["spec"]
    return spec


def _application(environment: Environment) -> Manifest:
    spec: Manifest = argocd()[f"Application/{environment.application}"]["spec"]
    return spec


@pytest.fixture(params=ENVIRONMENTS, ids=attrgetter("name"))
def application(request: pytest.FixtureRequest) -> Manifest:
    """The spec of each Application in turn."""
    return _application(request.param)


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=attrgetter("name"))
def test_an_application_applies_its_branch_and_folder_to_its_namespace(
    environment: Environment,
) -> None:
    """Each environment has its own branch: mixing these up would promote without a review."""
    spec = _application(environment)
    assert spec["source"] == {
        "repoURL": REPOSITORY,
        "targetRevision": environment.branch,
        "path": f"dist/{environment.name}",
    }
    assert spec["destination"] == {
        "server": "https://kubernetes.default.svc",
        "namespace": environment.namespace,
    }


def test_each_environment_has_one_application() -> None:
    """One too many would apply a folder that belongs to no environment."""
    applications = [manifest for manifest in argocd().values() if manifest["kind"] == "Application"]
    assert len(applications) == len(ENVIRONMENTS)


def test_applications_belong_to_the_project(application: Manifest) -> None:
    """In the project `default` they could apply anything anywhere."""
    assert application["project"] == "fraud-detection"


def test_syncs_need_no_human(application: Manifest) -> None:
    """Objects that left Git are pruned, and manual changes are reverted."""
    assert application["syncPolicy"]["automated"] == {"prune": True, "selfHeal": True}


def test_sync_options_are_those_of_the_seed(application: Manifest) -> None:
    """Argo CD creates the namespace, and the API server applies the objects."""
    assert application["syncPolicy"]["syncOptions"] == [
        "CreateNamespace=true",
        "ServerSideApply=true",
    ]


def test_fields_of_the_job_controller_are_ignored(application: Manifest) -> None:
    """The controller adds them to every Job, and they would leave it OutOfSync for ever."""
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


def test_a_failed_sync_is_retried_but_not_for_ever(application: Manifest) -> None:
    """Without retries Argo CD neither repeats nor heals a failed revision."""
    assert 0 < application["syncPolicy"]["retry"]["limit"] <= 10


def test_a_retry_takes_the_newest_commit(application: Manifest) -> None:
    """Otherwise the commit that fixes it waits for minutes until the broken one has failed."""
    assert application["syncPolicy"]["retry"]["refresh"] is True


def test_applied_objects_are_not_deleted_with_the_application() -> None:
    """Without a finalizer, deleting an Application by mistake deletes nothing else."""
    for manifest in argocd().values():
        assert "finalizers" not in manifest["metadata"]


def test_the_project_allows_this_repository_only() -> None:
    """An edited Application still cannot be pointed at another repository."""
    assert _project()["sourceRepos"] == [REPOSITORY]


def test_the_project_allows_the_environments_namespaces_only() -> None:
    """A manifest with a foreign namespace is refused."""
    assert _project()["destinations"] == [
        {"server": "https://kubernetes.default.svc", "namespace": environment.namespace}
        for environment in ENVIRONMENTS
    ]


def test_the_project_allows_nothing_cluster_scoped_but_its_namespaces() -> None:
    """Argo CD creates them; no ClusterRole, CRD or webhook can come from this repository."""
    assert _project()["clusterResourceWhitelist"] == [
        {"group": "", "kind": "Namespace", "name": environment.namespace}
        for environment in ENVIRONMENTS
    ]


def _allowed_kinds() -> set[tuple[str, str]]:
    return {(kind["group"], kind["kind"]) for kind in _project()["namespaceResourceWhitelist"]}


@cache
def _kinds_that_settings_add() -> set[tuple[str, str]]:
    published = replace(LARGE.payment_api, publication=PUBLICATION)
    return kinds(replace(LARGE, payment_api=published)) - kinds(SMALL)


def test_the_project_allows_every_kind_that_is_rendered() -> None:
    """A kind that it does not allow fails the sync."""
    for environment in ENVIRONMENTS:
        assert kinds(environment) <= _allowed_kinds()


def test_the_project_always_allows_what_a_setting_turns_on() -> None:
    """It is applied by hand: a changed setting would fail the sync, also when it prunes."""
    assert _kinds_that_settings_add() <= _allowed_kinds()


def test_the_project_allows_no_other_kind() -> None:
    """A kind too many is a right that nobody uses."""
    rendered = {kind for environment in ENVIRONMENTS for kind in kinds(environment)}
    assert _allowed_kinds() <= rendered | _kinds_that_settings_add()


def test_every_url_is_this_repository() -> None:
    """A fork changes one line, and every URL in the manifests follows."""
    urls = {
        url
        for manifest in argocd().values()
        for url in (
            manifest["spec"].get("source", {}).get("repoURL"),
            *manifest["spec"].get("sourceRepos", []),
        )
        if url
    }
    assert urls == {REPOSITORY}


@pytest.mark.parametrize("attribute", ["name", "branch", "namespace", "application"])
def test_no_two_environments_share(attribute: str) -> None:
    """Two environments in one place would overwrite each other."""
    values = [getattr(environment, attribute) for environment in ENVIRONMENTS]
    assert len(values) == len(set(values))
