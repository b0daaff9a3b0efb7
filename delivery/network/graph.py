"""A picture of an environment: workloads, volumes, connections, and what changed in them."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from delivery.manifests.manifest import Manifest, selects
from delivery.manifests.tree import annotation
from delivery.manifests.workloads import read
from delivery.network.cluster import Cluster
from delivery.network.connections import analyze
from delivery.network.resolvers import DNS
from delivery.network.services import OUTSIDE, PROMETHEUS
from delivery.network.workload import Workload
from delivery.text import on_one_line


class Highlight(Enum):
    """Difference of a part from the base; the value is the word in the legend."""

    NONE = "unchanged"
    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


class Shape(Enum):
    """Kind of a part of the system; the value is the brackets in which Mermaid draws it."""

    WORKLOAD = ("(", ")")
    VOLUME = ("[(", ")]")
    OUTSIDE = ("([", "])")


@dataclass(frozen=True, kw_only=True)
class Node:
    """A part of the system; its name is unique in its environment."""

    name: str
    lines: tuple[str, ...]
    shape: Shape
    manifests: tuple[Manifest, ...] = ()
    """Objects that it stands for, to be compared with the base."""


Edge = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Graph:
    """An environment as nodes, by name, and edges."""

    nodes: dict[str, Node]
    edges: dict[Edge, tuple[str, ...]]
    """Ports in use, by client and server; none between a workload and its volume."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A graph, with removed parts if there is a base, and how each part differs from it."""

    graph: Graph
    highlights: Mapping[str | Edge, Highlight]
    compared: bool


