"""The proof that each address in dist leads somewhere and may be used, and nothing else may."""

from copy import deepcopy
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from delivery.manifests.applications import environments
from delivery.manifests.manifest import Manifest
from delivery.network.cluster import Cluster, load
from delivery.network.connection import Connection, Verdict
from delivery.network.connections import analyze
from delivery.network.policy import PROTOCOLS, Direction, Network, Peer
from repository import REPOSITORY
from shop import DNS, LISTENING, Folders, env, metadata, policy, rule, service, shop, workload


@pytest.fixture(scope="module")
def dist() -> Folders:
    """Return the live dist; no test changes it."""
    return load(REPOSITORY)


# --- Properties of the live dist


def test_every_address_in_dist_is_reachable_and_nothing_else_is_allowed(dist: Folders) -> None:
    """The proof of the whole: no finding of any kind, in any environment."""
    assert [row for row in analyze(dist) if row.verdict is not Verdict.REACHABLE] == []


@pytest.fixture(scope="module")
def network(dist: Folders) -> Network:
    """Return the policies of all environments, in one cluster."""
    return Cluster(dist).network([])


@pytest.mark.parametrize("environment", [each.name for each in environments(REPOSITORY)])
def test_every_allowed_connection_is_found(
    dist: Folders, network: Network, environment: str
) -> None:
    """A proof over an empty list proves nothing; the policies are the second opinion."""
    workloads = [each for each in Cluster(dist).workloads if each.environment == environment]
    allowed = {
        (client.name, server.name, port)
        for client in workloads
        for server in workloads
        for protocol, port in server.listening
        # Two pods of one workload, not one pod and itself.
        if not network.blocks(client.pod, replace(server.pod), protocol, port)
    }
    found = {
        (row.client, server, row.port)
        for row in analyze(dist)
        for server in row.servers
        if row.environment == environment and row.source != "every pod"
    }
    assert found == allowed
    assert found


def _ways(network: Network, client: Peer, server: Peer) -> set[tuple[str, int]]:
    """Return where ways from a client to a server begin: the first port of each open range."""
    begins = {
        (ports.protocol, ports.first)
        for policy in network.policies
        for grant in policy.grants
        for ports in grant.ports(server)
    }
    every = {(protocol, 1) for protocol in PROTOCOLS}
    return {way for way in begins | every if not network.blocks(client, server, *way)}


def test_no_pod_reaches_another_environment(dist: Folders, network: Network) -> None:
    """In either direction, at any port: staging once worked on the data of dev for months."""
    pods = [workload.pod for workload in Cluster(dist).workloads]
    crossings = {
        (client.name, server.name): _ways(network, client, server)
        for client in pods
        for server in pods
        if client.namespace != server.namespace
    }
    assert crossings
    assert [crossing for crossing, ways in crossings.items() if ways] == []


def test_no_pod_reaches_the_internet_or_the_kubernetes_api(dist: Folders, network: Network) -> None:
    """Neither is a pod: only a rule for addresses lets anyone out, and the only one is for DNS."""
    out = {
        (str(grant.block), str(*grant.ports(ip_network("0.0.0.0/0"))))
        for workload in Cluster(dist).workloads
        for policy in network.isolating(workload.pod, Direction.EGRESS)
        for grant in policy.grants
        if grant.direction is Direction.EGRESS and grant.block is not None
    }
    assert out == {("169.254.20.10/32", "UDP 53"), ("169.254.20.10/32", "TCP 53")}


def test_every_pod_is_isolated_in_both_directions(dist: Folders, network: Network) -> None:
    """Without that, the rules of its policy would have no effect."""
    assert all(
        network.isolating(workload.pod, direction)
        for workload in Cluster(dist).workloads
        for direction in Direction
    )


# --- The meaning of each verdict, on a client and a server of our own


def find(folders: Folders, source: str = "") -> list[Connection]:
    """Return the rows without those for DNS."""
    return [
        row
        for row in analyze(folders)
        if row.source != "every pod" and source in row.source and row.client != "NetworkPolicy dns"
    ]


def verdicts(folders: Folders) -> set[Verdict]:
    """Return all verdicts."""
    return {row.verdict for row in analyze(folders)}


