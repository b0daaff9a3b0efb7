"""alert-monitor is one pod, always: alerts go to whoever takes them off the list first."""

import pytest

from fraud_detection.environments import ENVIRONMENTS, Environment
from rendering import Manifest, render, variables


@pytest.fixture(params=ENVIRONMENTS, ids=lambda environment: environment.name)
def deployment(request: pytest.FixtureRequest) -> Manifest:
    """Its Deployment, in each environment."""
    environment: Environment = request.param
    return render(environment).get("Deployment", "alert-monitor")


def test_there_is_exactly_one(deployment: Manifest) -> None:
    """Two would share the alerts, and each dashboard would show only half of them."""
    assert deployment["spec"]["replicas"] == 1


def test_the_old_pod_is_gone_before_the_new_one_starts(deployment: Manifest) -> None:
    """A surge would be two for a while, and the old one's alerts would be lost with it."""
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}


def test_the_port_of_redis_is_stated_as_a_number(deployment: Manifest) -> None:
    """It is read by int(); what a service link would inject is `tcp://…`."""
    [main] = deployment["spec"]["template"]["spec"]["containers"]
    assert variables(main) == {"REDIS_HOST": "redis", "REDIS_PORT": "6379", "REDIS_DB": "0"}


def test_service_links_are_off(deployment: Manifest) -> None:
    """A Service named redis would inject REDIS_PORT=tcp://…, and the program would crash."""
    assert deployment["spec"]["template"]["spec"]["enableServiceLinks"] is False
