"""audit-log: the tests that a newcomer writes for a service of their own."""

from operator import attrgetter

import pytest

from rendering import LIVE, Manifests


@pytest.mark.parametrize("system", LIVE, ids=attrgetter("environment.name"))
def test_only_one_pod_runs_at_a_time(system: Manifests) -> None:
    """Two would show every transaction twice."""
    spec = system.get("Deployment", "audit-log")["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}
