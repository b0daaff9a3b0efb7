"""Order of the versions of a store: which of them read the data that another has written."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

Series: TypeAlias = tuple[int, int]
"""Major and minor number: the releases of a series share their data format."""
VersionRule: TypeAlias = Callable[[str, str], Iterable[str]]
"""Returns why a store must not go from one tag to another; nothing if it may."""

_TAG = re.compile(r"v?([0-9]{1,9})\.([0-9]{1,9})\.[0-9]+(.*)")
_WITHOUT_BASH = re.compile(r"alpine|distroless|chiseled|busybox")


def version_rule(upgrade: Callable[[Series, Series], Iterable[str]]) -> VersionRule:
    """Return the rule of a store whose data has one format per series.

    Args:
        upgrade: Returns why an upgrade between two series is refused; nothing if it is not.
    """

    def rule(before: str, after: str) -> Iterator[str]:
        was, now = _TAG.fullmatch(before), _TAG.fullmatch(after)
        if was is None or now is None:
            yield f"from {before} to {after}: which of them is newer is unknown"
            return
        old, new = (int(was[1]), int(was[2])), (int(now[1]), int(now[2]))
        if new < old:
            yield f"from {before} to {after}: the older release cannot read what the newer wrote"
        elif new > old:
            yield from upgrade(old, new)
        if _WITHOUT_BASH.search(now[3]) and not _WITHOUT_BASH.search(was[3]):
            yield f"{after} has no bash, which its scripts and probes need"

    return rule
