"""What changes within an object, field by field, for a person."""

import json
from collections.abc import Iterator
from typing import Any

from delivery.control_plane.client import Manifest

_NOT_OURS = frozenset(
    {"creationTimestamp", "generation", "managedFields", "namespace", "resourceVersion", "uid"}
)
_LONGEST = 120


def changes(before: Manifest, after: Manifest) -> tuple[str, ...]:
    """Say for each field that differs what it was and what it is, in the order of their names.

    Args:
        before: The object.
        after: The object, as it is now.
    """
    found = _changes("", _own(before), _own(after))
    if after["kind"] == "Secret":
        return tuple(f"{path} changes" for path, *_ in found)
    return tuple(": ".join(filter(None, each)) for each in found)


def _own(manifest: Manifest) -> Manifest:
    metadata = {k: v for k, v in manifest["metadata"].items() if k not in _NOT_OURS}
    return {**manifest, "metadata": metadata, "status": None}


def _changes(path: str, before: Any, after: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - JSON
    if before == after:
        return
    if isinstance(before, list) and isinstance(after, list):
        ours, theirs = _by_name(before), _by_name(after)
        if ours == theirs:
            yield path, "another order"
        yield from _fields(path, ours, theirs)
    elif isinstance(before, dict) and isinstance(after, dict):
        yield from _fields(path, before, after)
    elif "\n" in f"{before}{after}" and isinstance(before, str) and isinstance(after, str):
        yield path, "the text changes"
    else:
        yield path, f"{_shown(before)} → {_shown(after)}"


def _fields(path: str, before: Manifest, after: Manifest) -> Iterator[tuple[str, str]]:
    for name in sorted({*before, *after}):
        # A list's items already have their brackets.
        below = f"{path}{name}" if name.startswith("[") else f"{path}.{name}".lstrip(".")
        yield from _changes(below, before.get(name), after.get(name))


def _by_name(items: list[Any]) -> dict[str, Any]:
    """The items of a list by their name, or by their place where they have none."""
    if all(isinstance(item, dict) and "name" in item for item in items):
        return {f"[{item['name']}]": item for item in items}
    return {f"[{place}]": item for place, item in enumerate(items)}


def _shown(value: Any) -> str:  # noqa: ANN401 - JSON
    if value is None:
        return "unset"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
