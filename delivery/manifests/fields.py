"""Differences between two objects, field by field.

Lists are compared as Kubernetes reads them, quantities by value.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, TypeAlias

_KEYS = ("name", "containerPort", "port", "mountPath", "topologyKey", "key", "ip", "host", "path")
"""Fields by which Kubernetes identifies an item of a list; the first that all items have counts."""
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
"""Lists whose order does not matter."""
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

_Path: TypeAlias = tuple[str, ...]
"""Keys from the root of the object, and `[item]` for an item of a list."""

MISSING = None
"""Value of a field that is not set; to Kubernetes, null means the same."""
HIDDEN = "(hidden)"
"""Stands for any value of a Secret."""
_LONGEST = 120
"""Characters of a value that are shown."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """A field that differs.

    Attributes:
        path: Path in the object, such as `spec.template.spec.containers[redis].image`.
        old: Value before; MISSING if the field was not set.
        new: Value after; MISSING if the field is not set any more.
    """

    path: str
    old: Any
    new: Any

    @property
    def is_text(self) -> bool:
        """Whether it holds text of several lines, before and after."""
        texts = isinstance(self.old, str) == isinstance(self.new, str)
        return texts and "\n" in f"{self.old}{self.new}"

    def __str__(self) -> str:
        """Return it on one line."""
        change = "the text changes" if self.is_text else transition(self.old, self.new)
        return f"{self.path}: {change}"


def transition(old: object, new: object) -> str:
    """Return `old → new` for JSON values: MISSING as `unset`, long ones cut."""
    return f"{_shown(old)} → {_shown(new)}"


def _shown(value: object) -> str:
    if value is MISSING:
        return "unset"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Field]:
    """Return the fields that differ between two objects, sorted by path.

    Those of a Secret have HIDDEN for each value; an empty object stands for one that is missing.
    """
    if "Secret" in {old.get("kind"), new.get("kind")}:
        found = _differences((), _sealed(old), _sealed(new))
        fields = [replace(each, old=_hidden(each.old), new=_hidden(each.new)) for each in found]
    else:
        fields = list(_differences((), old, new))
    return sorted(fields, key=lambda field: field.path)


def _sealed(secret: Mapping[str, Any]) -> dict[str, Any]:
    """Return a Secret with each value as one text, so that no path leads into it."""
    return {
        name: {key: _text(each) for key, each in value.items()}
        if isinstance(value, Mapping)
        else _text(value)
        for name, value in secret.items()
    }


def _text(value: object) -> str | None:
    return MISSING if value is MISSING else json.dumps(value, sort_keys=True)


def _hidden(value: object) -> str | None:
    return MISSING if value is MISSING else HIDDEN


def _differences(path: _Path, old: Any, new: Any) -> Iterator[Field]:  # noqa: ANN401 - JSON
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in {**old, **new}:
            yield from _differences((*path, key), old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list):
        yield from _items(path, old, new)
    elif not _same(path, old, new):
        yield Field(path=_written(path), old=old, new=new)


def _written(path: _Path) -> str:
    return ".".join(path).replace(".[", "[")


def _items(path: _Path, old: Sequence[Any], new: Sequence[Any]) -> Iterator[Field]:
    ours, theirs = _keyed(path, old, new)
    for key in {**ours, **theirs}:
        # An item without a name shows itself in the difference.
        name = "" if key.startswith("{") else key
        yield from _differences((*path, f"[{name}]"), ours.get(key), theirs.get(key))
    was, now = [key for key in ours if key in theirs], [key for key in theirs if key in ours]
    # A pod template with another order is another template: its pods roll. Elsewhere only init
    # containers run one after the other, and a variable may refer to those before it.
    if was != now and (
        "template" in path
        or path[-1] == "initContainers"
        or (path[-1] == "env" and "$(" in json.dumps([*old, *new]))
    ):
        yield Field(path=f"{_written(path)} in order", old=", ".join(was), new=", ".join(now))


def _keyed(
    path: _Path, old: Sequence[Any], new: Sequence[Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the items of two lists, by what identifies an item in both."""
    both = [*old, *new]
    for key in _KEYS:
        if all(
            isinstance(item, dict) and isinstance(item.get(key), str | int) for item in both
        ) and all(len({item[key] for item in items}) == len(items) for items in (old, new)):
            return {str(i[key]): i for i in old}, {str(i[key]): i for i in new}
    if path[-1] in _SETS:
        ours, theirs = ({_plain(i): i for i in items} for items in (old, new))
        # An item that is repeated would be lost.
        if len(ours) + len(theirs) == len(both):
            return ours, theirs
    return {str(n): i for n, i in enumerate(old)}, {str(n): i for n, i in enumerate(new)}


def _plain(value: Any) -> str:  # noqa: ANN401 - JSON
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        # The order of sets inside it does not matter either.
        value = {
            key: sorted(each, key=_plain) if isinstance(each, list) and key in _SETS else each
            for key, each in value.items()
        }
    return json.dumps(value, sort_keys=True, default=str)


def _same(path: _Path, old: object, new: object) -> bool:
    # To Python true is 1.
    if old == new and isinstance(old, bool) == isinstance(new, bool):
        return True
    if path[-2:] != ("emptyDir", "sizeLimit") and not _AMOUNTS.intersection(path[-2:-1]):
        return False
    was, now = _amount(str(old)), _amount(str(new))
    return was is not None and was == now


def _amount(text: str) -> Decimal | None:
    found = _AMOUNT.fullmatch(text)
    return found and Decimal(found[1]) * _FACTORS.get(found[2] or "", Decimal(1))