@pytest.mark.parametrize(
    "address",
    [
        "server:80",
        "server.shop:80",
        "server.shop.svc:80",
        "server.shop.svc.cluster.local:80",
        "server.shop.svc.cluster.local.:80",
        "http://server",
        "http://server/path?query=1",
        "http://server:80/",
        "ws://server/ws",
        "internal://server:80",
        "other=server:80;x",
    ],
)
def test_an_address_may_be_written_in_every_usual_way(address: str) -> None:
    """An address that is overlooked is never checked."""
    [row] = find(shop(env=env(ADDRESS=address)))
    assert (row.verdict, row.servers, row.port) == (Verdict.REACHABLE, ("server",), 8080)


def test_a_host_and_a_port_in_two_variables_are_one_address() -> None:
    """The usual form of a Redis client's settings."""
    [row] = find(shop(env=env(SERVER_HOST="server", SERVER_PORT="80")))
    assert (row.address, row.verdict) == ("server:80", Verdict.REACHABLE)


def test_a_host_without_a_port_is_dangling() -> None:
    """The default that the application then uses is unknown here."""
    row, *_ = find(shop(env=env(SERVER_HOST="server")))
    assert (row.verdict, row.reason) == (Verdict.DANGLING, "no port is configured")


@pytest.mark.parametrize(
    "client",
    [
        {"command": ["run", "--server=server:80"]},
        {"command": ["run", "--server", "server:80"]},
        {"args": ["-Dserver.url=http://server:80"]},
        {"lifecycle": {"preStop": {"exec": {"command": ["curl", "http://server"]}}}},
        {"readinessProbe": {"exec": {"command": ["curl", "http://server"]}}},
        {"env": env(SERVER="server:80"), "command": ["run", "$(SERVER)"]},
    ],
)
def test_an_address_may_be_in_a_command(client: dict[str, Any]) -> None:
    """Hooks and probes have commands, too."""
    row, *_ = find(shop(**client))
    assert (row.verdict, row.servers) == (Verdict.REACHABLE, ("server",))


FILES = {
    "settings.yaml": "list:\n  - server:\n      address: server\n      port: 80\n",
    "settings.json": '{"upstream": "server:80"}',
    "settings.conf": "# a comment\nupstream server:80",
    "settings.properties": "server.host=server\nserver.port=80",
    "settings.txt": "http://server",
    "brokers.txt": "server:80",
    "broken.yaml": "a: [\nhttp://server",
    "program.py": "URL = 'http://server'",
    "broken.py": "URL = = 'http://server'",
    "script.sh": "curl http://server  # a comment",
}


@pytest.mark.parametrize("name", FILES)
def test_an_address_may_be_in_a_mounted_file(name: str) -> None:
    """A known format shows it by its key, any other by its form."""
    files = {"kind": "ConfigMap", "metadata": metadata("files"), "data": {name: FILES[name]}}
    [row] = find(shop(files, files="files"), "file /files/" + name)
    assert (row.verdict, row.servers) == (Verdict.REACHABLE, ("server",))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("script.sh", "# see http://example.com:80/\necho  # or other:80"),
        ("settings.yaml", "# other:80\na: 1"),
        ("program.py", '"""See http://example.com."""\n# other:80\n'),
        ("program.py", 'f"http://{host}/path"'),
        ("script.sh", 'curl "http://$HOST_AND_PORT/v1"'),
        ("script.sh", 'echo "${all[@]:0:3} ${x:10} 3:10"'),
        ("settings.yaml", "state.dir: file:///checkpoints\nat: 2026-01-01T10:30:00"),
        ("settings.conf", "image repository/name:12345678"),
        ("settings.conf", "bind * -::*"),
        ("settings.yaml", "rest.bind-address: 0.0.0.0"),
    ],
)
def test_other_text_is_not_an_address(name: str, content: str) -> None:
    """A false alarm teaches people to ignore the true ones."""
    files = {"kind": "ConfigMap", "metadata": metadata("files"), "data": {name: content}}
    assert find(shop(files, files="files"), "file") == []


