"""Series of an environment over four hours, given to promtool with the rendered rules."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from rendering import Manifest, Manifests

PROMTOOL = shutil.which("promtool") or shutil.which("promtool", path=Path(sys.executable).parent)
MINUTES = 240
FAULT = range(60, 120)
"""The minutes of the fault."""
_OTHER = "other"
NOBODY: frozenset[str] = frozenset()

Value: TypeAlias = float | None
"""A sample; None: there is none."""
Series: TypeAlias = Mapping[str, Callable[[int], Value]]
"""The sample of each minute, by name and labels of the series without its namespace."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A fault, and which alerts fire at some minutes.

    Attributes:
        name: What happens.
        series: Series that differ from the healthy ones during the fault.
        for_good: Series that differ from the healthy ones all the time: a counter that stood still
            does not catch up.
        firing: Names of the alerts that fire, exactly, by minute.
    """

    name: str
    series: Series = field(default_factory=dict)
    for_good: Series = field(default_factory=dict)
    firing: Mapping[int, Iterable[str]]


def rules(system: Manifests) -> list[Manifest]:
    """Return the rules of an environment."""
    return [
        rule
        for manifest in system.kind("PrometheusRule")
        for group in manifest["spec"]["groups"]
        for rule in group["rules"]
    ]


def dashboard(system: Manifests) -> Manifest:
    """Return the one dashboard of an environment."""
    [text] = system.get("ConfigMap", "dashboard")["data"].values()
    page: Manifest = json.loads(text)
    return page


def expressions(system: Manifests) -> dict[str, str]:
    """Return all expressions of an environment's rules and panels, by what they are for."""
    page = dashboard(system)
    return {
        **{rule.get("alert", rule.get("record")): rule["expr"] for rule in rules(system)},
        **{
            f"{panel['title']} {target['refId']}": target["expr"]
            for panel in page["panels"]
            for target in panel["targets"]
        },
        **{each["name"]: each["expr"] for each in page["annotations"]["list"]},
    }


def selectors(expression: str) -> list[tuple[str, set[str]]]:
    """Return the series that an expression reads, each with the labels that it asks for."""
    return [
        (name, set(re.findall(r"(\w+)(?:=|!=|=~|!~)\"", matchers)))
        for name, matchers in re.findall(r"([\w:]+)\{([^}]*)\}", expression)
    ]


def metric_names(expression: str) -> set[str]:
    """Return the metrics that an expression reads, not those that rules record."""
    bare = re.sub(r'"[^"]*"', "", expression)
    return set(re.findall(r"(?<![\w:])([a-zA-Z]\w*)(?=\{)", bare))


def check(rules: Sequence[Manifest], folder: Path) -> None:
    """Raise CalledProcessError if the rules are invalid."""
    file = _write(folder, rules)
    subprocess.run([str(PROMTOOL), "check", "rules", file], check=True, capture_output=True)


def play(
    rules: Sequence[Manifest],
    healthy: Series,
    cases: Iterable[Case],
    *,
    namespace: str,
    folder: Path,
) -> str:
    """Return what promtool reports about cases; nothing if the alerts fire as they say.

    Each case also has the series of two other namespaces, of which one is healthy and the other has
    the fault all the time. Prometheus evaluates its recording rules, too.
    """
    read = {name for rule in rules for name in metric_names(rule["expr"])}
    tests = [
        {
            "name": case.name,
            "interval": "1m",
            "input_series": [
                {"series": _named(name, where), "values": _values(sample)}
                for where, series in (
                    (namespace, {**_switched(healthy, case.series), **case.for_good}),
                    (_OTHER, {**healthy, **case.series, **case.for_good}),
                    ("healthy", healthy),
                )
                for name, sample in series.items()
                if name.partition("{")[0] in read
            ],
            "promql_expr_test": [
                {
                    "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                    "eval_time": f"{minute}m",
                    "exp_samples": [
                        {"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(names)
                    ],
                }
                for minute, names in case.firing.items()
            ],
        }
        for case in cases
    ]
    _write(folder, [*rules, *_elsewhere(rules, namespace)])
    file = folder / "tests.yaml"
    file.write_text(
        json.dumps({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests})
    )
    done = subprocess.run(
        [str(PROMTOOL), "test", "rules", file], check=False, capture_output=True, text=True
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def _elsewhere(rules: Sequence[Manifest], namespace: str) -> list[Manifest]:
    """Return the recording rules of the namespace with the fault."""
    return [
        {
            **rule,
            "expr": rule["expr"].replace(f'"{namespace}"', f'"{_OTHER}"'),
            "labels": {"namespace": _OTHER},
        }
        for rule in rules
        if "record" in rule
    ]


def _write(folder: Path, rules: Sequence[Manifest]) -> Path:
    file = folder / "rules.yaml"
    # JSON is YAML, too.
    file.write_text(json.dumps({"groups": [{"name": "all", "rules": list(rules)}]}))
    return file


def _switched(healthy: Series, faulty: Series) -> Series:
    def series(name: str) -> Callable[[int], Value]:
        well = healthy.get(name, lambda _: None)
        ill = faulty.get(name, well)
        return lambda minute: (ill if minute in FAULT else well)(minute)

    return {name: series(name) for name in {**healthy, **faulty}}


def _named(series: str, namespace: str) -> str:
    name, _, labels = series.rstrip("}").partition("{")
    # The metrics of Argo CD are of its own namespace, and name the other one.
    own = (
        f'dest_namespace="{namespace}",namespace="argocd"'
        if name.startswith("argocd")
        else (f'namespace="{namespace}"')
    )
    return f"{name}{{{','.join(filter(None, [labels, own]))}}}"


def _values(sample: Callable[[int], Value]) -> str:
    values = [sample(minute) for minute in range(MINUTES)]
    return " ".join(
        f"{value}" if value is not None else "stale" if before is not None else "_"
        for before, value in zip([None, *values], values, strict=False)
    )
