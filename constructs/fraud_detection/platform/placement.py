"""Rules for the nodes on which pods may, should or must run."""

from collections.abc import Sequence

from cdk8s_plus_27 import k8s

from fraud_detection.platform.network import Component

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


def together(components: Sequence[Component]) -> k8s.Affinity:
    """Keep pods on one node, which the first of them chooses freely.

    This is for pods that share a volume which only one node can mount. Each of them needs the rule:
    a pod without it may be scheduled to a node where it cannot mount the volume.
    """
    return k8s.Affinity(
        pod_affinity=k8s.PodAffinity(
            required_during_scheduling_ignored_during_execution=[
                k8s.PodAffinityTerm(
                    topology_key=_HOST,
                    label_selector=k8s.LabelSelector(
                        match_expressions=[
                            k8s.LabelSelectorRequirement(
                                key="app.kubernetes.io/name",
                                operator="In",
                                values=[component.name for component in components],
                            )
                        ]
                    ),
                )
            ]
        )
    )
