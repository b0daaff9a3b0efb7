"""Recognises a new name: an object gone, and one of its kind made with nearly the same content."""

from collections import Counter
from collections.abc import Iterable, Iterator

from delivery.manifests.tree import Desired

_ALIKE = 0.75
"""Which part of their content two objects must share. A name is often also in labels, selectors and
files, so that part is compared as if it was not the name."""
_NAME = "\0"


def renames(gone: Iterable[Desired], made: Iterable[Desired]) -> list[tuple[Desired, Desired]]:
    """Find out which objects only have a new name or namespace.

    Args:
        gone: Not in the tree any more.
        made: New in the tree.

    Returns:
        Pairs of an old and a new object; no object is in two of them.
    """
    made = list(made)
    candidates = sorted(
        (
            (-_likeness(old, new), old.key, new.key, old, new)
            for old in gone
            for new in made
            if (old.key.kind, old.key.group) == (new.key.kind, new.key.group)
        ),
        key=lambda candidate: candidate[:3],
    )
    pairs: list[tuple[Desired, Desired]] = []
    for likeness, _, _, old, new in candidates:
        if -likeness >= _ALIKE and not any(old is a or new is b for a, b in pairs):
            pairs.append((old, new))
    return pairs


def _likeness(old: Desired, new: Desired) -> float:
    """The part of their content that two objects share, from 0 to 1 (Dice)."""
    ours, theirs = (Counter(_leaves(each.manifest, each.key.name, ())) for each in (old, new))
    return 2 * (ours & theirs).total() / max((ours + theirs).total(), 1)


def _leaves(value: object, name: str, path: tuple[str, ...]) -> Iterator[tuple[object, ...]]:
    """What an object says, each with its place; of a text, each line."""
    if isinstance(value, dict):
        for key, each in value.items():
            # What the object is called, and when it is applied, is not what it is.
            if path or key not in {"apiVersion", "kind", "metadata"}:
                yield from _leaves(each, name, (*path, str(key)))
    elif isinstance(value, list):
        for each in value:
            yield from _leaves(each, name, path)
    else:
        for line in str(value).splitlines():
            yield (*path, line.replace(name, _NAME))
