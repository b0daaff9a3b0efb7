"""Results of a sync, object by object."""

from dataclasses import dataclass
from enum import Enum, auto

from delivery.manifests.manifest import Manifest, applied
from delivery.manifests.tree import Desired, Key


class Action(Enum):
    """Effects that a sync can have on an object."""

    APPLIED = auto()
    RECREATED = auto()
    PRUNED = auto()
    LEFT = auto()
    SKIPPED = auto()


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """The reason why an object was not applied."""

    message: str
    by_transition: bool = False
    """Whether a new object would be accepted: only the change is refused."""
    before_sync: bool = False
    """Whether Argo CD notices before it applies anything."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result for one object: its place in both trees, and what the API server had and has."""

    key: Key
    was: Desired | None
    wanted: Desired | None
    before: Manifest | None
    after: Manifest | None
    action: Action
    refusal: Refusal | None = None
    claims_barred: bool = False
    """Whether the change of a StatefulSet's claim templates alone is refused."""


def same(before: Manifest, after: Manifest) -> bool:
    """Whether two versions of an object differ in nothing but what the API server sets."""
    return applied(before) == applied(after)
