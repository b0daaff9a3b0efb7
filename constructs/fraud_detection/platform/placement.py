"""Rules for the nodes on which pods may, should or must run, and for leaving them."""

from cdk8s_plus_27 import k8s

from fraud_detection.platform.network import Component
from fraud_detection.platform.values import number

_HOST = "kubernetes.io/hostname"
_ZONE = "topology.kubernetes.io/zone"


def spread(component: Component) -> list[k8s.TopologySpreadConstraint]:
    """Spread pods over zones and hosts as evenly as possible; a small cluster still runs all."""
    return [
        k8s.TopologySpreadConstraint(
            topology_key=topology,
            max_skew=1,
            when_unsatisfiable="ScheduleAnyway",
            label_selector=component.selector,
        )
        for topology in (_ZONE, _HOST)
    ]


def apart(component: Component) -> k8s.Affinity:
    """Keep pods on different nodes, so that the loss of a node costs only one copy of the data."""
    return k8s.Affinity(
        pod_anti_affinity=k8s.PodAntiAffinity(
            required_during_scheduling_ignored_during_execution=[
                k8s.PodAffinityTerm(topology_key=_HOST, label_selector=component.selector)
            ]
        )
    )


def leave_one_by_one(component: Component) -> None:
    """Let at most one of several pods leave its node at a time, as in a drain.

    A pod that is not ready may always leave: it serves nobody, and would block the drain for ever.
    """
    k8s.KubePodDisruptionBudget(
        component.service,
        "disruption-budget",
        metadata=k8s.ObjectMeta(name=component.name),
        spec=k8s.PodDisruptionBudgetSpec(
            selector=component.selector,
            max_unavailable=number(1),
            unhealthy_pod_eviction_policy="AlwaysAllow",
        ),
    )
