"""What holds for the whole namespace."""

from dataclasses import replace

from fraud_detection.environments import STAGING
from rendering import dev, render


def test_pods_get_no_service_account_token_by_default() -> None:
    """Also a pod that somebody starts by hand."""
    assert dev().get("ServiceAccount", "default")["automountServiceAccountToken"] is False


def test_no_pull_secret_unless_it_is_set() -> None:
    """A name without a Secret would hide the real reason why a pull fails."""
    assert "imagePullSecrets" not in dev().get("ServiceAccount", "default")


def test_the_pull_secret_serves_every_pod() -> None:
    """GHCR packages are private by default; every pod uses the default service account."""
    limits = replace(STAGING.limits, image_pull_secret="ghcr")  # noqa: S106 - a name
    system = render(replace(STAGING, limits=limits))
    assert system.get("ServiceAccount", "default")["imagePullSecrets"] == [{"name": "ghcr"}]
    for _, template in system.pod_templates():
        assert "serviceAccountName" not in template["spec"]


def test_a_debugging_pod_without_resources_is_still_admitted() -> None:
    """The quota refuses a container that states none; the LimitRange fills them in."""
    [limits] = dev().get("LimitRange", "limits")["spec"]["limits"]
    assert limits["default"].keys() == limits["defaultRequest"].keys() == {"cpu", "memory"}
