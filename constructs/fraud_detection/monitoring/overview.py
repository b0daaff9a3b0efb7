"""The page of an environment in Grafana, and the rules for what no service of ours reports."""

import json

from cdk8s_plus_27 import k8s

from constructs import Construct
from fraud_detection.monitoring.cluster import cluster
from fraud_detection.monitoring.flink import WAITING, WRITTEN
from fraud_detection.platform.dashboard import Kind, Panel, Query, dashboard
from fraud_detection.platform.monitoring import Watch

_DELAYS = "sum by (le) (increase(fraud_prober_alert_delay_seconds_bucket{$own}[1h]))"
_COMMITTED = (
    "max by (partition) (flink_taskmanager_job_task_operator_KafkaSourceReader_topic_partition_"
    "committedOffset{$own})"
)


class Overview(Construct):
    """One page that answers in ten seconds: are we detecting, how late, what is full, what changed.

    Grafana's sidecar finds the ConfigMap by its label, if it looks in all namespaces.

    Args:
        scope: Parent construct.
        id: Construct id.
        watch: Gets the rules.
        namespace: The namespace of the environment.
        application: Name of its Argo CD Application.
        delay: Time limit for alerts, in seconds.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        watch: Watch,
        namespace: str,
        application: str,
        delay: float,
    ) -> None:
        super().__init__(scope, id)
        watch.evaluate(self, "cluster", cluster())
        page = dashboard(
            title=f"Fraud detection: {namespace}",
            namespace=namespace,
            rows=_rows(delay),
            events=Query(
                expression=(
                    f'changes(sum(argocd_app_sync_total{{name="{application}", '
                    'phase="Succeeded"})[2m:30s]) > 0'
                ),
                legend="deployed",
            ),
        )
        k8s.KubeConfigMap(
            self,
            "dashboard",
            metadata=k8s.ObjectMeta(name="dashboard", labels={"grafana_dashboard": "1"}),
            # The name of the file must be unique among those of all environments.
            data={f"{namespace}.json": json.dumps(page, indent=2)},
        )


def _rows(delay: float) -> list[list[Panel]]:
    return [
        [
            Panel(
                title="Since the prober's last alert",
                kind=Kind.NUMBER,
                queries=[
                    Query(
                        expression=(
                            "time() - max(fraud_prober_last_success_timestamp_seconds{$own})"
                        )
                    )
                ],
                unit="s",
                limit=240,
            ),
            Panel(
                title="Delay of 99 in 100 alerts, last hour",
                kind=Kind.NUMBER,
                queries=[Query(expression=f"histogram_quantile(0.99, {_DELAYS})")],
                unit="s",
                limit=delay,
            ),
            Panel(
                title="Transactions that wait",
                kind=Kind.NUMBER,
                queries=[Query(expression=f"{WAITING}{{$own}}")],
                limit=1000,
            ),
            Panel(
                title="Alerts that fire",
                kind=Kind.NUMBER,
                queries=[Query(expression='count(ALERTS{$own, alertstate="firing"}) or vector(0)')],
                limit=1,
            ),
        ],
        [
            Panel(
                title="Delay from transaction to alert",
                kind=Kind.CURVES,
                queries=[
                    Query(expression=f"histogram_quantile({share}, {_DELAYS})", legend=legend)
                    for share, legend in ((0.5, "half"), (0.99, "99 in 100"))
                ],
                unit="s",
            ),
            Panel(
                title="Transactions per second",
                kind=Kind.CURVES,
                queries=[
                    Query(
                        expression=(
                            "sum(rate(flink_taskmanager_job_task_operator_numRecordsOut{$own, "
                            'operator_name=~"Source.*"}[5m]))'
                        ),
                        legend="read by Flink",
                    )
                ],
            ),
            Panel(
                title="Not yet covered by a checkpoint, by partition",
                kind=Kind.CURVES,
                queries=[
                    Query(
                        expression=f"clamp_min({WRITTEN} - on (partition) ({_COMMITTED} >= 0), 0)",
                        legend="{{partition}}",
                    )
                ],
            ),
        ],
        [
            Panel(
                title="Full",
                kind=Kind.BARS,
                queries=[
                    Query(
                        expression=(
                            "1 - kubelet_volume_stats_available_bytes{$own} / "
                            "kubelet_volume_stats_capacity_bytes{$own}"
                        ),
                        legend="{{persistentvolumeclaim}}",
                    ),
                    Query(
                        expression=("redis_memory_used_bytes{$own} / redis_memory_max_bytes{$own}"),
                        legend="memory of Redis",
                    ),
                ],
                unit="percentunit",
                limit=0.8,
            ),
            Panel(
                title="Checkpoints",
                kind=Kind.CURVES,
                queries=[
                    Query(
                        expression=(
                            "sum(increase(flink_jobmanager_job_numberOf"
                            f"{result}Checkpoints{{$own}}[5m]))"
                        ),
                        legend=f"{result.lower()} in 5 minutes",
                    )
                    for result in ("Completed", "Failed")
                ],
            ),
            Panel(
                title="Images",
                kind=Kind.TABLE,
                queries=[
                    Query(expression="count by (container, image) (kube_pod_container_info{$own})")
                ],
            ),
        ],
    ]
