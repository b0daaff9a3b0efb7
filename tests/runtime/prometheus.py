"""Prometheus and Alertmanager in a pod, and whom they alert."""

import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlencode
from urllib.request import urlopen

from delivery.control_plane.api_server import ApiServer
from delivery.control_plane.client import Client, Reference
from delivery.control_plane.programs import wait_until
from delivery.manifests.manifest import Manifest
from tests.runtime import monitoring
from tests.runtime.monitoring import IMAGE, WATCHER
from tests.runtime.node.node import ADDRESS, Node

_NAME = "prometheus"
_FOLDER = "/etc/prometheus"
_PORT = 9090
_KUBELET = f"{ADDRESS}:10250"
KUBE_STATE_METRICS = f"{ADDRESS}:8080"
_SECONDS = 300
# This machine's own disk may be nearly full.
_FIRING_OR_PENDING = f'ALERTS{{{monitoring.HURRIED}="",alertname!="VolumeFull"}}'


@dataclass
class Page:
    """An alert as a person gets it.

    Attributes:
        labels: Its labels.
        fired: When it came, on the clock `time.monotonic`.
        ended: When its end came. None: it fires.
    """

    labels: Mapping[str, str]
    fired: float
    ended: float | None = None


class Receiver(ThreadingHTTPServer):
    """Gets alerts by Alertmanager's webhook, and tells Prometheus what there is to scrape.

    Args:
        server: The API server that knows the pods.
    """

    daemon_threads = True

    def __init__(self, server: ApiServer) -> None:
        super().__init__((ADDRESS, 0), _Handler)
        self.api_server = server
        self.url = f"http://{ADDRESS}:{self.server_port}"
        self._pages: dict[str, Page] = {}

    def note(self, alerts: Iterable[Manifest]) -> None:
        """Note the beginning or the end of alerts."""
        now = time.monotonic()
        for alert in alerts:
            page = self._pages.setdefault(alert["fingerprint"], Page(alert["labels"], now))
            page.ended = now if alert["status"] == "resolved" else None

    @property
    def pages(self) -> list[Page]:
        """All alerts so far."""
        return list(self._pages.values())


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_GET(self) -> None:
        self._answer(json.dumps(monitoring.targets(self.server.api_server, self.path)))

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.server.note(json.loads(self.rfile.read(length))["alerts"])
        self._answer("")

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def _answer(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


class Prometheus:
    """A running Prometheus.

    Args:
        url: Its URL.
        receiver: Who gets the alerts.
    """

    def __init__(self, url: str, receiver: Receiver) -> None:
        self.receiver = receiver
        self._url = url

    def query(self, expression: str) -> list[Manifest]:
        """Return the series of an expression now."""
        return self._ask("query", query=expression)

    def curve(self, expression: str, *, start: float, end: float, step: float) -> list[Manifest]:
        """Return the series of an expression over a time, in seconds since 1970."""
        return self._ask("query_range", query=expression, start=start, end=end, step=step)

    def watches_everything(self) -> bool:
        """Return whether there are metrics of all pods, and nothing is wrong."""
        wanted = {job["job_name"] for job in monitoring.scrape_configs("")}
        up = {each["metric"]["job"]: each["value"][1] for each in self.query("up")}
        return (
            up.keys() >= wanted and set(up.values()) == {"1"} and not self.query(_FIRING_OR_PENDING)
        )

    def _ask(self, path: str, **parameters: object) -> list[Manifest]:
        with urlopen(f"{self._url}/api/v1/{path}?{urlencode(parameters)}", timeout=30) as answer:  # noqa: S310 - always http
            found: list[Manifest] = json.load(answer)["data"]["result"]
            return found


@contextmanager
def watching(node: Node) -> Iterator[Prometheus]:
    """Run a Prometheus that knows hours without a fault, and wait until it sees everything.

    Raises:
        StartError: If it does not.
    """
    receiver = Receiver(node.server)
    serving = threading.Thread(target=receiver.serve_forever, daemon=True)
    serving.start()
    objects = [_files(receiver.url), _pod()]
    try:
        with closing(node.server.client()) as client:
            for each in objects:
                client.create(each)
            try:
                url = f"http://{_address(node, client)}:{_PORT}"
                running = Prometheus(url, receiver)
                wait_until(
                    running.watches_everything,
                    programs=node.programs,
                    seconds=_SECONDS,
                    what="Prometheus did not see everything",
                    pause=1,
                )
                yield running
            finally:
                for each in objects:
                    client.delete(Reference.of(each))
    finally:
        receiver.shutdown()
        receiver.server_close()
        serving.join()


def _address(node: Node, client: Client) -> str:
    """Wait for the pod's address."""
    reference = Reference("v1", "Pod", _NAME, WATCHER.namespace)

    def status() -> Manifest:
        found: Manifest = client.get(reference)["status"]
        return found

    wait_until(
        lambda: status()["phase"] == "Running",
        programs=node.programs,
        seconds=_SECONDS,
        what="Prometheus did not start",
    )
    return str(status()["podIP"])


def _files(receiver: str) -> Manifest:
    """Return the configuration of both; JSON is YAML."""
    interval = f"{monitoring.INTERVAL_SECONDS}s"
    kubelet = {
        "honor_labels": True,
        "scheme": "https",
        "tls_config": {"insecure_skip_verify": True},
        "static_configs": [{"targets": [_KUBELET]}],
    }
    prometheus = {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": [f"{_FOLDER}/rules.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": ["127.0.0.1:9093"]}]}]},
        "scrape_configs": [
            *monitoring.scrape_configs(receiver),
            {"job_name": "kubelet", **kubelet},
            {"job_name": "probes", "metrics_path": "/metrics/probes", **kubelet},
            {
                "job_name": "kube-state-metrics",
                "honor_labels": True,
                "static_configs": [{"targets": [KUBE_STATE_METRICS]}],
            },
        ],
    }
    alertmanager = {
        "route": {
            "receiver": "test",
            "group_by": ["..."],
            "group_wait": "0s",
            "group_interval": "5s",
        },
        "receivers": [{"name": "test", "webhook_configs": [{"url": receiver}]}],
    }
    rules = {"groups": [{"name": "all", "rules": list(monitoring.rules())}]}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": _NAME, "namespace": WATCHER.namespace},
        "data": {
            "prometheus.yml": json.dumps(prometheus),
            "alertmanager.yml": json.dumps(alertmanager),
            "rules.yml": json.dumps(rules),
            "history.txt": monitoring.history(int(time.time()) - 60),
        },
    }


