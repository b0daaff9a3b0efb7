"""The picture of an environment, and what it highlights."""

import os
import re
import subprocess
import xml.etree.ElementTree as ET
from copy import deepcopy
from pathlib import Path

import pytest
from click.testing import CliRunner

from delivery.cli import main
from delivery.git import GitError
from delivery.manifests.manifest import Manifest
from delivery.manifests.tree import TreeError
from delivery.network import graph
from delivery.network.cluster import load
from delivery.network.connections import OUTSIDE
from delivery.network.graph import Change, Graph, Node, Picture, Shape, compare, draw, mermaid, svg
from repository import REPOSITORY

Folders = dict[str, list[Manifest]]


@pytest.fixture(scope="module")
def dist() -> Folders:
    """What Argo CD applies; no test changes it."""
    return load(REPOSITORY)


@pytest.fixture
def old(dist: Folders) -> Folders:
    """The same, for a test to make a base of it."""
    return deepcopy(dist)


def _get(folders: Folders, kind: str, name: str) -> Manifest:
    [manifest] = [
        manifest
        for manifest in folders["staging"]
        if (manifest["kind"], manifest["metadata"]["name"]) == (kind, name)
    ]
    return manifest


def _changes(base: Folders, now: Folders) -> dict[object, Change]:
    """All that is not as it was in staging."""
    picture = compare(draw("staging", base), draw("staging", now))
    return {part: change for part, change in picture.changes.items() if change is not Change.NONE}


@pytest.mark.parametrize("environment", ["dev", "staging"])
def test_every_workload_and_every_claim_is_in_the_picture(dist: Folders, environment: str) -> None:
    """Whoever is missing is forgotten."""
    names = {node.lines[0] for node in draw(environment, dist).nodes.values()}
    for manifest in dist[environment]:
        if manifest["kind"] in {"Deployment", "StatefulSet", "Job", "PersistentVolumeClaim"}:
            assert manifest["metadata"]["name"] in names
    assert {"data of redis", "data of redpanda", "cluster DNS"} <= names


def test_a_node_says_when_it_is_applied_and_how_often_it_runs(dist: Folders) -> None:
    """The order of a sync and the size of the system, at a glance."""
    staging, dev = draw("staging", dist).nodes, draw("dev", dist).nodes
    assert staging["payment-api"].lines == ("payment-api", "wave 2: Deployment, 2 to 4")
    assert staging["redis"].lines == ("redis", "wave 0: StatefulSet, 1")
    assert staging["data of redpanda"].lines == ("data of redpanda", "20Gi, 3 times")
    assert dev["transactions-topic"].lines == ("transactions-topic", "wave 1: Job")
    assert dev["smoke-test"].lines == ("smoke-test", "after each sync: Job")


def test_an_edge_carries_its_ports_by_name(dist: Folders) -> None:
    """The numbers alone say nothing to who does not know them by heart."""
    edges = draw("staging", dist).edges
    assert edges["payment-api", "redpanda"] == ("kafka 9093",)
    assert edges["flink-taskmanager", "flink-jobmanager"] == ("blob 6124", "rpc 6123")
    assert edges["flink-taskmanager", "volume flink-checkpoints"] == ()


def test_what_pods_of_one_workload_say_to_each_other_stands_in_it(dist: Folders) -> None:
    """A line from a box to itself only makes the picture larger."""
    picture = draw("staging", dist)
    assert picture.nodes["redpanda"].lines[-1] == "among its pods: rpc 33145"
    assert all(client != server for client, server in picture.edges)


def test_a_published_service_is_reached_from_outside(old: Folders) -> None:
    """Only then there is an outside that comes in."""
    assert OUTSIDE not in draw("staging", old).nodes
    backend = {"service": {"name": "payment-api", "port": {"number": 8000}}}
    metadata = {"name": "door", "namespace": "fraud-detection-staging"}
    rules = [{"host": "pay.test", "http": {"paths": [{"path": "/", "backend": backend}]}}]
    old["staging"].append({"kind": "Ingress", "metadata": metadata, "spec": {"rules": rules}})
    door = {"from": [{"namespaceSelector": {"matchLabels": {"a": "b"}}}], "ports": [{"port": 8000}]}
    _get(old, "NetworkPolicy", "payment-api")["spec"].setdefault("ingress", []).append(door)
    assert draw("staging", old).edges[OUTSIDE, "payment-api"] == ("http 8000",)


def test_the_same_dist_has_no_changes(dist: Folders, old: Folders) -> None:
    """A highlight that means nothing hides one that does."""
    assert _changes(old, dist) == {}


