"""Rules that an API server's admission plugins may not have seen yet.

The plugins read LimitRanges, ResourceQuotas and StorageClasses from caches that watch the store, so
an object that follows its rule at once is sometimes judged by the previous rule: 14 of 500 claims
right after their LimitRange, and 45 on a busy machine.
"""

import re
import time

from delivery.control_plane.client import Client, Reference
from delivery.control_plane.programs import StartError
from delivery.manifests.manifest import Manifest

RULES = frozenset({"LimitRange", "ResourceQuota", "StorageClass"})
"""Kinds that the plugins read from a cache."""
_SECONDS = 30
_GRACE_SECONDS = 0.5
# An alpha metric of 1.37. Its resource is the kind in lower case plus an s: `storageclasss`.
_SEEN = re.compile(
    r'^informer_store_resource_version{[^}]*resource="(\w+)s"[^}]*} (\S+)$', re.MULTILINE
)


class Admission:
    """A record of the rules that the plugins may not have seen yet.

    An API server reports what they have seen since 1.37; an older one gets half a second.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._unseen: dict[str, int] = {}

    @property
    def is_behind(self) -> bool:
        """Whether a rule was noted since the last wait."""
        return bool(self._unseen)

    def note(self, live: Manifest) -> None:
        """Note an object as the API server answered its write; only rules matter."""
        if live["kind"] in RULES:
            self._unseen[live["kind"]] = int(live["metadata"]["resourceVersion"])

    def start_quota(self, quota: Manifest) -> Manifest:
        """Set the status of a ResourceQuota to unused, as its controller would, and note it.

        Without a status a quota refuses everything that it counts.
        """
        hard = quota["spec"]["hard"]
        status = {"hard": hard, "used": dict.fromkeys(hard, "0")}
        started = self._client.merge(Reference.of(quota), {"status": status}, subresource="status")
        self.note(started)
        return started

    def wait(self) -> None:
        """Wait until the plugins apply all noted rules; StartError after half a minute."""
        deadline = time.monotonic() + _SECONDS
        while self._unseen and not self._has_seen():
            if time.monotonic() > deadline:
                kinds = " or ".join(sorted(self._unseen))
                raise StartError(f"the API server still ignores a new {kinds} after {_SECONDS} s")
        self._unseen.clear()

    def _has_seen(self) -> bool:
        seen = dict(_SEEN.findall(self._client.text("/metrics")))
        if not seen:
            time.sleep(_GRACE_SECONDS)
            return True
        # A plugin reports nothing of a kind before its first look.
        return all(
            float(seen.get(kind.lower(), 0)) >= version for kind, version in self._unseen.items()
        )
