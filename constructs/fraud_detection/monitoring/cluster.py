"""Rules for what Kubernetes, Argo CD and Prometheus itself report about an environment."""

from collections.abc import Iterator

from fraud_detection.platform.alerts import Alert, Rule, Severity

_DAY = 24 * 3600


def cluster() -> Iterator[Rule]:
    """Return the rules of volumes, probes, autoscalers, delivery and scrapes."""
    free = "kubelet_volume_stats_available_bytes{$own}"
    size = "kubelet_volume_stats_capacity_bytes{$own}"
    yield Alert(
        name="VolumeFull",
        severity=Severity.CRITICAL,
        # The trend of a volume that is half empty is that of a new one, and a broker's ends at its
        # retention.
        expression=(
            f"{free} / {size} < 0.1 or ({free} / {size} < 0.5 and predict_linear("
            'kubelet_volume_stats_available_bytes{$own, persistentvolumeclaim!~"data-redpanda-.*"}'
            f"[6h], {_DAY}) < 0)"
        ),
        after="30m",
        loss="The volume {{ $labels.persistentvolumeclaim }} is full within a day: data is lost.",
        runbook="volumes",
    )
    yield Alert(
        name="ProbesFail",
        severity=Severity.WARNING,
        expression=(
            "sum by (pod, container, probe_type) (increase("
            'prober_probe_total{$own, result="failed", probe_type!="Startup"}[5m])) > 0'
        ),
        after="10m",
        loss="{{ $labels.container }} in {{ $labels.pod }} serves nobody or is restarted.",
        runbook="probes",
    )
    yield Alert(
        name="AutoscalerAtMaximum",
        severity=Severity.WARNING,
        expression=(
            "kube_horizontalpodautoscaler_status_current_replicas{$own} >= on (namespace, "
            "horizontalpodautoscaler) kube_horizontalpodautoscaler_spec_max_replicas{$own}"
        ),
        after="30m",
        loss="More load makes {{ $labels.horizontalpodautoscaler }} slow: it cannot grow.",
        runbook="autoscaler",
    )
    yield Alert(
        name="DeliveryFrozen",
        severity=Severity.WARNING,
        # The label `namespace` of this metric is that of the Application.
        expression=(
            "max by (name) ("
            'argocd_app_info{dest_namespace="$namespace", sync_status!="Synced"} or '
            'argocd_app_info{dest_namespace="$namespace", health_status!="Healthy"})'
        ),
        after="30m",
        loss="Releases and repairs do not arrive: {{ $labels.name }} is not Synced and Healthy.",
        runbook="delivery",
    )
    yield Alert(
        name="MetricsMissing",
        severity=Severity.WARNING,
        expression="up{$own} == 0",
        after="10m",
        loss="Faults of {{ $labels.pod }} would raise no alert: Prometheus cannot scrape it.",
        runbook="metrics",
    )
