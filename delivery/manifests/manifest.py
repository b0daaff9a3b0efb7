"""A Kubernetes object as JSON has it, and the selectors that choose objects by their labels."""

from collections.abc import Mapping
from typing import Any, TypeAlias

Manifest: TypeAlias = dict[str, Any]
"""A Kubernetes object, or a part of one."""
Labels: TypeAlias = Mapping[str, str]
"""Labels of an object, by key."""
_SET_BY_SERVER = frozenset(
    {"creationTimestamp", "generation", "managedFields", "namespace", "resourceVersion", "uid"}
)
"""Metadata that the API server sets, and the namespace, which a rehearsal replaces."""


def applied(live: Manifest) -> Manifest:
    """Return the part of a live object that somebody applied, without its namespace."""
    metadata = {k: v for k, v in live["metadata"].items() if k not in _SET_BY_SERVER}
    return {k: v for k, v in live.items() if k != "status"} | {"metadata": metadata}


def selects(selector: Manifest, labels: Labels) -> bool:
    """Tell whether a LabelSelector matches a set of labels; an empty selector matches any.

    Raises:
        KeyError: If an expression's operator does not exist.
    """
    wanted: Labels = selector.get("matchLabels") or {}
    return wanted.items() <= labels.items() and all(
        _matches(labels, expression) for expression in selector.get("matchExpressions") or []
    )


def _matches(labels: Labels, expression: Manifest) -> bool:
    key, values = expression["key"], expression.get("values") or []
    return {
        "In": key in labels and labels[key] in values,
        "NotIn": key not in labels or labels[key] not in values,
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
    }[expression["operator"]]
