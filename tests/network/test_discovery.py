"""Processes that find each other by a leader's name and fixed ports, with a product of our own."""

from collections.abc import Mapping
from copy import deepcopy

import pytest

from delivery.network.cluster import Cluster
from delivery.network.connection import Connection, Verdict
from delivery.network.discovery import discovered, unadvertised
from delivery.network.routes import Routes
from delivery.products.product import Discovery, Product
from shop import DNS, Folders, metadata, policy, rule, service, workload

PRODUCT = Product(
    name="Herd",
    discovery=Discovery(
        leader="boss.rpc.address",
        served=("rest.port", 7080),
        own_host="worker.host",
        leader_ports=("boss.rpc.port",),
        follower_ports=("worker.rpc.port",),
        shared_ports=("worker.data.port",),
    ),
    listeners={"kafka": "advertise-kafka"},
)
SETTINGS = {
    "boss.rpc.address": "boss",
    "boss.rpc.port": "7000",
    "worker.rpc.port": "7001",
    "worker.data.port": "7002",
}
POD_IP = [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]


def herd(changed: Mapping[str, str | None] | None = None, *, host: str = "$(IP)") -> Folders:
    """Return a boss and its workers.

    Args:
        changed: Settings that differ; None removes one. Default: none.
        host: Address under which a worker registers.
    """
    kept = {name: value for name, value in {**SETTINGS, **(changed or {})}.items() if value}
    text = "\n".join(f"{name}: {value}" for name, value in kept.items())
    ports = {"boss": (7000, 7080), "worker": (7001, 7002)}
    boss, worker = (
        workload(
            name,
            files="files",
            env=POD_IP,
            command=["run", f"-Dworker.host={host}"],
            ports=[{"containerPort": port} for port in numbers],
        )
        for name, numbers in ports.items()
    )
    return {
        "shop": [
            boss,
            worker,
            service("boss", 7000, 7000),
            {"kind": "ConfigMap", "metadata": metadata("files"), "data": {"herd.yaml": text}},
            policy(
                "boss",
                ingress=rule("from", "worker", port=7000),
                egress=rule("to", "worker", port=7001),
            ),
            policy(
                "worker",
                egress=[*rule("to", "boss", port=7000), *rule("to", "worker", port=7002)],
                ingress=[*rule("from", "boss", port=7001), *rule("from", "worker", port=7002)],
            ),
            *deepcopy(DNS),
        ]
    }


def judged(folders: Folders) -> list[Connection]:
    """Return the connections of the discovery."""
    return list(discovered(Routes(Cluster(folders)), PRODUCT))


def test_every_way_between_the_processes_is_judged() -> None:
    """No address in the manifests shows the ways to pod IPs, but policies must allow them."""
    rows = judged(herd())
    assert {row.verdict for row in rows} == {Verdict.REACHABLE}
    assert {(row.client, *row.servers, row.port) for row in rows if row.servers} == {
        ("worker", "boss", 7000),
        ("boss", "worker", 7001),
        ("worker", "worker", 7002),
    }


@pytest.mark.parametrize("port", [None, "0"])
@pytest.mark.parametrize("key", ["worker.rpc.port", "worker.data.port"])
def test_a_port_that_is_not_fixed_is_a_finding(key: str, port: str | None) -> None:
    """The process takes any free port then, which no policy allows."""
    reasons = {row.reason for row in judged(herd({key: port}))}
    assert f"{key} is not fixed: Herd takes any free port" in reasons


def test_a_worker_that_registers_by_name_is_a_finding() -> None:
    """DNS has no names of pods, so that nothing would reach it."""
    reasons = {row.reason for row in judged(herd(host="worker"))}
    assert "it is not the pod's IP, and DNS does not have the pod's name" in reasons


def one_pod(changed: Mapping[str, str] | None = None) -> Folders:
    """Return a boss and a worker in one pod, which may connect to nothing.

    Args:
        changed: Settings that differ. Default: none.
    """
    settings = {**SETTINGS, "boss.rpc.address": "localhost", **(changed or {})}
    text = "\n".join(f"{name}: {value}" for name, value in settings.items())
    boss, worker = (
        workload(
            "both",
            files="files",
            command=command,
            ports=[{"containerPort": port} for port in ports],
        )
        for command, ports in (
            (["run"], (7000, 7080)),
            (["run", "-Dworker.host=127.0.0.1"], (7001, 7002)),
        )
    )
    [container] = worker["spec"]["template"]["spec"]["containers"]
    boss["spec"]["template"]["spec"]["containers"].append({**container, "name": "worker"})
    files = {"kind": "ConfigMap", "metadata": metadata("files"), "data": {"herd.yaml": text}}
    return {"shop": [boss, files, policy("both", ingress=[], egress=[]), *deepcopy(DNS)]}


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1"])
def test_processes_of_one_pod_need_no_policy(address: str) -> None:
    """They meet on its loopback interface, which no policy judges."""
    rows = judged(one_pod({"boss.rpc.address": address}))
    assert {row.verdict for row in rows} == {Verdict.REACHABLE}


@pytest.mark.parametrize("port", ["7000", "7001", "7002", "7080", "7999", "0"])
@pytest.mark.parametrize("key", ["boss.rpc.port", "worker.rpc.port", "worker.data.port"])
def test_each_process_of_one_pod_listens_on_its_own_ports(key: str, port: str) -> None:
    """A port that its neighbour has taken stops it at its start."""
    if port != SETTINGS[key]:
        rows = judged(one_pod({key: port}))
        assert {row.verdict for row in rows} != {Verdict.REACHABLE}


def test_a_leader_with_another_name_is_a_finding() -> None:
    """Messages to any other name than its own are dropped, without a word."""
    folders = herd()
    own = workload(
        "boss",
        command=["run", "-Dboss.rpc.address=localhost", "-Dboss.rpc.port=7000"],
        ports=[{"containerPort": 7000}, {"containerPort": 7080}],
    )
    folders["shop"][0] = own
    reasons = {row.reason for row in judged(folders)}
    assert (
        "boss is not configured with the same name, and Herd drops messages for any other name"
        in reasons
    )


def test_a_port_for_people_must_be_one_of_the_leader_s() -> None:
    """`kubectl port-forward` would find nothing there."""
    reasons = {row.reason for row in judged(herd({"rest.port": "7081"}))}
    assert "no container of boss lists the port TCP 7081" in reasons


def test_a_blocked_way_is_a_finding() -> None:
    """A worker that the leader cannot reach is lost after its first heartbeat."""
    folders = herd()
    folders["shop"][4]["spec"]["egress"] = []
    blocked = [row for row in judged(folders) if row.verdict is Verdict.BLOCKED]
    assert [(row.client, row.source) for row in blocked] == [("boss", "worker.rpc.port")]


@pytest.mark.parametrize(
    ("command", "is_finding"),
    [
        (["run", "--advertise-kafka=server:9000"], False),
        (["run", "--advertise-kafka=server:9001"], True),
        (["run"], True),
    ],
)
def test_a_listener_on_every_address_must_be_advertised(
    command: list[str], *, is_finding: bool
) -> None:
    """Clients would be sent to an address that only the pod itself can reach."""
    text = "kafka:\n  - address: 0.0.0.0\n    port: 9000"
    files = {"kind": "ConfigMap", "metadata": metadata("files"), "data": {"a.yaml": text}}
    folders = {"shop": [workload("server", files="files", command=command), files]}
    rows = list(unadvertised(Routes(Cluster(folders)), PRODUCT))
    assert bool(rows) == is_finding