@pytest.mark.parametrize(
    ("kind", "name", "node"),
    [
        ("Deployment", "payment-api", "payment-api"),
        ("Service", "payment-api", "payment-api"),
        ("ConfigMap", "payment-api-files", "payment-api"),
        ("HorizontalPodAutoscaler", "payment-api", "payment-api"),
        ("PodDisruptionBudget", "payment-api", "payment-api"),
        ("PersistentVolumeClaim", "flink-checkpoints", "volume flink-checkpoints"),
    ],
)
def test_a_node_is_changed_when_any_part_of_it_is(
    dist: Folders, old: Folders, kind: str, name: str, node: str
) -> None:
    """What a reviewer calls payment-api is six objects."""
    _get(old, kind, name)["metadata"]["annotations"]["changed"] = "true"
    assert _changes(old, dist) == {node: Change.CHANGED}


def test_a_new_workload_and_its_edges_are_added(dist: Folders, old: Folders) -> None:
    """A new edge is what a reviewer of the network looks for."""
    old["staging"] = [m for m in old["staging"] if m["metadata"]["name"] != "alert-monitor"]
    assert _changes(old, dist) == {
        "alert-monitor": Change.ADDED,
        ("alert-monitor", "redis"): Change.ADDED,
    }


def test_what_was_removed_stays_in_the_picture(dist: Folders, old: Folders) -> None:
    """Nobody misses a box that is simply not there."""
    old["staging"] = [m for m in old["staging"] if m["metadata"]["name"] != "alert-monitor"]
    assert _changes(dist, old)["alert-monitor"] is Change.REMOVED
    picture = compare(draw("staging", dist), draw("staging", old))
    assert 'n_alert_monitor("alert-monitor' in mermaid(picture)


def test_an_edge_with_another_port_is_changed(dist: Folders, old: Folders) -> None:
    """The port is what the edge is about."""
    redis = _get(old, "StatefulSet", "redis")["spec"]["template"]["spec"]["containers"][0]
    redis["ports"][0]["name"] = "other"
    assert _changes(old, dist)["alert-monitor", "redis"] is Change.CHANGED


def test_an_environment_that_the_base_does_not_have_is_added(dist: Folders) -> None:
    """The first promotion of a new environment is a picture too."""
    assert set(_changes({}, dist).values()) == {Change.ADDED}


# --- Mermaid


def _picture(*nodes: Node, **edges: tuple[str, ...]) -> Picture:
    pairs = {tuple(pair.split("__")): labels for pair, labels in edges.items()}
    return Picture(
        graph=Graph(nodes={node.name: node for node in nodes}, edges=pairs),  # type: ignore[arg-type] # pairs by the names given
        changes={},
        compared=False,
    )


def _node(name: str, *lines: str, shape: Shape = Shape.WORKLOAD) -> Node:
    return Node(name=name, lines=lines or (name,), shape=shape)


def test_mermaid_draws_each_kind_of_node_and_edge() -> None:
    """The whole syntax in one small picture."""
    nodes = (
        _node("api"),
        _node("disk", "disk", "1Gi", shape=Shape.VOLUME),
        _node("world", shape=Shape.OUTSIDE),
    )
    picture = _picture(*nodes, world__api=("http 80", "x"), api__disk=())
    assert mermaid(picture).splitlines() == [
        "flowchart TB",
        '    n_api("api")',
        '    n_disk[("disk<br/>1Gi")]',
        '    n_world(["world"])',
        "    n_api --- n_disk",
        '    n_world -- "http 80<br/>x" --> n_api',
    ]


def test_two_that_connect_to_each_other_share_one_line() -> None:
    """Two lines between the same boxes would cross or hide each other."""
    picture = _picture(_node("a"), _node("b"), a__b=("x 1",), b__a=("y 2",))
    assert mermaid(picture).splitlines()[3:] == ['    n_a <-- "↓ x 1<br/>↑ y 2" --> n_b']


def test_mermaid_escapes_what_would_end_a_label() -> None:
    """A name must never become syntax, or markup on the page."""
    [line] = mermaid(_picture(_node("a", 'say "hi" <b> & #35;'))).splitlines()[1:]
    assert line == '    n_a("say #quot;hi#quot; #lt;b#gt; #amp; #35;35;")'


def test_mermaid_marks_changes_and_explains_the_colours(dist: Folders, old: Folders) -> None:
    """Without a legend a colour is a riddle."""
    old["staging"] = [m for m in old["staging"] if m["metadata"]["name"] != "alert-monitor"]
    text = mermaid(compare(draw("staging", old), draw("staging", dist)))
    for change in ("added", "changed", "removed"):
        assert f'("{change} since the base")' in text
    assert "    class n_added_since_the_base,n_alert_monitor added\n" in text
    edges = [line for line in text.splitlines() if " --> " in line or " --- " in line]
    [index] = re.findall(r"linkStyle (\d+) ", text)
    assert edges[int(index)] == '    n_alert_monitor -- "redis 6379" --> n_redis'


def test_without_a_base_there_is_no_legend(dist: Folders) -> None:
    """There is nothing to explain."""
    assert "since" not in mermaid(compare(None, draw("staging", dist)))


