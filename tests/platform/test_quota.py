"""The quota and the limits of each namespace: everything fits at peak use, with little to spare."""

from fractions import Fraction
from operator import attrgetter

import pytest

from quantities import needs_of_pod, parse, peak
from rendering import LIVE, Manifest, Manifests, containers

HEADROOM = 2.5
"""A quota of this many times the need stops no runaway before the cluster is full."""


@pytest.fixture(params=LIVE, ids=attrgetter("environment.name"))
def system(request: pytest.FixtureRequest) -> Manifests:
    """Each live environment in turn."""
    found: Manifests = request.param
    return found


def _quota(system: Manifests) -> dict[str, Fraction]:
    hard = system.get("ResourceQuota", "quota")["spec"]["hard"]
    return {name: parse(amount) for name, amount in hard.items()}


def _limits(system: Manifests) -> Manifest:
    [limits] = system.get("LimitRange", "limits")["spec"]["limits"]
    assert limits["type"] == "Container"
    return dict(limits)


def _defaults(system: Manifests) -> Manifest:
    """Return the resources that a container without its own gets."""
    limits = _limits(system)
    return {"requests": limits["defaultRequest"], "limits": limits["default"]}


def test_the_quota_holds_the_peak(system: Manifests) -> None:
    """A quota that refuses a pod stops a rollout, the autoscaler or a Job halfway."""
    quota = _quota(system)
    missing = {
        name: float(amount - quota[name])
        for name, amount in peak(system).items()
        if amount > quota[name]
    }
    assert missing == {}


def test_the_quota_is_not_much_larger_than_the_need(system: Manifests) -> None:
    """Otherwise a runaway starves the rest of the cluster before the quota stops it."""
    quota = _quota(system)
    factors = {name: float(quota[name] / amount) for name, amount in peak(system).items()}
    assert {name: factor for name, factor in factors.items() if factor >= HEADROOM} == {}


def test_the_quota_names_everything_that_is_needed(system: Manifests) -> None:
    """A resource that it does not name has no limit at all."""
    assert _quota(system).keys() == peak(system).keys()


def test_a_debugging_pod_fits_beside_the_peak(system: Manifests) -> None:
    """Somebody wants to look just when everything is at its maximum."""
    needs = needs_of_pod({"containers": [{"resources": _defaults(system)}]})
    most, quota = peak(system), _quota(system)
    assert [name for name in needs if most[name] + needs[name] > quota[name]] == []


def test_every_container_is_within_the_limits(system: Manifests) -> None:
    """The API server refuses a pod with a container beyond them."""
    largest = _limits(system)["max"]
    for name, template in system.pod_templates():
        for container in containers(template["spec"]):
            assert _beyond(container["resources"], largest) == [], name


def test_the_defaults_are_within_the_limits(system: Manifests) -> None:
    """Otherwise a pod without resources would get defaults that are then refused."""
    assert _beyond(_defaults(system), _limits(system)["max"]) == []


def _beyond(resources: Manifest, largest: dict[str, str]) -> list[str]:
    """Return the resources with a request above the limit, or a limit above the largest."""
    return [
        name
        for name in largest
        if not parse(resources["requests"][name])
        <= parse(resources["limits"][name])
        <= parse(largest[name])
    ]


def test_the_limits_have_no_minimum(system: Manifests) -> None:
    """A minimum would need a test that no container is below it."""
    assert "min" not in _limits(system)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("2", 2),
        (2, 2),
        ("0.5", Fraction(1, 2)),
        (".5", Fraction(1, 2)),
        ("-1", -1),
        ("250m", Fraction(1, 4)),
        ("1u", Fraction(1, 10**6)),
        ("1n", Fraction(1, 10**9)),
        ("1k", 1000),
        ("1M", 10**6),
        ("1.5G", 15 * 10**8),
        ("1T", 10**12),
        ("1P", 10**15),
        ("1E", 10**18),
        ("1Ki", 1024),
        ("64Mi", 64 * 2**20),
        ("1.5Gi", 3 * 2**29),
        ("1Ti", 2**40),
        ("1Pi", 2**50),
        ("1Ei", 2**60),
        ("12e6", 12 * 10**6),
        ("1E3", 1000),
        ("5e-1", Fraction(1, 2)),
    ],
)
def test_a_quantity_has_its_exact_value(text: str | int, value: Fraction | int) -> None:
    """Binary and decimal suffixes, and milli and mega, are easily taken for each other."""
    assert parse(text) == value


@pytest.mark.parametrize("text", ["", ".", "m", "1.2.3", "1 Gi", "1gi", "1e", "1e3k", "1KiB"])
def test_anything_but_a_quantity_is_refused(text: str) -> None:
    """Read as something else, it would silently make a sum wrong."""
    with pytest.raises(ValueError, match=r"not a quantity|Invalid literal"):
        parse(text)


