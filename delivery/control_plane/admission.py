"""What an API server's admission plugins know of the rules, a moment after they are stored.

The plugins read LimitRanges, ResourceQuotas and StorageClasses from caches that follow the store
by a watch. Whoever makes a rule and then what it is about gets, now and then, the answer of before:
of 500 claims right after their LimitRange, 14 were judged by the old one, and 45 on a busy machine.
"""

import re
import time

from delivery.control_plane.client import Client, Reference
from delivery.control_plane.programs import wait_until
from delivery.manifests.manifest import Manifest

RULES = frozenset({"LimitRange", "ResourceQuota", "StorageClass"})
"""The kinds that are read from such a cache."""
_SECONDS = 30
_UNTOLD_SECONDS = 0.5
# An alpha metric of 1.37. Of a kind, it has the lower case and an s: `storageclasss`.
_SEEN = re.compile(
    r'^informer_store_resource_version{[^}]*resource="(\w+)s"[^}]*} (\S+)$', re.MULTILINE
)


class Admission:
    """Knows which rules the plugins may not have seen yet.

    An API server tells since 1.37; an older one gets half a second.

    Args:
        client: Of the API server.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._unseen: dict[str, int] = {}

    @property
    def is_behind(self) -> bool:
        """Whether a rule was noted since the last wait."""
        return bool(self._unseen)

    def note(self, live: Manifest) -> None:
        """Note an object that was just written; only a rule matters.

        Args:
            live: As the API server answered it.
        """
        if live["kind"] in RULES:
            self._unseen[live["kind"]] = int(live["metadata"]["resourceVersion"])

    def start_quota(self, quota: Manifest) -> Manifest:
        """Have a ResourceQuota enforced although no controller runs: say that nothing is used yet.

        Without a status it refuses everything that it counts.

        Args:
            quota: The object, already applied.

        Returns:
            The object as it is then; it is noted.
        """
        hard = quota["spec"]["hard"]
        status = {"hard": hard, "used": dict.fromkeys(hard, "0")}
        started = self._client.merge(Reference.of(quota), {"status": status}, subresource="status")
        self.note(started)
        return started

    def wait(self) -> None:
        """Wait until the plugins go by all rules that were noted.

        Raises:
            StartError: If they do not within half a minute.
        """
        if self._unseen:
            wait_until(
                self._has_seen,
                programs=[],
                seconds=_SECONDS,
                what=f"the API server does not go by a new {' or '.join(sorted(self._unseen))} yet",
                pause=0,
            )
            self._unseen.clear()

    def _has_seen(self) -> bool:
        seen = dict(_SEEN.findall(self._client.text("/metrics")))
        if not seen:
            time.sleep(_UNTOLD_SECONDS)
            return True
        return all(float(seen[kind.lower()]) >= version for kind, version in self._unseen.items())