def test_variables_may_come_from_a_config_map() -> None:
    """One key at a time, or all of them."""
    values = {"kind": "ConfigMap", "metadata": metadata("values"), "data": {"SERVER": "server:80"}}
    one = [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "values", "key": "SERVER"}}}]
    every = [{"configMapRef": {"name": "values"}}]
    for client in ({"env": one}, {"envFrom": every}):
        [row] = find(shop(values, **client))
        assert row.servers == ("server",)


def test_a_variable_that_nothing_sets_makes_an_address_dangling() -> None:
    """Kubernetes passes it on as it is written."""
    row, *_ = find(shop(command=["run", "$(NOBODY).server:80"]))
    assert (row.verdict, row.reason) == (
        Verdict.DANGLING,
        "the value of the variable in $(NOBODY).server is unknown",
    )


@pytest.mark.parametrize(
    "origin",
    [
        # Nobody knows what the pod of a Deployment will be called, and no DNS has its name.
        {"fieldRef": {"fieldPath": "metadata.name"}},
        {"secretKeyRef": {"name": "s", "key": "k"}},
    ],
)
def test_a_variable_whose_value_is_not_known_makes_an_address_dangling(origin: Manifest) -> None:
    """It must not vanish from the proof."""
    folders = shop(env=[{"name": "X", "valueFrom": origin}], command=["run", "$(X).server:80"])
    row, *_ = find(folders)
    assert (row.verdict, row.reason) == (
        Verdict.DANGLING,
        "the value of the variable in $(X).server is unknown",
    )


def test_a_variable_may_refer_to_one_before_it() -> None:
    """Kubernetes expands references in order, also to a field of the pod."""
    namespace = {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}
    variables = [namespace, *env(HOST_NAME="server.$(N)", ADDRESS="$(HOST_NAME):80")]
    row, *_ = find(shop(env=variables))
    assert (row.address, row.servers) == ("$(HOST_NAME):80", ("server",))


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("sever:80", "there is no Service sever"),
        ("server.shop.svc.cluster.local.x:80", None),
        ("server.nowhere.svc:80", "there is no Service server.nowhere"),
        ("server:81", "the Service server has no port 81"),
        ("server:8080", "the Service server has no port 8080"),
        ("pod-0.server:80", "the headless Service server has no pod pod-0"),
    ],
)
def test_an_address_that_leads_nowhere_is_dangling(address: str, reason: str | None) -> None:
    """A misspelt host shows only as restarts."""
    row, *_ = find(shop(env=env(ADDRESS=address)))
    if reason is None:
        assert row.verdict is Verdict.BLOCKED
    else:
        assert (row.verdict, row.reason) == (Verdict.DANGLING, reason)


def test_a_service_that_selects_nothing_is_dangling() -> None:
    """It is reported for each client, and for itself even without clients."""
    folders = shop(env=env(ADDRESS="server:80"))
    folders["shop"][2]["spec"]["selector"] = {"app": "sever"}
    reasons = [row.reason for row in find(folders) if row.verdict is Verdict.DANGLING]
    assert reasons == ["the Service server selects no pod", "it selects no pod"]


def test_a_service_without_a_selector_selects_nothing() -> None:
    """An empty selector of a policy selects everything."""
    folders = shop(env=env(ADDRESS="server:80"))
    folders["shop"][2]["spec"]["selector"] = {}
    row, *_ = find(folders)
    assert row.reason == "the Service server selects no pod"


def test_a_workload_without_pods_is_selected_by_no_service() -> None:
    """Scaled to zero, it answers nobody."""
    folders = shop(env=env(ADDRESS="server:80"))
    folders["shop"][1]["spec"]["replicas"] = 0
    assert Verdict.DANGLING in verdicts(folders)


def test_a_port_on_which_no_container_listens_is_dangling() -> None:
    """The Service would pass the connection on to a closed port."""
    folders = shop(env=env(ADDRESS="server:80"))
    folders["shop"][1] = workload("server", ports=[{"containerPort": 9090}])
    row, *_ = find(folders)
    assert row.reason == "no container of server lists the port TCP 8080"