def _container(cpu: str = "1", memory: str = "1Gi", **fields: str) -> Manifest:
    resources = {"cpu": cpu, "memory": memory}
    return {**fields, "resources": {"requests": resources, "limits": resources}}


def _workload(kind: str, **spec: object) -> Manifest:
    pod = {"containers": [_container()]}
    return {"kind": kind, "metadata": {"name": "it"}, "spec": {"template": {"spec": pod}, **spec}}


def _autoscaler(replicas: int) -> Manifest:
    target = {"kind": "Deployment", "name": "it"}
    spec = {"scaleTargetRef": target, "maxReplicas": replicas}
    return {"kind": "HorizontalPodAutoscaler", "metadata": {"name": "it"}, "spec": spec}


def _rolling(surge: object) -> Manifest:
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge}}


@pytest.mark.parametrize(
    ("manifests", "pods"),
    [
        ([_workload("Deployment", replicas=4, strategy={"type": "Recreate"})], 4),
        ([_workload("Deployment", replicas=4, strategy=_rolling(2))], 6),
        ([_workload("Deployment", replicas=4, strategy=_rolling("50%"))], 6),
        ([_workload("Deployment", replicas=5, strategy=_rolling("10%"))], 6),
        ([_workload("Deployment", replicas=5)], 7),
        ([_workload("Deployment", strategy=_rolling(1)), _autoscaler(4)], 5),
        ([_autoscaler(4), _workload("Deployment", strategy={"type": "Recreate"})], 4),
        ([_workload("StatefulSet", replicas=3)], 3),
        ([_workload("StatefulSet")], 1),
        ([_workload("Job")], 2),
        ([_workload("Job", parallelism=3)], 6),
        ([_workload("StatefulSet", replicas=3), _workload("Job")], 5),
    ],
    ids=[
        "recreate",
        "surge",
        "surge in percent",
        "surge rounded up",
        "surge by default 25 %",
        "autoscaled and surge",
        "autoscaled and recreate",
        "stateful set",
        "one by default",
        "job and its last run",
        "parallel job",
        "sum",
    ],
)
def test_pods_are_counted_at_their_most(manifests: list[Manifest], pods: int) -> None:
    """Pods that are left out here are pods that the quota would refuse."""
    assert peak(manifests) == {
        "pods": pods,
        "requests.cpu": pods,
        "limits.cpu": pods,
        "requests.memory": pods * 2**30,
        "limits.memory": pods * 2**30,
    }


def test_a_workload_of_an_unknown_kind_is_an_error() -> None:
    """Only the cluster knows how many pods a DaemonSet makes, for example."""
    with pytest.raises(ValueError, match="DaemonSet"):
        peak([_workload("DaemonSet")])


def test_each_replica_claims_its_own_volume() -> None:
    """The quota counts the claims that a StatefulSet makes like all others."""
    claim = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    needed = peak([_workload("StatefulSet", replicas=3, volumeClaimTemplates=[claim])])
    assert needed["persistentvolumeclaims"] == 3
    assert needed["requests.storage"] == 6 * 2**30


def test_a_claim_counts_once() -> None:
    """The number of pods that mount it does not matter."""
    spec = {"resources": {"requests": {"storage": "2Gi"}}}
    assert peak([{"kind": "PersistentVolumeClaim", "metadata": {"name": "it"}, "spec": spec}]) == {
        "persistentvolumeclaims": 1,
        "requests.storage": 2 * 2**30,
    }


def test_containers_add_up() -> None:
    """The containers of a pod run at the same time."""
    needs = needs_of_pod({"containers": [_container(cpu="250m"), _container(cpu="500m")]})
    assert needs["requests.cpu"] == Fraction(3, 4)


def test_requests_and_limits_are_separate() -> None:
    """A pod may use more than it requests."""
    container = _container(cpu="250m")
    container["resources"]["limits"] = {"cpu": "2", "memory": "1Gi"}
    needs = needs_of_pod({"containers": [container]})
    assert needs["requests.cpu"] == Fraction(1, 4)
    assert needs["limits.cpu"] == 2


def test_init_containers_count_only_where_one_is_larger_than_all_that_follows() -> None:
    """Each resource counts separately: here the largest memory and the sum of the CPU."""
    pod = {
        "initContainers": [_container("1", "8Gi"), _container("1", "4Gi")],
        "containers": [_container("1", "2Gi"), _container("1", "2Gi")],
    }
    needs = needs_of_pod(pod)
    assert needs["requests.cpu"] == 2
    assert needs["requests.memory"] == 8 * 2**30


@pytest.mark.parametrize(("starting", "most"), [("1", 3), ("7", 8)])
def test_a_sidecar_adds_to_all_that_follows(starting: str, most: int) -> None:
    """It runs beside the containers, and beside the init containers after it."""
    pod = {
        "initContainers": [_container(restartPolicy="Always"), _container(cpu=starting)],
        "containers": [_container(cpu="2")],
    }
    assert needs_of_pod(pod)["requests.cpu"] == most
