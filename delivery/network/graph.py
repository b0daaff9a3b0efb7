"""A picture of an environment: workloads, volumes, connections, and what changed in them."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from delivery.manifests.manifest import Manifest, selects
from delivery.network.cluster import Cluster, Workload
from delivery.network.connections import DNS, analyze
from delivery.network.services import OUTSIDE


class Highlight(Enum):
    """Difference of a part from the base; the value is the word in the legend."""

    NONE = "unchanged"
    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


class Shape(Enum):
    """Kind of a part of the system."""

    WORKLOAD = "workload"
    VOLUME = "volume"
    OUTSIDE = "outside"


@dataclass(frozen=True, kw_only=True)
class Node:
    """A part of the system.

    Attributes:
        name: Name, unique in its environment.
        lines: Text inside of it.
        shape: Kind of part.
        manifests: Objects that it stands for, to be compared with the base.
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
        nodes: Parts, by name.
        edges: Ports in use, by client and server; none between a workload and its volume.
    """

    nodes: dict[str, Node]
    edges: dict[Edge, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A graph with its differences from a base.

    Attributes:
        graph: All parts, also those that were removed.
        highlights: Difference of each node and edge.
        compared: Whether there is a base.
    """

    graph: Graph
    highlights: Mapping[str | Edge, Highlight]
    compared: bool


def draw(environment: str, folders: Mapping[str, Sequence[Manifest]]) -> Graph:
    """Draw an environment from its rendered manifests.

    Args:
        environment: Name of the environment.
        folders: Objects of all folders of dist, by the folder's name.
    """
    cluster = Cluster(folders)
    manifests = folders.get(environment, [])
    own = [each for each in cluster.workloads if each.environment == environment]
    nodes = {workload.name: _workload(workload, manifests) for workload in own}
    ports = {
        (workload.name, port["containerPort"]): f"{port['name']} {port['containerPort']}"
        for workload in own
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
    for volume, users in _volumes(own, manifests):
        nodes[volume.name] = volume
        edges |= {(user, volume.name): () for user in users}
    for name, line in ((OUTSIDE, "browsers and clients"), (DNS, "every pod, port 53")):
        if any(name in edge for edge in edges):
            nodes[name] = Node(name=name, lines=(name, line), shape=Shape.OUTSIDE)
    # Connections among the pods of one workload, and to DNS, are text inside of a node: a line from
    # each pod to DNS would hide all the others.
    for (client, server), labels in edges.items():
        if client == server:
            node = nodes[client]
            lines = (*node.lines, f"among its pods: {', '.join(labels)}")
            nodes[client] = replace(node, lines=lines)
    shown = {edge: labels for edge, labels in edges.items() if edge[0] != edge[1] != DNS}
    return Graph(nodes=nodes, edges=shown)


def _workload(workload: Workload, manifests: Sequence[Manifest]) -> Node:
    """Return the node of a workload, with every object that decides how it runs."""
    name, labels = workload.name, workload.pod.labels
    files = {
        volume["configMap"]["name"]
        for volume in workload.pod_spec.get("volumes", [])
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
        lines=(name, f"{_wave(workload.manifest)}: {kind}{'' if kind == 'Job' else f', {count}'}"),
        shape=Shape.WORKLOAD,
        manifests=(workload.manifest, *scaled, *parts),
    )


def _volumes(
    owners: Sequence[Workload], manifests: Sequence[Manifest]
) -> Iterator[tuple[Node, list[str]]]:
    """Return a node for each claim, and the workloads that mount it."""
    for workload in owners:
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
            for workload in owners
            for volume in workload.pod_spec.get("volumes", [])
            if volume.get("persistentVolumeClaim", {}).get("claimName") == claim_name
        ]
        yield _volume(f"volume {claim_name}", (claim_name, _size(claim)), claim), users


def _volume(name: str, lines: tuple[str, ...], claim: Manifest) -> Node:
    return Node(name=name, lines=lines, shape=Shape.VOLUME, manifests=(claim,))


def _size(claim: Manifest) -> str:
    size: str = claim["spec"]["resources"]["requests"]["storage"]
    return size


