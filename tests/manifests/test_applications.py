"""The environments that dist/argocd declares, and what their projects let Argo CD apply."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

import remotes
from delivery.errors import DeliveryError
from delivery.manifests.applications import (
    Environment,
    declared,
    environments,
    require_manifests,
    select,
)
from delivery.manifests.tree import Files, Key, TreeError
from shop import application

SPEC = {
    "project": "shop",
    "source": {"repoURL": "https://example.test/shop.git"},
    "destination": {"server": "https://here.test", "namespace": "shop"},
}
PROJECT = {
    "sourceRepos": ["https://example.test/*"],
    "destinations": [{"server": "https://here.test", "namespace": "shop"}],
}
WEB = Key("Deployment", "web", "shop", "apps")
CLASS = Key("PriorityClass", "first", "", "scheduling.k8s.io")


def objection(
    key: Key, *, spec: Mapping[str, object] | None = None, **project: object
) -> str | None:
    """Return the objection to an object, with more fields in the project or the Application."""
    application = Environment(
        application="shop", spec={**SPEC, **(spec or {})}, project={**PROJECT, **project}
    )
    return application.objection(key, namespaced=bool(key.namespace))


def test_without_a_list_every_kind_of_a_namespace_is_allowed() -> None:
    """Argo CD allows every namespaced kind then."""
    assert objection(WEB) is None


def test_without_a_list_no_kind_of_the_whole_cluster_is_allowed() -> None:
    """They reach beyond the namespace, so that each must be listed."""
    assert objection(CLASS) == "the project shop does not allow the kind PriorityClass"


def test_an_empty_list_allows_nothing() -> None:
    """It is not the same as no list."""
    assert objection(WEB, namespaceResourceWhitelist=[]) is not None


@pytest.mark.parametrize(
    ("entry", "allowed"),
    [
        ({"group": "apps", "kind": "Deployment"}, True),
        ({"group": "app*", "kind": "*"}, True),
        ({"group": "", "kind": "Deployment"}, False),
        ({"group": "apps", "kind": "StatefulSet"}, False),
        ({"group": "apps", "kind": "Deployment", "name": "w*"}, True),
        ({"group": "apps", "kind": "Deployment", "name": "other"}, False),
    ],
)
def test_an_entry_has_a_group_a_kind_and_perhaps_a_name(
    entry: dict[str, str], *, allowed: bool
) -> None:
    """Each of them must match."""
    assert (objection(WEB, namespaceResourceWhitelist=[entry]) is None) == allowed


def test_a_forbidden_kind_stays_forbidden() -> None:
    """The blacklist has the last word."""
    entry = {"group": "apps", "kind": "Deployment"}
    reason = objection(WEB, namespaceResourceWhitelist=[entry], namespaceResourceBlacklist=[entry])
    assert reason == "the project shop forbids the kind Deployment"


@pytest.mark.parametrize(
    ("key", "scope"), [(WEB, "cluster"), (CLASS, "namespace")], ids=["namespaced", "cluster-wide"]
)
def test_the_lists_of_the_other_scope_do_not_count(key: Key, scope: str) -> None:
    """One pair of lists is for namespaced kinds, the other one for the rest."""
    everything = [{"group": "*", "kind": "*"}]
    own = "namespace" if scope == "cluster" else "cluster"
    lists: dict[str, Any] = {
        f"{own}ResourceWhitelist": everything,
        f"{scope}ResourceBlacklist": everything,
    }
    assert objection(key, **lists) is None


@pytest.mark.parametrize(
    "destination",
    [
        {"server": "https://there.test", "namespace": "shop"},
        {"server": "https://here.test", "namespace": "annex"},
        {"server": "https://here.test"},
    ],
)
def test_server_and_namespace_must_both_match(destination: dict[str, str]) -> None:
    """A namespace of the same name in another cluster is a different one."""
    reason = objection(WEB, destinations=[destination])
    assert reason == "the project shop does not allow the namespace shop"


def test_without_destinations_nothing_is_reached() -> None:
    """An empty project allows nothing."""
    assert objection(WEB, destinations=None) is not None


def test_the_repository_must_match() -> None:
    """Manifests of another repository have other reviewers."""
    reason = objection(WEB, sourceRepos=["https://example.test/other.git"])
    assert reason == "the project shop does not allow this repository"


@pytest.mark.parametrize(
    ("options", "objects"),
    [
        ({"syncOptions": ["CreateNamespace=true"], "managedNamespaceMetadata": {}}, True),
        ({"syncOptions": ["CreateNamespace=true"]}, False),
        ({"managedNamespaceMetadata": {}}, False),
    ],
)
def test_a_managed_namespace_must_be_allowed(options: dict[str, object], *, objects: bool) -> None:
    """Argo CD applies it with every sync, for its labels, if it may create it."""
    assert (objection(WEB, spec={"syncPolicy": options}) is not None) == objects


def files(*applications: Mapping[str, Any], **folders: str) -> Files:
    """Return a dist with some Applications, and folders with one file each."""
    argocd = yaml.safe_dump_all(applications)
    return {
        PurePosixPath("dist/argocd/all.yaml"): argocd.encode(),
        **{PurePosixPath(f"dist/{name}/a.yaml"): text.encode() for name, text in folders.items()},
    }


def test_an_environment_is_what_its_application_says() -> None:
    """Releases, the rehearsal and the proofs all take it from here."""
    [environment] = declared(files(application("dev", branch="develop")))
    assert (
        environment.name,
        environment.application,
        environment.branch,
        environment.namespace,
        environment.folder,
    ) == ("dev", "system-dev", "develop", "shop-dev", PurePosixPath("dist/dev"))


def test_environments_keep_the_order_of_their_documents() -> None:
    """It is the chain of promotion, not the alphabet."""
    found = declared(files(*map(application, ("test", "staging", "production", "archive"))))
    assert [each.name for each in found] == ["test", "staging", "production", "archive"]


def test_the_default_project_allows_everything() -> None:
    """Every Argo CD comes with it, so no manifest of ours needs to declare it."""
    [environment] = declared(files(application("shop")))
    for namespaced in (True, False):
        key = Key("ClusterRole", "some", "kube-system", "rbac.authorization.k8s.io")
        assert environment.objection(key, namespaced=namespaced) is None


def test_an_application_without_a_sync_policy_neither_prunes_nor_labels() -> None:
    """Argo CD's defaults: the rehearsal must not delete what a sync would leave."""
    [environment] = declared(files(application("shop")))
    assert not environment.prunes
    assert environment.labels == {}


