"""Where pods run, and what lets them leave a node."""

import pytest

from rendering import LIVE, Manifests, large, small

EVERY = pytest.mark.parametrize(
    "system", [small, large, *LIVE], ids=lambda system: system.environment.name
)


@EVERY
def test_no_temporary_folder_keeps_a_pod_on_its_node(system: Manifests) -> None:
    """The cluster autoscaler never removes a node with a pod that has another local volume."""
    for name, template in system.pod_templates():
        named = template["metadata"]["annotations"][
            "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
        ]
        local = {v["name"] for v in template["spec"]["volumes"] if "emptyDir" in v}
        assert set(named.split(",")) == local, name


def test_no_budget_can_block_a_drain_for_ever() -> None:
    """A budget that no pod may ever leave, or that a broken pod uses up, needs a person."""
    specs = [
        budget["spec"]
        for system in (small, large, *LIVE)
        for budget in system.kind("PodDisruptionBudget")
    ]
    assert specs
    for spec in specs:
        assert spec["maxUnavailable"] == 1
        assert "minAvailable" not in spec
        assert spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


@EVERY
def test_a_mixed_cluster_runs_pods_where_their_images_can_run(system: Manifests) -> None:
    """Our images are built for one platform: on another node a container would crash for ever."""
    for name, template in system.pod_templates():
        assert template["spec"]["nodeSelector"] == {
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/os": "linux",
        }, name


@EVERY
def test_a_cluster_without_ipv4_refuses_every_service(system: Manifests) -> None:
    """Our servers listen on IPv4: accepted there, the Services would lead to closed ports."""
    for service in system.kind("Service"):
        assert service["spec"]["ipFamilies"] == ["IPv4"]
        assert service["spec"]["ipFamilyPolicy"] == "SingleStack"
