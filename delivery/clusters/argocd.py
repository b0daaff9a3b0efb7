"""Argo CD without a user interface: the two programs that compare and apply, and their cache."""

import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from copy import deepcopy
from pathlib import Path

from delivery.clusters.cluster import Cluster, cluster
from delivery.control_plane.build import ControlPlaneAssets
from delivery.control_plane.client import ApiError, Client, Reference
from delivery.control_plane.programs import Program, StartError, serve, start, wait_until
from delivery.manifests.applications import FOLDER
from delivery.manifests.manifest import Manifest
from delivery.manifests.tree import manifests, read_folder

API_VERSION = "argoproj.io/v1alpha1"
NAMESPACE = "argocd"

_READ_BY_THE_PROGRAMS = (
    "applications.argoproj.io",
    "appprojects.argoproj.io",
    "argocd-cm",
    "argocd-cmd-params-cm",
    "argocd-gpg-keys-cm",
    "argocd-rbac-cm",
    "argocd-secret",
    "argocd-ssh-known-hosts-cm",
    "argocd-tls-certs-cm",
)
"""What of Argo CD's installation we apply; the rest would have the programs run in pods."""
_READY_SECONDS = 60
_RESYNC_SECONDS = 30
"""How often a branch is looked at unasked. Argo CD's default is two minutes and more."""
_SELF_HEAL_BACKOFF_SECONDS = 5


class ArgoCd:
    """A running Argo CD, in a cluster of its own.

    Args:
        running: The cluster.
        assets: The programs.
        stack: Stops them.
        resync_seconds: How often it looks at a branch unasked.

    Raises:
        StartError: If it does not start.
    """

    def __init__(
        self,
        running: Cluster,
        assets: ControlPlaneAssets,
        stack: ExitStack,
        *,
        resync_seconds: int,
    ) -> None:
        self.cluster = running
        """Where it runs, and what it manages."""
        self._stack = stack
        _install(running, assets)
        own = running.server.folder / "argocd"
        own.mkdir()
        # Of its image, to look at the signature of a commit; it is called even without any keys.
        verify = own / "git-verify-wrapper.sh"
        verify.write_text("#!/bin/sh\n", encoding="utf-8")
        verify.chmod(0o755)
        self._environment = {
            "PATH": f"{own}{os.pathsep}{os.environ['PATH']}",
            "KUBECONFIG": str(running.server.kubeconfig),
            # So that https://kubernetes.default.svc means the server of the kubeconfig.
            "ARGOCD_FAKE_IN_CLUSTER": "true",
            "ARGOCD_GPG_ENABLED": "false",
            # By default it is gentle with an API server that others use, too.
            "ARGOCD_K8S_CLIENT_QPS": "1000",
            "ARGOCD_K8S_CLIENT_BURST": "2000",
            # In seconds; half of the default.
            "ARGOCD_SYNC_WAVE_DELAY": "1",
            "ARGOCD_ASK_PASS_SOCK": f"{own}/ask-pass.sock",
            "HOME": str(own),
            "TMPDIR": str(own),
        }
        redis, redis_port = self._serve(lambda port: [assets.redis, f"127.0.0.1:{port}"])
        repo_server, repo_server_port = self._serve(
            lambda port: [
                assets.argocd_repo_server,
                "--address=127.0.0.1",
                f"--port={port}",
                "--metrics-address=127.0.0.1",
                "--metrics-port=0",
                "--disable-tls",
                # The default is a file that only exists in its pod, and refuses all without it.
                "--client-ca-path=",
                f"--redis=127.0.0.1:{redis_port}",
                f"--revision-cache-expiration={resync_seconds}s",
                "--loglevel=warn",
            ]
        )
        self._controller_command: list[str | Path] = [
            assets.argocd_application_controller,
            f"--namespace={NAMESPACE}",
            f"--repo-server=127.0.0.1:{repo_server_port}",
            "--repo-server-plaintext",
            f"--redis=127.0.0.1:{redis_port}",
            # The one port that is open to others than this machine: it has no option for that.
            "--metrics-port=0",
            f"--app-resync={resync_seconds}",
            "--app-resync-jitter=0",
            # A sync mostly waits, for the next wave or a hook.
            "--operation-processors=50",
            # In the Application too, where others than its user interface can read it.
            "--persist-resource-health",
            f"--self-heal-backoff-cap-seconds={_SELF_HEAL_BACKOFF_SECONDS}",
        ]
        self._others = (*running.programs, redis, repo_server)
        self._controller = self._start_controller()

    @property
    def programs(self) -> tuple[Program, ...]:
        """All that must go on running."""
        return (*self._others, self._controller)

    @contextmanager
    def without_controller(self) -> Iterator[None]:
        """Kill the application controller, and start another one afterwards."""
        self._controller.stop()
        try:
            yield
        finally:
            self._controller = self._start_controller()

    def _start_controller(self) -> Program:
        return start(
            self._stack,
            self._controller_command,
            logs=self.cluster.server.folder,
            environment=self._environment,
        )

    def _serve(self, command: Callable[[int], Sequence[str | Path]]) -> tuple[Program, int]:
        return serve(
            self._stack,
            command,
            ready=_accepts,
            logs=self.cluster.server.folder,
            environment=self._environment,
            beside=self.cluster.programs,
        )


