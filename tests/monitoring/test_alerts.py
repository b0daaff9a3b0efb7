"""Each alert fires for its fault, no other does, and it ends after the repair.

Nothing here is a real product: that these faults make these series is shown on the runtime node.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import promtool
from promtool import NOBODY, Case, Series, Value
from rendering import Manifest, large
from repository import REPOSITORY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        promtool.PROMTOOL is None and not os.environ.get("SKIP_NOTHING"),
        reason="There is no promtool: run `make test-packages`.",
    ),
]

RUNBOOKS = REPOSITORY / "docs" / "runbooks"
RULES = promtool.rules(large)
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}


def constant(value: Value) -> Callable[[int], Value]:
    """Return a series that never changes; None: that does not exist."""
    return lambda _: value


def rising(per_minute: float, start: float = 0) -> Callable[[int], Value]:
    """Return a counter."""
    return lambda minute: start + per_minute * minute


def since_fault(per_minute: float, start: float = 0) -> Callable[[int], Value]:
    """Return a value that rises or falls from the beginning of the fault."""
    return lambda minute: start + per_minute * (minute - promtool.FAULT.start)


def during(start: int, stop: int) -> Callable[[int], Value]:
    """Return a series that exists for some minutes."""
    return lambda minute: 1 if start <= minute < stop else None


def frozen(per_minute: float) -> Callable[[int], Value]:
    """Return a counter that stands still during the fault."""
    missed = len(promtool.FAULT)
    return lambda minute: (
        per_minute
        * (
            min(minute, promtool.FAULT.start - 1)
            if minute < promtool.FAULT.stop
            else minute - missed
        )
    )


LAST_END = 165
"""The minute in which the alert of the longest short window has ended."""
LAST = "fraud_prober_last_success_timestamp_seconds"
DELAYS = "fraud_prober_alert_delay_seconds"
FAILURES = 'fraud_prober_failures_total{step="%s"}'
PROBES = 'prober_probe_total{pod="a",container="a",probe_type="%s",result="%s"}'
APP = 'argocd_app_info{name="app",sync_status="%s",health_status="%s"}'
VOLUME = 'kubelet_volume_stats_%s_bytes{persistentvolumeclaim="%s"}'
SCALER = "kube_horizontalpodautoscaler"
SCALED = '{horizontalpodautoscaler="a"}'
JOB = "flink_jobmanager_job_"
WRITTEN = 'redpanda_kafka_max_offset{redpanda_topic="%s",redpanda_partition="%d"}'
READ = (
    "flink_taskmanager_job_task_operator_KafkaSourceReader_topic_partition_currentOffset"
    '{partition="%d"}'
)

HEALTHY: Series = {
    LAST: rising(60),
    f'{DELAYS}_bucket{{le="2.5"}}': rising(0.5),
    f'{DELAYS}_bucket{{le="5.0"}}': rising(1),
    f'{DELAYS}_bucket{{le="+Inf"}}': rising(1),
    f"{DELAYS}_count": rising(1),
    # The prober also fails for other reasons, which are not those of an objective.
    FAILURES % "connect": rising(1),
    FAILURES % "post": constant(0),
    FAILURES % "alert": constant(0),
    f'{JOB}runningTime{{job_id="a"}}': rising(60000),
    f'{JOB}uptime{{job_id="a"}}': rising(60000),
    f'{JOB}numRestarts{{job_id="a"}}': constant(2),
    f'{JOB}numberOfCompletedCheckpoints{{job_id="a"}}': rising(6),
    WRITTEN % ("transactions", 0): rising(600),
    READ % 0: rising(600, -901),
    # It has not been read since the last restart.
    WRITTEN % ("transactions", 1): constant(5000),
    READ % 1: constant(-1),
    WRITTEN % ("another", 0): rising(6000),
    "redis_up": constant(1),
    "redis_memory_used_bytes": constant(75),
    "redis_memory_max_bytes": constant(100),
    "redis_aof_last_write_status": constant(1),
    "redis_aof_last_bgrewrite_status": constant(1),
    **{
        f'redpanda_application_uptime_seconds_total{{pod="redpanda-{n}"}}': rising(60)
        for n in range(3)
    },
    'redpanda_cluster_unavailable_partitions{pod="redpanda-0"}': constant(0),
    "redpanda_kafka_under_replicated_replicas": constant(0),
    VOLUME % ("available", "flink-checkpoints"): constant(55),
    VOLUME % ("capacity", "flink-checkpoints"): constant(100),
    # Its retention ends the trend.
    VOLUME % ("available", "data-redpanda-0"): lambda minute: max(20, 48 - minute / 10),
    VOLUME % ("capacity", "data-redpanda-0"): constant(100),
    VOLUME % ("available", "nearly-full"): constant(15),
    VOLUME % ("capacity", "nearly-full"): constant(100),
    VOLUME % ("available", "new"): rising(-0.15, 100),
    VOLUME % ("capacity", "new"): constant(100),
    PROBES % ("Readiness", "successful"): rising(6),
    PROBES % ("Readiness", "failed"): constant(3),
    PROBES % ("Startup", "failed"): rising(6),
    'kube_horizontalpodautoscaler_status_current_replicas{horizontalpodautoscaler="a"}': constant(
        3
    ),
    'kube_horizontalpodautoscaler_spec_max_replicas{horizontalpodautoscaler="a"}': constant(4),
    APP % ("Synced", "Healthy"): constant(1),
    'up{pod="redis-0"}': constant(1),
}


def fault(alert: str, series: Series, *, late: int, ends: int = 6, name: str = "") -> Case:
    """Return a case of one alert.

    Args:
        alert: Its name.
        series: The series of the fault.
        late: Minutes after which it must fire.
        ends: Minutes after the repair at which it must have ended.
        name: What happens. Default: the name of the alert.
    """
    start, end = promtool.FAULT.start, promtool.FAULT.stop
    return Case(
        name=name or alert,
        series=series,
        firing={
            start - 1: NOBODY,
            start + late - 2: NOBODY,
            start + late: {alert},
            end - 1: {alert},
            end + ends: NOBODY,
            end + 60: NOBODY,
        },
    )


def spent(
    objective: str, series: Series, *, for_good: Series | None = None, name: str = ""
) -> Case:
    """Return a case of an objective that is missed for an hour."""
    return Case(
        name=name or objective,
        series=series,
        for_good=for_good or {},
        firing={
            59: NOBODY,
            63: NOBODY,
            67: {f"{objective}Slow"},
            73: {f"{objective}Slow", f"{objective}Fast"},
            130: {f"{objective}Slow"},
            LAST_END: NOBODY,
            promtool.MINUTES - 1: NOBODY,
        },
    )


CASES = (
    fault("DetectionStopped", {LAST: frozen(60)}, late=6),
    fault(
        "DetectionUnknown",
        {
            name: constant(None)
            for name in (
                LAST,
                f'{DELAYS}_bucket{{le="2.5"}}',
                f'{DELAYS}_bucket{{le="5.0"}}',
                f'{DELAYS}_bucket{{le="+Inf"}}',
                f"{DELAYS}_count",
                FAILURES % "connect",
                FAILURES % "post",
                FAILURES % "alert",
            )
        },
        late=6,
    ),
    spent("AlertsLate", {}, for_good={f'{DELAYS}_bucket{{le="5.0"}}': frozen(1)}),
    spent("AlertsLate", {FAILURES % "alert": since_fault(1)}, name="no alert at all"),
    spent("TransactionsRefused", {FAILURES % "post": since_fault(12)}),
    fault("JobNotRunning", {f'{JOB}runningTime{{job_id="a"}}': constant(0)}, late=4),
    fault(
        "JobNotRunning",
        {f'{JOB}runningTime{{job_id="a"}}': constant(None)},
        late=4,
        name="no JobManager",
    ),
    fault(
        "JobRestartLoop",
        {f'{JOB}numRestarts{{job_id="a"}}': since_fault(0.5, 2)},
        late=7,
        ends=12,
    ),
    Case(
        name="the JobManager restarts",
        series={
            f'{JOB}uptime{{job_id="{job}"}}': during(60 + 3 * n, 63 + 3 * n)
            for n, job in enumerate("abcd")
        },
        firing={65: NOBODY, 68: {"JobRestartLoop"}, 90: NOBODY},
    ),
    Case(
        name="CheckpointTooOld",
        for_good={f'{JOB}numberOfCompletedCheckpoints{{job_id="a"}}': frozen(6)},
        firing={
            59: NOBODY,
            64: NOBODY,
            69: {"CheckpointTooOld", "CheckpointsStaleSlow"},
            73: {"CheckpointTooOld", "CheckpointsStaleSlow", "CheckpointsStaleFast"},
            130: {"CheckpointsStaleSlow"},
            LAST_END: NOBODY,
        },
    ),
    Case(
        name="no JobManager for checkpoints",
        series={f'{JOB}numberOfCompletedCheckpoints{{job_id="a"}}': constant(None)},
        firing={
            59: NOBODY,
            80: {"CheckpointTooOld", "CheckpointsStaleSlow", "CheckpointsStaleFast"},
        },
    ),
    fault("DetectionFallsBehind", {READ % 0: rising(550, 2099)}, late=8),
    fault("DetectionFallsBehind", {READ % 0: constant(35099)}, late=7, name="a stuck job"),
    Case(
        name="a backlog that is worked off",
        series={READ % 0: rising(650, -8001)},
        firing={70: NOBODY, 90: NOBODY, 119: NOBODY},
    ),
    fault("ProbesFail", {PROBES % ("Readiness", "failed"): since_fault(2, 3)}, late=11),
    Case(
        name="a volume fills",
        series={VOLUME % ("available", "flink-checkpoints"): since_fault(-0.2, 49)},
        firing={59: NOBODY, 85: NOBODY, 118: {"VolumeFull"}, 130: NOBODY},
    ),
    fault("RedisDown", {"redis_up": constant(0)}, late=3),
    fault("RedisDown", {"redis_up": constant(None)}, late=3, name="no exporter"),
    fault("RedisMemoryNearlyFull", {"redis_memory_used_bytes": constant(81)}, late=6),
    fault("RedisCannotPersist", {"redis_aof_last_write_status": constant(0)}, late=2),
    fault(
        "RedisCannotPersist",
        {"redis_aof_last_bgrewrite_status": constant(0)},
        late=2,
        name="the rewrite fails",
    ),
    fault(
        "BrokerMissing",
        {'redpanda_application_uptime_seconds_total{pod="redpanda-2"}': constant(None)},
        late=6,
    ),
    fault(
        "PartitionsUnavailable",
        {'redpanda_cluster_unavailable_partitions{pod="redpanda-0"}': constant(1)},
        late=2,
    ),
    fault(
        "PartitionsUnderReplicated",
        {"redpanda_kafka_under_replicated_replicas": constant(1)},
        late=11,
    ),
    fault("VolumeFull", {VOLUME % ("available", "data-redpanda-0"): constant(9)}, late=31),
    fault(
        "AutoscalerAtMaximum",
        {
            f"{SCALER}_status_current_replicas{SCALED}": constant(4),
        },
        late=31,
    ),
    fault(
        "DeliveryFrozen",
        {APP % ("Synced", "Healthy"): constant(None), APP % ("OutOfSync", "Healthy"): constant(1)},
        late=31,
    ),
    fault(
        "DeliveryFrozen",
        {APP % ("Synced", "Healthy"): constant(None), APP % ("Synced", "Degraded"): constant(1)},
        late=31,
        name="never healthy",
    ),
    fault("MetricsMissing", {'up{pod="redis-0"}': constant(0)}, late=11),
)


def test_promtool_accepts_the_rules(tmp_path: Path) -> None:
    """A rule that Prometheus does not load is an alert that never fires."""
    promtool.check(RULES, tmp_path)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_alert_fires_for_its_fault_alone(case: Case, tmp_path: Path) -> None:
    """Neither before it, nor for the fault of another environment, nor long after the repair."""
    assert promtool.play(RULES, HEALTHY, [case], namespace="large", folder=tmp_path) == ""


def test_every_alert_has_a_runbook() -> None:
    """Whoever is woken must find what it means, and the page must know the alert."""
    pages = {page.stem: page.read_text(encoding="utf-8") for page in RUNBOOKS.glob("*.md")}
    for name, rule in ALERTS.items():
        page = rule["annotations"]["runbook_url"].rpartition("/docs/runbooks/")[2]
        assert f"`{name}`" in pages[page.removesuffix(".md")], name


def test_every_alert_has_a_case() -> None:
    """An alert that nobody has seen firing may never fire."""
    seen = {name for case in CASES for names in case.firing.values() for name in names}
    assert seen == ALERTS.keys()


def test_a_calm_afternoon_fires_nothing(tmp_path: Path) -> None:
    """Whatever happens in the other environment."""
    calm = Case(name="calm", firing=dict.fromkeys(range(0, promtool.MINUTES, 10), NOBODY))
    assert promtool.play(RULES, HEALTHY, [calm], namespace="large", folder=tmp_path) == ""


_COMPARISON = re.compile(r"(?P<operator>[<>=!]=?) (?P<bool>bool )?(?P<number>[0-9.]+)(?![0-9.\w])")
_MATCHER = re.compile(r'(?:, )?(?!namespace=)\w+(?:=~|!~|!=|=)"[^"]*"')
_OPPOSITE = {">": "<=", ">=": "<", "<": ">=", "<=": ">", "==": "!=", "!=": "=="}


def _mutations(rule: Manifest) -> Iterator[Manifest]:
    """Return the rule with each of its matchers and thresholds changed."""
    expression = rule["expr"]
    yield {**rule, "expr": re.sub(r'namespace="large"(, )?', "", expression)}
    for matcher in _MATCHER.finditer(expression):
        without = expression[: matcher.start()] + expression[matcher.end() :]
        yield {**rule, "expr": without.replace("{, ", "{")}
    for operator, _, number in set(_COMPARISON.findall(expression)):
        threshold = re.compile(rf"{operator} (bool )?{re.escape(number)}(?![0-9.\w])")
        if float(number) == 0:
            others = [f"{_OPPOSITE[operator]} \\g<1>0"]
        else:
            others = [f"{operator} \\g<1>{float(number) * factor:g}" for factor in (0.5, 2)]
        for other in others:
            yield {**rule, "expr": threshold.sub(other, expression).replace("None", "")}
    if "for" in rule:
        yield {**rule, "for": f"{int(rule['for'].rstrip('m')) + 10}m"}


def _depend_on(rule: Manifest) -> set[str]:
    """Return the alerts that a rule decides about."""
    if "alert" in rule:
        return {rule["alert"]}
    return {
        name
        for other in RULES
        if re.search(rf"{rule['record']}(?![\w:])", other["expr"])
        for name in _depend_on(other)
    }


@pytest.mark.mutations
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_changed_rule_is_noticed(rule: Manifest, tmp_path: Path) -> None:
    """A case that passes with another threshold or matcher would not have tested it."""
    alerts = _depend_on(rule)
    cases = [
        replace(
            case,
            firing={
                at: alerts.intersection(names)
                for at, names in case.firing.items()
                # Until the last alert has ended; the calm hour after that would only take time.
                if at <= LAST_END
            },
        )
        for case in CASES
        if any(alerts.intersection(names) for names in case.firing.values())
    ]
    survivors = [
        mutation
        for mutation in _mutations(rule)
        for rules in [
            [
                mutation if other is rule else other
                for other in RULES
                if other.get("alert", next(iter(alerts))) in alerts
            ]
        ]
        if not promtool.play(rules, HEALTHY, cases, namespace="large", folder=tmp_path)
    ]
    assert survivors == []
