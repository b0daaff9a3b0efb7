"""What differs between two objects, by field: lists as Kubernetes reads them, amounts by value."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

_KEYS = (
    "name",
    "containerPort",
    "port",
    "mountPath",
    "topologyKey",
    "key",
    "ip",
    "host",
    "path",
)
"""By which Kubernetes knows an item of a list of objects; the first that all items have."""
_SETS = frozenset(
    {
        "accessModes",
        "add",
        "destinations",
        "drop",
        "egress",
        "except",
        "finalizers",
        "from",
        "ingress",
        "matchExpressions",
        "matchLabelKeys",
        "namespaceResourceWhitelist",
        "nodeSelectorTerms",
        "policyTypes",
        "ports",
        "sourceRepos",
        "syncOptions",
        "to",
        "tolerations",
        "topologySpreadConstraints",
        "values",
    }
)
"""Lists whose order means nothing."""
_AMOUNTS = frozenset({"default", "defaultRequest", "hard", "limits", "max", "min", "requests"})
"""Objects whose values are quantities."""
_AMOUNT = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)([numkMGTPE]i?)?")
_POWERS = {suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", start=1)}
_FACTORS = {
    **_POWERS,
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", start=1)},
    "m": Decimal("1e-3"),
    "u": Decimal("1e-6"),
    "n": Decimal("1e-9"),
}

MISSING = None
"""The value of a field that is not there; Kubernetes takes null for the same."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """A field that differs.

    Attributes:
        path: Such as `spec.template.spec.containers[redis].image`.
        old: Its value, MISSING if it had none.
        new: Likewise.
    """

    path: str
    old: Any
    new: Any


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Field]:
    """What differs between two objects, by path.

    Args:
        old: An object as JSON has it.
        new: Another one.
    """
    return sorted(_differences("", old, new), key=lambda field: field.path)


def _differences(path: str, old: Any, new: Any) -> Iterator[Field]:  # noqa: ANN401 - JSON
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in {**old, **new}:
            yield from _differences(f"{path}.{key}".lstrip("."), old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list):
        yield from _items(path, old, new)
    elif not _same_amount(path, old, new):
        yield Field(path=path, old=old, new=new)


def _items(path: str, old: Sequence[Any], new: Sequence[Any]) -> Iterator[Field]:
    ours, theirs = _keyed(path, old, new)
    for key in {**ours, **theirs}:
        # What has no name but itself is named by the difference.
        name = "" if key.startswith("{") else key
        yield from _differences(f"{path}[{name}]", ours.get(key), theirs.get(key))
    was, now = [key for key in ours if key in theirs], [key for key in theirs if key in ours]
    if was != now and _is_ordered(path, [*old, *new]):
        yield Field(path=f"{path} in order", old=", ".join(was), new=", ".join(now))


def _is_ordered(path: str, items: Sequence[Any]) -> bool:
    """Whether items that are known by their names have an order all the same."""
    if path.endswith("env"):
        # A variable may refer to those before it.
        return "$(" in json.dumps(items)
    # They run one after the other.
    return path.endswith("initContainers")


def _keyed(
    path: str, old: Sequence[Any], new: Sequence[Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The items of two lists, by what makes an item the same one."""
    both = [*old, *new]
    for key in _KEYS:
        if all(
            isinstance(item, dict) and isinstance(item.get(key), str | int) for item in both
        ) and all(len({item[key] for item in items}) == len(items) for items in (old, new)):
            return {str(i[key]): i for i in old}, {str(i[key]): i for i in new}
    if path.rpartition(".")[2] in _SETS:
        return {_plain(i): i for i in old}, {_plain(i): i for i in new}
    return {str(n): i for n, i in enumerate(old)}, {str(n): i for n, i in enumerate(new)}


def _plain(value: Any) -> str:  # noqa: ANN401 - JSON
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        # Also the sets inside it.
        value = {
            key: sorted(each, key=_plain) if isinstance(each, list) and key in _SETS else each
            for key, each in value.items()
        }
    return json.dumps(value, sort_keys=True, default=str)


def _same_amount(path: str, old: object, new: object) -> bool:
    parents = path.split(".")[:-1]
    if not ((parents and (parents[-1] in _AMOUNTS)) or path.endswith("sizeLimit")):
        return False
    amounts = [_amount(str(value)) for value in (old, new) if value is not MISSING]
    return len(amounts) > 1 and amounts[0] is not None and amounts[0] == amounts[1]


def _amount(text: str) -> Decimal | None:
    found = _AMOUNT.fullmatch(text)
    return found and Decimal(found[1]) * _FACTORS.get(found[2] or "", Decimal(1))
