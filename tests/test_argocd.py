"""The Applications are those of the seed, each in a project that allows nothing else."""

from dataclasses import replace
from functools import cache
from operator import attrgetter
from pathlib import Path

import pytest
from cdk8s import Yaml

import main
from fraud_detection.argocd import rendered_kinds
from fraud_detection.commit_status import NAME, SUBSCRIPTION
from fraud_detection.environments import ENVIRONMENTS, Environment
from fraud_detection.images import read_images
from fraud_detection.repositories import REPOSITORY
from rendering import Manifest, Manifests, argocd, argocd_of, kinds
from repository import REPOSITORY as CHECKOUT
from settings import LARGE, PUBLICATION, SMALL

ROOT = "fraud-detection-root"


def _project(name: str) -> Manifest:
    spec: Manifest = argocd()[f"AppProject/{name}"]["spec"]
    return spec


@pytest.fixture(params=ENVIRONMENTS, ids=attrgetter("name"))
def environment(request: pytest.FixtureRequest) -> Environment:
    """Each environment in turn."""
    found: Environment = request.param
    return found


@pytest.fixture
def project(environment: Environment) -> Manifest:
    """The spec of the project of each environment in turn."""
    return _project(f"fraud-detection-{environment.name}")


@pytest.fixture
def root() -> Manifest:
    """The spec of the root Application."""
    spec: Manifest = argocd()[f"Application/{ROOT}"]["spec"]
    return spec


def _application(environment: Environment) -> Manifest:
    spec: Manifest = argocd()[f"Application/{environment.application}"]["spec"]
    return spec


@pytest.fixture
def application(environment: Environment) -> Manifest:
    """The spec of the Application of each environment in turn."""
    return _application(environment)


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
    """One more is the root Application; any other would apply a folder of no environment."""
    applications = [manifest for manifest in argocd().values() if manifest["kind"] == "Application"]
    assert len(applications) == len(ENVIRONMENTS) + 1


def test_each_application_belongs_to_a_project_of_its_own(
    environment: Environment, application: Manifest
) -> None:
    """In a common project, a commit on one branch could change every environment."""
    assert application["project"] == f"fraud-detection-{environment.name}"


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


def test_the_namespace_refuses_pods_that_are_not_restricted(environment: Environment) -> None:
    """The standard is enforced by the cluster, not only by our tests."""
    metadata = argocd()[f"Namespace/{environment.namespace}"]["metadata"]
    assert metadata["labels"] == {
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/audit": "restricted",
        "pod-security.kubernetes.io/warn": "restricted",
    }


def test_a_namespace_is_never_deleted(environment: Environment) -> None:
    """All its data would go with it."""
    metadata = argocd()[f"Namespace/{environment.namespace}"]["metadata"]
    options = metadata["annotations"]["argocd.argoproj.io/sync-options"]
    assert options == "Prune=false,Delete=false"


def test_a_namespace_is_in_no_namespace(environment: Environment) -> None:
    """The other objects get Argo CD's."""
    assert "namespace" not in argocd()[f"Namespace/{environment.namespace}"]["metadata"]


def test_an_application_leaves_the_labels_of_its_namespace_alone(application: Manifest) -> None:
    """With managedNamespaceMetadata its branch would set them, and every sync would wait."""
    assert "managedNamespaceMetadata" not in application["syncPolicy"]


def test_the_root_application_keeps_dist_argocd_as_it_is_on_main(root: Manifest) -> None:
    """Nobody applies it by hand after the first time; what is reviewed there is what counts."""
    assert root["project"] == ROOT
    assert root["source"] == {
        "repoURL": REPOSITORY,
        "targetRevision": "main",
        "path": "dist/argocd",
    }
    assert root["syncPolicy"]["automated"] == {"prune": False, "selfHeal": True}


