"""Bounds of an environment: which objects its sync must leave alone."""

from delivery.manifests.applications import Environment
from delivery.manifests.tree import Desired, Key
from delivery.rehearsal.bounds import trespass
from delivery.rehearsal.outcomes import Action, Outcome

SHOP = Environment(
    application="shop", spec={"destination": {"namespace": "shop"}}, project={}, labels={}
)
OWN = Key(kind="ConfigMap", name="some", namespace="shop", group="")
OTHERS = {OWN._replace(name="theirs"): "dist/annex"}


def outcome(key: Key, tracking: str | None = None) -> Outcome:
    """Return the result for an object, which may carry Argo CD's annotation."""
    annotations = {"argocd.argoproj.io/tracking-id": tracking} if tracking else {}
    manifest = {"metadata": {"name": key.name, "annotations": annotations}}
    wanted = Desired(manifest=manifest, file="")
    return Outcome(key=key, was=None, wanted=wanted, before=None, after=None, action=Action.APPLIED)


def test_an_own_object_is_within_bounds() -> None:
    """Argo CD itself writes the annotation, so it may be in what somebody copied from a cluster."""
    assert trespass(outcome(OWN), SHOP, OTHERS) is None
    assert trespass(outcome(OWN, "shop:/ConfigMap:shop/some"), SHOP, OTHERS) is None


def test_an_object_of_another_environment_is_out_of_bounds() -> None:
    """Two Applications with one object both stay OutOfSync, and either may prune it."""
    theirs = outcome(OWN._replace(name="theirs"))
    assert trespass(theirs, SHOP, OTHERS) == (
        "dist/annex has it as well: both Applications would apply it in turn"
    )


def test_an_object_that_another_application_tracks_is_out_of_bounds() -> None:
    """It was copied from the cluster together with its owner."""
    tracked = outcome(OWN, "annex:/ConfigMap:shop/some")
    assert trespass(tracked, SHOP, {}) == "its tracking-id names another Application, annex"


def test_a_foreign_namespace_is_out_of_bounds() -> None:
    """Whatever the project allows: an environment is its namespace."""
    foreign = trespass(outcome(OWN._replace(namespace="annex")), SHOP, {})
    assert foreign == "it is in the namespace annex, not in shop"


def test_a_cluster_scoped_object_is_out_of_bounds() -> None:
    """A Namespace above all: whoever prunes it deletes everything in it."""
    key = Key(kind="Namespace", name="shop", namespace="", group="")
    assert trespass(outcome(key), SHOP, {}) == (
        "it exists once in the cluster, for all environments"
    )
