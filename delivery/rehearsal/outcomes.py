"""Results of a sync, object by object."""

from dataclasses import dataclass
from enum import Enum, auto

from delivery.manifests.manifest import Manifest
from delivery.manifests.tree import Desired, Key

_BOOKKEEPING = frozenset({"generation", "managedFields", "resourceVersion"})


class Action(Enum):
    """What the sync did to an object."""

    APPLIED = auto()
    RECREATED = auto()
    PRUNED = auto()
    LEFT = auto()
    SKIPPED = auto()


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """The reason why an object was not applied.

    Attributes:
        message: Explanation for a person.
        by_transition: Whether a new object would be accepted: only the change is refused.
        before_sync: Whether Argo CD notices before it applies anything.
    """

    message: str
    by_transition: bool = False
    before_sync: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result for one object.

    Attributes:
        key: The object.
        was: Manifest in the previous tree.
        wanted: Manifest in this tree.
        before: Object in the API server before the sync.
        after: Object in the API server after the sync.
        action: What the sync did.
        refusal: Why it could not.
        claims_barred: Whether the change of a StatefulSet's claim templates alone is refused.
    """

    key: Key
    was: Desired | None
    wanted: Desired | None
    before: Manifest | None
    after: Manifest | None
    action: Action
    refusal: Refusal | None = None
    claims_barred: bool = False


def same(before: Manifest, after: Manifest) -> bool:
    """Whether two versions of an object differ in nothing but its bookkeeping."""
    return _content(before) == _content(after)


def _content(live: Manifest) -> Manifest:
    metadata = {k: v for k, v in live["metadata"].items() if k not in _BOOKKEEPING}
    return {**live, "metadata": metadata, "status": None}
