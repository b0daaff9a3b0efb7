"""Both environments on this machine, for a person to play with: `make demo`."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from delivery.clusters.argocd import (
    ArgoCd,
    applications,
    argocd,
    refresh,
)
from delivery.control_plane.build import locate
from delivery.control_plane.client import ApiError, Client, Reference
from delivery.manifests.manifest import Manifest

_PERIOD_SECONDS = 1
_WORKLOADS = ("Deployment", "StatefulSet")
_COLORS = {"Synced": "green", "Healthy": "green", "Progressing": "yellow", "OutOfSync": "yellow"}


class Row(NamedTuple):
    """What runs, and what Argo CD says of it.

    Attributes:
        environment: The folder of dist that is applied.
        service: Name of the workload.
        image: Of its first container; empty: nothing runs yet.
        sync: Whether the cluster has what is committed.
        health: Whether that works.
    """

    environment: str
    service: str
    image: str
    sync: str
    health: str


class Origin:
    """A bare repository that follows the commits of a working tree.

    Args:
        working_tree: Where a person commits.
        bare: The repository: a folder that does not exist yet.
        branches: All get what is committed at the start.

    Raises:
        CalledProcessError: If Git fails.
    """

    def __init__(self, working_tree: Path, bare: Path, *, branches: set[str]) -> None:
        self.bare = bare
        self._working_tree = working_tree
        self._head = ""
        self._git("init", "--quiet", "--bare", str(bare))
        self.follow(*sorted(branches))

    def follow(self, *branches: str) -> bool:
        """Fetch what is committed, if that is new; tell whether it was."""
        head = self._git("rev-parse", "HEAD")
        if head == self._head:
            return False
        self._git(
            f"--git-dir={self.bare}",
            "fetch",
            "--quiet",
            # A clone without its whole history may be shown, too.
            "--update-shallow",
            str(self._working_tree),
            *(f"+HEAD:refs/heads/{branch}" for branch in branches),
        )
        self._head = head
        return True

    def _git(self, *arguments: str) -> str:
        return subprocess.run(  # noqa: S603 - Git, with our own arguments
            ["git", *arguments],  # noqa: S607 - the user's own Git
            cwd=self._working_tree,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout.strip()


def rows(client: Client, application: Manifest) -> list[Row]:
    """The workloads of one environment.

    Args:
        client: Of the API server.
        application: As it was told to Argo CD.
    """
    environment = Path(application["spec"]["source"]["path"]).name
    status = client.get(Reference.of(application)).get("status", {})
    return [
        Row(
            environment,
            resource["name"],
            _image(client, resource),
            resource.get("status", ""),
            resource.get("health", {}).get("status", ""),
        )
        for resource in status.get("resources", [])
        if resource["kind"] in _WORKLOADS
    ]


def _image(client: Client, resource: Manifest) -> str:
    reference = Reference("apps/v1", resource["kind"], resource["name"], resource["namespace"])
    try:
        workload = client.get(reference)
    except ApiError:
        return ""
    return str(workload["spec"]["template"]["spec"]["containers"][0]["image"])


def run(repository: Path, console: Console) -> None:
    """Show both environments until Ctrl-C.

    Args:
        repository: Root of the working tree whose commits are delivered.
        console: Gets the table.

    Raises:
        ControlPlaneError: If there is no control plane.
        StartError: If it does not start.
    """
    try:
        with argocd(locate()) as argo:
            _run(repository, console, argo)
    except KeyboardInterrupt:
        console.print("stopped; nothing is left")


def _run(repository: Path, console: Console, argo: ArgoCd) -> None:
    server = argo.cluster.server
    bare = server.folder / "origin.git"
    manifests = applications(repository / "dist" / "argocd", repository=bare.as_uri())
    environments = {
        Path(manifest["spec"]["source"]["path"]).name: manifest
        for manifest in manifests
        if manifest["kind"] == "Application"
    }
    branches = {
        name: manifest["spec"]["source"]["targetRevision"]
        for name, manifest in environments.items()
    }
    origin = Origin(repository, bare, branches=set(branches.values()))
    console.print(
        f"""\
To look around:       kubectl --kubeconfig {server.kubeconfig} get pods --all-namespaces
                      kubectl is {server.kubectl}
To deliver to dev:    change the tag of payment-api in images.yaml, `make synth`, commit
To promote:           git push {bare} HEAD:{branches["staging"]}
To end it:            Ctrl-C
"""
    )
    with closing(server.client()) as client, _shown(console) as show:
        for manifest in manifests:
            client.apply(manifest, field_manager="demo")
        while True:
            show([row for each in environments.values() for row in rows(client, each)])
            time.sleep(_PERIOD_SECONDS)
            if origin.follow(branches["dev"]):
                refresh(client, environments["dev"]["metadata"]["name"])


@contextmanager
def _shown(console: Console) -> Iterator[Callable[[list[Row]], None]]:
    """Show rows as a table that changes in place; without a terminal, a line for each change."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda rows: live.update(_table(rows), refresh=True)
        return
    known: dict[tuple[str, str], Row] = {}

    def show(rows: list[Row]) -> None:
        for row in rows:
            if known.get(row[:2]) != row:
                known[row[:2]] = row
                console.print(" ".join(filter(None, row)))

    yield show


def _table(rows: list[Row]) -> Table:
    table = Table(*Row._fields)
    for row in rows:
        table.add_row(
            row.environment,
            row.service,
            row.image,
            *(Text(state, style=_COLORS.get(state, "red")) for state in (row.sync, row.health)),
        )
    return table
