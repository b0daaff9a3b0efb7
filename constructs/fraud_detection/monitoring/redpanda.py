"""Rules for Redpanda: does every partition have its leader and its replicas."""

from collections.abc import Iterator

from fraud_detection.platform.alerts import Alert, Rule, Severity

_RUNBOOK = "redpanda"


def redpanda(*, brokers: int) -> Iterator[Rule]:
    """Return the rules of a number of brokers."""
    yield Alert(
        name="BrokerMissing",
        severity=Severity.WARNING if brokers > 1 else Severity.CRITICAL,
        expression=(
            f"(count(redpanda_application_uptime_seconds_total{{$own}}) or vector(0)) < {brokers}"
        ),
        after="5m",
        loss=f"Another failure may stop or lose transactions: fewer than {brokers} brokers run.",
        runbook=_RUNBOOK,
    )
    yield Alert(
        name="PartitionsUnavailable",
        severity=Severity.CRITICAL,
        expression="max(redpanda_cluster_unavailable_partitions{$own}) > 0",
        after="1m",
        loss="Some transactions are refused: a partition has no leader.",
        runbook=_RUNBOOK,
    )
    yield Alert(
        name="PartitionsUnderReplicated",
        severity=Severity.WARNING,
        expression="sum(redpanda_kafka_under_replicated_replicas{$own}) > 0",
        after="10m",
        loss="The loss of one broker may lose transactions: some are on fewer brokers than set.",
        runbook=_RUNBOOK,
    )
