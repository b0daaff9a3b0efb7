"""Rules for Prometheus: alerts, recorded series, and objectives with their burn rates.

In an expression `$own` stands for the matcher of the environment's namespace: one Prometheus sees
all environments.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from string import Template
from typing import TypeAlias

from fraud_detection.repositories import REPOSITORY
from imports.com.coreos.monitoring import PrometheusRuleSpecGroupsRules

_RUNBOOKS = f"{REPOSITORY.removesuffix('.git')}/blob/main/docs/runbooks"


class Severity(Enum):
    """Who should look at an alert; the value is its label `severity`."""

    CRITICAL = "critical"
    """Somebody, now: frauds are missed or data is lost."""
    WARNING = "warning"
    """Somebody, today."""


@dataclass(frozen=True, kw_only=True)
class Alert:
    """An alert, which fires for each series of its expression.

    Attributes:
        name: Name in CamelCase, unique in the system.
        severity: Who should look at it.
        expression: The fault, in PromQL.
        after: Time for which the fault must last.
        loss: What users lose, in one sentence; may use `{{ $labels.x }}`.
        runbook: Name of its page in docs/runbooks, without the suffix.
    """

    name: str
    severity: Severity
    expression: str
    after: str
    loss: str
    runbook: str


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A series that is computed at each evaluation, named `level:metric:operation`."""

    name: str
    expression: str


Rule: TypeAlias = Alert | Recording


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A share of good events or moments over 30 days, and the alerts that defend it.

    Attributes:
        name: Name in CamelCase, which begins those of the alerts.
        series: Name of the recorded series, in snake_case.
        target: The share that is good, such as 0.99.
        bad: Share that is bad, in PromQL; `$window` stands for the window.
        loss: See `Alert`.
        runbook: See `Alert`.
    """

    name: str
    series: str
    target: float
    bad: str
    loss: str
    runbook: str

    def rules(self) -> Iterator[Rule]:
        """Return the share that is bad in each window, and an alert for each pace of spending it.

        A long window makes an alert sure, and a short one ends it soon after the repair.
        Source: The Site Reliability Workbook, chapter 5, "Multiwindow, Multi-Burn-Rate Alerts".
        """
        for window in sorted({window for pace in _PACES for window in (pace.long, pace.short)}):
            yield Recording(
                name=self._bad(window),
                expression=Template(self.bad).safe_substitute(window=window),
            )
        for pace in _PACES:
            limit = f"{pace.factor * (1 - self.target):.4g}"
            long, short = self._bad(pace.long), self._bad(pace.short)
            yield Alert(
                name=f"{self.name}{pace.suffix}",
                severity=pace.severity,
                expression=f"{long}{{$own}} > {limit} and {short}{{$own}} > {limit}",
                after="1m",
                loss=self.loss,
                runbook=self.runbook,
            )

    def _bad(self, window: str) -> str:
        return f"namespace:{self.series}_bad:ratio_{window}"


@dataclass(frozen=True, kw_only=True)
class _Pace:
    """How many times too fast the budget of 30 days is spent: 14.4 spends 2 % of it in an hour."""

    suffix: str
    severity: Severity
    factor: float
    long: str
    short: str


_PACES = (
    _Pace(suffix="Fast", severity=Severity.CRITICAL, factor=14.4, long="1h", short="5m"),
    _Pace(suffix="Slow", severity=Severity.WARNING, factor=6, long="6h", short="30m"),
)


def expand(expression: str, namespace: str) -> str:
    """Return an expression for the environment of a namespace."""
    return Template(expression).substitute(own=f'namespace="{namespace}"', namespace=namespace)


def render(rule: Rule, namespace: str) -> PrometheusRuleSpecGroupsRules:
    """Return a rule for the environment of a namespace, and its alerts with that label."""
    expression = expand(rule.expression, namespace)
    labels: Mapping[str, str] = {"namespace": namespace}
    if isinstance(rule, Recording):
        return PrometheusRuleSpecGroupsRules(record=rule.name, expr=expression, labels=labels)
    return PrometheusRuleSpecGroupsRules(
        alert=rule.name,
        expr=expression,
        for_=rule.after,
        labels={**labels, "severity": rule.severity.value},
        annotations={
            "summary": rule.loss,
            "runbook_url": f"{_RUNBOOKS}/{rule.runbook}.md",
        },
    )
