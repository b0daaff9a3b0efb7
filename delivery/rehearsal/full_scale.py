"""Admission of a tree's pods: of each template, and of all pods at maximum scale.

The API server accepts a workload even if it refuses the workload's pods: Pod Security, LimitRange
and ResourceQuota only judge pods. So the pods are created, in a namespace of their own, where
nothing runs them and the quota counts from zero.
"""

import re
from collections.abc import Callable, Collection
from copy import deepcopy

from delivery.control_plane.admission import Admission
from delivery.control_plane.client import ApiError, Client, Reference
from delivery.manifests import workloads
from delivery.manifests.manifest import Manifest, applied
from delivery.manifests.tree import Key
from delivery.manifests.workloads import Objects

OVER_QUOTA = "exceeded quota"
_NAMED = re.compile(r'^[\w.]+ "[^"]+" is (forbidden|invalid): ')
_RULES = ("ServiceAccount", "LimitRange", "ResourceQuota")


def refusals(
    client: Client, objects: Objects, *, namespace: str, rolling: Collection[Key]
) -> dict[Key, str]:
    """Create all pods and claims at maximum scale, and return what is refused.

    Args:
        client: Client of the API server.
        objects: All objects of one namespace after the sync.
        namespace: Empty namespace with the same labels, in which to create them.
        rolling: Workloads whose pods this sync replaces; they have surge pods for a while.

    Returns:
        The API server's messages, by the object whose pods or claims it refused.
    """
    scale = _Scale(client, namespace)
    for kind in _RULES:
        for _, each in workloads.select(objects, kind):
            scale.make_rule(each)
    scale.admission.wait()
    # Whatever changes comes last, so that it is what no longer fits.
    for key, each in sorted(objects.items(), key=lambda item: (item[0] in rolling, item[0])):
        if key.kind not in _RULES:
            scale.make(key, each, workloads.most(key, each, objects) if _has_pods(key) else 0)
    for key in sorted(rolling):
        replicas = workloads.most(key, objects[key], objects)
        scale.make_surge(key, objects[key], workloads.surge(objects[key], replicas))
    return scale.refused


def _has_pods(key: Key) -> bool:
    return key.kind in workloads.KINDS


class _Scale:
    """A namespace that fills up."""

    def __init__(self, client: Client, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self.admission = Admission(client)
        self.refused: dict[Key, str] = {}
        self._quotas: list[Manifest] = []
        self._pods = 0

    def make_rule(self, manifest: Manifest) -> None:
        """Create an object that decides about others."""
        rule = self._client.apply(self._here(manifest), field_manager="rehearsal").body
        if rule["kind"] == "ResourceQuota":
            self._quotas.append(self.admission.start_quota(rule))
        else:
            self.admission.note(rule)

    def make(self, key: Key, manifest: Manifest, replicas: int) -> None:
        """Create an object that a quota may count, or all pods and claims of a workload."""
        if not self._quotas:
            # Without a quota all pods of a template get the same answer.
            replicas = min(replicas, 1)
        elif self._is_counted(key):
            self._count(key, manifest)
        for ordinal in range(replicas):
            for claim in manifest["spec"].get("volumeClaimTemplates", []) if self._quotas else []:
                name = f"{claim['metadata']['name']}-{key.name}-{ordinal}"
                self._count(key, {**claim, "metadata": {"name": name}})
            self._make_pod(key, manifest)

    def _is_counted(self, key: Key) -> bool:
        """Whether a quota may count objects of a kind; it names kinds by their plural."""
        names = [key.kind.lower().removesuffix("y")]
        if key.kind == "PersistentVolumeClaim":
            names.append("storage")
        counted = " ".join(name for quota in self._quotas for name in quota["spec"]["hard"])
        return not _has_pods(key) and any(name in counted for name in names)

    def make_surge(self, key: Key, manifest: Manifest, replicas: int) -> None:
        """Create the surge pods of a rollout, and then reset the quota to before them."""
        if not (self._quotas and replicas):
            return
        references = [Reference.of(quota) for quota in self._quotas]
        used = {each: self._client.get(each)["status"]["used"] for each in references}
        for _ in range(replicas):
            self._make_pod(key, manifest)
        for reference, amounts in used.items():
            status = {"used": amounts}
            self.admission.note(
                self._client.merge(reference, {"status": status}, subresource="status")
            )

    def _count(self, key: Key, manifest: Manifest) -> None:
        """Create an object of which only a quota's answer matters."""
        manifest = self._here(manifest)
        if manifest["kind"] == "Service":
            # The Service that the sync created holds them.
            for field in ("clusterIP", "clusterIPs"):
                manifest["spec"].pop(field, None)
        self._try(key, manifest, lambda message: OVER_QUOTA in message)

    def _make_pod(self, key: Key, workload: Manifest) -> None:
        template = deepcopy(workloads.template(workload))
        templates = workload["spec"].get("volumeClaimTemplates", [])
        claims = [claim["metadata"]["name"] for claim in templates]
        # As the StatefulSet controller does before it creates a pod.
        template["spec"].setdefault("volumes", []).extend(
            {"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims
        )
        self._pods += 1
        metadata = template["metadata"]
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"pod-{self._pods}",
                "namespace": self._namespace,
                "labels": metadata.get("labels", {}),
                "annotations": metadata.get("annotations", {}),
            },
            "spec": template["spec"],
        }
        self._try(key, pod, lambda _: True)

    def _try(self, key: Key, manifest: Manifest, counts: Callable[[str], bool]) -> None:
        # One refusal of an object is enough: the others would read the same.
        if key in self.refused:
            return
        try:
            self._create(manifest)
        except ApiError as error:
            message = str(error)
            if counts(message):
                # The names of our own pods mean nothing to a person.
                self.refused[key] = _NAMED.sub("", message)

    def _create(self, manifest: Manifest) -> None:
        try:
            self._client.create(manifest)
        except ApiError:
            # The plugin may still count the surge pods of the last rollout. It rarely does, and a
            # wait before each of some hundred rollouts would cost seconds.
            if not self.admission.is_behind:
                raise
            self.admission.wait()
            self._client.create(manifest)

    def _here(self, manifest: Manifest) -> Manifest:
        copy = deepcopy(applied(manifest))
        copy["metadata"]["namespace"] = self._namespace
        return copy