def test_the_same_picture_is_always_the_same_text(dist: Folders, old: Folders) -> None:
    """It stands in files that are compared; the order of the objects must not matter."""
    old["staging"].reverse()
    assert mermaid(compare(None, draw("staging", old))) == mermaid(
        compare(None, draw("staging", dist))
    )


# --- SVG


def test_svg_shows_every_node_and_edge(dist: Folders) -> None:
    """Well-formed, and complete."""
    drawn = draw("staging", dist)
    root = ET.fromstring(svg(compare(None, drawn)))  # noqa: S314 - our own output
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {line for node in drawn.nodes.values() for line in node.lines} <= texts
    assert {"kafka 9093", "redis 6379", "↑ blob 6124"} <= texts


def test_svg_marks_changes_and_explains_the_colours(dist: Folders, old: Folders) -> None:
    """As Mermaid does."""
    old["staging"] = [m for m in old["staging"] if m["metadata"]["name"] != "alert-monitor"]
    text = svg(compare(draw("staging", old), draw("staging", dist)))
    assert "added since the base" in text
    assert text.count('stroke="#1a7f37"') >= 3


def test_svg_escapes_what_would_be_markup() -> None:
    """Whatever a name contains, it is shown."""
    text = svg(_picture(_node("a", 'say "hi" \\n <b>')))
    root = ET.fromstring(text)  # noqa: S314 - our own output
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ['say "hi" \\n <b>']


def test_svg_without_node_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than a trace."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(graph.DrawError, match="run `make setup`"):
        svg(_picture(_node("a")))


# --- The command


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dist: Folders) -> Path:
    """A working tree with a dist of two commits: the second one adds alert-monitor."""
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)
    (tmp_path / "cdk8s.yaml").touch()
    for folder in dist:
        (tmp_path / "dist" / folder).mkdir(parents=True)
        for file in (REPOSITORY / "dist" / folder).glob("*.yaml"):
            if file.name != "alert-monitor.yaml":
                (tmp_path / "dist" / folder / file.name).write_bytes(file.read_bytes())
    _git(tmp_path, "init", "--quiet")
    _commit(tmp_path)
    added = "dist/staging/alert-monitor.yaml"
    (tmp_path / added).write_bytes((REPOSITORY / added).read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True)


def _commit(folder: Path) -> None:
    _git(folder, "add", ".")
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.test")
    _git(folder, *identity, "commit", "--quiet", "--message", "x")


def test_the_command_draws_the_working_tree(repository: Path) -> None:
    """Committed or not."""
    result = CliRunner().invoke(main, ["graph", "staging"])
    assert result.exit_code == 0
    assert result.output == mermaid(compare(None, draw("staging", load(repository))))
    assert "alert_monitor" in result.output


@pytest.mark.usefixtures("repository")
def test_the_command_compares_with_a_commit() -> None:
    """The base of a pull request is a commit, whose dist is in no folder."""
    result = CliRunner().invoke(main, ["graph", "staging", "--since", "HEAD"])
    assert result.exit_code == 0
    assert "    class n_added_since_the_base,n_alert_monitor added\n" in result.output


@pytest.mark.usefixtures("repository")
def test_the_command_draws_svg() -> None:
    """For documents."""
    result = CliRunner().invoke(main, ["graph", "staging", "--format", "svg"])
    assert (result.exit_code, result.output.rstrip()[-6:]) == (0, "</svg>")


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["production"], "There is no environment production: dev, staging."),
        (["argocd"], "There is no environment argocd: dev, staging."),
        (["dev", "--since", "nowhere"], "there is no commit 'nowhere' here"),
    ],
)
def test_the_command_says_what_is_not_there(arguments: list[str], message: str) -> None:
    """An empty picture would look like an empty cluster."""
    result = CliRunner().invoke(main, ["graph", *arguments])
    assert result.exit_code == 1
    assert message in result.stderr


@pytest.mark.usefixtures("repository")
def test_the_command_says_why_it_cannot_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one sentence."""
    monkeypatch.setenv("PATH", "")
    result = CliRunner().invoke(main, ["graph", "staging", "--format", "svg"])
    assert (result.exit_code, result.stderr) == (
        1,
        "Error: Node is not installed here: run `make setup`.\n",
    )


def test_dist_of_a_commit_is_read_like_that_of_the_working_tree(repository: Path) -> None:
    """Or everything would seem changed."""
    _commit(repository)
    assert load(repository, "HEAD") == load(repository)


def test_an_unknown_commit_is_an_error(repository: Path) -> None:
    """Not an empty dist."""
    with pytest.raises(GitError, match="no commit"):
        load(repository, "nowhere")


def test_a_file_that_is_no_yaml_is_an_error(repository: Path) -> None:
    """With its name."""
    (repository / "dist/dev/redis.yaml").write_text("a: [")
    with pytest.raises(TreeError, match=r"dist/dev/redis\.yaml is no YAML"):
        load(repository)
