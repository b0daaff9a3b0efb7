"""An API server alone: etcd and kube-apiserver, ready in about three seconds.

It validates, defaults, admits and stores as any other. No controller acts on what it stores, so a
new namespace has no `default` ServiceAccount and a ResourceQuota has no status until somebody
writes them, as `make_namespace` and `Admission.start_quota` do.
"""

import base64
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from delivery.control_plane.assets import ApiServerAssets
from delivery.control_plane.client import ApiError, Client
from delivery.control_plane.programs import SHORT_LIVED, Program, StartError, serve, start
from delivery.temporary import temporary_folder

_USER = "fraud-detection"
# RFC 5915 around 32 random bytes on the curve P-256, without the optional public key.
_KEY_START = bytes.fromhex("30310201010420")
_KEY_END = bytes.fromhex("a00a06082a8648ce3d030107")
# Nobody reads them, and without them `Admission` gets its answer in a third of the time.
_BULKY_METRICS = (
    "apiserver_request_body_size_bytes",
    "apiserver_request_duration_seconds",
    "apiserver_request_sli_duration_seconds",
    "apiserver_watch_cache_initialization_duration_seconds",
    "apiserver_watch_cache_read_wait_seconds",
    "apiserver_watch_events_dispatch_duration_seconds",
    "apiserver_watch_list_duration_seconds",
    "etcd_request_duration_seconds",
)


@dataclass(frozen=True, kw_only=True)
class ApiServer:
    """A running API server with one user, who may do everything.

    Attributes:
        certificate: File with the authority that signed its certificate.
        kubectl: kubectl of the same version.
        service_account_key: Key that signs the tokens of pods.
        folder: Its data and logs; removed in the end.
    """

    url: str
    token: str
    certificate: Path
    kubeconfig: Path
    kubectl: Path
    service_account_key: Path
    folder: Path
    programs: tuple[Program, ...]

    def client(self) -> Client:
        """Make a client, to be closed; each thread needs its own."""
        return Client(self.url, token=self.token, certificate=self.certificate)


@contextmanager
def api_server(assets: ApiServerAssets) -> Iterator[ApiServer]:
    """Run an API server on 127.0.0.1, with the default admission plugins.

    Any number may run side by side. Call it from the main thread: Linux ends the programs with the
    thread that started them.

    Raises:
        StartError: If it does not start; its folder stays until the next start, for its logs.
    """
    with (
        temporary_folder("control-plane-", keep_after=(StartError,)) as folder,
        ExitStack() as stack,
    ):
        yield _start(stack, assets, folder)


def make_namespace(client: Client, name: str, *, labels: Mapping[str, str] | None = None) -> None:
    """Create a namespace with labels, such as Pod Security's, and its default ServiceAccount."""
    namespace = {"name": name, "labels": dict(labels or {})}
    client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": namespace})
    account = {"name": "default", "namespace": name}
    client.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})


def _start(stack: ExitStack, assets: ApiServerAssets, folder: Path) -> ApiServer:
    token = secrets.token_urlsafe(32)
    tokens = _write(folder / "tokens.csv", f"{token},{_USER},{_USER},system:masters\n")
    key = _write(folder / "service-account.key", _private_key())
    certificate = folder / "certificates" / "apiserver.crt"
    # In our own folder, so that no two API servers can share a store by mistake.
    socket = f"unix://{folder}/etcd.sock"
    etcd = start(
        stack,
        [
            assets.etcd,
            f"--data-dir={folder}/etcd",
            f"--listen-client-urls={socket}",
            f"--advertise-client-urls={socket}",
            f"--listen-peer-urls=unix://{folder}/peer.sock",
            # They are required, but not used.
            "--initial-advertise-peer-urls=http://localhost:0",
            "--initial-cluster=default=http://localhost:0",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ],
        logs=folder,
        environment=SHORT_LIVED,
    )
    kube_apiserver, port = serve(
        stack,
        lambda port: [
            assets.kube_apiserver,
            f"--etcd-servers={socket}",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={certificate.parent}",
            f"--token-auth-file={tokens}",
            "--anonymous-auth=false",
            # There is one user. RBAC would only create its default roles, for half a second.
            "--authorization-mode=AlwaysAllow",
            # As on usual clusters, where Pod Security decides.
            "--allow-privileged=true",
            # For `kubectl logs` and `exec`: the names of nodes resolve nowhere.
            "--kubelet-preferred-address-types=InternalIP",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--disabled-metrics={','.join(_BULKY_METRICS)}",
        ],
        ready=lambda port: _is_ready(Client(_url(port), token=token, certificate=certificate)),
        logs=folder,
        environment=SHORT_LIVED,
        beside=[etcd],
    )
    return ApiServer(
        url=_url(port),
        token=token,
        certificate=certificate,
        kubeconfig=_write(folder / "kubeconfig", _kubeconfig(_url(port), token, certificate)),
        kubectl=assets.kubectl,
        service_account_key=key,
        folder=folder,
        programs=(etcd, kube_apiserver),
    )


def _url(port: int) -> str:
    return f"https://127.0.0.1:{port}"


def _is_ready(client: Client) -> bool:
    with closing(client):
        try:
            client.text("/readyz")
        except ApiError:
            return False
    return True


def _private_key() -> str:
    der = _KEY_START + secrets.token_bytes(32) + _KEY_END
    text = base64.b64encode(der).decode()
    return f"-----BEGIN EC PRIVATE KEY-----\n{text}\n-----END EC PRIVATE KEY-----\n"


def _kubeconfig(url: str, token: str, certificate: Path) -> str:
    """Return a kubeconfig; JSON is YAML."""
    cluster = {"server": url, "certificate-authority": str(certificate)}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": _USER, "cluster": cluster}],
        "users": [{"name": _USER, "user": {"token": token}}],
        "contexts": [{"name": _USER, "context": {"cluster": _USER, "user": _USER}}],
        "current-context": _USER,
    }
    return json.dumps(config, indent=2)


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