def _wave(manifest: Manifest) -> str:
    """Return when Argo CD applies an object."""
    annotations = manifest["metadata"].get("annotations", {})
    if annotations.get("argocd.argoproj.io/hook") == "PostSync":
        return "after each sync"
    return f"wave {annotations.get('argocd.argoproj.io/sync-wave', 0)}"


def compare(base: Graph | None, graph: Graph) -> Picture:
    """Compare a graph with a base.

    Args:
        base: The older graph. None: nothing is highlighted.
        graph: The newer graph.
    """
    if base is None:
        return Picture(graph=graph, highlights={}, compared=False)
    both = Graph(nodes=base.nodes | graph.nodes, edges=base.edges | graph.edges)
    highlights: dict[str | Edge, Highlight] = {}
    for name in both.nodes:
        highlights[name] = _highlight(base.nodes.get(name), graph.nodes.get(name))
    for edge in both.edges:
        highlights[edge] = _highlight(base.edges.get(edge), graph.edges.get(edge))
    return Picture(graph=both, highlights=highlights, compared=True)


def _highlight(before: object, now: object) -> Highlight:
    if before is None:
        return Highlight.ADDED
    if now is None:
        return Highlight.REMOVED
    return Highlight.NONE if before == now else Highlight.CHANGED


def mermaid(picture: Picture) -> str:
    """Return a picture as a Mermaid flowchart, which GitHub draws.

    The same picture always gives the same text, so that a file with it can be compared.
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
        if arrow.highlight in _COLOURS:
            styles.append(f"    linkStyle {index} {_COLOURS[arrow.highlight].stroke}")
    if picture.compared:
        for highlight, colour in _COLOURS.items():
            legend = _id(_legend(highlight))
            changed = [name for name, value in picture.highlights.items() if value is highlight]
            names = [legend, *(_id(name) for name in changed if isinstance(name, str))]
            lines += [
                f'    {legend}("{_legend(highlight)}")',
                f"    classDef {highlight.value} fill:{colour.fill},color:{_INK},{colour.stroke}",
                f"    class {','.join(names)} {highlight.value}",
            ]
    return "\n".join([*lines, *styles]) + "\n"


@dataclass(frozen=True, kw_only=True)
class _Colour:
    """Colour of a highlight, readable on light and dark backgrounds."""

    fill: str
    line: str
    dashed: bool = False

    @property
    def stroke(self) -> str:
        """The line in the syntax of Mermaid's styles."""
        dashes = ",stroke-dasharray:5" if self.dashed else ""
        return f"stroke:{self.line},stroke-width:3px{dashes}"


_INK = "#1f2328"
_COLOURS = {
    Highlight.ADDED: _Colour(fill="#dafbe1", line="#1a7f37"),
    Highlight.CHANGED: _Colour(fill="#fff8c5", line="#9a6700"),
    Highlight.REMOVED: _Colour(fill="#ffebe9", line="#cf222e", dashed=True),
}
_BRACKETS = {
    Shape.WORKLOAD: ("(", ")"),
    Shape.VOLUME: ("[(", ")]"),
    Shape.OUTSIDE: ("([", "])"),
}


@dataclass(frozen=True, kw_only=True)
class _Arrow:
    """A line between two nodes, for both directions."""

    client: str
    server: str
    labels: tuple[str, ...]
    mutual: bool
    highlight: Highlight


def _ordered(graph: Graph) -> list[Node]:
    """Return each node before its volumes and servers: so Mermaid crosses fewer lines."""
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
        highlight = picture.highlights.get((client, server), Highlight.NONE)
        if mutual:
            down = (f"↓ {label}" for label in labels)
            labels = (*down, *(f"↑ {label}" for label in edges[server, client]))
            if highlight is not picture.highlights.get((server, client), Highlight.NONE):
                highlight = Highlight.CHANGED
        yield _Arrow(
            client=client, server=server, labels=labels, mutual=mutual, highlight=highlight
        )


def _legend(highlight: Highlight) -> str:
    return f"{highlight.value} since the base"


def _id(name: str) -> str:
    return "n_" + "".join(character if character.isalnum() else "_" for character in name)


def _mermaid_text(text: str) -> str:
    for character, code in (("#", "35"), ("&", "amp"), ("<", "lt"), (">", "gt"), ('"', "quot")):
        text = text.replace(character, f"#{code};" if character != "#" else "#35;")
    return text
