"""Argo CD without its user interface: repo-server, application controller and their cache."""

import os
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

from delivery.clusters.simulated import SimulatedCluster, simulated_cluster
from delivery.commands import run
from delivery.control_plane.assets import ControlPlaneAssets
from delivery.control_plane.client import ApiError, Client, Reference
from delivery.control_plane.programs import SHORT_LIVED, Program, serve, start, wait_until
from delivery.manifests.applications import FOLDER, parse
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
"""Objects of Argo CD's installation that we apply; the others run its programs in pods."""
_READY_SECONDS = 60
_RESYNC_SECONDS = 30
"""Interval at which branches are polled. Argo CD's default is two minutes and more."""
_SELF_HEAL_BACKOFF_SECONDS = 5


class _Identity(NamedTuple):
    """Files of one certificate, which the repo-server shares with its only client."""

    authority: Path
    certificate: Path
    key: Path


class ArgoCd:
    """A running Argo CD, as `argocd` starts it."""

    def __init__(
        self,
        cluster: SimulatedCluster,
        assets: ControlPlaneAssets,
        stack: ExitStack,
        *,
        resync_seconds: int,
    ) -> None:
        self.cluster = cluster
        """The cluster in which it runs, and which it manages."""
        self._stack = stack
        _install(cluster, assets)
        own = cluster.server.folder / "argocd"
        own.mkdir()
        # Its image has this script to verify signatures; it is called even without any keys.
        verify = own / "git-verify-wrapper.sh"
        verify.write_text("#!/bin/sh\n", encoding="utf-8")
        verify.chmod(0o755)
        self._environment = {
            **SHORT_LIVED,
            "PATH": f"{own}{os.pathsep}{os.environ['PATH']}",
            "KUBECONFIG": str(cluster.server.kubeconfig),
            # Makes https://kubernetes.default.svc the server of the kubeconfig.
            "ARGOCD_FAKE_IN_CLUSTER": "true",
            "ARGOCD_GPG_ENABLED": "false",
            # The repo-server looks for its certificate there.
            "ARGOCD_APP_CONF_PATH": str(own),
            # The defaults spare an API server that others use, too.
            "ARGOCD_K8S_CLIENT_QPS": "1000",
            "ARGOCD_K8S_CLIENT_BURST": "2000",
            # In seconds; half the default.
            "ARGOCD_SYNC_WAVE_DELAY": "1",
            "ARGOCD_ASK_PASS_SOCK": f"{own}/ask-pass.sock",
            # In the environment, which other users cannot read, as they can arguments.
            "REDIS_PASSWORD": secrets.token_urlsafe(),
            "HOME": str(own),
            "TMPDIR": str(own),
        }
        # Without it, every user of this machine could have the repo-server run a program.
        identity = _write_identity(own)
        redis, redis_port = self._serve(lambda port: [assets.redis, f"127.0.0.1:{port}"])
        repo_server, repo_server_port = self._serve(
            lambda port: [
                assets.argocd_repo_server,
                "--address=127.0.0.1",
                f"--port={port}",
                "--metrics-address=127.0.0.1",
                "--metrics-port=0",
                f"--client-ca-path={identity.authority}",
                f"--redis=127.0.0.1:{redis_port}",
                f"--revision-cache-expiration={resync_seconds}s",
                "--loglevel=warn",
            ]
        )
        self._controller_command: list[str | Path] = [
            assets.argocd_application_controller,
            f"--namespace={NAMESPACE}",
            f"--repo-server=127.0.0.1:{repo_server_port}",
            "--repo-server-strict-tls",
            f"--repo-server-ca-cert-path={identity.authority}",
            f"--repo-server-client-cert-path={identity.certificate}",
            f"--repo-server-client-cert-key-path={identity.key}",
            f"--redis=127.0.0.1:{redis_port}",
            # The only port that it would open to other machines; the address is not configurable.
            "--metrics-port=0",
            f"--app-resync={resync_seconds}",
            "--app-resync-jitter=0",
            # A sync with waves or hooks mostly waits.
            "--operation-processors=50",
            # In the Application, where others than its user interface can read it.
            "--persist-resource-health",
            f"--self-heal-backoff-cap-seconds={_SELF_HEAL_BACKOFF_SECONDS}",
        ]
        self._notifications_command: list[str | Path] = [
            assets.argocd_notifications,
            f"--namespace={NAMESPACE}",
            f"--argocd-repo-server=127.0.0.1:{repo_server_port}",
            # A free one; the address is not configurable.
            "--metrics-port=0",
        ]
        self._others = (*cluster.programs, redis, repo_server)
        self._controller = self._start_controller()

    @property
    def programs(self) -> tuple[Program, ...]:
        """All processes that must keep running."""
        return (*self._others, self._controller)

    @contextmanager
    def without_controller(self) -> Iterator[None]:
        """Kill the application controller, and start another one in the end."""
        self._controller.stop()
        try:
            yield
        finally:
            self._controller = self._start_controller()

    @contextmanager
    def notifications(self) -> Iterator[Program]:
        """Run the notifications controller, which reports to whom its ConfigMap says."""
        with ExitStack() as stack:
            yield start(
                stack,
                self._notifications_command,
                logs=self.cluster.server.folder,
                environment=self._environment,
            )

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
        resync_seconds: Interval at which it polls branches. Default: half a minute.

    Raises:
        StartError: If it does not start; its folder stays until the next start, for its logs.
    """
    with simulated_cluster(assets) as cluster, ExitStack() as stack:
        yield ArgoCd(cluster, assets, stack, resync_seconds=resync_seconds)


def applications(repository: Path, *, url: str) -> list[Manifest]:
    """Return the namespaces, projects and Applications of the environments, in order of creation.

    The root Application is left out: from its branch it would bring the declared URL back.

    Args:
        repository: Root of the working tree that declares them.
        url: URL from which Argo CD fetches instead of the declared one.

    Raises:
        TreeError: If there are none.
    """
    files = read_folder(repository, str(FOLDER))
    found = deepcopy([each.manifest for each in manifests(files, FOLDER)])
    known = parse(found)
    wanted = {
        *(("Namespace", each.namespace) for each in known),
        *(("AppProject", each.spec["project"]) for each in known),
        *(("Application", each.application) for each in known),
    }
    for manifest in found:
        if manifest["kind"] == "AppProject":
            manifest["spec"]["sourceRepos"] = [url]
        elif manifest["kind"] == "Application":
            manifest["spec"]["source"]["repoURL"] = url
    return [
        manifest
        for kind in ("Namespace", "AppProject", "Application")
        for manifest in found
        if manifest["kind"] == kind and (kind, manifest["metadata"]["name"]) in wanted
    ]


def refresh(client: Client, application: str, *, hard: bool = False) -> None:
    """Have Argo CD refresh an Application now, as a webhook would; `hard` ignores its cache."""
    client.merge(
        Reference(API_VERSION, "Application", application, NAMESPACE),
        {"metadata": {"annotations": {"argocd.argoproj.io/refresh": "hard" if hard else "normal"}}},
    )


def _write_identity(folder: Path) -> _Identity:
    """Write what the repo-server and its client prove themselves with, where the former looks."""
    identity = _Identity(
        authority=folder / "authority.crt",
        certificate=folder / "reposerver" / "tls" / "tls.crt",
        key=folder / "reposerver" / "tls" / "tls.key",
    )
    identity.key.parent.mkdir(parents=True)
    # A fifth of the start of every command, and only the demo needs it.
    import trustme  # noqa: PLC0415

    # Its key is never written, so that it signs no second certificate.
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(identity.authority))
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(str(identity.key))
    issued.cert_chain_pems[0].write_to_path(str(identity.certificate))
    return identity


def _install(cluster: SimulatedCluster, assets: ControlPlaneAssets) -> None:
    server = cluster.server
    with closing(server.client()) as client:
        client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        run(
            str(server.kubectl),
            f"--kubeconfig={server.kubeconfig}",
            f"--cache-dir={server.folder}/kubectl",
            "apply",
            "--server-side",
            f"--namespace={NAMESPACE}",
            f"--filename={assets.argocd_install}",
            f"--selector=app.kubernetes.io/name in ({','.join(_READ_BY_THE_PROGRAMS)})",
            remedy="run `make control-plane`",
        )
        wait_until(
            lambda: _are_served(client),
            programs=cluster.programs,
            seconds=_READY_SECONDS,
            what="the API server did not serve Argo CD's kinds",
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
