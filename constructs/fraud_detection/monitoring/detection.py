"""Rules for the whole way of a fraud, as the prober and its transactions see it."""

from collections.abc import Iterator

from fraud_detection.platform.alerts import Alert, Objective, Recording, Rule, Severity

_RUNBOOK = "detection"
_LATE_SECONDS = 240
"""Age of the last alert: more than two rounds of a prober that works."""


def detection(*, delay: float) -> Iterator[Rule]:
    """Return the rules of the prober.

    Args:
        delay: Time limit from an accepted transaction to its alert, in seconds.
    """
    yield Alert(
        name="DetectionStopped",
        severity=Severity.CRITICAL,
        expression=(
            f"time() - max(fraud_prober_last_success_timestamp_seconds{{$own}}) > {_LATE_SECONDS}"
        ),
        after="1m",
        loss="Frauds raise no alert: the prober has seen none for its own frauds for minutes.",
        runbook=_RUNBOOK,
    )
    yield Alert(
        name="DetectionUnknown",
        severity=Severity.CRITICAL,
        expression="absent(fraud_prober_last_success_timestamp_seconds{$own})",
        after="5m",
        loss="Nobody would notice that frauds raise no alert: the prober reports nothing.",
        runbook=_RUNBOOK,
    )
    yield from _acceptance()
    yield from Objective(
        name="AlertsLate",
        series="alerts_late",
        target=0.99,
        bad=(
            f'1 - sum(increase(fraud_prober_alert_delay_seconds_bucket{{$own, le="{delay}"}}'
            "[$window])) / ("
            "sum(increase(fraud_prober_alert_delay_seconds_count{$own}[$window])) + "
            'sum(increase(fraud_prober_failures_total{$own, step="alert"}[$window])))'
        ),
        loss=f"More than 1 in 100 frauds take longer than {delay:g} s to raise their alert.",
        runbook=_RUNBOOK,
    ).rules()


def _acceptance() -> Iterator[Rule]:
    """Return the rules of payment-api's availability, by time: failed probes repeat faster."""
    refuses = "namespace:payment_api_refuses:bool"
    yield Recording(
        name=refuses,
        expression='sum(increase(fraud_prober_failures_total{$own, step="post"}[2m])) > bool 0',
    )
    yield from Objective(
        name="TransactionsRefused",
        series="payment_api_refuses",
        target=0.99,
        bad=f"avg_over_time({refuses}{{$own}}[$window])",
        loss="payment-api does not accept transactions for too much of the time.",
        runbook=_RUNBOOK,
    ).rules()
