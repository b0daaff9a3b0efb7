"""What `delivery status` writes: a table for a person, or JSON for a program."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from rich import box
from rich.console import Console
from rich.table import Table

from delivery.releases.status import Status
from delivery.text import short


def text(found: Sequence[Status]) -> str:
    """A table, with everything that keeps a service from moving below it."""
    environments = list(found[0].images) if found else []
    clusters = [f"{each.environment} runs" for each in found[0].running] if found else []
    table = Table("service", *environments, "apart", *clusters, box=box.SIMPLE)
    for each in found:
        table.add_row(
            each.service,
            *(short(each.images[name] or "none") for name in environments),
            _apart(each),
            *(", ".join(map(short, running.images)) or "nothing" for running in each.running),
        )
    written = io.StringIO()
    # As wide as it must be: a line that is cut hides what was asked for.
    Console(file=written, width=200).print(table)
    lines = [line.rstrip() for line in written.getvalue().splitlines() if line.strip()]
    return "\n".join([*lines, *_exceptions(found), *_applications(found)]) + "\n"


def as_json(found: Sequence[Status]) -> str:
    """A list with an object for each service."""
    return json.dumps([asdict(each) for each in found], indent=2, ensure_ascii=False) + "\n"


FORMATS: Mapping[str, Callable[[Sequence[Status]], str]] = {"text": text, "json": as_json}


def _apart(status: Status) -> str:
    if len(set(status.images.values())) == 1:
        return ""
    return f"{_counted(status.bumps, 'bump')}, {_counted(status.days, 'day')}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _exceptions(found: Sequence[Status]) -> list[str]:
    held = [f"{each.service} is held: {each.hold}" for each in found if each.hold]
    pinned = [
        f"{each.service} is pinned in {pin.environment} to {short(pin.tag)}"
        f" on {' and '.join(pin.branches)}: {pin.reason}"
        for each in found
        for pin in each.pins
    ]
    return [*held, *pinned]


def _applications(found: Sequence[Status]) -> list[str]:
    # Every service says the same of them.
    return [
        f"Argo CD says of {each.environment}: {each.sync}, {each.health}"
        + (f", commit {short(each.revision)}" if each.revision else "")
        for each in (found[0].running if found else ())
    ]
