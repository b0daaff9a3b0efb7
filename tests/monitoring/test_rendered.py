"""What an environment gets with and without Prometheus, and with and without its operator."""

from dataclasses import replace

import pytest

from delivery.network.connection import Verdict
from delivery.network.connections import analyze
from fraud_detection.platform.settings import SettingsError
from rendering import Manifests, argocd, container, large, names, small
from settings import LARGE, MONITORING, SMALL

KINDS = {"PodMonitor", "PrometheusRule"}
ALL = {"prober", "redis", "redpanda", "flink-jobmanager", "flink-taskmanager"}
monitored = Manifests(replace(SMALL, monitoring=MONITORING))
annotated = Manifests(replace(SMALL, monitoring=replace(MONITORING, operator=None)))


def test_without_prometheus_nothing_of_it_is_rendered() -> None:
    """Its kinds would fail the sync of a cluster that lacks them."""
    assert [m["kind"] for m in small if m["kind"] in KINDS] == []
    text = str(list(small))
    assert "exporter" not in text
    assert "metrics.reporter" not in text
    assert "prometheus.io" not in text


def test_every_store_and_process_is_scraped() -> None:
    """What is not scraped has no alerts."""
    assert names(large.kind("PodMonitor")) == ALL


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_operator_selects_them(kind: str) -> None:
    """Without the labels that it is configured for, it ignores them."""
    assert MONITORING.operator is not None
    for manifest in large.kind(kind):
        assert MONITORING.operator.items() <= manifest["metadata"]["labels"].items()


def test_two_processes_of_a_pod_are_scraped_on_two_ports() -> None:
    """JobManager and TaskManager share a pod, and with it all ports."""
    monitor = monitored.get("PodMonitor", "flink-jobmanager")
    ports = [each["port"] for each in monitor["spec"]["podMetricsEndpoints"]]
    assert ports == ["job-metrics", "task-metrics"]
    template = monitored.get("Deployment", "flink-jobmanager")["spec"]["template"]
    for name, port in (("jobmanager", 9249), ("taskmanager", 9250)):
        process = container(template, name)
        assert f"-Dmetrics.reporter.prom.port={port}" in process["command"]
        assert port in {each["containerPort"] for each in process["ports"]}


def test_two_paths_of_a_port_are_two_targets() -> None:
    """With the same labels their series `up` would collide."""
    monitor = large.get("PodMonitor", "redpanda")
    endpoints = monitor["spec"]["podMetricsEndpoints"]
    assert [each["path"] for each in endpoints] == ["/public_metrics", "/metrics"]
    assert all(each["relabelings"][0]["targetLabel"] == "metrics_path" for each in endpoints)


def test_the_exporter_cannot_make_redis_unready() -> None:
    """An outage of monitoring must not be one of detection."""
    exporter = container(monitored.get("StatefulSet", "redis")["spec"]["template"], "exporter")
    assert "readinessProbe" not in exporter
    assert exporter["livenessProbe"]["httpGet"]["port"] == 9121


def test_a_delay_that_the_prober_does_not_count_is_refused() -> None:
    """Its share would be unknown, and the alert silent."""
    system = Manifests(replace(LARGE, monitoring=replace(MONITORING, delay=4)))
    with pytest.raises(SettingsError, match=r"monitoring\.delay is 4 s, .* 2\.5, 5, 10"):
        list(system)


def test_without_the_operator_there_are_annotations_alone() -> None:
    """Prometheus's usual configuration reads them."""
    assert [m["kind"] for m in annotated if m["kind"] in KINDS] == []
    assert "monitoring" not in annotated.files
    template = annotated.get("Deployment", "flink-jobmanager")["spec"]["template"]
    annotations = template["metadata"]["annotations"]
    assert {key: value for key, value in annotations.items() if key.startswith("prometheus")} == {
        "prometheus.io/path": "/metrics",
        "prometheus.io/port": "9249",
        "prometheus.io/scrape": "true",
    }


@pytest.mark.parametrize("system", [monitored, large], ids=["small", "large"])
def test_prometheus_reaches_what_it_scrapes_and_nothing_else(system: Manifests) -> None:
    """A wider rule would let a whole namespace at the brokers."""
    name = system.environment.name
    manifests = [each for file in system.files.values() for each in file]
    rows = list(analyze({name: manifests}))
    assert {row.verdict for row in rows} == {Verdict.REACHABLE}
    assert [row for row in rows if row.client == "Prometheus"]


def test_every_project_allows_the_kinds() -> None:
    """A branch may switch monitoring on, and the projects come from main."""
    for name, manifest in argocd().items():
        if name.startswith("AppProject/") and "root" not in name:
            allowed = {each["kind"] for each in manifest["spec"]["namespaceResourceWhitelist"]}
            assert allowed >= KINDS
