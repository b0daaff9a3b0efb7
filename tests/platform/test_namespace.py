"""The rules of a whole namespace."""

from dataclasses import replace
from operator import attrgetter

import pytest

from rendering import LIVE, Manifests, small
from settings import SMALL


@pytest.fixture(params=LIVE, ids=attrgetter("environment.name"))
def system(request: pytest.FixtureRequest) -> Manifests:
    """Each live environment in turn."""
    found: Manifests = request.param
    return found


def test_pods_get_no_service_account_token_by_default(system: Manifests) -> None:
    """This holds for a pod that somebody starts by hand, too."""
    assert system.get("ServiceAccount", "default")["automountServiceAccountToken"] is False


def test_no_pull_secret_unless_it_is_set() -> None:
    """A name without a Secret would hide the real reason why a pull fails."""
    assert "imagePullSecrets" not in small.get("ServiceAccount", "default")


def test_the_pull_secret_serves_every_pod() -> None:
    """GHCR packages are private by default; every pod uses the default service account."""
    limits = replace(SMALL.limits, image_pull_secret="ghcr")  # noqa: S106 - a name
    private = Manifests(replace(SMALL, limits=limits))
    assert private.get("ServiceAccount", "default")["imagePullSecrets"] == [{"name": "ghcr"}]
    for _, template in private.pod_templates():
        assert "serviceAccountName" not in template["spec"]


def test_a_debugging_pod_without_resources_is_still_admitted(system: Manifests) -> None:
    """The quota refuses a container without resources; the LimitRange fills them in."""
    [limits] = system.get("LimitRange", "limits")["spec"]["limits"]
    assert limits["default"].keys() == limits["defaultRequest"].keys() == {"cpu", "memory"}
