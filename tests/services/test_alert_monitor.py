"""alert-monitor is always one pod: an alert goes to the first pod that takes it off the list."""

from operator import attrgetter

import pytest

from rendering import LIVE, Manifest, variables


@pytest.fixture(params=LIVE, ids=attrgetter("environment.name"))
def deployment(request: pytest.FixtureRequest) -> Manifest:
    """The Deployment of each live environment in turn."""
    found: Manifest = request.param.get("Deployment", "alert-monitor")
    return found


def test_there_is_exactly_one(deployment: Manifest) -> None:
    """Two would share the alerts, and each dashboard would show only half of them."""
    assert deployment["spec"]["replicas"] == 1


def test_the_old_pod_is_gone_before_the_new_one_starts(deployment: Manifest) -> None:
    """A surge would mean two pods for a while, and the old one's alerts would be lost with it."""
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}


def test_the_port_of_redis_is_stated_as_a_number(deployment: Manifest) -> None:
    """The application parses it with int(), and a service link would inject `tcp://…`."""
    [main] = deployment["spec"]["template"]["spec"]["containers"]
    assert variables(main) == {"REDIS_HOST": "redis", "REDIS_PORT": "6379", "REDIS_DB": "0"}


def test_service_links_are_off(deployment: Manifest) -> None:
    """A Service named redis would inject REDIS_PORT=tcp://…, and the program would crash."""
    assert deployment["spec"]["template"]["spec"]["enableServiceLinks"] is False
