"""Monitoring of an environment: what Prometheus scrapes, and the rules that it evaluates."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cdk8s import ApiObjectMetadata

from constructs import Construct
from fraud_detection.platform.alerts import Rule, render
from fraud_detection.platform.network import Component, Connection, Endpoint, OutsidePods
from imports.com.coreos.monitoring import (
    PodMonitor,
    PodMonitorSpec,
    PodMonitorSpecPodMetricsEndpoints,
    PodMonitorSpecPodMetricsEndpointsRelabelings,
    PodMonitorSpecSelector,
    PrometheusRule,
    PrometheusRuleSpec,
    PrometheusRuleSpecGroups,
)


@dataclass(frozen=True, kw_only=True)
class Monitoring:
    """Prometheus as it runs in the cluster, and what it must defend.

    Attributes:
        prometheus: The pods that scrape.
        operator: Labels by which the Prometheus Operator selects PodMonitors and PrometheusRules;
            empty if it selects all. None: the cluster has no operator, and the pods get the
            annotations `prometheus.io/…`, which name one target per pod; there are no alerts.
        delay: Time limit from an accepted transaction to its alert for 99 of 100, in seconds; an
            upper bound of a bucket of the prober's histogram.
    """

    prometheus: OutsidePods
    operator: Mapping[str, str] | None
    delay: float = 5.0


@dataclass(frozen=True, kw_only=True)
class Target:
    """Metrics in the text format of Prometheus, which a container serves.

    Attributes:
        name: Name of the container port.
        port: Its number.
        path: HTTP path.
    """

    name: str
    port: int
    path: str = "/metrics"


# Otherwise two paths of one port would be the same target, and share one series `up`.
_PATH_LABEL = PodMonitorSpecPodMetricsEndpointsRelabelings(
    source_labels=["__metrics_path__"], target_label="metrics_path"
)


class Watch:
    """What Prometheus is given of one namespace; each service adds what concerns it.

    Args:
        namespace: The namespace.
        settings: Settings. None: nothing is added, and Prometheus cannot connect.
    """

    def __init__(self, *, namespace: str, settings: Monitoring | None) -> None:
        self._namespace = namespace
        self.settings = settings

    def scrape(self, component: Component, *targets: Target) -> Mapping[str, str]:
        """Let Prometheus scrape all pods of a component.

        Args:
            component: The pods.
            targets: What each of them serves, the most important first.

        Returns:
            Annotations that the pods need.
        """
        if self.settings is None:
            return {}
        for port in dict.fromkeys(target.port for target in targets):
            endpoint = Endpoint(component=component, host=component.name, port=port)
            Connection(client=self.settings.prometheus, endpoint=endpoint)
        if self.settings.operator is None:
            first = targets[0]
            return {
                "prometheus.io/path": first.path,
                "prometheus.io/port": str(first.port),
                "prometheus.io/scrape": "true",
            }
        PodMonitor(
            component.service,
            f"{component.name}-monitor",
            metadata=self._metadata(component.name, self.settings.operator),
            spec=PodMonitorSpec(
                selector=PodMonitorSpecSelector(match_labels=component.labels),
                pod_metrics_endpoints=[
                    PodMonitorSpecPodMetricsEndpoints(
                        port=target.name, path=target.path, relabelings=[_PATH_LABEL]
                    )
                    for target in targets
                ],
            ),
        )
        return {}

    def evaluate(self, scope: Construct, name: str, rules: Iterable[Rule]) -> None:
        """Let Prometheus evaluate rules, if the operator brings them there.

        Args:
            scope: The construct that owns them.
            name: Name of the PrometheusRule and of its one group.
            rules: The rules, in order.
        """
        if self.settings is None or self.settings.operator is None:
            return
        PrometheusRule(
            scope,
            "rules",
            metadata=self._metadata(name, self.settings.operator),
            spec=PrometheusRuleSpec(
                groups=[
                    PrometheusRuleSpecGroups(
                        name=name, rules=[render(rule, self._namespace) for rule in rules]
                    )
                ]
            ),
        )

    @staticmethod
    def _metadata(name: str, labels: Mapping[str, str]) -> ApiObjectMetadata:
        return ApiObjectMetadata(name=name, labels=dict(labels))
