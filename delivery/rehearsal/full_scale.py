"""Whether the pods of a tree are admitted: each template, and all of them at their maximum.

A workload whose pods are refused is accepted all the same: Pod Security, the LimitRange and the
quota look at the pods. So they are really made, in a namespace of their own where nothing runs
them and the quota starts to count at zero.
"""

import re
from collections.abc import Callable, Collection
from copy import deepcopy

from delivery.control_plane.admission import Admission
from delivery.control_plane.client import ApiError, Client, Reference
from delivery.manifests import workloads
from delivery.manifests.manifest import Manifest
from delivery.manifests.tree import Key
from delivery.manifests.workloads import Objects

OVER_QUOTA = "exceeded quota"
_NAMED = re.compile(r'^[\w.]+ "[^"]+" is (forbidden|invalid): ')
_FIRST = ("ServiceAccount", "LimitRange", "ResourceQuota")
_SERVER_S_OWN = ("resourceVersion", "uid", "creationTimestamp", "generation", "managedFields")


def refusals(
    client: Client, objects: Objects, *, namespace: str, rolling: Collection[Key]
) -> dict[Key, str]:
    """Make everything at its maximum, and say what is refused.

    Args:
        client: Of the API server.
        objects: All of one namespace, as the API server has them after the sync.
        namespace: An empty one with the same labels, in which to make them.
        rolling: The workloads whose pods this sync replaces: they have more of them for a while.

    Returns:
        What the API server said, by the object whose pods or claims it refused.
    """
    scale = _Scale(client, namespace)
    for kind in _FIRST:
        for _, each in workloads.select(objects, kind):
            scale.make_rule(each)
    scale.admission.wait()
    # Those that change come last: they are what no longer fits.
    for key, each in sorted(objects.items(), key=lambda item: (item[0] in rolling, item[0])):
        if key.kind not in _FIRST:
            scale.make(key, each, workloads.most(key, each, objects) if _has_pods(key) else 0)
    for key in sorted(rolling):
        replicas = workloads.most(key, objects[key], objects)
        scale.make_for_a_while(key, objects[key], workloads.surge(objects[key], replicas))
    return scale.refused


def _has_pods(key: Key) -> bool:
    return key.kind in workloads.KINDS


class _Scale:
    """A namespace that fills up.

    Args:
        client: Of the API server.
        namespace: The namespace.
    """

    def __init__(self, client: Client, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self.admission = Admission(client)
        """What the plugins know of the rules."""
        self._quotas: list[Manifest] = []
        self._pods = 0
        self.refused: dict[Key, str] = {}
        """What the API server said, by the object whose pods or claims it refused."""

    def make_rule(self, manifest: Manifest) -> None:
        """Make an object that decides about the others."""
        rule = self._client.apply(self._here(manifest), field_manager="rehearsal").body
        if rule["kind"] == "ResourceQuota":
            self._quotas.append(self.admission.start_quota(rule))
        else:
            self.admission.note(rule)

    def make(self, key: Key, manifest: Manifest, replicas: int) -> None:
        """Make an object that may count, or all pods and claims of one that makes such.

        Args:
            key: Of the object.
            manifest: The object.
            replicas: The number of pods.
        """
        if not self._quotas:
            # Nothing adds up, so one pod tells as much as all of them.
            replicas = min(replicas, 1)
        elif self._is_counted(key):
            self._count(key, manifest)
        for ordinal in range(replicas):
            for claim in manifest["spec"].get("volumeClaimTemplates", []) if self._quotas else []:
                name = f"{claim['metadata']['name']}-{key.name}-{ordinal}"
                self._count(key, {**claim, "metadata": {"name": name}})
            self._make_pod(key, manifest)

    def _is_counted(self, key: Key) -> bool:
        """Whether a quota may count objects of a kind, which it calls by their plural."""
        names = [key.kind.lower().removesuffix("y")]
        if key.kind == "PersistentVolumeClaim":
            names.append("storage")
        counted = " ".join(name for quota in self._quotas for name in quota["spec"]["hard"])
        return not _has_pods(key) and any(name in counted for name in names)

    def make_for_a_while(self, key: Key, manifest: Manifest, replicas: int) -> None:
        """Make further pods, and have the quota forget them afterwards.

        Args:
            key: Of what makes them.
            manifest: The object.
            replicas: The number of pods.
        """
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
        """Make an object of which only its number and size matter here."""
        manifest = self._here(manifest)
        if manifest["kind"] == "Service":
            # They belong to the one that the sync has made.
            for field in ("clusterIP", "clusterIPs"):
                manifest["spec"].pop(field, None)
        self._try(key, manifest, lambda said: OVER_QUOTA in said)

    def _make_pod(self, key: Key, workload: Manifest) -> None:
        template = deepcopy(workloads.template(workload))
        templates = workload["spec"].get("volumeClaimTemplates", [])
        claims = [claim["metadata"]["name"] for claim in templates]
        # As the controller does, before it makes the pod.
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
        # The first one tells enough; the others of the same sort would say the same.
        if key in self.refused:
            return
        try:
            self._create(manifest)
        except ApiError as error:
            said = str(error)
            if counts(said):
                # The names of our own pods mean nothing to a person.
                self.refused[key] = _NAMED.sub("", said)

    def _create(self, manifest: Manifest) -> None:
        try:
            self._client.create(manifest)
        except ApiError:
            # The quota may not have forgotten yet what was there for a while. It nearly always has:
            # a wait before each of some hundred rollouts would cost seconds for nothing.
            if not self.admission.is_behind:
                raise
            self.admission.wait()
            self._client.create(manifest)

    def _here(self, manifest: Manifest) -> Manifest:
        kept = {k: v for k, v in manifest["metadata"].items() if k not in _SERVER_S_OWN}
        body = {key: value for key, value in manifest.items() if key != "status"}
        return deepcopy({**body, "metadata": {**kept, "namespace": self._namespace}})
