"""A stand-in for metrics-server: it reports a configured CPU usage for each pod.

Nothing really runs, so nothing can be measured, and without metrics every HorizontalPodAutoscaler
would be Degraded. Pods have metrics at once, where a real metrics-server needs a scrape or two.
"""

import json
import re
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

from delivery.control_plane.api_server import ApiServer
from delivery.manifests.manifest import Manifest

_GROUP = "metrics.k8s.io"
_VERSION = f"{_GROUP}/v1beta1"
_PATH = f"/apis/{_VERSION}"
_SERVED: Manifest = {
    "apiVersion": "v1",
    "kind": "APIResourceList",
    "groupVersion": _VERSION,
    "resources": [
        {"name": "pods", "namespaced": True, "kind": "PodMetrics", "verbs": ["get", "list"]}
    ],
}
_DEFAULT_MILLICORES = 1

Millicores = dict[tuple[str, str], int]
"""CPU usage per container, by the pod's namespace and label `app.kubernetes.io/name`; else 1m."""


@contextmanager
def serve_metrics(server: ApiServer) -> Iterator[Millicores]:
    """Serve `metrics.k8s.io` through an API server, with a CPU usage that may be changed."""
    millicores: Millicores = {}
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server, millicores))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # The API server does not verify the certificate, so its own one will do.
    context.load_cert_chain(server.certificate, server.certificate.with_suffix(".key"))
    http.socket = context.wrap_socket(http.socket, server_side=True)
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        _register(server, http.server_port)
        yield millicores
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def _register(server: ApiServer, port: int) -> None:
    service = {"name": "metrics", "namespace": "kube-system"}
    target = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}
    with closing(server.client()) as client:
        client.create({"apiVersion": "v1", "kind": "Service", "metadata": service, "spec": target})
        client.create(
            {
                "apiVersion": "apiregistration.k8s.io/v1",
                "kind": "APIService",
                "metadata": {"name": f"v1beta1.{_GROUP}"},
                "spec": {
                    "group": _GROUP,
                    "version": "v1beta1",
                    "service": {**service, "port": port},
                    "insecureSkipTLSVerify": True,
                    "groupPriorityMinimum": 100,
                    "versionPriority": 100,
                },
            }
        )


def _handler(server: ApiServer, millicores: Millicores) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Handler of the requests that the API server forwards."""

        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Answer with the served resources, or with the metrics of pods."""
            url = urlsplit(self.path)
            if url.path == _PATH:
                answer = _SERVED
            elif namespaced := re.fullmatch(f"{_PATH}/namespaces/([^/]+)/pods", url.path):
                [labels] = parse_qs(url.query).get("labelSelector", [""])
                with closing(server.client()) as client:
                    pods = client.list("v1", "Pod", namespace=namespaced[1], labels=labels)
                items = [_metrics(pod, millicores) for pod in pods]
                answer = {"apiVersion": _VERSION, "kind": "PodMetricsList", "items": items}
            else:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            content = json.dumps(answer).encode()
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Keep the terminal clean."""

    return Handler


def _metrics(pod: Manifest, millicores: Millicores) -> Manifest:
    metadata = pod["metadata"]
    name = metadata.get("labels", {}).get("app.kubernetes.io/name", "")
    cpu = millicores.get((metadata["namespace"], name), _DEFAULT_MILLICORES)
    usage = {"cpu": f"{cpu}m", "memory": "1Mi"}
    return {
        "metadata": {key: metadata[key] for key in ("name", "namespace")},
        "timestamp": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "window": "1s",
        "containers": [
            {"name": container["name"], "usage": usage} for container in pod["spec"]["containers"]
        ],
    }
