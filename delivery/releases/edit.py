"""The editor of images.yaml for commands: comments, order, quotes and line endings stay.

ruamel.yaml's own round trip does not do: it drops the comments below a key that is removed, and
lays out again what a person had laid out otherwise.
"""

import io
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ruamel.yaml.nodes import MappingNode, Node

from delivery.temporary import replace_file
from fraud_detection.images import (
    DIGEST,
    REASON,
    Entries,
    ImagesError,
    Release,
    Releases,
    Rule,
    load,
    parse,
)

_TRAILER = re.compile(r"\s*[A-Za-z0-9-]+\s*:(?!//)")
"""Start of a line that Git, or a rehearsal, takes for `Key: value`; an address is not one."""


def check_build(
    service: str, tag: str, digest: str | None = None, *, services: Mapping[str, Rule]
) -> None:
    """Refuse a build that images.yaml cannot hold; `services` has the rule for each one's tags.

    Raises:
        ImagesError: At the first mistake.
    """
    if service not in services:
        raise unknown_service(service, services)
    _require(f"{service}.tag", tag, services[service])
    if digest is not None:
        _require(f"{service}.digest", digest, DIGEST)


def check_reason(reason: str) -> None:
    """Raise an ImagesError unless a reason is one line of text, and not a trailer."""
    _require("reason", reason, REASON)
    if _TRAILER.match(reason):
        raise ImagesError(
            f"reason: {reason!r} could be read as a trailer of the commit; put a word before it."
        )


def _require(field: str, text: str, rule: Rule) -> None:
    objection = rule.objection(text)
    if objection is not None:
        raise ImagesError(f"{field}: {objection}")


def unknown_service(name: str, known: Collection[str]) -> ImagesError:
    """Return the error for a name that is not a service."""
    return ImagesError(f"Unknown service {name!r}; known services: {', '.join(known)}.")


def update_images(
    path: Path,
    changes: Mapping[str, Release],
    *,
    environments: Collection[str],
    services: Mapping[str, Rule],
) -> None:
    """Change the releases of some services in images.yaml.

    Only the lines change that must. The file is replaced as a whole by one that reads back as
    asked, or not touched at all.

    The changes are whole new releases by service; the other arguments are those of `load`.

    Raises:
        ImagesError: If the file or a change is wrong; the line is where the value would be.
        OSError: If the file cannot be written.
    """
    old = load(path, environments=environments, services=services)
    wanted = Releases(services={**old.releases.services, **changes})
    # Like YAML, this knows the line endings \n, \r\n and \r, and no others.
    lines = io.StringIO(old.text, newline="").readlines()
    _edit(lines, old.root, _entries(wanted))
    text = "".join(lines)
    new = parse(text, file=path.name, environments=environments, services=services)
    # A name that contains YAML could add more than was asked for.
    if new.releases != wanted:
        raise ImagesError(
            f"{path.name}: {', '.join(map(repr, changes))}: cannot be written unambiguously; "
            "give plain names of services and environments."
        )
    if text != old.text:
        replace_file(path, text)


def _entries(releases: Releases) -> Entries:
    """Return what images.yaml has to hold, in the order in which new keys are written."""

    def present(values: Entries) -> Entries:
        return {key: value for key, value in values.items() if value is not None}

    return {
        service: present(
            {
                **asdict(release.image),
                "hold": release.hold,
                "pins": {name: present(asdict(pin)) for name, pin in release.pins.items()} or None,
            }
        )
        for service, release in releases.services.items()
    }


def _edit(lines: list[str], mapping: Node, wanted: Entries) -> None:
    """Change each line where it is, so that all positions stay true."""
    for key, value in mapping.value:
        new = wanted.get(key.value)
        if new is None:
            for line in range(key.start_mark.line, _last_line(value) + 1):
                lines[line] = ""
        elif isinstance(value, MappingNode):
            _edit(lines, value, new)
        elif new != value.value:
            line = value.start_mark.line
            before = lines[line][: value.start_mark.column]
            lines[line] = before + _quoted(new) + lines[line][value.end_mark.column :]
    last_lines = {key.value: _last_line(value) for key, value in mapping.value}
    indent = mapping.value[0][0].start_mark.column
    ending = "\r\n" if lines[0].endswith("\r\n") else "\n"
    # A new key follows the one that precedes it in `wanted`, else the last one.
    line = _last_line(mapping)
    for name, new in wanted.items():
        line = last_lines.get(name, line)
        if name not in last_lines:
            if lines[line].rstrip("\r\n") == lines[line] != "":
                lines[line] += ending
            lines[line] += _entry(name, new, indent=indent, ending=ending)


def _last_line(node: Node) -> int:
    """Return the last line of a value; ruamel.yaml ends a mapping where the next one starts."""
    if isinstance(node, MappingNode):
        return _last_line(node.value[-1][1])
    line: int = node.end_mark.line
    return line


def _entry(name: str, value: str | Mapping[str, Any], *, indent: int, ending: str) -> str:
    key = f"{'':{indent}}{name}:"
    if isinstance(value, str):
        return f"{key} {_quoted(value)}{ending}"
    entries = (_entry(name, v, indent=indent + 2, ending=ending) for name, v in value.items())
    return key + ending + "".join(entries)


def _quoted(text: str) -> str:
    """Return a text in double quotes: YAML reads some SHAs as numbers, and JSON's escapes."""
    return json.dumps(text, ensure_ascii=not text.isprintable())