@contextmanager
def argocd(
    assets: ControlPlaneAssets, *, resync_seconds: int = _RESYNC_SECONDS
) -> Iterator[ArgoCd]:
    """Run Argo CD in a cluster of its own on 127.0.0.1; any number may run side by side.

    Args:
        assets: The programs.
        resync_seconds: How often it looks at a branch unasked.

    Raises:
        StartError: If it does not start; its folder is left for a look at the logs.
    """
    with cluster(assets) as running, ExitStack() as stack:
        yield ArgoCd(running, assets, stack, resync_seconds=resync_seconds)


def applications(rendered: Path, *, repository: str) -> list[Manifest]:
    """Return the project and the Applications, which are applied once, by hand.

    Args:
        rendered: `dist/argocd` of a working tree or of a render.
        repository: URL from which it fetches in place of the one that is rendered.
    """
    files = read_folder(rendered.parents[1], str(FOLDER))
    found = deepcopy([each.manifest for each in manifests(files, FOLDER)])
    for manifest in found:
        if manifest["kind"] == "AppProject":
            manifest["spec"]["sourceRepos"] = [repository]
        else:
            manifest["spec"]["source"]["repoURL"] = repository
    return found


def refresh(client: Client, application: str, *, hard: bool = False) -> None:
    """Have Argo CD look at the branch now, as a webhook would.

    Args:
        client: Of the API server.
        application: Name of the Application.
        hard: Whether to render anew what is cached.
    """
    client.merge(
        Reference(API_VERSION, "Application", application, NAMESPACE),
        {"metadata": {"annotations": {"argocd.argoproj.io/refresh": "hard" if hard else "normal"}}},
    )


def _install(running: Cluster, assets: ControlPlaneAssets) -> None:
    server = running.server
    with closing(server.client()) as client:
        client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    applied = subprocess.run(  # noqa: S603 - a program of the control plane
        [
            server.kubectl,
            f"--kubeconfig={server.kubeconfig}",
            f"--cache-dir={server.folder}/kubectl",
            "apply",
            "--server-side",
            f"--namespace={NAMESPACE}",
            f"--filename={assets.argocd_install}",
            f"--selector=app.kubernetes.io/name in ({','.join(_READ_BY_THE_PROGRAMS)})",
        ],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if applied.returncode != 0:
        raise StartError(f"Argo CD's installation was refused:\n{applied.stdout}")
    with closing(server.client()) as client:
        wait_until(
            lambda: _are_served(client),
            programs=running.programs,
            seconds=_READY_SECONDS,
            what="Argo CD's kinds were not served",
        )


def _are_served(client: Client) -> bool:
    try:
        client.list(API_VERSION, "Application")
        client.list(API_VERSION, "AppProject")
    except ApiError:
        return False
    return True


def _accepts(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port)):
        return True
