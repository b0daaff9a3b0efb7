"""The Deployment of the prober, where it is turned on."""

from rendering import container, large, small, variables
from settings import LARGE


def test_without_the_setting_there_is_no_prober() -> None:
    """A made-up fraud must not appear where people work with the alerts."""
    assert "prober" not in small.files


def test_it_gets_its_addresses_and_settings() -> None:
    """The addresses come from the endpoints of the services."""
    assert LARGE.prober is not None
    template = large.get("Deployment", "prober")["spec"]["template"]
    assert variables(container(template, "prober")) == {
        "PAYMENT_API": "payment-api:8000",
        "ALERT_MONITOR": "alert-monitor:8080",
        "EVERY_SECONDS": str(LARGE.prober.every),
        "WITHIN_SECONDS": str(LARGE.prober.within),
        "PORT": "8001",
    }


def test_it_is_ready_only_while_detection_works() -> None:
    """Its readiness is the health of the environment; its liveness is its own."""
    template = large.get("Deployment", "prober")["spec"]["template"]
    main = container(template, "prober")
    assert main["readinessProbe"]["httpGet"] == {"path": "/ready", "port": 8001}
    assert main["livenessProbe"]["httpGet"] == {"path": "/metrics", "port": 8001}
    assert main["startupProbe"]["httpGet"] == {"path": "/metrics", "port": 8001}
