"""A picture of the dashboard with recorded curves, for README.

There is no Grafana in any package registry: matplotlib draws what the dashboard's queries returned,
panel by panel.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.dates import AutoDateLocator, DateFormatter

Panel = Mapping[str, Any]
Series = Mapping[str, Any]


def draw(recorded: Mapping[str, Any], target: Path) -> None:
    """Draw a dashboard.

    Args:
        recorded: The dashboard as Grafana's JSON under `dashboard`, and under `curves` the series
            of each query, by the panel's title and the query's id.
        target: The SVG.
    """
    rows: dict[int, list[Panel]] = {}
    for panel in recorded["dashboard"]["panels"]:
        rows.setdefault(panel["gridPos"]["y"], []).append(panel)
    plt.rcParams.update(
        {
            "axes.titlesize": 8,
            "font.size": 7,
            # Text as text: a third of the size.
            "svg.fonttype": "none",
            "svg.hashsalt": "dashboard",
        }
    )
    figure = plt.figure(figsize=(10, 6), layout="constrained")
    figure.suptitle(recorded["dashboard"]["title"])
    parts = figure.subfigures(len(rows), height_ratios=[1, 2, 2])
    for part, row in zip(parts, rows.values(), strict=True):
        for axes, panel in zip(part.subplots(1, len(row)), row, strict=True):
            axes.set_title(panel["title"], loc="left")
            curves = [
                (_legend(target["legendFormat"], series["metric"]), series)
                for target in panel["targets"]
                for series in recorded["curves"][f"{panel['title']} {target['refId']}"]
            ]
            _DRAW[panel["type"]](axes, panel, curves)
    figure.savefig(target, metadata={"Date": None})


def _legend(pattern: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), pattern)


def _last(series: Series) -> float:
    return float(series["values"][-1][1])


def _limit(panel: Panel) -> float:
    """Return the value from which a panel is red."""
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    return next((step["value"] for step in steps if step["color"] == "red"), float("inf"))


def _color(panel: Panel, value: float) -> str:
    return "tab:red" if value >= _limit(panel) else "tab:green"


def _number(axes: Any, panel: Panel, curves: Sequence[tuple[str, Series]]) -> None:  # noqa: ANN401 - matplotlib has no types here
    axes.axis("off")
    for _, series in curves:
        value = _last(series)
        unit = panel["fieldConfig"]["defaults"]["unit"].replace("short", "")
        axes.text(
            *(0.5, 0.5, f"{value:.3g} {unit}"),
            ha="center",
            va="center",
            fontsize=20,
            color=_color(panel, value),
        )


def _lines(axes: Any, panel: Panel, curves: Sequence[tuple[str, Series]]) -> None:  # noqa: ANN401, ARG001 - as above; as the others
    for legend, series in curves:
        times = [datetime.fromtimestamp(time, timezone.utc) for time, _ in series["values"]]
        axes.plot(times, [float(value) for _, value in series["values"]], label=legend)
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    axes.xaxis.set_major_locator(AutoDateLocator(minticks=2, maxticks=5))
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M"))
    axes.legend(loc="upper left")


def _bars(axes: Any, panel: Panel, curves: Sequence[tuple[str, Series]]) -> None:  # noqa: ANN401 - as above
    values = [_last(series) for _, series in curves]
    colors = [_color(panel, value) for value in values]
    axes.barh([legend for legend, _ in curves], values, color=colors)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter("{x:.0%}")


def _table(axes: Any, panel: Panel, curves: Sequence[tuple[str, Series]]) -> None:  # noqa: ANN401, ARG001 - as above
    axes.axis("off")
    lines = [f"{each['metric']['container']}  {each['metric']['image']}" for _, each in curves]
    axes.text(0, 0.9, "\n".join(lines) or "(no kube-state-metrics here)", va="top")


_DRAW = {"stat": _number, "timeseries": _lines, "bargauge": _bars, "table": _table}


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
