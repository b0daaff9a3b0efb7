"""The Job of the smoke test: after each sync, within its deadline, where it is turned on."""

from rendering import large, small, variables
from settings import LARGE


def test_it_runs_after_every_sync() -> None:
    """In PostSync everything is applied and healthy, so a failure means a broken chain."""
    annotations = large.get("Job", "smoke-test")["metadata"]["annotations"]
    assert annotations["argocd.argoproj.io/hook"] == "PostSync"


def test_without_the_setting_there_is_no_smoke_test() -> None:
    """A made-up fraud must not appear where people work with the alerts."""
    assert "smoke-test" not in small.files


def test_it_gets_both_addresses() -> None:
    """They come from the endpoints of the services."""
    [main] = large.get("Job", "smoke-test")["spec"]["template"]["spec"]["containers"]
    assert variables(main) == {
        "PAYMENT_API": "payment-api:8000",
        "ALERT_MONITOR": "alert-monitor:8080",
        "DEADLINE_SECONDS": "300",
    }


def test_the_script_ends_before_the_job_is_killed() -> None:
    """Its last line names the broken link; a killed pod logs nothing."""
    assert LARGE.smoke_test is not None
    spec = large.get("Job", "smoke-test")["spec"]
    assert spec["activeDeadlineSeconds"] > LARGE.smoke_test.deadline


def test_a_failure_is_not_repeated_by_the_job() -> None:
    """The script itself retries; a second run would only delay the failure."""
    assert large.get("Job", "smoke-test")["spec"]["backoffLimit"] == 0
