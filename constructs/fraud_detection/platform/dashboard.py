"""Dashboards for Grafana, as its JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from fraud_detection.platform.alerts import expand

_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS = 24
"""Width of the page in the units of a panel's position."""


class Kind(Enum):
    """Way in which a panel shows its values; the value is Grafana's name for it."""

    NUMBER = "stat"
    CURVES = "timeseries"
    BARS = "bargauge"
    TABLE = "table"


@dataclass(frozen=True, kw_only=True)
class Query:
    """A query in PromQL, and the name of each curve; `$own` as in `alerts.py`."""

    expression: str
    legend: str = ""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A panel, as wide as its share of the row.

    Attributes:
        title: The question that it answers.
        kind: How it shows the answer.
        queries: What it shows.
        unit: Grafana's name of the unit.
        limit: Value from which it is red. Default: it has no colours.
    """

    title: str
    kind: Kind
    queries: Sequence[Query]
    unit: str = "short"
    limit: float | None = None


def dashboard(
    *, title: str, namespace: str, rows: Sequence[Sequence[Panel]], events: Query
) -> dict[str, Any]:
    """Return a dashboard.

    Args:
        title: Its title.
        namespace: The namespace that it shows, which is also its id.
        rows: The panels, row by row.
        events: Moments that every curve marks, where the query has a value.
    """
    panels: list[Mapping[str, Any]] = []
    for y, row in enumerate(rows):
        width = _COLUMNS // len(row)
        for x, panel in enumerate(row):
            position = {"x": x * width, "y": y * 8, "w": width, "h": 8}
            panels.append({"id": len(panels) + 1, "gridPos": position, **_panel(panel, namespace)})
    return {
        "uid": namespace,
        "title": title,
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]
        },
        "annotations": {
            "list": [
                {
                    "name": events.legend,
                    "datasource": _SOURCE,
                    "enable": True,
                    "iconColor": "blue",
                    "expr": expand(events.expression, namespace),
                    "titleFormat": events.legend,
                }
            ]
        },
        "panels": panels,
    }


def _panel(panel: Panel, namespace: str) -> Mapping[str, Any]:
    is_table = panel.kind is Kind.TABLE
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.limit is not None:
        steps.append({"color": "red", "value": panel.limit})
    return {
        "title": panel.title,
        "type": panel.kind.value,
        "datasource": _SOURCE,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "expr": expand(query.expression, namespace),
                "legendFormat": query.legend,
                **({"format": "table", "instant": True} if is_table else {}),
            }
            for index, query in enumerate(panel.queries)
        ],
    }
