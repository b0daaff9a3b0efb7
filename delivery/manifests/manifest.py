"""A Kubernetes object as JSON has it, and the selectors that choose objects by their labels."""

from collections.abc import Mapping
from typing import Any, TypeAlias

Manifest: TypeAlias = dict[str, Any]
"""A Kubernetes object, or a part of one."""
Labels: TypeAlias = Mapping[str, str]
"""Labels of an object, by key."""


def selects(selector: Manifest, labels: Labels) -> bool:
    """Tell whether a LabelSelector matches a set of labels; an empty selector matches any.

    Args:
        selector: LabelSelector of the Kubernetes API.
        labels: Labels of the object in question.

    Raises:
        KeyError: If an expression's operator does not exist.
    """
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    return all(
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
