"""The picture of an environment, and what it highlights."""

import re
from copy import deepcopy
from pathlib import Path

import pytest
from click.testing import CliRunner

import remotes
from delivery.cli import main
from delivery.git import GitError
from delivery.manifests.applications import environments
from delivery.manifests.manifest import Manifest
from delivery.network import graph
from delivery.network.cluster import load
from delivery.network.graph import Graph, Highlight, Node, Picture, Shape, compare, draw, mermaid
from delivery.network.services import OUTSIDE
from repository import REPOSITORY
from shop import DNS, Folders, env, metadata, policy, rule, service, workload, write_dist


@pytest.mark.parametrize("environment", [each.name for each in environments(REPOSITORY)])
def test_every_live_workload_and_claim_is_in_the_picture(environment: str) -> None:
    """A part that is missing is forgotten by the reviewer, too."""
    dist = load(REPOSITORY)
    shown = {node.lines[0] for node in draw(environment, dist).nodes.values()}
    parts = {
        manifest["metadata"]["name"]
        for manifest in dist[environment]
        if manifest["kind"] in {"Deployment", "StatefulSet", "Job", "PersistentVolumeClaim"}
    }
    assert parts
    assert parts <= shown


# --- A system of our own


def claim(size: str) -> Manifest:
    """Return the spec of a claim."""
    return {"resources": {"requests": {"storage": size}}}


@pytest.fixture
def system() -> Folders:
    """Return an environment with each kind of part; a test may change it.

    Pods of `web` use the store's port and a volume of their own; pods of `store` use each other.
    """
    web = workload("web", env=env(STORE="store:9000"), files="web-files")
    web["metadata"]["annotations"] = {"argocd.argoproj.io/sync-wave": "2"}
    web["spec"]["template"]["spec"]["volumes"].append(
        {"name": "archive", "persistentVolumeClaim": {"claimName": "archive"}}
    )
    store = workload(
        "store",
        kind="StatefulSet",
        env=env(PEERS="store-0.store:9001"),
        ports=[{"containerPort": 9000, "name": "data"}, {"containerPort": 9001, "name": "rpc"}],
    )
    template = {"metadata": {"name": "data"}, "spec": claim("20Gi")}
    store["spec"] |= {"replicas": 3, "serviceName": "store", "volumeClaimTemplates": [template]}
    ports = [{"port": 9000}, {"port": 9001}]
    headless = service("store", clusterIP="None", publishNotReadyAddresses=True, ports=ports)
    setup, check = workload("setup", kind="Job"), workload("check", kind="Job")
    check["metadata"]["annotations"] = {"argocd.argoproj.io/hook": "PostSync"}
    peers = [*rule("to", "store", port=9001)]
    served = [*rule("from", "web", port=9000), *rule("from", "store", port=9001)]
    return {
        "shop": [
            web,
            store,
            setup,
            check,
            headless,
            service("web"),
            policy("web", egress=rule("to", "store", port=9000)),
            policy("store", egress=peers, ingress=served),
            *deepcopy(DNS),
            {"kind": "ConfigMap", "metadata": metadata("web-files"), "data": {}},
            {
                "kind": "PersistentVolumeClaim",
                "metadata": metadata("archive"),
                "spec": claim("1Gi"),
            },
            {
                "kind": "HorizontalPodAutoscaler",
                "metadata": metadata("web"),
                "spec": {"scaleTargetRef": {"name": "web"}, "minReplicas": 2, "maxReplicas": 4},
            },
            {
                "kind": "PodDisruptionBudget",
                "metadata": metadata("web"),
                "spec": {"selector": {"matchLabels": {"app": "web"}}},
            },
        ]
    }


def get(folders: Folders, kind: str, name: str) -> Manifest:
    """Return an object."""
    [manifest] = [
        manifest
        for manifest in folders["shop"]
        if (manifest["kind"], manifest["metadata"]["name"]) == (kind, name)
    ]
    return manifest


def without(folders: Folders, name: str) -> Folders:
    """Return the system without the objects of that name."""
    return {"shop": [each for each in folders["shop"] if each["metadata"]["name"] != name]}


def highlights(base: Folders, now: Folders) -> dict[object, Highlight]:
    """Return the parts that are not as they were."""
    picture = compare(draw("shop", base), draw("shop", now))
    return {part: each for part, each in picture.highlights.items() if each is not Highlight.NONE}


