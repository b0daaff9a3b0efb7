"""What Prometheus scrapes is proved like every other connection."""

from typing import Any

import pytest

from delivery.manifests.manifest import Manifest
from delivery.network.connection import Connection, Verdict
from delivery.network.connections import analyze
from delivery.network.graph import draw
from shop import Folders, env, metadata, shop


def _scraped(port: str = "http", *, annotations: Manifest | None = None) -> Folders:
    """Return the shop with a scrape of the server's port, by annotations if there are any."""
    monitor = {
        "kind": "PodMonitor",
        "metadata": metadata("server"),
        "spec": {
            "selector": {"matchLabels": {"app": "server"}},
            "podMetricsEndpoints": [{"port": port, "path": "/metrics"}],
        },
    }
    folders = shop(*([] if annotations else [monitor]), env=env(ADDRESS="server:80"))
    template: Any = folders["shop"][1]["spec"]["template"]
    template["metadata"]["annotations"] = annotations
    folders["shop"][4]["spec"]["ingress"].append(
        {
            "from": [{"namespaceSelector": {"matchLabels": {"app": "monitoring"}}}],
            "ports": [{"port": 8080}],
        }
    )
    return folders


ANNOTATIONS = {"prometheus.io/scrape": "true", "prometheus.io/port": "8080"}


def _find(folders: Folders) -> Connection:
    [row] = [row for row in analyze(folders) if row.client == "Prometheus"]
    return row


@pytest.mark.parametrize("annotations", [None, ANNOTATIONS], ids=["operator", "annotations"])
def test_a_way_in_for_a_scrape_is_used(annotations: Manifest | None) -> None:
    """Only the policy knows Prometheus's pods; a finding about them would be noise."""
    folders = _scraped(annotations=annotations)
    row = _find(folders)
    assert (row.servers, row.port) == (("server",), 8080)
    assert {each.verdict for each in analyze(folders)} == {Verdict.REACHABLE}


@pytest.mark.parametrize("annotations", [None, ANNOTATIONS], ids=["operator", "annotations"])
def test_a_scrape_without_a_way_in_is_blocked(annotations: Manifest | None) -> None:
    """Every alert about these pods would be silent."""
    folders = _scraped(annotations=annotations)
    folders["shop"][4]["spec"]["ingress"].pop()
    row = _find(folders)
    assert (row.verdict, row.reason) == (
        Verdict.BLOCKED,
        "no policy lets Prometheus in to server",
    )


def test_a_scrape_of_a_port_that_no_container_names_is_dangling() -> None:
    """Prometheus would find no target, and report nothing."""
    row = _find(_scraped("metrics"))
    assert (row.verdict, row.reason) == (
        Verdict.DANGLING,
        "no container of server names a port metrics",
    )


def test_a_scrape_of_a_port_that_nobody_listens_on_is_dangling() -> None:
    """An annotation names a number, which may be anything."""
    row = _find(_scraped(annotations={**ANNOTATIONS, "prometheus.io/port": "9999"}))
    assert row.verdict is Verdict.DANGLING


def test_a_scrape_of_another_namespace_is_none() -> None:
    """A PodMonitor selects pods of its own namespace."""
    folders = _scraped()
    folders["shop"][-1]["metadata"] = {"name": "server", "namespace": "other"}
    assert [row for row in analyze(folders) if row.client == "Prometheus"] == []


def test_a_way_in_without_a_scrape_is_a_finding() -> None:
    """Otherwise a service that is no longer scraped would stay open."""
    folders = _scraped()
    folders["shop"].pop()
    assert Verdict.UNUSED in {row.verdict for row in analyze(folders)}


def test_the_picture_shows_prometheus() -> None:
    """The graph shows every edge that a policy opens."""
    graph = draw("shop", _scraped())
    assert graph.edges["Prometheus", "server"] == ("http 8080",)
    assert "Prometheus" in graph.nodes
