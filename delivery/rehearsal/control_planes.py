"""Which API server a rehearsal uses: one of its own, one that was kept, or one that it is given."""

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from delivery.control_plane.api_server import api_server
from delivery.control_plane.build import ApiServerAssets, ControlPlaneError, locate_api_server
from delivery.control_plane.client import ApiError, Client

Connect: TypeAlias = Callable[[], Client]
"""Makes a client of an API server, to be closed; each thread needs one of its own."""

IDLE_SECONDS = 1800
"""How long a kept API server waits for the next rehearsal."""
_START_SECONDS = 60
_POLL_SECONDS = 0.05


def connect(
    *, version: str | None = None, keep: bool = False, kubeconfig: Path | None = None
) -> AbstractContextManager[Connect]:
    """Choose an API server.

    Args:
        version: Of Kubernetes, of what is started here. Default: what `find` finds first.
        keep: Use one that was kept, or keep the one that is started.
        kubeconfig: Use this one, and start none.

    Raises:
        ControlPlaneError: If there is none.
    """
    if kubeconfig is not None:
        return given(kubeconfig)
    assets = find(version)
    return kept(assets) if keep else own(assets)


def find(version: str | None = None) -> ApiServerAssets:
    """Find the programs of an API server.

    Args:
        version: For example `1.37`, or `1.37.2`. Default: that of `locate_api_server`.

    Raises:
        ControlPlaneError: If there are none, or none of that version.
    """
    assets = locate_api_server()
    if version is None:
        return assets
    wanted = f"v{version.removeprefix('v')}"
    found = []
    # Both our cache and setup-envtest keep the folders of several versions beside each other.
    for kube_apiserver in sorted(assets.kube_apiserver.parent.parent.glob("*/kube-apiserver")):
        folder = kube_apiserver.parent
        said = _version(kube_apiserver)
        found.append(said)
        if said == wanted or said.startswith(f"{wanted}."):
            return replace(
                assets,
                etcd=folder / "etcd",
                kube_apiserver=kube_apiserver,
                kubectl=folder / "kubectl",
            )
    raise ControlPlaneError(
        f"There is no Kubernetes {version} here, only {', '.join(sorted(set(found)))}: install "
        "one with setup-envtest, and name its folder in KUBEBUILDER_ASSETS."
    )


@contextmanager
def own(assets: ApiServerAssets) -> Iterator[Connect]:
    """Start an API server for this rehearsal alone."""
    with api_server(assets) as server:
        yield server.client


@contextmanager
def given(kubeconfig: Path) -> Iterator[Connect]:
    """Use an API server that somebody else has started for this purpose.

    Args:
        kubeconfig: With a token for it.

    Raises:
        ControlPlaneError: If it cannot be used, or is a real cluster: pods would run there.
    """
    with tempfile.TemporaryDirectory() as folder:
        connect = partial(_client, kubeconfig, Path(folder))
        with closing(connect()) as client:
            try:
                nodes = client.list("v1", "Node")
            except (ApiError, OSError) as error:
                raise ControlPlaneError(f"{kubeconfig}: the API server says: {error}") from error
        if nodes:
            raise ControlPlaneError(
                f"{kubeconfig} leads to a cluster with nodes, on which pods would really run: "
                "name an API server without any."
            )
        yield connect


@contextmanager
def kept(assets: ApiServerAssets) -> Iterator[Connect]:
    """Use the API server that an earlier rehearsal has kept, or start one and keep it.

    Args:
        assets: The programs.

    Raises:
        ControlPlaneError: If it does not start.
    """
    record = _record(assets)
    connect = _reach(record)
    if connect is None:
        record.unlink(missing_ok=True)
        _keep(assets, record)
        connect = _reach(record)
        if connect is None:
            raise ControlPlaneError(
                f"The API server that is kept does not answer: see {record}.log"
            )
    yield connect


def stop() -> bool:
    """Have all kept API servers end; they notice within a second.

    Returns:
        Whether there were any.
    """
    records = list(_folder().glob("*.json"))
    for record in records:
        record.unlink(missing_ok=True)
    return bool(records)


def keep_running(assets: ApiServerAssets, record: Path) -> None:
    """Run an API server until its record is gone, or too old.

    Args:
        assets: The programs.
        record: Tells others how to reach it; it belongs to the first who writes it.
    """
    with api_server(assets) as server:
        new = record.with_suffix(f".{os.getpid()}")
        new.write_text(
            json.dumps(
                {"url": server.url, "token": server.token, "certificate": str(server.certificate)}
            ),
            encoding="utf-8",
        )
        try:
            os.link(new, record)
        except FileExistsError:
            return
        finally:
            new.unlink()
        inode = record.stat().st_ino
        while _is_wanted(record, inode):
            time.sleep(_POLL_SECONDS * 4)


def _is_wanted(record: Path, inode: int) -> bool:
    try:
        status = record.stat()
    except FileNotFoundError:
        return False
    return status.st_ino == inode and time.time() - status.st_mtime < IDLE_SECONDS


def _keep(assets: ApiServerAssets, record: Path) -> None:
    """Start the process that keeps an API server, and wait until that is ready."""
    record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with record.with_suffix(".log").open("wb") as log:
        keeper = subprocess.Popen(  # noqa: S603 - this Python, with our own module
            [sys.executable, "-m", "delivery.rehearsal.keeper", assets.etcd.parent, record],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # It outlives this process and its terminal.
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_SECONDS
    while not record.exists():
        if keeper.poll() is not None or time.monotonic() > deadline:
            said = record.with_suffix(".log").read_text(encoding="utf-8", errors="replace")
            raise ControlPlaneError(f"No API server could be kept: {said.strip()}")
        time.sleep(_POLL_SECONDS)
    # It is nobody's child to wait for.
    keeper.returncode = 0


def _reach(record: Path) -> Connect | None:
    """How to reach the API server that a record tells of, if it answers."""
    try:
        told = json.loads(record.read_text(encoding="utf-8"))
        # In use: it must not end meanwhile.
        os.utime(record)
        connect = partial(
            Client, told["url"], token=told["token"], certificate=Path(told["certificate"])
        )
        with closing(connect()) as client:
            client.text("/readyz")
    except (ApiError, OSError):
        return None
    return connect


def _record(assets: ApiServerAssets) -> Path:
    return _folder() / f"{assets.etcd.parent.name}.json"


def _folder() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "fraud-detection-config" / "rehearsal"


def _version(kube_apiserver: Path) -> str:
    """Such as `v1.37.2`."""
    answer = subprocess.run(  # noqa: S603 - a program of the control plane
        [kube_apiserver, "--version"], check=True, stdout=subprocess.PIPE, text=True
    )
    return answer.stdout.split()[-1]


def _client(kubeconfig: Path, folder: Path) -> Client:
    """A client as a kubeconfig's current context says."""
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
