"""Rules for Redis: can it take and keep another alert."""

from collections.abc import Iterator

from fraud_detection.platform.alerts import Alert, Rule, Severity

_RUNBOOK = "redis"


def redis() -> Iterator[Rule]:
    """Return the rules of Redis."""
    yield Alert(
        name="RedisDown",
        severity=Severity.CRITICAL,
        # Without its pod there is no exporter either.
        expression="(max(redis_up{$own}) or vector(0)) == 0",
        after="2m",
        loss="Alerts that Flink finds now are lost: Redis does not answer.",
        runbook=_RUNBOOK,
    )
    yield Alert(
        name="RedisMemoryNearlyFull",
        severity=Severity.CRITICAL,
        expression="redis_memory_used_bytes{$own} / redis_memory_max_bytes{$own} > 0.8",
        after="5m",
        loss="Alerts will soon be lost: nobody takes them, and at its limit Redis refuses more.",
        runbook=_RUNBOOK,
    )
    yield Alert(
        name="RedisCannotPersist",
        severity=Severity.CRITICAL,
        expression=(
            "redis_aof_last_write_status{$own} == 0 or redis_aof_last_bgrewrite_status{$own} == 0"
        ),
        after="1m",
        loss="A restart would lose alerts: Redis cannot write its append-only file.",
        runbook=_RUNBOOK,
    )
