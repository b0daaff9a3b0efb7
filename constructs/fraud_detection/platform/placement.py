"""Where pods may, should or must run."""

from collections.abc import Sequence

from cdk8s_plus_27 import k8s

from fraud_detection.platform.network import Component

_HOST = "kubernetes.io/hostname"
_ZONE = "topology.kubernetes.io/zone"


def spread(component: Component) -> list[k8s.TopologySpreadConstraint]:
    """Over zones and hosts as evenly as they allow; a small cluster still runs all pods."""
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
    """Never two on one node: each holds a copy that must outlive the loss of another's node."""
    return k8s.Affinity(
        pod_anti_affinity=k8s.PodAntiAffinity(
            required_during_scheduling_ignored_during_execution=[
                k8s.PodAffinityTerm(topology_key=_HOST, label_selector=component.selector)
            ]
        )
    )


def together(components: Sequence[Component]) -> k8s.Affinity:
    """On the node where any of these pods already runs; the first one chooses freely.

    For pods that share a volume which only one node can mount. Every one of them needs the rule:
    a pod without it may be moved to a node to which the volume cannot follow while others hold it.
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
