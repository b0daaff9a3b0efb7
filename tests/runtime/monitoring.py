"""dev with monitoring on, and what the Prometheus Operator would make of it."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import promtool
from delivery.control_plane.api_server import ApiServer
from delivery.manifests.manifest import Manifest
from fraud_detection.environments import DEV
from fraud_detection.platform.image import Image
from fraud_detection.platform.monitoring import Monitoring
from fraud_detection.platform.network import OutsidePods
from rendering import Manifests
from tests.runtime.sync import IMAGES, NAMESPACE

WATCHER = OutsidePods(namespace="monitoring", labels={"app.kubernetes.io/name": "prometheus"})
IMAGE = Image(repository="registry.local/monitoring", tag="1.0.0")
"""Holds Prometheus, Alertmanager and the exporter."""
DELAY = 20.0
"""Time limit of alerts, in seconds: two cores run everything here."""

MONITORED = Manifests(
    replace(DEV, monitoring=Monitoring(prometheus=WATCHER, operator={}, delay=DELAY)),
    replace(IMAGES, redis_exporter=IMAGE),
)
_OPERATORS = ("PodMonitor", "PrometheusRule")
_LONG = {"10m", "30m"}
_SHORT = "1m"
INTERVAL_SECONDS = 10
"""From one scrape, and one evaluation, to the next."""
_BEFORE = f'namespace="{NAMESPACE}",pod="before",container="prober"'
HURRIED = "hurried"
"""The label of a rule whose fault must last for less time than is rendered."""


def applied() -> list[Manifest]:
    """Return the manifests, without those that only the operator reads."""
    return [manifest for manifest in MONITORED if manifest["kind"] not in _OPERATORS]


def rules() -> Iterator[Manifest]:
    """Return the rendered rules, and a hurried copy of each alert that takes 10 minutes or more."""
    for manifest in MONITORED.kind("PrometheusRule"):
        for group in manifest["spec"]["groups"]:
            for rule in group["rules"]:
                yield rule
                if rule.get("for") in _LONG:
                    yield {**rule, "for": _SHORT, "labels": {**rule["labels"], HURRIED: "yes"}}


def panels() -> dict[str, str]:
    """Return the expressions of the dashboard, without `history` and the hurried rules."""
    page = promtool.dashboard(MONITORED)
    own = {
        "ALERTS{": f'ALERTS{{{HURRIED}="",',
        "fraud_prober_alert_delay_seconds_bucket{": (
            'fraud_prober_alert_delay_seconds_bucket{pod!="before",'
        ),
    }
    found = {}
    for panel in page["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            for old, new in own.items():
                expression = expression.replace(old, new)
            found[f"{panel['title']} {target['refId']}"] = expression
    return found


def _endpoints() -> Iterator[tuple[str, Manifest, Manifest]]:
    """Return the endpoints of all PodMonitors: path for discovery, endpoint, and pods' labels."""
    for monitor in MONITORED.kind("PodMonitor"):
        for number, endpoint in enumerate(monitor["spec"]["podMetricsEndpoints"]):
            path = f"/{monitor['metadata']['name']}/{number}"
            yield path, endpoint, monitor["spec"]["selector"]["matchLabels"]


def scrape_configs(discovery: str) -> list[Manifest]:
    """Return Prometheus's configuration of all PodMonitors, as the operator would write it.

    Args:
        discovery: URL below which Prometheus finds the pods, by the paths that `targets` knows.
    """
    return [
        {
            "job_name": f"podMonitor{path}",
            "http_sd_configs": [{"url": f"{discovery}{path}", "refresh_interval": "5s"}],
            "metrics_path": endpoint["path"],
            "relabel_configs": [
                {"source_labels": each["sourceLabels"], "target_label": each["targetLabel"]}
                for each in endpoint["relabelings"]
            ],
        }
        for path, endpoint, _ in _endpoints()
    ]


def targets(server: ApiServer, path: str) -> list[Manifest]:
    """Return the pods of an endpoint of a PodMonitor, with the labels that the operator gives them.

    Args:
        server: The API server.
        path: The endpoint's path for discovery.
    """
    [(endpoint, labels)] = [(each, own) for known, each, own in _endpoints() if known == path]
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    with closing(server.client()) as client:
        pods = client.list("v1", "Pod", namespace=NAMESPACE, labels=selector)
    return [
        {
            "targets": [f"{pod['status']['podIP']}:{port['containerPort']}"],
            "labels": {
                "namespace": NAMESPACE,
                "pod": pod["metadata"]["name"],
                "container": container["name"],
            },
        }
        for pod in pods
        if pod["status"]["phase"] == "Running"
        for container in pod["spec"]["containers"]
        for port in container.get("ports", [])
        if port.get("name") == endpoint["port"]
    ]


def history(end: int, *, hours: int = 6) -> str:
    """Return hours without a fault, in the text format of OpenMetrics.

    Without them the objectives of a new Prometheus would be missed at the first failure.

    Args:
        end: Their end, in seconds since 1970.
        hours: How many.
    """
    start = end - hours * 3600
    probed = {
        f'fraud_prober_alert_delay_seconds_bucket{{{_BEFORE},le="{DELAY}"}}': 1,
        f"fraud_prober_alert_delay_seconds_count{{{_BEFORE}}}": 1,
        f'fraud_prober_failures_total{{{_BEFORE},step="alert"}}': 0,
    }
    recorded = [
        f'namespace:{name}:bool{{namespace="{NAMESPACE}"}}'
        for name in ("payment_api_refuses", "checkpoint_stale")
    ]
    return "".join(
        [
            *(
                f"{series} {growth * number} {time}\n"
                for series, growth in probed.items()
                for number, time in enumerate(range(start, end, 60))
            ),
            # As often as afterwards: an average over time is one over samples.
            *(
                f"{series} 0 {time}\n"
                for series in recorded
                for time in range(start, end, INTERVAL_SECONDS)
            ),
            "# EOF\n",
        ]
    )