def test_a_node_shows_its_wave_and_its_number_of_pods(system: Folders) -> None:
    """The order of a sync and the size of the system, at a glance."""
    nodes = draw("shop", system).nodes
    assert nodes["web"].lines == ("web", "wave 2: Deployment, 2 to 4")
    assert nodes["store"].lines[:2] == ("store", "StatefulSet, 3")
    assert nodes["data of store"].lines == ("data of store", "20Gi, 3 times")
    assert nodes["volume archive"].lines == ("archive", "1Gi")
    assert nodes["setup"].lines == ("setup", "Job")
    assert nodes["check"].lines == ("check", "after each sync: Job")


def test_an_edge_shows_its_ports_by_name(system: Folders) -> None:
    """Few people know the numbers by heart."""
    edges = draw("shop", system).edges
    assert edges["web", "store"] == ("data 9000",)
    assert edges["web", "volume archive"] == ()


def test_connections_among_pods_of_one_workload_are_text_inside_it(system: Folders) -> None:
    """A line from a box to itself only makes the picture larger."""
    picture = draw("shop", system)
    assert picture.nodes["store"].lines[-1] == "among its pods: rpc 9001"
    assert all(client != server for client, server in picture.edges)


def test_a_published_service_is_reached_from_outside(system: Folders) -> None:
    """Only then is there an outside in the picture."""
    assert OUTSIDE not in draw("shop", system).nodes
    backend = {"service": {"name": "store", "port": {"number": 9000}}}
    rules = [{"host": "shop.test", "http": {"paths": [{"path": "/", "backend": backend}]}}]
    ingress = {"kind": "Ingress", "metadata": metadata("door"), "spec": {"rules": rules}}
    system["shop"].append(ingress)
    door = {"from": [{"namespaceSelector": {"matchLabels": {"a": "b"}}}], "ports": [{"port": 9000}]}
    get(system, "NetworkPolicy", "store")["spec"]["ingress"].append(door)
    assert draw("shop", system).edges[OUTSIDE, "store"] == ("data 9000",)


def test_the_same_dist_has_no_highlights(system: Folders) -> None:
    """A highlight without a change hides a true one."""
    assert highlights(deepcopy(system), system) == {}


@pytest.mark.parametrize(
    ("kind", "name", "node"),
    [
        ("Deployment", "web", "web"),
        ("Service", "web", "web"),
        ("ConfigMap", "web-files", "web"),
        ("HorizontalPodAutoscaler", "web", "web"),
        ("PodDisruptionBudget", "web", "web"),
        ("PersistentVolumeClaim", "archive", "volume archive"),
    ],
)
def test_a_node_is_changed_when_any_of_its_objects_is(
    system: Folders, kind: str, name: str, node: str
) -> None:
    """A reviewer calls six objects by one name."""
    base = deepcopy(system)
    get(base, kind, name)["metadata"]["labels"] = {"changed": "true"}
    assert highlights(base, system) == {node: Highlight.CHANGED}


def test_a_new_workload_and_its_edges_are_added(system: Folders) -> None:
    """A reviewer of the network looks for new edges."""
    assert highlights(without(system, "web"), system) == {
        "web": Highlight.ADDED,
        ("web", "store"): Highlight.ADDED,
        ("web", "volume archive"): Highlight.ADDED,
    }


def test_removed_parts_stay_in_the_picture(system: Folders) -> None:
    """Nobody misses a box that is simply not there."""
    assert highlights(system, without(system, "web"))["web"] is Highlight.REMOVED
    picture = compare(draw("shop", system), draw("shop", without(system, "web")))
    assert 'n_web("web' in mermaid(picture)


def test_an_edge_with_another_port_is_changed(system: Folders) -> None:
    """The port is what the edge is about."""
    base = deepcopy(system)
    store = get(base, "StatefulSet", "store")["spec"]["template"]["spec"]["containers"][0]
    store["ports"][0]["name"] = "other"
    assert highlights(base, system)["web", "store"] is Highlight.CHANGED


def test_an_environment_that_the_base_does_not_have_is_added(system: Folders) -> None:
    """The first promotion to a new environment has a picture, too."""
    assert set(highlights({}, system).values()) == {Highlight.ADDED}


# --- Mermaid


