"""Kubernetes quantities, and the resources that manifests need at their peak."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from fractions import Fraction
from math import ceil

from rendering import Manifest

_QUANTITY = re.compile(r"([+-]?\d*\.?\d*)([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?")
_FACTORS: dict[str | None, Fraction] = {
    None: Fraction(1),
    **{prefix: Fraction(1, 1000**power) for power, prefix in enumerate("mun", start=1)},
    **{prefix: Fraction(1000**power) for power, prefix in enumerate("kMGTPE", start=1)},
    **{f"{prefix}i": Fraction(1024**power) for power, prefix in enumerate("KMGTPE", start=1)},
}


def parse(quantity: str | int) -> Fraction:
    """Return the exact value of a quantity such as `250m`, `64Mi`, `1e3` or 2.

    Raises:
        ValueError: If the text is not a quantity.
    """
    match = _QUANTITY.fullmatch(str(quantity))
    if match is None:
        raise ValueError(f"not a quantity: {quantity!r}")
    number, suffix = match.groups()
    factor = _FACTORS[suffix] if suffix in _FACTORS else Fraction(f"1{suffix}")
    return Fraction(number) * factor


def peak(manifests: Iterable[Manifest]) -> dict[str, Fraction]:
    """Return the resources that manifests need at their peak, by their names in a ResourceQuota.

    The autoscalers are at their maximum, all Deployments roll at once, and all Jobs start again
    while the pods of their last run still exist. Other terminating pods are left out: a quota that
    refuses their successors only makes the rollout wait until they are gone.

    Raises:
        ValueError: If an object makes pods and its kind is not known here.
    """
    manifests = list(manifests)
    maxima = {
        manifest["spec"]["scaleTargetRef"]["name"]: manifest["spec"]["maxReplicas"]
        for manifest in manifests
        if manifest["kind"] == "HorizontalPodAutoscaler"
    }
    total: defaultdict[str, Fraction] = defaultdict(Fraction)
    for manifest in manifests:
        for count, needs in _needs(manifest, maxima):
            for name, amount in needs.items():
                total[name] += count * amount
    return dict(total)


def _needs(manifest: Manifest, maxima: dict[str, int]) -> Iterator[tuple[int, dict[str, Fraction]]]:
    """Find the number of pods or claims that an object makes, and the needs of each."""
    spec = manifest.get("spec", {})
    if manifest["kind"] == "PersistentVolumeClaim":
        yield 1, _needs_of_claim(spec)
    if "template" in spec:
        replicas = maxima.get(manifest["metadata"]["name"], spec.get("replicas", 1))
        yield _most_pods(manifest["kind"], spec, replicas), needs_of_pod(spec["template"]["spec"])
        for claim in spec.get("volumeClaimTemplates", []):
            yield replicas, _needs_of_claim(claim["spec"])


def _most_pods(kind: str, spec: Manifest, replicas: int) -> int:
    if kind == "Deployment":
        return replicas + _surge(spec.get("strategy", {}), replicas)
    if kind == "StatefulSet":
        return replicas
    if kind == "Job":
        last_run = this_run = int(spec.get("parallelism", 1))
        return last_run + this_run
    raise ValueError(f"unknown number of pods: {kind}")


def _surge(strategy: Manifest, replicas: int) -> int:
    """Return the number of pods that a rollout adds before it removes the first one."""
    if strategy.get("type") == "Recreate":
        return 0
    surge = strategy.get("rollingUpdate", {}).get("maxSurge", "25%")
    if isinstance(surge, int):
        return surge
    return ceil(Fraction(surge.rstrip("%")) / 100 * replicas)


def needs_of_pod(pod: Manifest) -> dict[str, Fraction]:
    """Return the resources of a pod as the scheduler and the quota count them.

    Init containers run one by one before the others, so only the largest one matters, and only if
    it is larger than everything that runs later; a sidecar (an init container that keeps running)
    adds to everything after it.
    """

    def needs(container: Manifest, bound: str, resource: str) -> Fraction:
        return parse(container["resources"][bound][resource])

    def most(bound: str, resource: str) -> Fraction:
        starting = sidecars = Fraction(0)
        for container in pod.get("initContainers", []):
            amount = needs(container, bound, resource)
            if container.get("restartPolicy") == "Always":
                sidecars += amount
            else:
                starting = max(starting, sidecars + amount)
        running = sum(needs(container, bound, resource) for container in pod["containers"])
        return max(starting, sidecars + running)

    return {
        "pods": Fraction(1),
        **{
            f"{bound}.{resource}": most(bound, resource)
            for bound in ("requests", "limits")
            for resource in ("cpu", "memory")
        },
    }


def _needs_of_claim(spec: Manifest) -> dict[str, Fraction]:
    return {
        "persistentvolumeclaims": Fraction(1),
        "requests.storage": parse(spec["resources"]["requests"]["storage"]),
    }
