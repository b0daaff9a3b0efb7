"""The output of `delivery status`: a table for a person, or JSON for a program."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from rich import box
from rich.console import Console
from rich.table import Table

from delivery.releases.status import Status
from delivery.text import counted, dumped, on_one_line, short

_HOUR = 60 * 60
_HOURS_OF_TWO_DAYS = 48


def text(found: Sequence[Status]) -> str:
    """Return a table of at least one service, and below it what keeps services from moving."""
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
            *(on_one_line(cell) for name in each.images for cell in _cells(each, name)),
            *(on_one_line(", ".join(map(short, run.images))) or "nothing" for run in each.running),
        )
    written = io.StringIO()
    # Wide enough for any table: a truncated line would hide a tag.
    Console(file=written, width=200, markup=False, emoji=False).print(table)
    lines = [row.rstrip() for row in written.getvalue().splitlines() if row.strip()]
    lines += [
        on_one_line(f"{name}: the remote has no branch {branch}")
        for name, branch in first.missing.items()
    ]
    lines += [
        on_one_line(f"{name} reports {report or 'nothing on GitHub'}")
        for name, report in first.reports.items()
    ]
    lines += map(on_one_line, [*_exceptions(found), *_applications(first)])
    return "\n".join(lines) + "\n"


def as_json(found: Sequence[Status]) -> str:
    """Return a list with one object per service."""
    return dumped([asdict(each) for each in found]) + "\n"


FORMATS: Mapping[str, Callable[[Sequence[Status]], str]] = {"text": text, "json": as_json}


def _cells(status: Status, environment: str) -> list[str]:
    cells = [short(status.images[environment] or "none")]
    lag = status.behind.get(environment)
    if lag is not None:
        cells.append(f"{counted(lag.bumps, 'bump')}, {_duration(lag.seconds)}" if lag.bumps else "")
    return cells


def _duration(seconds: int) -> str:
    hours = seconds // _HOUR
    return counted(hours, "hour") if hours < _HOURS_OF_TWO_DAYS else counted(hours // 24, "day")


def _exceptions(found: Sequence[Status]) -> list[str]:
    held = [
        f"{each.service} is held on {' and '.join(hold.branches)}: {hold.reason}"
        for each in found
        for hold in each.holds
    ]
    pinned = [
        f"{each.service} is pinned in {pin.environment} to {short(pin.tag)}"
        f" on {' and '.join(pin.branches)}: {pin.reason}"
        for each in found
        for pin in each.pins
    ]
    missing = [
        f"{each.service} has no digest in {' and '.join(each.without_digest)}:"
        " run `delivery refresh`"
        for each in found
        if each.without_digest
    ]
    return [*held, *pinned, *missing]


def _applications(status: Status) -> list[str]:
    # The Application is the same for every service of an environment.
    return [
        f"Argo CD reports {each.environment} as {each.sync}, {each.health}"
        + (f", commit {short(each.revision)}" if each.revision else "")
        for each in status.running
    ]
