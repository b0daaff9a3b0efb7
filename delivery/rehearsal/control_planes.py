"""API servers for rehearsals: one of our own, or one that a kubeconfig names."""

import base64
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from rich.console import Console

from delivery.commands import run
from delivery.control_plane.api_server import api_server
from delivery.control_plane.assets import (
    ApiServerAssets,
    api_server_folders,
    locate_api_server,
    needed,
)
from delivery.control_plane.cache import ControlPlaneError
from delivery.control_plane.client import ApiError, Client, UnreachableError
from delivery.control_plane.parts import API_SERVER
from delivery.control_plane.programs import require_running
from delivery.control_plane.provide import provide

Connect: TypeAlias = Callable[[], Client]
"""Function that makes a client of an API server, to be closed; each thread needs its own."""


def connect(
    console: Console, *, version: str | None = None, kubeconfig: Path | None = None
) -> AbstractContextManager[Connect]:
    """Start an API server of a Kubernetes version, or use the running one of a kubeconfig.

    Args:
        console: Gets a line per program that has to be fetched or built first.
        version: As for `find`.
        kubeconfig: File that names the running one.

    Raises:
        ControlPlaneError: If there is no such API server.
    """
    if kubeconfig is not None:
        return given(kubeconfig)
    provide(needed(API_SERVER), console)
    return own(find(version))


def find(version: str | None = None) -> ApiServerAssets:
    """Find the programs of a Kubernetes version, such as `1.37` or `1.37.2`.

    The default is what `locate_api_server` finds.

    Raises:
        ControlPlaneError: If there are none, or none of that version.
    """
    assets = locate_api_server()
    if version is None:
        return assets
    wanted = f"v{version.removeprefix('v')}"
    found = set()
    for folder in api_server_folders():
        installed = _version(folder / "kube-apiserver")
        found.add(installed)
        if installed == wanted or installed.startswith(f"{wanted}."):
            return ApiServerAssets.in_folder(folder)
    raise ControlPlaneError(
        f"There is no Kubernetes {version} here, only {', '.join(sorted(found))}: install it "
        "with setup-envtest, and set KUBEBUILDER_ASSETS to its folder."
    )


@contextmanager
def own(assets: ApiServerAssets) -> Iterator[Connect]:
    """Start an API server for one rehearsal.

    Raises:
        StartError: If it does not start, or one of its programs ends during the rehearsal.
    """
    with api_server(assets) as server:
        try:
            yield server.client
        finally:
            # Without its store an API server refuses everything, which says nothing of a change.
            require_running(server.programs)


@contextmanager
def given(kubeconfig: Path) -> Iterator[Connect]:
    """Use an API server that somebody else started for this purpose; its user has a token.

    Raises:
        ControlPlaneError: If it cannot be used, or is a real cluster, where pods would run.
    """
    with tempfile.TemporaryDirectory() as folder:
        connect = partial(_client, kubeconfig, Path(folder))
        with closing(connect()) as client:
            try:
                nodes = client.list("v1", "Node")
            except (ApiError, UnreachableError) as error:
                raise ControlPlaneError(f"{kubeconfig} cannot be used: {error}") from error
        if nodes:
            raise ControlPlaneError(
                f"{kubeconfig} names a cluster with nodes, where pods would really run: name an "
                "API server without nodes."
            )
        yield connect


def _version(kube_apiserver: Path) -> str:
    """Return the version of an API server, such as `v1.37.2`."""
    return run(str(kube_apiserver), "--version", remedy="run `make control-plane`").split()[-1]


def _client(kubeconfig: Path, folder: Path) -> Client:
    try:
        config = yaml.load(kubeconfig.read_bytes(), yaml.CSafeLoader)
        context = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], context["cluster"])["cluster"]
        user = _named(config["users"], context["user"])["user"]
        certificate = cluster.get("certificate-authority")
        if certificate is None:
            file = folder / "certificate"
            file.write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
            certificate = file
        return Client(
            cluster["server"],
            token=user["token"],
            certificate=kubeconfig.parent / certificate,
        )
    except (OSError, yaml.YAMLError, LookupError, StopIteration, TypeError, ValueError) as error:
        raise ControlPlaneError(
            f"{kubeconfig} cannot be used: it must name a server, its certificate authority and "
            f"a token ({type(error).__name__}: {error})."
        ) from error


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)
