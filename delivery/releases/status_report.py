"""The output of `delivery status`: a table for a person, or JSON for a program."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from rich import box
from rich.console import Console
from rich.table import Table

from delivery.releases.status import Lag, Status
from delivery.text import short


def text(found: Sequence[Status]) -> str:
    """Return a table, and below it everything that keeps a service from moving.

    Args:
        found: At least one service.
    """
    first = found[0]
    table = Table("service", box=box.SIMPLE)
    for name in first.images:
        table.add_column(name)
        if name in first.behind:
            table.add_column("behind")
    for running in first.running:
        table.add_column(f"{running.environment} runs")
    for each in found:
        table.add_row(
            each.service,
            *(cell for name in each.images for cell in _cells(each, name)),
            *(", ".join(map(short, running.images)) or "nothing" for running in each.running),
        )
    written = io.StringIO()
    # Wide enough for any table: a truncated line would hide a tag.
    Console(file=written, width=200).print(table)
    lines = [line.rstrip() for line in written.getvalue().splitlines() if line.strip()]
    return "\n".join([*lines, *_missing(first), *_exceptions(found), *_applications(first)]) + "\n"


def as_json(found: Sequence[Status]) -> str:
    """Return a list with one object per service."""
    return json.dumps([asdict(each) for each in found], indent=2, ensure_ascii=False) + "\n"


FORMATS: Mapping[str, Callable[[Sequence[Status]], str]] = {"text": text, "json": as_json}


def _cells(status: Status, environment: str) -> list[str]:
    tag = status.images[environment]
    cells = [short(tag or "none")]
    if environment in status.behind:
        current = tag == next(iter(status.images.values()))
        cells.append("" if current else _behind(status.behind[environment]))
    return cells


def _behind(lag: Lag) -> str:
    return f"{_counted(lag.bumps, 'bump')}, {_counted(lag.days, 'day')}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _missing(status: Status) -> list[str]:
    return [
        f"{environment}: the remote has no branch {branch}"
        for environment, branch in status.missing.items()
    ]


def _exceptions(found: Sequence[Status]) -> list[str]:
    held = [f"{each.service} is held: {each.hold}" for each in found if each.hold]
    pinned = [
        f"{each.service} is pinned in {pin.environment} to {short(pin.tag)}"
        f" on {' and '.join(pin.branches)}: {pin.reason}"
        for each in found
        for pin in each.pins
    ]
    return [*held, *pinned]


def _applications(status: Status) -> list[str]:
    # The Application is the same for every service of an environment.
    return [
        f"Argo CD reports {each.environment} as {each.sync}, {each.health}"
        + (f", commit {short(each.revision)}" if each.revision else "")
        for each in status.running
    ]
