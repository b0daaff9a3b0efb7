"""The smoke test's Job: in dev, after each sync, within its deadline."""

from fraud_detection.environments import DEV
from rendering import dev, staging, variables


def test_dev_is_tested_after_every_sync() -> None:
    """PostSync: everything is applied and healthy, so a failure means the chain is broken."""
    annotations = dev().get("Job", "smoke-test")["metadata"]["annotations"]
    assert annotations["argocd.argoproj.io/hook"] == "PostSync"


def test_staging_gets_no_made_up_fraud() -> None:
    """People work with staging's alerts."""
    assert {job["metadata"]["name"] for job in staging().kind("Job")} == {"transactions-topic"}


def test_it_is_told_where_to_post_and_where_to_listen() -> None:
    """Both addresses come from the services themselves."""
    [main] = dev().get("Job", "smoke-test")["spec"]["template"]["spec"]["containers"]
    assert variables(main) == {
        "PAYMENT_API": "payment-api:8000",
        "ALERT_MONITOR": "alert-monitor:8080",
        "DEADLINE_SECONDS": "300",
    }


def test_the_script_speaks_before_the_job_is_killed() -> None:
    """Its last sentence says which link broke; a killed pod says nothing."""
    assert DEV.smoke_test is not None
    spec = dev().get("Job", "smoke-test")["spec"]
    assert spec["activeDeadlineSeconds"] > DEV.smoke_test.deadline


def test_a_failure_is_not_repeated_by_the_job() -> None:
    """The script itself tries again; a second run would only delay the news."""
    assert dev().get("Job", "smoke-test")["spec"]["backoffLimit"] == 0
