"""What an AppProject lets an Application apply, in the words of Argo CD's own API."""

from collections.abc import Mapping
from typing import Any

import pytest

from delivery.manifests.applications import Application
from delivery.manifests.tree import Key

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
    """What is said of an object, with more of the project than there is."""
    application = Application(spec={**SPEC, **(spec or {})}, project={**PROJECT, **project})
    return application.objection(key, namespaced=bool(key.namespace))


def test_without_a_list_every_kind_of_a_namespace_is_allowed() -> None:
    """So that a project may be as short as this one."""
    assert objection(WEB) is None


def test_without_a_list_no_kind_of_the_whole_cluster_is_allowed() -> None:
    """They reach beyond the namespace, so each is named."""
    assert objection(CLASS) == "the project shop does not allow the kind PriorityClass"


def test_an_empty_list_allows_nothing() -> None:
    """It is not the same as none."""
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


def test_what_is_forbidden_is_not_allowed_again() -> None:
    """The list of what is forbidden has the last word."""
    entry = {"group": "apps", "kind": "Deployment"}
    said = objection(WEB, namespaceResourceWhitelist=[entry], namespaceResourceBlacklist=[entry])
    assert said == "the project shop forbids the kind Deployment"


@pytest.mark.parametrize(
    ("key", "scope"), [(WEB, "cluster"), (CLASS, "namespace")], ids=["namespaced", "cluster-wide"]
)
def test_the_lists_of_the_other_scope_do_not_count(key: Key, scope: str) -> None:
    """One is for what lives in namespaces, one for the rest."""
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
    """The namespace of that name in another cluster is another one."""
    said = objection(WEB, destinations=[destination])
    assert said == "the project shop does not allow the namespace shop"


def test_without_destinations_nothing_is_reached() -> None:
    """An empty project allows nothing."""
    assert objection(WEB, destinations=None) is not None


def test_the_repository_must_match() -> None:
    """Manifests of another one have other reviewers."""
    said = objection(WEB, sourceRepos=["https://example.test/other.git"])
    assert said == "the project shop does not allow this repository"


@pytest.mark.parametrize(
    ("options", "objects"),
    [
        ({"syncOptions": ["CreateNamespace=true"], "managedNamespaceMetadata": {}}, True),
        ({"syncOptions": ["CreateNamespace=true"]}, False),
        ({"managedNamespaceMetadata": {}}, False),
    ],
)
def test_a_managed_namespace_must_be_allowed(options: dict[str, object], *, objects: bool) -> None:
    """Argo CD applies it with every sync, for its labels, if it is told to make it."""
    assert (objection(WEB, spec={"syncPolicy": options}) is not None) == objects
