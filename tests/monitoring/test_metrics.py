"""Each metric and label that a rule or a panel uses exists where it is said to come from.

The scrapes of Flink and Redis are recorded: Flink 1.18.1 with the reporter's options as rendered,
and the exporter of Debian 12 beside its Redis; one sample of each series name, without the JVM's.
The prober is asked here.
"""

import re
import runpy
from pathlib import Path

import pytest

import promtool
from fraud_detection.services.prober import BUCKETS
from rendering import large
from repository import SERVICE_FILES

SCRAPES = Path(__file__).parent / "scrapes"
PROBER: str = runpy.run_path(str(SERVICE_FILES / "prober" / "prober.py"))["Record"](1.0).metrics()
ADDED_BY_PROMETHEUS = {"namespace", "pod", "container"}


def _labels() -> dict[str, set[str]]:
    """Return the labels of each metric."""
    text = PROBER + "".join(file.read_text(encoding="utf-8") for file in SCRAPES.iterdir())
    found: dict[str, set[str]] = {}
    for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? ", text, re.MULTILINE):
        found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found


EXPRESSIONS = promtool.expressions(large)


@pytest.mark.parametrize("use", EXPRESSIONS)
def test_every_metric_and_label_exists(use: str) -> None:
    """A misspelt one makes an alert that never fires, or an empty panel."""
    labels = _labels()
    recorded = {rule["record"] for rule in promtool.rules(large) if "record" in rule}
    selectors = promtool.selectors(EXPRESSIONS[use])
    assert selectors
    for name, used in selectors:
        if name not in recorded:
            assert used <= labels[name] | ADDED_BY_PROMETHEUS, name


def test_the_settings_know_the_prober_s_buckets() -> None:
    """Between two buckets the share of late alerts would be unknown."""
    assert tuple(map(float, re.findall(r'le="([0-9.]+)"', PROBER))) == BUCKETS


def test_the_panels_fill_the_page_without_overlap() -> None:
    """A panel behind another one is not seen."""
    cells = [
        (position["x"] + x, position["y"])
        for panel in promtool.dashboard(large)["panels"]
        for position in [panel["gridPos"]]
        for x in range(position["w"])
    ]
    assert len(cells) == len(set(cells)) == 24 * len({y for _, y in cells})