def test_a_target_port_may_be_a_name() -> None:
    """It is the name of the container's port."""
    folders = shop(env=env(ADDRESS="server:80"))
    folders["shop"][2] = service("server", target="http")
    assert verdicts(folders) == {Verdict.REACHABLE}
    folders["shop"][2] = service("server", target="https")
    assert Verdict.DANGLING in verdicts(folders)


def test_a_target_port_is_the_service_s_own_port_unless_stated() -> None:
    """As in Kubernetes."""
    folders = shop(env=env(ADDRESS="server:8080"))
    folders["shop"][2]["spec"]["ports"] = [{"port": 8080}]
    assert verdicts(folders) == {Verdict.REACHABLE}


def test_a_headless_service_turns_no_port_into_another() -> None:
    """Its name stands for the pods: the client's port is the pods' port."""
    folders = shop(env=env(ADDRESS="server:8080"))
    folders["shop"][2] = service("server", port=8080, clusterIP="None")
    assert verdicts(folders) == {Verdict.REACHABLE}
    folders["shop"][2] = service("server", port=80, clusterIP="None")
    [finding] = [row for row in find(folders) if row.verdict is not Verdict.REACHABLE]
    assert finding.reason == "a headless Service does not map it to 8080"


def _brokers(replicas: int, **settings: Any) -> Folders:  # noqa: ANN401 - as YAML has it
    """Return the pods of a StatefulSet, which know each other by name."""
    brokers = workload("broker", kind="StatefulSet", ports=LISTENING, **settings)
    brokers["spec"] |= {"replicas": replicas, "serviceName": "broker"}
    edges = policy(
        "broker",
        egress=rule("to", "broker"),
        ingress=rule("from", "broker"),
    )
    headless = service("broker", 8080, clusterIP="None", publishNotReadyAddresses=True)
    return {"shop": [brokers, headless, edges, *deepcopy(DNS)]}


def test_a_pod_of_a_stateful_set_has_a_name() -> None:
    """There are as many as replicas, counted from zero."""
    seeds = env(SEEDS="broker-0.broker:8080,broker-1.broker.shop.svc:8080")
    assert verdicts(_brokers(2, env=seeds)) == {Verdict.REACHABLE}
    row = [row for row in find(_brokers(1, env=seeds)) if row.verdict is not Verdict.REACHABLE]
    assert [finding.reason for finding in row] == [
        "the headless Service broker has no pod broker-1"
    ]


def test_a_stateful_set_must_name_the_service_that_selects_it() -> None:
    """Otherwise its pods have no names in DNS."""
    folders = _brokers(1, env=env(SEEDS="broker-0.broker:8080"))
    folders["shop"][0]["spec"]["serviceName"] = "other"
    assert "there is no Service other that selects its pods" in {
        row.reason for row in analyze(folders)
    }


def test_pods_that_need_each_other_must_be_listed_before_they_are_ready() -> None:
    """None of them could be the first to become ready."""
    folders = _brokers(2, env=env(SEEDS="broker-0.broker:8080"))
    del folders["shop"][1]["spec"]["publishNotReadyAddresses"]
    [finding] = [row for row in find(folders) if row.verdict is not Verdict.REACHABLE]
    assert finding.reason == (
        "it lists only ready pods, and broker itself connects to broker: neither can start first"
    )


