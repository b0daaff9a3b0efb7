"""Rules for Flink: does the job run, does it keep up, and could it resume."""

from collections.abc import Iterator

from fraud_detection.platform.alerts import Alert, Objective, Recording, Rule, Severity

_RUNBOOK = "flink"

WRITTEN = (
    "label_replace(max by (redpanda_partition) (redpanda_kafka_max_offset{$own, "
    'redpanda_topic="transactions"}), "partition", "$$1", "redpanda_partition", "(.*)")'
)
"""The offset behind the newest transaction of each partition, in PromQL."""
_READ = (
    "max by (partition) (flink_taskmanager_job_task_operator_KafkaSourceReader_topic_partition_"
    "currentOffset{$own})"
)
WAITING = "namespace:transactions_waiting:sum"
"""Recorded: transactions that the job has not read yet."""


def flink() -> Iterator[Rule]:
    """Return the rules of the job."""
    yield Alert(
        name="JobNotRunning",
        severity=Severity.CRITICAL,
        # Flink counts a job that waits for a TaskManager among its running ones.
        expression="(max(flink_jobmanager_job_runningTime{$own}) or vector(0)) == 0",
        after="3m",
        loss="Transactions wait in the topic, and no fraud is detected: the job does not run.",
        runbook=_RUNBOOK,
    )
    yield Alert(
        name="JobRestartLoop",
        severity=Severity.CRITICAL,
        # Each start of the JobManager is a job of its own, so that the sum counts them all.
        expression=(
            "sum(increase(flink_jobmanager_job_numRestarts{$own}[10m])) >= 3 or "
            "count(count by (job_id) (max_over_time(flink_jobmanager_job_uptime{$own}[10m]))) >= 3"
        ),
        after="0m",
        loss=(
            "The job fails and restarts at the same place, and nothing behind it is detected: "
            "perhaps a message that it cannot read."
        ),
        runbook="poison-message",
    )
    completed = "sum(increase(flink_jobmanager_job_numberOfCompletedCheckpoints{$own}[2m]))"
    stale = "namespace:checkpoint_stale:bool"
    yield Recording(
        name=stale,
        # A job that is gone has no checkpoints either; what was not scraped yet has no age.
        expression=f"({completed} or 0 * sum(up{{$own}} offset 2m)) == bool 0",
    )
    yield Alert(
        name="CheckpointTooOld",
        severity=Severity.WARNING,
        expression=f"{stale}{{$own}} == 1",
        after="5m",
        loss=(
            "After a restart the job would repeat many alerts and forget recent history: it has "
            "completed no checkpoint for minutes."
        ),
        runbook=_RUNBOOK,
    )
    yield from Objective(
        name="CheckpointsStale",
        series="checkpoint_stale",
        target=0.99,
        bad=f"avg_over_time({stale}{{$own}}[$window])",
        loss="For too much of the time the newest checkpoint is older than 2 minutes.",
        runbook=_RUNBOOK,
    ).rules()
    yield Recording(
        name=WAITING,
        # Flink's own pendingRecords stays at 0 when a job is stuck. An offset is -1 until the
        # first transaction after a restart.
        expression=f"sum(clamp_min({WRITTEN} - on (partition) ({_READ} >= 0) - 1, 0))",
    )
    waiting = f"{WAITING}{{$own}}"
    yield Alert(
        name="DetectionFallsBehind",
        severity=Severity.WARNING,
        expression=f"{waiting} > 1000 and deriv({waiting}[10m]) > 0",
        after="5m",
        loss="Alerts come later and later: transactions arrive faster than they are detected.",
        runbook=_RUNBOOK,
    )
