"""The output of `delivery connections`: text or JSON."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace

from delivery.network.connection import Connection, Verdict
from delivery.text import dumped, on_one_line

_NAMED = 4
"""Clients of one address that are named; more are counted, so that a row fits on a page."""
_HEADINGS = ("verdict", "client", "given in", "address", "leads to")


def text(connections: Sequence[Connection]) -> str:
    """Return a table per environment, findings on top, each with its reason below it."""
    lines = []
    for environment, rows in _by_environment(connections):
        cells = [_HEADINGS, *(_cells(row) for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        reasons = ["", *(row.reason for row in rows)]
        lines.append(_summary(environment, rows))
        for row, reason in zip(cells, reasons, strict=True):
            padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            lines.append(f"  {'  '.join(padded)}".rstrip())
            if reason:
                lines.append(f"    {on_one_line(reason)}")
    return "\n".join(lines)


def as_json(connections: Sequence[Connection]) -> str:
    """Return a JSON list with an object per connection."""
    objects = [{**asdict(row), "verdict": row.verdict.value} for row in connections]
    return dumped(objects)


FORMATS: Mapping[str, Callable[[Sequence[Connection]], str]] = {"text": text, "json": as_json}


def _by_environment(connections: Sequence[Connection]) -> Iterator[tuple[str, list[Connection]]]:
    """Return the rows of each environment, merged if they differ only in the client."""
    clients: dict[Connection, dict[str, None]] = defaultdict(dict)
    for row in connections:
        clients[replace(row, client="")][row.client] = None
    merged = [
        replace(row, client=", ".join(names) if len(names) <= _NAMED else f"{len(names)} workloads")
        for row, names in clients.items()
    ]
    for environment in dict.fromkeys(row.environment for row in merged):
        rows = [row for row in merged if row.environment == environment]
        yield environment, sorted(rows, key=lambda row: row.verdict is Verdict.REACHABLE)


def _summary(environment: str, rows: Sequence[Connection]) -> str:
    findings = sum(row.verdict is not Verdict.REACHABLE for row in rows)
    if findings:
        return f"{environment}: {findings} findings, {len(rows) - findings} reachable"
    return f"{environment}: all {len(rows)} reachable, nothing else allowed"


def _cells(row: Connection) -> tuple[str, ...]:
    target = f"{', '.join(row.servers)} {row.port}" if row.servers else "its own pod"
    if row.verdict is not Verdict.REACHABLE:
        target = ""
    return (row.verdict.value, *map(on_one_line, (row.client, row.source, row.address, target)))