NAME = [{"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]


def test_a_client_is_sent_on_to_the_advertised_address() -> None:
    """A Kafka client that reaches the Service but not the broker waits forever."""
    folders = _brokers(2, env=NAME, command=["run", "--advertise-kafka-addr=$(NAME).broker:8080"])
    folders["shop"] += [
        workload("client", env=env(BROKER="all:80")),
        {**service("broker"), "metadata": metadata("all")},
        policy("client", egress=rule("to", "broker")),
    ]
    folders["shop"][2] = policy("broker", ingress=rule("from", "client"))
    row = next(row for row in analyze(folders) if row.source.startswith("broker: argument"))
    assert verdicts(folders) == {Verdict.REACHABLE}
    assert (row.client, row.servers) == ("broker", ())
    sent = [row for row in analyze(folders) if row.source.startswith("broker: argument")]
    assert [(row.client, row.servers, row.port) for row in sent[1:]] == [
        ("client", ("broker",), 8080)
    ]


def test_an_advertised_address_that_nobody_is_sent_to_is_a_finding() -> None:
    """Most likely its port is wrong."""
    folders = _brokers(1, env=NAME, command=["run", "--advertise-kafka-addr=$(NAME).broker:8080"])
    assert "no client connects to the port that it advertises" in {
        row.reason for row in analyze(folders)
    }


def test_an_address_in_another_environment_is_foreign() -> None:
    """Even if the policies allow it."""
    folders = shop(env=env(ADDRESS="server.market:80"))
    folders["market"] = deepcopy(shop()["shop"])
    for manifest in folders["market"]:
        manifest["metadata"]["namespace"] = "market"
    row, *_ = find(folders)
    assert (row.verdict, row.reason) == (
        Verdict.FOREIGN,
        "the Service is in the namespace market",
    )


@pytest.mark.parametrize(
    ("index", "side"),
    [
        (3, "no egress rule for client in client, dns allows TCP 8080"),
        (4, "no ingress rule for server in server, dns allows TCP 8080"),
    ],
)
def test_an_address_that_a_policy_forbids_is_blocked(index: int, side: str) -> None:
    """The reason names the side and the policies to which a rule can be added."""
    folders = shop(env=env(ADDRESS="server:80"))
    folders["shop"][index]["spec"] |= {"egress": [], "ingress": []}
    row, *_ = find(folders)
    assert (row.verdict, row.reason) == (Verdict.BLOCKED, side)


def test_a_pod_that_cannot_resolve_names_is_blocked() -> None:
    """Every address starts with a name."""
    folders = shop(env=env(ADDRESS="server:80"))
    folders["shop"][5]["spec"]["egress"][0]["ports"].pop()
    blocked = {row.address for row in analyze(folders) if row.verdict is Verdict.BLOCKED}
    assert blocked == {"cluster DNS:53", "169.254.20.10:53"}


def test_a_host_outside_needs_a_way_out() -> None:
    """The way to the internet is closed unless a policy opens it."""
    row, *_ = find(shop(env=env(ADDRESS="https://api.example.com")))
    assert row.verdict is Verdict.BLOCKED
    assert row.reason.startswith("api.example.com is not in this cluster")


def test_a_declared_way_out_is_used() -> None:
    """An address in the configuration declares it, so that its rule is not surplus."""
    folders = shop(env=env(ADDRESS="https://api.example.com", SERVER="server:80"))
    way_out = {"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": [{"port": 443}]}
    folders["shop"][3]["spec"]["egress"].append(way_out)
    assert verdicts(folders) == {Verdict.REACHABLE}
    folders["shop"][0] = workload("client", env=env(SERVER="server:80"))
    [finding] = [row for row in find(folders) if row.verdict is not Verdict.REACHABLE]
    assert (finding.verdict, finding.source) == (Verdict.UNUSED, "egress[1].to[0].ports[0]")


@pytest.mark.parametrize("address", ["https://kubernetes.default", "https://10.0.0.1:443"])
def test_the_kubernetes_api_is_outside_too(address: str) -> None:
    """It is not a pod: only a rule for IP addresses lets anyone reach it."""
    row, *_ = find(shop(env=env(ADDRESS=address)))
    assert row.verdict is Verdict.BLOCKED


def test_a_permission_that_nobody_uses_is_a_finding() -> None:
    """It outlives the connection that it was made for, and an intruder may use it."""
    findings = [row for row in find(shop()) if row.verdict is not Verdict.REACHABLE]
    assert [(row.client, row.source, row.address, row.reason) for row in findings] == [
        ("NetworkPolicy client", "egress[0].to[0].ports[0]", "TCP 8080", "nobody uses it"),
        ("NetworkPolicy server", "ingress[0].from[0].ports[0]", "TCP 8080", "nobody uses it"),
    ]


@pytest.mark.parametrize(
    ("change", "surplus"),
    [
        ({"from": [{"podSelector": {}}]}, "server to server"),
        ({"from": [{"namespaceSelector": {}}]}, "any pod of kube-system to server"),
        ({"from": []}, "0.0.0.0/0 to server"),
        ({"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}, "nobody uses it"),
        ({"ports": [{"port": 8080, "endPort": 8081}]}, "client to server"),
        ({"ports": []}, "client to server"),
    ],
)
def test_a_permission_wider_than_its_use_is_a_finding(change: dict[str, Any], surplus: str) -> None:
    """The finding names who else it lets in."""
    folders = shop(env=env(ADDRESS="server:80"))
    folders["shop"][4]["spec"]["ingress"][0] |= change
    reasons = [row.reason for row in find(folders) if row.verdict is Verdict.UNUSED]
    assert len(reasons) == 1
    assert surplus in reasons[0]


def test_a_pod_that_no_policy_isolates_is_a_finding() -> None:
    """A future pod without labels counts, too."""
    folders = shop(env=env(ADDRESS="server:80"))
    folders["shop"] = [m for m in folders["shop"] if m["metadata"]["name"] != "dns"]
    open_pods = {row.client for row in find(folders) if row.source == "no policy"}
    assert open_pods == {"any pod of shop"}


@pytest.mark.parametrize(
    "variables",
    [
        {"ADDRESS": "http://user:password@server:80"},
        {"ADDRESS": "redis://:password@server:80"},
        {"DB_PASSWORD": "hunter2"},
        {"API_KEY": "1234"},
        {"GITHUB_TOKEN": "1234"},
    ],
)
def test_a_password_that_anyone_can_read_is_a_finding(variables: dict[str, str]) -> None:
    """The finding does not repeat it."""
    [finding] = [
        row for row in find(shop(env=env(**variables))) if row.verdict is Verdict.UNENCRYPTED
    ]
    assert "password@" not in finding.address
    assert "1234" not in finding.address + finding.reason


@pytest.mark.parametrize(
    "variables",
    [
        {"ADDRESS": "https://user:password@api.example.com"},
        {"ADDRESS": "http://user@server:80"},
        {"PASSWORD_FILE": "/run/secrets/password"},
        {"DB_PASSWORD": ""},
    ],
)
def test_other_values_are_not_readable_passwords(variables: dict[str, str]) -> None:
    """Encrypted, without a password, or only the path of one."""
    assert Verdict.UNENCRYPTED not in verdicts(shop(env=env(**variables)))


def test_a_password_from_a_secret_is_not_readable() -> None:
    """That is where it belongs."""
    secret = [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
    assert Verdict.UNENCRYPTED not in verdicts(shop(env=secret))


def test_a_variable_that_a_script_needs_must_be_set() -> None:
    """The script would fail at its first run, in the cluster."""
    script = "# shell\ncurl http://$SERVER $SECONDS ${OPTION:-} $SET_HERE\nSET_HERE=1"
    data = {"run.sh": script, "run.py": "os.environ['OTHER']", "idle.sh": "$IDLE"}
    files = {"kind": "ConfigMap", "metadata": metadata("files"), "data": data}
    folders = shop(files, files="files", command=["bash", "/files/run.sh", "/files/run.py"])
    missing = [row.address for row in find(folders) if "nothing sets it" in row.reason]
    assert missing == ["SERVER", "OTHER"]


def test_an_image_of_ours_must_be_given_its_addresses() -> None:
    """Without them, its own default leads to a port that does not exist here."""
    folders = shop(image="ghcr.io/mordris/payment-api:1")
    missing = [row.address for row in find(folders) if "default" in row.reason]
    assert missing == ["KAFKA_BROKER"]
    folders = shop(image="ghcr.io/mordris/payment-api:1", command=["other"])
    assert [row for row in find(folders) if "default" in row.reason] == []


def test_a_pod_s_own_address_needs_no_policy_but_a_listener() -> None:
    """It never leaves the pod."""
    own = env(ADMIN_API="127.0.0.1:8080", OTHER="localhost:8080")
    rows = find(shop(env=own, ports=LISTENING), "env")
    assert [(row.verdict, row.servers) for row in rows] == [(Verdict.REACHABLE, ())] * 2
    row, *_ = find(shop(env=own, ports=[{"containerPort": 9090}]))
    assert row.reason == "no container of client lists the port TCP 8080"


def test_a_policy_never_stops_a_probe() -> None:
    """It comes from the pod's own node."""
    probe = {"httpGet": {"path": "/", "port": "http"}}
    folders = shop(env=env(ADDRESS="server:80"))
    folders["shop"][1] = workload("server", ports=LISTENING, readinessProbe=probe)
    assert verdicts(folders) == {Verdict.REACHABLE}


@pytest.mark.parametrize("probe", [{"httpGet": {"port": 9}}, {"tcpSocket": {"port": "other"}}])
def test_a_probe_of_a_port_on_which_nobody_listens_is_dangling(probe: Manifest) -> None:
    """The pod would be restarted forever."""
    folders = shop(env=env(ADDRESS="server:80"))
    folders["shop"][1] = workload("server", ports=LISTENING, livenessProbe=probe)
    assert [row.source for row in find(folders) if row.verdict is not Verdict.REACHABLE] == [
        "server: livenessProbe"
    ]


@pytest.mark.parametrize(
    ("port", "wrong"), [("port: 8080", False), ("port: 8081", True), ("timeout: 1", True)]
)
def test_a_configured_listener_must_be_a_port_of_the_container(port: str, wrong: bool) -> None:  # noqa: FBT001 - a parameter
    """Otherwise neither a Service nor a policy leads to it."""
    data = {"settings.yaml": f"admin:\n  - address: 0.0.0.0\n    {port}"}
    files = {"kind": "ConfigMap", "metadata": metadata("files"), "data": data}
    rows = find(shop(files, files="files", ports=LISTENING), "settings.yaml")
    assert [row.verdict for row in rows] == ([Verdict.DANGLING] if wrong else [])


# --- Ingress


def _published(number: int = 80, controllers: str = "from") -> Folders:
    backend = {"service": {"name": "server", "port": {"number": number}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    ingress = {
        "kind": "Ingress",
        "metadata": metadata("server"),
        "spec": {"rules": [{"host": "shop.test", "http": {"paths": paths}}]},
    }
    folders = shop(ingress, env=env(ADDRESS="server:80"))
    door = {
        controllers: [{"namespaceSelector": {"matchLabels": {"app": "ingress"}}}],
        "ports": [{"port": 8080}],
    }
    folders["shop"][4]["spec"]["ingress"].append(door)
    return folders


def test_a_published_service_lets_its_controller_in() -> None:
    """Only the policy knows which pods these are, so that its rule counts as used."""
    folders = _published()
    [row] = find(folders, "Ingress")
    assert (row.client, row.servers, row.port) == ("the outside", ("server",), 8080)
    assert verdicts(folders) == {Verdict.REACHABLE}


def test_a_published_service_without_a_way_in_is_blocked() -> None:
    """Every request would time out in the controller."""
    folders = _published()
    folders["shop"][4]["spec"]["ingress"].pop()
    [row] = find(folders, "Ingress")
    assert (row.verdict, row.reason) == (
        Verdict.BLOCKED,
        "no policy lets an ingress controller in to server",
    )


@pytest.mark.parametrize("number", [81, 8080])
def test_a_published_port_that_the_service_lacks_is_dangling(number: int) -> None:
    """The Ingress names the Service's port, not the pods'."""
    [row] = find(_published(number), "Ingress")
    assert row.verdict is Verdict.DANGLING


def test_a_way_in_for_a_controller_must_not_admit_the_system_s_own_pods() -> None:
    """A namespaceSelector that is too wide would also admit the other environment."""
    folders = _published()
    folders["shop"][4]["spec"]["ingress"][1]["from"] = [{"namespaceSelector": {}}]
    assert [row.reason for row in find(folders) if row.verdict is Verdict.UNUSED] == [
        "it also allows server to server"
    ]


def test_a_way_in_for_a_controller_without_an_ingress_is_a_finding() -> None:
    """Nobody has an address that leads there."""
    folders = _published()
    folders["shop"] = [m for m in folders["shop"] if m["kind"] != "Ingress"]
    assert [row.reason for row in find(folders) if row.verdict is Verdict.UNUSED] == [
        "nobody uses it"
    ]
