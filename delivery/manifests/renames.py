"""Renamed objects: one is gone, and a new one of its kind has nearly the same content."""

from collections import Counter
from collections.abc import Iterator, Sequence

from delivery.manifests.tree import Desired

_ALIKE = 0.75
"""Share of content that two objects must have in common.

Names are left out of the comparison, as labels, selectors and files often repeat them.
"""
_NAME = "\0"


def renames(gone: Sequence[Desired], made: Sequence[Desired]) -> list[tuple[Desired, Desired]]:
    """Pair the objects that are gone with those that differ in name or namespace only.

    Each object is in one pair at most, with the one that is most alike.
    """
    candidates = [
        (likeness, old, new)
        for old in gone
        for new in made
        if (old.key.kind, old.key.group) == (new.key.kind, new.key.group)
        and (likeness := _likeness(old, new)) >= _ALIKE
    ]
    pairs: list[tuple[Desired, Desired]] = []
    for _, old, new in sorted(candidates, key=lambda each: (-each[0], each[1].key, each[2].key)):
        if not any(old is a or new is b for a, b in pairs):
            pairs.append((old, new))
    return pairs


def _likeness(old: Desired, new: Desired) -> float:
    """Return the share of content that two objects have in common, from 0 to 1 (Dice)."""
    ours, theirs = (Counter(_leaves(each.manifest, each.key.name, ())) for each in (old, new))
    return 2 * (ours & theirs).total() / max((ours + theirs).total(), 1)


def _leaves(value: object, name: str, path: tuple[str, ...]) -> Iterator[tuple[object, ...]]:
    """Return the values of an object with their paths; a text counts line by line."""
    if isinstance(value, dict):
        for key, each in value.items():
            # Neither the name of an object nor its sync wave is part of its content.
            if path or key not in {"apiVersion", "kind", "metadata"}:
                yield from _leaves(each, name, (*path, str(key)))
    elif isinstance(value, list):
        for each in value:
            yield from _leaves(each, name, path)
    else:
        for line in str(value).splitlines():
            yield (*path, line.replace(name, _NAME))
