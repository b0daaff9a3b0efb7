"""All environments on this machine, for a person to try: `make demo`."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from delivery.clusters.argocd import ArgoCd, applications, argocd, refresh
from delivery.control_plane.build import locate
from delivery.control_plane.client import ApiError, Client, Reference
from delivery.control_plane.programs import require_running
from delivery.git import git
from delivery.manifests.manifest import Manifest
from delivery.manifests.tree import DIST

_PERIOD_SECONDS = 1
_WORKLOADS = ("Deployment", "StatefulSet")
_COLORS = {"Synced": "green", "Healthy": "green", "Progressing": "yellow", "OutOfSync": "yellow"}


class Row(NamedTuple):
    """A workload, with its state in Argo CD.

    Attributes:
        environment: Name of the environment.
        service: Name of the workload.
        image: Image of its first container; empty if it does not exist yet.
        sync: Sync status.
        health: Health status.
    """

    environment: str
    service: str
    image: str
    sync: str
    health: str


class Origin:
    """A bare repository that follows the commits of a working tree.

    Args:
        working_tree: Working tree in which a person commits.
        bare: Path of the repository, which does not exist yet.
        branches: Branches that start at the current commit.

    Raises:
        GitError: If Git fails.
    """

    def __init__(self, working_tree: Path, bare: Path, *, branches: Iterable[str]) -> None:
        self.bare = bare
        self._working_tree = working_tree
        self._head = ""
        git(working_tree, "init", "--quiet", "--bare", str(bare))
        self.follow(*branches)

    def follow(self, *branches: str) -> bool:
        """Move branches to the current commit; return whether it is a new one."""
        head = git(self._working_tree, "rev-parse", "HEAD")
        if head == self._head:
            return False
        git(
            self.bare,
            "fetch",
            "--quiet",
            # From a shallow clone, too.
            "--update-shallow",
            str(self._working_tree),
            *(f"+HEAD:refs/heads/{branch}" for branch in branches),
        )
        self._head = head
        return True


def rows(client: Client, application: Manifest) -> list[Row]:
    """Return the workloads of one environment.

    Args:
        client: Client of the API server.
        application: Manifest of its Application.
    """
    environment = _environment(application)
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
    """Show all environments until Ctrl-C.

    Args:
        repository: Root of the working tree whose commits are delivered.
        console: Console for the table.

    Raises:
        ControlPlaneError: If there is no control plane.
        StartError: If it does not start, or one of its programs ends.
    """
    try:
        with argocd(locate()) as argo:
            _run(repository, console, argo)
    except KeyboardInterrupt:
        console.print("stopped; nothing is left")


def _run(repository: Path, console: Console, argo: ArgoCd) -> None:
    server = argo.cluster.server
    bare = server.folder / "origin.git"
    manifests = applications(repository / DIST / "argocd", repository=bare.as_uri())
    chain = [manifest for manifest in manifests if manifest["kind"] == "Application"]
    origin = Origin(repository, bare, branches=map(_branch, chain))
    console.print(
        instructions(chain, origin=bare, kubeconfig=server.kubeconfig, kubectl=server.kubectl)
    )
    with closing(server.client()) as client, _shown(console) as show:
        for manifest in manifests:
            client.apply(manifest, field_manager="demo")
        while True:
            show([row for each in chain for row in rows(client, each)])
            time.sleep(_PERIOD_SECONDS)
            require_running(argo.programs)
            if origin.follow(_branch(chain[0])):
                refresh(client, chain[0]["metadata"]["name"])


def instructions(
    chain: Sequence[Manifest], *, origin: Path, kubeconfig: Path, kubectl: Path
) -> str:
    """Say what a person can do: commits reach the first environment, pushes the others.

    Args:
        chain: Applications of the environments, in the order of promotion.
        origin: Repository that Argo CD fetches.
        kubeconfig: kubeconfig of the cluster.
        kubectl: Program of the cluster's version.
    """
    first, *others = chain
    return "\n".join(
        [
            "To look around:",
            f"  kubectl --kubeconfig {kubeconfig} get pods --all-namespaces",
            f"  (kubectl is {kubectl})",
            f"To deliver to {_environment(first)}:",
            "  change a tag in images.yaml, run `make synth`, and commit",
            *(
                f"To promote to {_environment(each)}:\n  git push {origin} HEAD:{_branch(each)}"
                for each in others
            ),
            "To stop: Ctrl-C",
            "",
        ]
    )


def _environment(application: Manifest) -> str:
    return PurePosixPath(application["spec"]["source"]["path"]).name


def _branch(application: Manifest) -> str:
    return str(application["spec"]["source"]["targetRevision"])


@contextmanager
def _shown(console: Console) -> Iterator[Callable[[list[Row]], None]]:
    """Show rows as a live table on a terminal, or else print a line for each change."""
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
