"""All environments on this machine, for a person to try: `make demo`."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from delivery.clusters.argocd import API_VERSION, NAMESPACE, ArgoCd, applications, argocd, refresh
from delivery.control_plane.assets import locate, needed
from delivery.control_plane.client import ApiError, Client, Reference
from delivery.control_plane.parts import PARTS
from delivery.control_plane.programs import require_running
from delivery.control_plane.provide import provide
from delivery.git import git
from delivery.manifests.applications import Environment, parse
from delivery.manifests.manifest import Manifest
from delivery.text import visible

_PERIOD_SECONDS = 1
_WORKLOADS = ("Deployment", "StatefulSet")
_COLORS = {"Synced": "green", "Healthy": "green", "Progressing": "yellow", "OutOfSync": "yellow"}


class Row(NamedTuple):
    """A workload, with the image of its first container and its state in Argo CD."""

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


def _rows(client: Client, environment: Environment) -> list[Row]:
    application = Reference(API_VERSION, "Application", environment.application, NAMESPACE)
    status = client.get(application).get("status", {})
    return [
        Row(
            environment.name,
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
    """Deliver the commits of a working tree to all environments, and show these until Ctrl-C.

    Raises:
        ControlPlaneError: If the control plane cannot be obtained.
        StartError: If it does not start, or one of its programs ends.
    """
    try:
        provide(needed(PARTS), console)
        with argocd(locate()) as argo:
            _run(repository, console, argo)
    except KeyboardInterrupt:
        console.print("stopped; nothing is left")


def _run(repository: Path, console: Console, argo: ArgoCd) -> None:
    server = argo.cluster.server
    bare = server.folder / "origin.git"
    manifests = applications(repository, url=bare.as_uri())
    chain = parse(manifests)
    origin = Origin(repository, bare, branches=[each.branch for each in chain])
    console.print(
        instructions(chain, origin=bare, kubeconfig=server.kubeconfig, kubectl=server.kubectl)
    )
    with closing(server.client()) as client, _shown(console) as show:
        for manifest in manifests:
            client.apply(manifest, field_manager="demo")
        while True:
            show([row for each in chain for row in _rows(client, each)])
            time.sleep(_PERIOD_SECONDS)
            require_running(argo.programs)
            if origin.follow(chain[0].branch):
                refresh(client, chain[0].application)


def instructions(
    chain: Sequence[Environment], *, origin: Path, kubeconfig: Path, kubectl: Path
) -> str:
    """Return what a person can do: commits reach the first environment, pushes the others."""
    first, *others = chain
    return "\n".join(
        [
            "To look around:",
            f"  kubectl --kubeconfig {kubeconfig} get pods --all-namespaces",
            f"  (kubectl is {kubectl})",
            f"To deliver to {first.name}:",
            "  change a tag in images.yaml, run `make synth`, and commit",
            *(
                f"To promote to {each.name}:\n  git push {origin} HEAD:{each.branch}"
                for each in others
            ),
            "To stop: Ctrl-C",
            "",
        ]
    )


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
            *(
                Text(visible(state), style=_COLORS.get(state, "red"))
                for state in (row.sync, row.health)
            ),
        )
    return table