def test_the_root_project_allows_its_own_objects_only() -> None:
    """It may create namespaces and projects, and configure Argo CD's notifications."""
    project = _project(ROOT)
    assert project["destinations"] == [
        {"server": "https://kubernetes.default.svc", "namespace": "argocd"}
    ]
    assert project["clusterResourceWhitelist"] == [
        {"group": "", "kind": "Namespace", "name": environment.namespace}
        for environment in ENVIRONMENTS
    ]
    assert {each["kind"] for each in project["namespaceResourceWhitelist"]} == {
        "AppProject",
        "Application",
        # One alone is meant, which a project cannot say.
        "ConfigMap",
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


def test_a_project_allows_this_repository_only(project: Manifest) -> None:
    """An edited Application still cannot be pointed at another repository."""
    assert project["sourceRepos"] == [REPOSITORY]


def test_a_project_allows_one_namespace_only(environment: Environment, project: Manifest) -> None:
    """A manifest of another environment's namespace is refused."""
    assert project["destinations"] == [
        {"server": "https://kubernetes.default.svc", "namespace": environment.namespace}
    ]


def test_a_project_allows_nothing_cluster_scoped(project: Manifest) -> None:
    """No Namespace, ClusterRole, CRD or webhook can come from an environment's branch."""
    assert "clusterResourceWhitelist" not in project


def _allowed_kinds(project: Manifest) -> set[tuple[str, str]]:
    return {(kind["group"], kind["kind"]) for kind in project["namespaceResourceWhitelist"]}


@cache
def _kinds_that_settings_add() -> set[tuple[str, str]]:
    published = replace(LARGE.payment_api, publication=PUBLICATION)
    return kinds(replace(LARGE, payment_api=published)) - kinds(SMALL)


def test_a_project_allows_every_kind_that_is_rendered(
    environment: Environment, project: Manifest
) -> None:
    """A kind that it does not allow fails the sync."""
    assert kinds(environment) <= _allowed_kinds(project)


def test_a_project_allows_nothing_of_an_earlier_render(tmp_path: Path) -> None:
    """A folder that is rendered twice may hold a file that nothing renders any more."""
    left = tmp_path / ENVIRONMENTS[0].name / "left.yaml"
    left.parent.mkdir()
    left.write_text("apiVersion: batch/v1\nkind: CronJob\n", encoding="utf-8")
    names = [each.name for each in ENVIRONMENTS]
    main.render(tmp_path, read_images(CHECKOUT / "images.yaml", environments=names))
    projects = (tmp_path / "argocd" / "fraud-detection.yaml").read_text(encoding="utf-8")
    assert "kind: ConfigMap" in projects
    assert "kind: CronJob" not in projects
    assert not left.exists()


@pytest.mark.parametrize("environment", [SMALL, LARGE], ids=["small", "large"])
def test_the_kinds_of_rendered_files_are_those_of_their_objects(
    environment: Environment, tmp_path: Path
) -> None:
    """They are read without a parser: each begins as cdk8s begins it, and scripts look alike."""
    for name, manifests in Manifests(environment).files.items():
        (tmp_path / f"{name}.yaml").write_text(Yaml.stringify(*manifests), encoding="utf-8")
    assert rendered_kinds(tmp_path) == kinds(environment)


def test_a_project_always_allows_what_a_setting_turns_on(project: Manifest) -> None:
    """It comes from main: a setting of another branch would fail the sync, also when it prunes."""
    assert _kinds_that_settings_add() <= _allowed_kinds(project)


def test_a_project_allows_no_other_kind(environment: Environment, project: Manifest) -> None:
    """A kind too many is a right that nobody uses."""
    assert _allowed_kinds(project) <= kinds(environment) | _kinds_that_settings_add()


def test_every_url_is_this_repository() -> None:
    """A fork changes one line, and every URL in the manifests follows."""
    urls = {
        url
        for manifest in argocd().values()
        for url in (
            manifest.get("spec", {}).get("source", {}).get("repoURL"),
            *manifest.get("spec", {}).get("sourceRepos", []),
        )
        if url
    }
    assert urls == {REPOSITORY}


@pytest.mark.parametrize("attribute", ["name", "branch", "namespace", "application"])
def test_no_two_environments_share(attribute: str) -> None:
    """Two environments in one place would overwrite each other."""
    values = [getattr(environment, attribute) for environment in ENVIRONMENTS]
    assert len(values) == len(set(values))


def test_an_environment_that_soaks_reports() -> None:
    """Its Application subscribes, and the root Application keeps what it subscribes to."""
    found = argocd_of(replace(SMALL, soak=5), LARGE)
    assert found["Application/small"]["metadata"]["annotations"] == {
        SUBSCRIPTION: "",
        "fraud-detection/soak-minutes": "5",
    }
    assert "annotations" not in found["Application/large"]["metadata"]
    config = found["ConfigMap/argocd-notifications-cm"]
    # Anything else belongs to Argo CD's installation.
    assert {key for key in config["data"] if NAME not in key} == set()


def test_without_a_soak_nothing_is_configured() -> None:
    """One wrong credential would stop all notifications of a cluster, those of others too."""
    found = argocd_of(SMALL, LARGE)
    assert "ConfigMap/argocd-notifications-cm" not in found


def test_another_application_may_keep_the_configuration() -> None:
    """Two that keep the same ConfigMap would take it from each other for ever."""
    found = argocd_of(replace(SMALL, soak=5), configures_notifications=False)
    assert "ConfigMap/argocd-notifications-cm" not in found
    assert SUBSCRIPTION in found["Application/small"]["metadata"]["annotations"]
