"""What changes within an object, field by field, for a person."""

import json

from delivery.control_plane.client import Manifest
from delivery.manifests.fields import MISSING, Field, differences

_NOT_OURS = frozenset(
    {"creationTimestamp", "generation", "managedFields", "namespace", "resourceVersion", "uid"}
)
_LONGEST = 120


def changes(before: Manifest, after: Manifest) -> tuple[str, ...]:
    """Say for each field that differs what it was and what it is, in the order of their names.

    Where nothing differs but the order of a list that has none, or how an amount is written, the
    API server may change the object all the same: then that is said.

    Args:
        before: The object.
        after: The object, as it is now.
    """
    was, now = _own(before), _own(after)
    found = differences(was, now)
    if not found and was != now:
        return ("another order, or the same in other words",)
    if after["kind"] == "Secret":
        return tuple(f"{field.path} changes" for field in found)
    return tuple(f"{field.path}: {_move(field)}" for field in found)


def _own(manifest: Manifest) -> Manifest:
    metadata = {k: v for k, v in manifest["metadata"].items() if k not in _NOT_OURS}
    return {**manifest, "metadata": metadata, "status": None}


def _move(field: Field) -> str:
    if "\n" in f"{field.old}{field.new}" and isinstance(field.old, str) == isinstance(
        field.new, str
    ):
        return "the text changes"
    return f"{_shown(field.old)} → {_shown(field.new)}"


def _shown(value: object) -> str:
    if value is MISSING:
        return "unset"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
