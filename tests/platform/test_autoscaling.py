"""Autoscalers follow a load that lasts, and nothing shorter."""

import pytest

from rendering import Manifest, large


def _behavior(name: str) -> Manifest:
    behavior: Manifest = large.get("HorizontalPodAutoscaler", name)["spec"]["behavior"]
    return behavior


@pytest.mark.parametrize(("name", "seconds"), [("flink-taskmanager", 180), ("payment-api", 30)])
def test_a_start_scales_nothing(name: str, seconds: int) -> None:
    """Measured: a fresh JVM compiles at 1.5 CPU, and one TaskManager became three within 2 s."""
    assert _behavior(name)["scaleUp"]["stabilizationWindowSeconds"] == seconds


@pytest.mark.parametrize(("name", "seconds"), [("flink-taskmanager", 900), ("payment-api", 300)])
def test_a_short_pause_scales_nothing(name: str, seconds: int) -> None:
    """Each change of the number of TaskManagers restarts the job."""
    assert _behavior(name)["scaleDown"]["stabilizationWindowSeconds"] == seconds
