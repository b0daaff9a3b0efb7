"""Each metric and label that a rule or a panel uses exists where it is said to come from.

The scrapes of Flink and Redis are recorded: Flink 1.18.1 with the reporter's options as rendered,
and the exporter of Debian 12 beside its Redis; one sample of each series name, without the JVM's.
The prober is asked here.
"""

import json
import re
import runpy
from pathlib import Path

import pytest

import promtool
from fraud_detection.services.prober import BUCKETS
from rendering import Manifest, large
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


def _dashboard() -> Manifest:
    """Return the one dashboard."""
    [text] = large.get("ConfigMap", "dashboard")["data"].values()
    page: Manifest = json.loads(text)
    return page


def _expressions() -> dict[str, str]:
    """Return all expressions by what they are for."""
    page = _dashboard()
    return {
        **{rule.get("alert", rule.get("record")): rule["expr"] for rule in promtool.rules(large)},
        **{
            f"{panel['title']} {target['refId']}": target["expr"]
            for panel in page["panels"]
            for target in panel["targets"]
        },
        **{each["name"]: each["expr"] for each in page["annotations"]["list"]},
    }


EXPRESSIONS = _expressions()


@pytest.mark.parametrize("use", EXPRESSIONS)
def test_every_metric_and_label_exists(use: str) -> None:
    """A misspelt one makes an alert that never fires, or an empty panel."""
    labels = _labels()
    recorded = {rule["record"] for rule in promtool.rules(large) if "record" in rule}
    selectors = re.findall(r"([\w:]+)\{([^}]*)\}", EXPRESSIONS[use])
    assert selectors
    for name, matchers in selectors:
        if name not in recorded:
            used = set(re.findall(r"(\w+)(?:=|!=|=~|!~)\"", matchers))
            assert used <= labels[name] | ADDED_BY_PROMETHEUS, name


def test_the_settings_know_the_prober_s_buckets() -> None:
    """Between two buckets the share of late alerts would be unknown."""
    assert tuple(map(float, re.findall(r'le="([0-9.]+)"', PROBER))) == BUCKETS


def test_the_panels_fill_the_page_without_overlap() -> None:
    """A panel behind another one is not seen."""
    cells = [
        (position["x"] + x, position["y"])
        for panel in _dashboard()["panels"]
        for position in [panel["gridPos"]]
        for x in range(position["w"])
    ]
    assert len(cells) == len(set(cells)) == 24 * len({y for _, y in cells})
