"""A picture of an environment: what runs, what it keeps, who talks to whom, and what changed."""

import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from delivery.errors import DeliveryError
from delivery.manifests.manifest import Manifest, selects
from delivery.network.cluster import Cluster, Workload
from delivery.network.connections import DNS, OUTSIDE, analyze


class Change(Enum):
    """What became of a part since the base; the value is what the legend calls it."""

    NONE = "unchanged"
    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


class Shape(Enum):
    """What a part is."""

    WORKLOAD = "workload"
    VOLUME = "volume"
    OUTSIDE = "outside"


@dataclass(frozen=True, kw_only=True)
class Node:
    """A part of the system.

    Attributes:
        name: Unique in its environment.
        lines: What to write into it.
        shape: What it is.
        manifests: What it is made of, to be compared with the base.
    """

    name: str
    lines: tuple[str, ...]
    shape: Shape
    manifests: tuple[Manifest, ...] = ()


Edge = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Graph:
    """An environment as nodes and edges.

    Attributes:
        nodes: The parts, by name.
        edges: From client to server, what the edge carries; a volume carries nothing.
    """

    nodes: dict[str, Node]
    edges: dict[Edge, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A graph and what changed in it; what was removed is part of it.

    Attributes:
        graph: All that is or was there.
        changes: What became of each node and edge that is not as it was.
        compared: Whether there is a base at all.
    """

    graph: Graph
    changes: Mapping[str | Edge, Change]
    compared: bool


def draw(environment: str, folders: Mapping[str, Sequence[Manifest]]) -> Graph:
    """Draw an environment from its rendered manifests.

    Args:
        environment: The folder of dist.
        folders: The objects of all folders of dist.
    """
    cluster = Cluster(folders)
    manifests = folders.get(environment, [])
    workloads = [w for w in cluster.workloads if w.environment == environment]
    nodes = {workload.name: _workload(workload, manifests) for workload in workloads}
    ports = {
        (workload.name, port["containerPort"]): f"{port['name']} {port['containerPort']}"
        for workload in workloads
        for container in workload.containers
        for port in container.get("ports", [])
        if "name" in port
    }
    carried: dict[Edge, set[str]] = defaultdict(set)
    for connection in analyze(folders):
        if connection.environment == environment and connection.port is not None:
            for server in connection.servers:
                port = ports.get((server, connection.port), str(connection.port))
                carried[connection.client, server].add(port)
    edges = {edge: tuple(sorted(labels)) for edge, labels in carried.items()}
    for volume, users in _volumes(workloads, manifests):
        nodes[volume.name] = volume
        edges |= {(user, volume.name): () for user in users}
    for name, line in ((OUTSIDE, "browsers and clients"), (DNS, "every pod, port 53")):
        if any(name in edge for edge in edges):
            nodes[name] = Node(name=name, lines=(name, line), shape=Shape.OUTSIDE)
    # What every pod or only the pods of one workload do is said inside of a node: a line from each
    # pod to DNS would hide all the others.
    for (client, server), labels in edges.items():
        if client == server:
            node = nodes[client]
            lines = (*node.lines, f"among its pods: {', '.join(labels)}")
            nodes[client] = replace(node, lines=lines)
    shown = {edge: labels for edge, labels in edges.items() if edge[0] != edge[1] != DNS}
    return Graph(nodes=nodes, edges=shown)


def _workload(workload: Workload, manifests: Sequence[Manifest]) -> Node:
    """A workload, with all that decides how it runs; who may reach it is in the edges."""
    name, labels = workload.name, workload.pod.labels
    files = {
        volume["configMap"]["name"]
        for volume in workload.template["spec"].get("volumes", [])
        if "configMap" in volume
    }
    scaled = [
        manifest
        for manifest in manifests
        if manifest["kind"] == "HorizontalPodAutoscaler"
        and manifest["spec"]["scaleTargetRef"]["name"] == name
    ]
    parts = [
        manifest
        for manifest in manifests
        if (manifest["kind"] == "ConfigMap" and manifest["metadata"]["name"] in files)
        or (
            manifest["kind"] == "Service"
            and manifest["spec"].get("selector", {}).items() <= labels.items()
        )
        or (
            manifest["kind"] == "PodDisruptionBudget"
            and selects(manifest["spec"]["selector"], labels)
        )
    ]
    count = str(workload.replicas)
    for scaler in scaled:
        count = f"{scaler['spec'].get('minReplicas', 1)} to {scaler['spec']['maxReplicas']}"
    kind = workload.manifest["kind"]
    return Node(
        name=name,
        lines=(name, f"{_stage(workload.manifest)}: {kind}{'' if kind == 'Job' else f', {count}'}"),
        shape=Shape.WORKLOAD,
        manifests=(workload.manifest, *scaled, *parts),
    )


def _volumes(
    workloads: Sequence[Workload], manifests: Sequence[Manifest]
) -> Iterator[tuple[Node, list[str]]]:
    """The claims, and who mounts each."""
    for workload in workloads:
        for claim in workload.manifest["spec"].get("volumeClaimTemplates", []):
            name = f"{claim['metadata']['name']} of {workload.name}"
            count = f", {workload.replicas} times" if workload.replicas > 1 else ""
            lines = (name, f"{_size(claim)}{count}")
            yield _volume(name, lines, claim), [workload.name]
    for claim in manifests:
        if claim["kind"] != "PersistentVolumeClaim":
            continue
        claim_name: str = claim["metadata"]["name"]
        users = [
            workload.name
            for workload in workloads
            for volume in workload.template["spec"].get("volumes", [])
            if volume.get("persistentVolumeClaim", {}).get("claimName") == claim_name
        ]
        yield _volume(f"volume {claim_name}", (claim_name, _size(claim)), claim), users


def _volume(name: str, lines: tuple[str, ...], claim: Manifest) -> Node:
    return Node(name=name, lines=lines, shape=Shape.VOLUME, manifests=(claim,))


def _size(claim: Manifest) -> str:
    size: str = claim["spec"]["resources"]["requests"]["storage"]
    return size


def _stage(manifest: Manifest) -> str:
    """When Argo CD applies it."""
    annotations = manifest["metadata"].get("annotations", {})
    if annotations.get("argocd.argoproj.io/hook") == "PostSync":
        return "after each sync"
    return f"wave {annotations.get('argocd.argoproj.io/sync-wave', 0)}"


def compare(base: Graph | None, graph: Graph) -> Picture:
    """Find what changed since a base; without one, nothing is said of changes."""
    if base is None:
        return Picture(graph=graph, changes={}, compared=False)
    both = Graph(nodes=base.nodes | graph.nodes, edges=base.edges | graph.edges)
    changes: dict[str | Edge, Change] = {}
    for name in both.nodes:
        changes[name] = _change(base.nodes.get(name), graph.nodes.get(name))
    for edge in both.edges:
        changes[edge] = _change(base.edges.get(edge), graph.edges.get(edge))
    return Picture(graph=both, changes=changes, compared=True)


def _change(before: object, now: object) -> Change:
    if before is None:
        return Change.ADDED
    if now is None:
        return Change.REMOVED
    return Change.NONE if before == now else Change.CHANGED


def mermaid(picture: Picture) -> str:
    """Write a picture as a Mermaid flowchart, which GitHub draws.

    The same picture always gives the same text, so that it can stand in a reviewed file.
    """
    lines = ["flowchart TB"]
    for node in _ordered(picture.graph):
        before, after = _BRACKETS[node.shape]
        text = "<br/>".join(_mermaid_text(line) for line in node.lines)
        lines.append(f'    {_id(node.name)}{before}"{text}"{after}')
    styles = []
    for index, arrow in enumerate(_arrows(picture)):
        text = "<br/>".join(_mermaid_text(label) for label in arrow.labels)
        line = f'{"<" if arrow.mutual else ""}-- "{text}" -->' if text else "---"
        lines.append(f"    {_id(arrow.client)} {line} {_id(arrow.server)}")
        if arrow.change in _COLOURS:
            styles.append(f"    linkStyle {index} {_COLOURS[arrow.change].stroke}")
    if picture.compared:
        for change, colour in _COLOURS.items():
            legend = _id(_legend(change))
            changed = [name for name, value in picture.changes.items() if value is change]
            names = [legend, *(_id(name) for name in changed if isinstance(name, str))]
            lines += [
                f'    {legend}("{_legend(change)}")',
                f"    classDef {change.value} fill:{colour.fill},color:{_INK},{colour.stroke}",
                f"    class {','.join(names)} {change.value}",
            ]
    return "\n".join([*lines, *styles]) + "\n"


def svg(picture: Picture) -> str:
    """Draw a picture with Graphviz, which runs inside of Node here.

    Raises:
        DrawError: If Node or the package is not installed.
    """
    try:
        process = subprocess.run(  # noqa: S603 - a program of our own, from standard input
            ["node", Path(__file__).with_name("dot.cjs")],  # noqa: S607 - that of the environment
            input=_dot(picture),
            capture_output=True,
            text=True,
            check=True,
        )
    except FileNotFoundError as error:
        raise DrawError("Node is not installed here: run `make setup`.") from error
    except subprocess.CalledProcessError as error:
        raise DrawError(error.stderr.strip()) from error
    return process.stdout


class DrawError(DeliveryError):
    """Graphviz cannot draw; the message is its own."""


FORMATS: Mapping[str, Callable[[Picture], str]] = {"mermaid": mermaid, "svg": svg}


@dataclass(frozen=True, kw_only=True)
class _Colour:
    """How a change looks, on paper and on a dark screen."""

    fill: str
    line: str
    dashed: bool = False

    @property
    def stroke(self) -> str:
        """The line as Mermaid's styles say it."""
        dashes = ",stroke-dasharray:5" if self.dashed else ""
        return f"stroke:{self.line},stroke-width:3px{dashes}"


_INK = "#1f2328"
_COLOURS = {
    Change.ADDED: _Colour(fill="#dafbe1", line="#1a7f37"),
    Change.CHANGED: _Colour(fill="#fff8c5", line="#9a6700"),
    Change.REMOVED: _Colour(fill="#ffebe9", line="#cf222e", dashed=True),
}
_BRACKETS = {
    Shape.WORKLOAD: ("(", ")"),
    Shape.VOLUME: ("[(", ")]"),
    Shape.OUTSIDE: ("([", "])"),
}
_DOT_SHAPES = {
    Shape.WORKLOAD: 'shape=box, style="rounded,filled"',
    Shape.VOLUME: "shape=cylinder, style=filled",
    Shape.OUTSIDE: 'shape=box, style="rounded,dashed"',
}


@dataclass(frozen=True, kw_only=True)
class _Arrow:
    """A line between two nodes; one line for both directions."""

    client: str
    server: str
    labels: tuple[str, ...]
    mutual: bool
    change: Change


def _ordered(graph: Graph) -> list[Node]:
    """Each node, then its volumes and servers: layouts that keep the order cross fewer lines."""
    order: dict[str, Node] = {}

    def visit(name: str) -> None:
        if name not in order:
            order[name] = graph.nodes[name]
            servers = [server for client, server in graph.edges if client == name]
            for server in sorted(servers, key=lambda server: (graph.edges[name, server], server)):
                visit(server)

    for name in sorted(graph.nodes):
        visit(name)
    return list(order.values())


def _arrows(picture: Picture) -> Iterator[_Arrow]:
    edges = picture.graph.edges
    place = {node.name: index for index, node in enumerate(_ordered(picture.graph))}
    for client, server in sorted(edges, key=lambda edge: (place[edge[0]], place[edge[1]])):
        mutual = (server, client) in edges
        if mutual and place[server] < place[client]:
            continue
        labels = edges[client, server]
        change = picture.changes.get((client, server), Change.NONE)
        if mutual:
            down = (f"↓ {label}" for label in labels)
            labels = (*down, *(f"↑ {label}" for label in edges[server, client]))
            if change is not picture.changes.get((server, client), Change.NONE):
                change = Change.CHANGED
        yield _Arrow(client=client, server=server, labels=labels, mutual=mutual, change=change)


def _legend(change: Change) -> str:
    return f"{change.value} since the base"


def _id(name: str) -> str:
    return "n_" + "".join(character if character.isalnum() else "_" for character in name)


def _mermaid_text(text: str) -> str:
    for character, code in (("#", "35"), ("&", "amp"), ("<", "lt"), (">", "gt"), ('"', "quot")):
        text = text.replace(character, f"#{code};" if character != "#" else "#35;")
    return text


def _dot(picture: Picture) -> str:
    lines = [
        "digraph {",
        "graph [rankdir=TB, bgcolor=white, nodesep=0.5, ranksep=0.6];",
        'node [fontname="Helvetica", fontsize=12, margin="0.2,0.1", fillcolor=white];',
        'edge [fontname="Helvetica", fontsize=10];',
    ]
    lines += [
        f"{_quote(node.name)} [label={_quote(*node.lines)}, {_DOT_SHAPES[node.shape]}"
        f"{_dot_colour(picture.changes.get(node.name))}];"
        for node in _ordered(picture.graph)
    ]
    for arrow in _arrows(picture):
        ends = "both" if arrow.mutual else "forward" if arrow.labels else "none"
        lines.append(
            f"{_quote(arrow.client)} -> {_quote(arrow.server)} "
            f"[label={_quote(*arrow.labels)}, dir={ends}{_dot_colour(arrow.change)}];"
        )
    if picture.compared:
        lines += [
            f"{_quote(_legend(change))} [shape=box{_dot_colour(change)}];" for change in _COLOURS
        ]
    return "\n".join([*lines, "}"])


def _dot_colour(change: Change | None) -> str:
    if change not in _COLOURS:
        return ""
    colour = _COLOURS[change]
    style = "rounded,filled,dashed" if colour.dashed else "rounded,filled"
    return f', color="{colour.line}", fillcolor="{colour.fill}", penwidth=2.5, style="{style}"'


def _quote(*lines: str) -> str:
    """Lines in one string of the dot language."""
    return '"' + "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in lines) + '"'