def draw(environment: str, folders: Mapping[str, Sequence[Manifest]]) -> Graph:
    """Draw an environment, given the objects of all folders of dist by the folder's name."""
    cluster = Cluster(folders)
    manifests = folders.get(environment, [])
    own = [each for each in cluster.workloads if each.environment == environment]
    nodes = {workload.name: _workload(workload, manifests) for workload in own}
    ports = {
        (workload.name, number): f"{name} {number}"
        for workload in own
        for (_, name), number in workload.pod.named_ports.items()
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
    outside = (
        (OUTSIDE, "browsers and clients"),
        (PROMETHEUS, "scrapes metrics"),
        (DNS, "every pod"),
    )
    for name, line in outside:
        if any(name in edge for edge in edges):
            nodes[name] = Node(name=name, lines=(name, line), shape=Shape.OUTSIDE)
    # Connections among the pods of one workload, and to DNS, are text inside of a node: a line from
    # each pod to DNS would hide all the others.
    for (client, server), labels in edges.items():
        if client == server:
            lines = (*nodes[client].lines, f"among its pods: {', '.join(labels)}")
            nodes[client] = replace(nodes[client], lines=lines)
    shown = {edge: labels for edge, labels in edges.items() if edge[0] != edge[1] != DNS}
    return Graph(nodes=nodes, edges=shown)


def _workload(workload: Workload, manifests: Sequence[Manifest]) -> Node:
    """Return the node of a workload, with every object that decides how it runs."""
    name, labels, files = workload.name, workload.pod.labels, read(workload.manifest)
    count = str(workload.replicas)
    parts = [workload.manifest]
    for manifest in manifests:
        spec = manifest.get("spec", {})
        match manifest["kind"]:
            case "ConfigMap":
                is_part = ("ConfigMap", manifest["metadata"]["name"]) in files
            case "Service":
                is_part = spec.get("selector", {}).items() <= labels.items()
            case "PodDisruptionBudget":
                is_part = selects(spec["selector"], labels)
            case "HorizontalPodAutoscaler" if spec["scaleTargetRef"]["name"] == name:
                is_part = True
                count = f"{spec.get('minReplicas', 1)} to {spec['maxReplicas']}"
            case _:
                is_part = False
        if is_part:
            parts.append(manifest)
    kind = workload.manifest["kind"]
    return Node(
        name=name,
        lines=(name, f"{_order(workload.manifest)}{kind}{'' if kind == 'Job' else f', {count}'}"),
        shape=Shape.WORKLOAD,
        manifests=tuple(parts),
    )


def _volumes(
    owners: Sequence[Workload], manifests: Sequence[Manifest]
) -> Iterator[tuple[Node, list[str]]]:
    """Return a node for each claim, and the workloads that mount it."""
    for workload in owners:
        for claim in workload.manifest["spec"].get("volumeClaimTemplates", []):
            name = f"{claim['metadata']['name']} of {workload.name}"
            count = f", {workload.replicas} times" if workload.replicas > 1 else ""
            yield _volume(name, name, claim, count), [workload.name]
    for claim in manifests:
        if claim["kind"] != "PersistentVolumeClaim":
            continue
        claim_name = claim["metadata"]["name"]
        users = [
            workload.name
            for workload in owners
            for volume in workload.pod_spec.get("volumes", [])
            if volume.get("persistentVolumeClaim", {}).get("claimName") == claim_name
        ]
        yield _volume(f"volume {claim_name}", claim_name, claim), users


def _volume(name: str, title: str, claim: Manifest, count: str = "") -> Node:
    size = claim["spec"]["resources"]["requests"]["storage"]
    return Node(name=name, lines=(title, f"{size}{count}"), shape=Shape.VOLUME, manifests=(claim,))


def _order(manifest: Manifest) -> str:
    """Return when Argo CD applies an object, if not with all others."""
    if annotation(manifest, "hook") == "PostSync":
        return "after each sync: "
    wave = annotation(manifest, "sync-wave")
    return f"wave {wave}: " if wave else ""


def compare(base: Graph | None, graph: Graph) -> Picture:
    """Highlight how a graph differs from a base; without one, nothing is highlighted."""
    if base is None:
        return Picture(graph=graph, highlights={}, compared=False)
    both = Graph(nodes=base.nodes | graph.nodes, edges=base.edges | graph.edges)
    highlights: dict[str | Edge, Highlight] = {
        name: _highlight(base.nodes.get(name), graph.nodes.get(name)) for name in both.nodes
    }
    highlights |= {
        edge: _highlight(base.edges.get(edge), graph.edges.get(edge)) for edge in both.edges
    }
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
    nodes = _ordered(picture.graph)
    for node in nodes:
        before, after = node.shape.value
        lines.append(f'    {_id(node.name)}{before}"{_label(node.lines)}"{after}')
    styles = []
    for index, (arrow, highlight) in enumerate(_arrows(picture, nodes)):
        lines.append(f"    {arrow}")
        if highlight in _COLOURS:
            styles.append(f"    linkStyle {index} {_COLOURS[highlight][1]}")
    if picture.compared:
        for highlight, (fill, stroke) in _COLOURS.items():
            word = highlight.value
            legend = f"{word} since the base"
            changed = [name for name, value in picture.highlights.items() if value is highlight]
            names = [_id(legend), *(_id(name) for name in changed if isinstance(name, str))]
            lines += [
                f'    {_id(legend)}("{legend}")',
                f"    classDef {word} fill:{fill},color:#1f2328,{stroke}",
                f"    class {','.join(names)} {word}",
            ]
    return "\n".join([*lines, *styles]) + "\n"


# Fill and line of a part, readable on light and dark backgrounds.
_COLOURS = {
    Highlight.ADDED: ("#dafbe1", "stroke:#1a7f37,stroke-width:3px"),
    Highlight.CHANGED: ("#fff8c5", "stroke:#9a6700,stroke-width:3px"),
    Highlight.REMOVED: ("#ffebe9", "stroke:#cf222e,stroke-width:3px,stroke-dasharray:5"),
}


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


def _arrows(picture: Picture, nodes: Sequence[Node]) -> Iterator[tuple[str, Highlight]]:
    """Return the line between each two nodes, for both directions, and its highlight."""
    edges = picture.graph.edges
    place = {node.name: index for index, node in enumerate(nodes)}
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
        line = f'{"<" if mutual else ""}-- "{_label(labels)}" -->' if labels else "---"
        yield f"{_id(client)} {line} {_id(server)}", highlight


def _id(name: str) -> str:
    return "n_" + "".join(character if character.isalnum() else "_" for character in name)


def _label(lines: Iterable[str]) -> str:
    return "<br/>".join(on_one_line(each).translate(_ESCAPES) for each in lines)


_ESCAPES = str.maketrans(
    {
        "#": "#35;",
        "&": "#amp;",
        "<": "#lt;",
        ">": "#gt;",
        '"': "#quot;",
        # Between backticks a label is Markdown, between dollars a formula.
        "`": "#96;",
        "$": "#36;",
    }
)