def _pod() -> Manifest:
    mounts = [
        {"name": "files", "mountPath": _FOLDER},
        {"name": "data", "mountPath": "/data"},
    ]

    def container(name: str, *command: str) -> Manifest:
        return {
            "name": name,
            "image": IMAGE.reference,
            "command": list(command),
            "workingDir": "/data",
            "volumeMounts": mounts,
        }

    history = f"{_FOLDER}/history.txt"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": _NAME,
            "namespace": WATCHER.namespace,
            "labels": dict(WATCHER.labels),
        },
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "volumes": [
                {"name": "files", "configMap": {"name": _NAME}},
                {"name": "data", "emptyDir": {}},
            ],
            "initContainers": [
                container(
                    "history",
                    *("promtool", "tsdb", "create-blocks-from"),
                    "openmetrics",
                    history,
                    "/data",
                )
            ],
            "containers": [
                container(
                    "prometheus",
                    "prometheus",
                    f"--config.file={_FOLDER}/prometheus.yml",
                    "--storage.tsdb.path=/data",
                ),
                container(
                    "alertmanager",
                    "prometheus-alertmanager",
                    f"--config.file={_FOLDER}/alertmanager.yml",
                    "--cluster.listen-address=",
                    "--storage.path=/tmp",
                ),
            ],
        },
    }