def _picture(*nodes: Node, **edges: tuple[str, ...]) -> Picture:
    pairs = {tuple(pair.split("__")): labels for pair, labels in edges.items()}
    return Picture(
        graph=Graph(nodes={node.name: node for node in nodes}, edges=pairs),  # type: ignore[arg-type] # pairs by the names given
        highlights={},
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


def test_mermaid_marks_changes_and_explains_the_colours(system: Folders) -> None:
    """Without a legend a colour explains nothing."""
    text = mermaid(compare(draw("shop", without(system, "web")), draw("shop", system)))
    for highlight in ("added", "changed", "removed"):
        assert f'("{highlight} since the base")' in text
    assert "    class n_added_since_the_base,n_web added\n" in text
    edges = [line for line in text.splitlines() if " --> " in line or " --- " in line]
    added = [edges[int(index)] for index in re.findall(r"linkStyle (\d+) ", text)]
    assert added == [
        '    n_web -- "data 9000" --> n_store',
        "    n_web --- n_volume_archive",
    ]


def test_without_a_base_there_is_no_legend(system: Folders) -> None:
    """There is nothing to explain."""
    assert "since" not in mermaid(compare(None, draw("shop", system)))


def test_the_same_picture_is_always_the_same_text(system: Folders) -> None:
    """Files with it are compared; the order of the objects must not matter."""
    backwards = {"shop": system["shop"][::-1]}
    assert mermaid(compare(None, draw("shop", backwards))) == mermaid(
        compare(None, draw("shop", system))
    )


# --- The command


@pytest.fixture
def repository(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    git_environment: None,
    system: Folders,
) -> Path:
    """Return a working tree whose second, uncommitted version of `live` adds `web`."""
    del git_environment
    write_dist(tmp_path, {"test": system["shop"], "live": without(system, "web")["shop"]})
    remotes.run_git(tmp_path, "init", "--quiet")
    remotes.commit(tmp_path, "Without web")
    write_dist(tmp_path, {"test": system["shop"], "live": system["shop"]})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_draws_the_working_tree(repository: Path) -> None:
    """Committed or not."""
    result = CliRunner().invoke(main, ["graph", "live"])
    assert result.exit_code == 0
    assert result.output == mermaid(compare(None, draw("live", load(repository))))
    assert "n_web" in result.output


@pytest.mark.usefixtures("repository")
def test_the_command_compares_with_a_commit() -> None:
    """The base of a pull request is a commit, whose dist is in no folder."""
    result = CliRunner().invoke(main, ["graph", "live", "--since", "HEAD"])
    assert result.exit_code == 0
    assert "    class n_added_since_the_base,n_web added\n" in result.output


@pytest.mark.usefixtures("repository")
def test_an_unknown_commit_is_an_error() -> None:
    """A picture of an empty base would highlight everything."""
    result = CliRunner().invoke(main, ["graph", "live", "--since", "nowhere"])
    assert result.exit_code == 2
    assert "no commit 'nowhere' here" in result.stderr


def test_dist_of_a_commit_is_read_like_that_of_the_working_tree(repository: Path) -> None:
    """Otherwise everything would seem changed."""
    remotes.commit(repository, "With web")
    assert load(repository, "HEAD") == load(repository)


def test_dist_of_an_unknown_commit_is_an_error(repository: Path) -> None:
    """Not an empty dist."""
    with pytest.raises(GitError, match="no commit"):
        load(repository, "nowhere")


# --- The comment on a pull request


def comment(*arguments: str) -> str:
    """Return what the command prints for a comment."""
    command = ["graph", "live", *arguments, "--format", "markdown"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0
    return result.output


@pytest.mark.usefixtures("repository")
def test_a_comment_is_folded_under_its_name() -> None:
    """It has one picture for each environment."""
    text = comment()
    assert text.startswith("<details><summary>live, drawn</summary>\n\n```mermaid\n")
    assert text.rstrip().endswith("```\n\n</details>")


@pytest.mark.usefixtures("repository")
def test_a_comment_highlights_changes() -> None:
    """A reviewer sees there what else is where a new part is."""
    assert "class n_added_since_the_base,n_web added" in comment("--since", "HEAD")


@pytest.mark.usefixtures("repository")
def test_a_picture_that_is_too_large_is_only_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """GitHub refuses a whole comment that is too long."""

    def draw_large(_: Picture) -> str:
        return "flowchart TB\n" + "x" * 6000

    monkeypatch.setattr(graph, "mermaid", draw_large)
    text = comment()
    assert len(text) < 100
    assert "`delivery graph` draws them." in text
