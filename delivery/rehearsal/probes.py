"""Questions to the API server, answered by dry runs."""

from copy import deepcopy
from functools import cached_property

from delivery.control_plane.client import ApiError, Client
from delivery.manifests.manifest import Manifest
from delivery.rehearsal.outcomes import same
from delivery.rehearsal.scratch import ScratchNamespaces

FIELD_MANAGER = "argocd-controller"
"""The name by which Argo CD applies."""


class Probes:
    """Dry runs of applying a manifest."""

    def __init__(self, client: Client, scratch: ScratchNamespaces) -> None:
        self._client = client
        self._scratch = scratch

    def differs(self, manifest: Manifest, live: Manifest) -> bool:
        """Whether applying a manifest to an existing object would change it."""
        try:
            answer = self._client.apply(manifest, field_manager=FIELD_MANAGER, dry_run=True)
        except ApiError:
            return True
        return not same(live, answer.body)

    def is_accepted(self, manifest: Manifest) -> bool:
        """Whether a manifest can be applied."""
        try:
            self._client.apply(manifest, field_manager=FIELD_MANAGER, dry_run=True)
        except ApiError:
            return False
        return True

    def is_accepted_as_new(self, manifest: Manifest) -> bool:
        """Whether a manifest could be applied if its object did not exist yet."""
        manifest = deepcopy(manifest)
        if "namespace" in manifest["metadata"]:
            manifest["metadata"]["namespace"] = self._empty_namespace
        return self.is_accepted(manifest)

    def claims_bar(self, was: Manifest, manifest: Manifest) -> bool:
        """Whether a StatefulSet cannot change because of its claim templates."""
        templates = manifest["spec"].get("volumeClaimTemplates", [])
        attempt = {**was, "spec": {**was["spec"], "volumeClaimTemplates": templates}}
        return not self.is_accepted(attempt)

    @cached_property
    def _empty_namespace(self) -> str:
        return self._scratch.make("new")