@pytest.mark.parametrize("field", ["project", "source", "destination"])
def test_an_application_that_lacks_a_field_is_named(field: str) -> None:
    """After an edit by hand, a traceback would not show in which file."""
    damaged = application("dev")
    del damaged["spec"][field]
    with pytest.raises(TreeError, match="dist/argocd is damaged: the Application system-dev"):
        declared(files(damaged))


def test_a_repository_without_dist_is_an_error(tmp_path: Path) -> None:
    """Without environments every proof would hold."""
    with pytest.raises(TreeError, match=r"dist/argocd has no Application: run `make synth`\.$"):
        environments(tmp_path)


@pytest.mark.usefixtures("git_environment")
def test_the_environments_of_a_commit_are_read(tmp_path: Path) -> None:
    """The working tree may be on another branch, or half edited."""
    folder = tmp_path / "dist/argocd"
    folder.mkdir(parents=True)
    (folder / "all.yaml").write_text(yaml.safe_dump(application("dev")), encoding="utf-8")
    remotes.run_git(tmp_path, "init", "--quiet")
    commit = remotes.commit(tmp_path, "One environment")
    (folder / "all.yaml").write_text("half an edit: [", encoding="utf-8")
    assert [each.name for each in environments(tmp_path, commit)] == ["dev"]


def test_one_environment_or_all_are_selected() -> None:
    """`-e` is optional in most commands."""
    known = declared(files(application("dev"), application("staging")))
    assert select(known) == known
    assert select(known, "staging") == known[1:]


def test_an_unknown_environment_is_answered_with_the_known_ones() -> None:
    """Most likely it is misspelt."""
    known = declared(files(application("dev"), application("staging")))
    with pytest.raises(
        DeliveryError, match=r"^Unknown environment 'prod'; known environments: dev, staging\.$"
    ):
        select(known, "prod")


@pytest.mark.parametrize("folders", [{}, {"dev": ""}, {"dev": "# nothing\n---\n"}])
def test_an_environment_without_manifests_is_refused(folders: dict[str, str]) -> None:
    """A proof over nothing always holds, and Argo CD would prune the whole environment."""
    found = files(application("dev"), **folders)
    with pytest.raises(TreeError, match="dist/dev has no manifests, although the Application"):
        require_manifests(found, declared(found))
