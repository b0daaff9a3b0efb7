#!/usr/bin/env python3
"""A stand-in for Redpanda and its rpk: a Kafka broker under Redpanda's names.

Knows what the environments ask of it, and nothing more: the command lines, the configuration and
the admin API of a broker. Everything else ends it with status 2 and one sentence, or is answered
with 501. In maintenance mode it hands nothing over: its partitions get other leaders when it stops.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

import yaml
from kafka import (  # type: ignore[import-not-found] # in the image
    KafkaAdminClient,
    KafkaConsumer,
    KafkaProducer,
    TopicPartition,
)
from kafka.admin import (  # type: ignore[import-not-found] # in the image
    ConfigResource,
    ConfigResourceType,
    NewPartitions,
    NewTopic,
)
from kafka.errors import (  # type: ignore[import-not-found] # in the image
    KafkaError,
    TopicAlreadyExistsError,
)

CONFIGURATION = Path("/etc/redpanda")
PROPERTIES = CONFIGURATION / "kafka.properties"
JARS = "/opt/kafka/*"
CLUSTER_ID = "c3RhbmQtaW4tcmVkcGFuZA"
"""Any 16 bytes, in base64."""
OWN_SETTING = 1
"""Kafka's number for a setting of a topic."""

COUNTERPARTS = {"auto_create_topics_enabled": "auto.create.topics.enable"}
WITHOUT_COUNTERPART = {
    "cloud_storage_enabled",
    "enable_metrics_reporter",
    "partition_autobalancing_mode",
    "storage_min_free_bytes",
}


def say(*lines: str) -> None:
    """Print what rpk would."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def refuse(sentence: str) -> NoReturn:
    """Exit: the stand-in does not support what was asked."""
    sys.stderr.write(f"rpk (stand-in): {sentence}\n")
    sys.exit(2)


class Parser(argparse.ArgumentParser):
    """A parser that refuses in one sentence."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 -- whatever argparse takes
        super().__init__(allow_abbrev=False, add_help=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Exit."""
        refuse(f"it does not know this command line: {message}")


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parse exactly the command lines that the dev environment uses."""
    parser = Parser()
    groups = parser.add_subparsers(dest="group", required=True)
    redpanda = groups.add_parser("redpanda").add_subparsers(dest="command", required=True)
    start = redpanda.add_parser("start")
    start.add_argument("--seeds", required=True)
    start.add_argument("--advertise-kafka-addr", required=True)
    start.add_argument("--advertise-rpc-addr", required=True)
    start.add_argument("--smp", required=True, type=int)
    start.add_argument("--memory", required=True)
    # Seastar's own affairs.
    start.add_argument("--reserve-memory", required=True, choices=["0M"])
    start.add_argument("--check", required=True, choices=["false"])
    start.add_argument("--overprovisioned", required=True, action="store_true")

    topics = groups.add_parser("topic").add_subparsers(dest="command", required=True)
    describe = topics.add_parser("describe")
    describe.add_argument("topic")
    describe.add_argument("--print-summary", required=True, action="store_true")
    describe.add_argument("--print-configs", required=True, action="store_true")
    create = topics.add_parser("create")
    create.add_argument("topic")
    create.add_argument("--partitions", required=True, type=int)
    create.add_argument("--replicas", required=True, type=int)
    add_partitions = topics.add_parser("add-partitions")
    add_partitions.add_argument("topic")
    add_partitions.add_argument("--num", required=True, type=int)
    trim = topics.add_parser("trim-prefix")
    trim.add_argument("topic")
    trim.add_argument("--offset", required=True, choices=["end"])
    trim.add_argument("--no-confirm", required=True, action="store_true")
    trim.add_argument("-X", required=True, dest="option", type=_brokers)
    for command in RECORDS:
        records = topics.add_parser(command)
        records.add_argument("topic")
        records.add_argument("--format", required=True, choices=[r"%v\n"])
        if command == "consume":
            records.add_argument("--offset", required=True, choices=[":end"])
    alter_config = topics.add_parser("alter-config")
    alter_config.add_argument("topic")
    alter_config.add_argument("--set", required=True)
    return parser.parse_args(arguments)


def _brokers(option: str) -> str:
    """Read `brokers=host:port`."""
    key, _, value = option.partition("=")
    if key != "brokers":
        raise argparse.ArgumentTypeError(f"it does not know the option {key}")
    return value


def read(name: str) -> dict[str, Any]:
    """Read a file of the configuration."""
    try:
        content: dict[str, Any] = yaml.safe_load((CONFIGURATION / name).read_text())
    except OSError as error:
        refuse(f"it cannot read its configuration: {error}.")
    return content


def check_known(where: str, content: dict[str, Any], known: set[str]) -> None:
    """Refuse a setting without a translation."""
    unknown = sorted(content.keys() - known)
    if unknown:
        refuse(f"it does not know {', '.join(unknown)} in {where}.")


def cluster_properties() -> dict[str, str]:
    """Translate `.bootstrap.yaml`, at every start and not only at the first."""
    bootstrap = read(".bootstrap.yaml")
    check_known(".bootstrap.yaml", bootstrap, WITHOUT_COUNTERPART | COUNTERPARTS.keys())
    return {
        COUNTERPARTS[name]: json.dumps(value)
        for name, value in bootstrap.items()
        if name in COUNTERPARTS
    }


def node_id(flags: argparse.Namespace) -> int:
    """Return the number of this broker, from 0: its place among the seeds."""
    seeds: list[str] = flags.seeds.split(",")
    return seeds.index(flags.advertise_rpc_addr)


def broker_properties(flags: argparse.Namespace, redpanda: dict[str, Any]) -> dict[str, str]:
    """Translate the flags and the section `redpanda` of `redpanda.yaml`.

    The RPC listener is that of Kafka's controllers here.
    """
    known = {"data_directory", "developer_mode", "empty_seed_starts_cluster"}
    check_known("redpanda.yaml", redpanda, known | {"kafka_api", "rpc_server", "admin"})
    if redpanda["developer_mode"] or redpanda["empty_seed_starts_cluster"]:
        refuse("developer_mode and empty_seed_starts_cluster must be false.")
    seeds = flags.seeds.split(",")
    if flags.advertise_rpc_addr not in seeds:
        refuse("it knows brokers that are all seeds.")
    copies = str(len(seeds))
    majority = str(len(seeds) // 2 + 1)
    [kafka], rpc = redpanda["kafka_api"], redpanda["rpc_server"]
    listener = kafka["name"]
    if not flags.advertise_kafka_addr.startswith(f"{listener}://"):
        refuse(f"--advertise-kafka-addr is not for the listener {listener}.")
    return {
        "process.roles": "broker,controller",
        "node.id": str(node_id(flags)),
        "controller.quorum.voters": ",".join(f"{n}@{seed}" for n, seed in enumerate(seeds)),
        "controller.listener.names": "RPC",
        "inter.broker.listener.name": listener,
        "listeners": f"{listener}://{kafka['address']}:{kafka['port']},"
        f"RPC://{rpc['address']}:{rpc['port']}",
        "advertised.listeners": flags.advertise_kafka_addr,
        "listener.security.protocol.map": f"{listener}:PLAINTEXT,RPC:PLAINTEXT",
        # Kafka refuses a folder with anything else in it, such as a file system's lost+found.
        "log.dirs": f"{redpanda['data_directory']}/kafka",
        # Redpanda acknowledges what is on the disk.
        "log.flush.interval.messages": "1",
        # It acknowledges what a majority has.
        "min.insync.replicas": majority,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": majority,
    }


def java(flags: argparse.Namespace, *program: str) -> list[str]:
    """Return a command line for Kafka's Java programs, within the flags' memory and processors."""
    if not flags.memory.endswith("M"):
        refuse("--memory must be in M.")
    # The rest is for Java itself, for its buffers and for this program.
    heap = int(flags.memory[:-1]) // 2
    options = [f"-Xmx{heap}m", f"-XX:ActiveProcessorCount={flags.smp}", "-XX:+UseSerialGC"]
    return ["java", *options, "-XX:+ExitOnOutOfMemoryError", "-cp", JARS, *program]


def answers(address: str) -> bool:
    """Return whether the broker serves clients.

    Args:
        address: host:port of its listener.
    """
    try:
        KafkaAdminClient(bootstrap_servers=address).close()
    except KafkaError:
        return False
    return True


def public_metrics(address: str, started: float) -> str:
    """Return those of Redpanda's public metrics that our rules and panels use.

    Args:
        address: host:port of the broker; without an answer there are those of the process alone.
        started: When the process started, on the clock `time.monotonic`.
    """
    lines = [f"redpanda_application_uptime_seconds_total {time.monotonic() - started}"]
    with (
        suppress(KafkaError),
        closing(KafkaAdminClient(bootstrap_servers=address)) as admin,
        closing(KafkaConsumer(bootstrap_servers=address)) as consumer,
    ):
        found = {
            TopicPartition(topic["topic"], partition["partition"]): partition
            for topic in admin.describe_topics()
            for partition in topic["partitions"]
        }
        leaderless = sum(partition["leader"] < 0 for partition in found.values())
        lines.append(f"redpanda_cluster_unavailable_partitions {leaderless}")
        for each, end in consumer.end_offsets(list(found)).items():
            labels = (
                f'{{redpanda_namespace="kafka",redpanda_topic="{each.topic}",'
                f'redpanda_partition="{each.partition}"}}'
            )
            missing = len(found[each]["replicas"]) - len(found[each]["isr"])
            lines.append(f"redpanda_kafka_max_offset{labels} {end}")
            lines.append(f"redpanda_kafka_under_replicated_replicas{labels} {missing}")
    return "\n".join([*lines, ""])


class AdminApi(ThreadingHTTPServer):
    """What the probes, the hooks and Prometheus use, beside the broker.

    Args:
        admin: Address and port.
        kafka: Address and port of the broker.
        number: Number of the broker.
    """

    def __init__(self, admin: dict[str, Any], kafka: dict[str, Any], number: int) -> None:
        super().__init__((admin["address"], admin["port"]), AdminRequest)
        self.broker = f"127.0.0.1:{kafka['port']}"
        self.number = number
        self.started = time.monotonic()
        self.is_in_maintenance = False


class AdminRequest(BaseHTTPRequestHandler):
    """A request to the admin API."""

    server: AdminApi

    def do_GET(self) -> None:
        """Answer what the stand-in knows."""
        api = self.server
        if self.path == "/public_metrics":
            self.answer("text/plain", public_metrics(api.broker, api.started))
        elif self.path == "/metrics":
            # Redpanda's internal ones, which no rule uses.
            self.answer("text/plain", "")
        elif self.path == "/v1/status/ready":
            self.answer_json({"status": "ready" if answers(api.broker) else "booting"})
        elif self.path == "/v1/node_config":
            self.answer_json({"node_id": api.number})
        elif self.path == "/v1/maintenance":
            state = api.is_in_maintenance
            self.answer_json({"draining": state, "finished": state})
        else:
            self.refuse()

    def do_PUT(self) -> None:
        """Begin maintenance."""
        self.set_maintenance(to=True)

    def do_DELETE(self) -> None:
        """End maintenance."""
        self.set_maintenance(to=False)

    def set_maintenance(self, *, to: bool) -> None:
        """Begin or end maintenance."""
        if self.path == f"/v1/brokers/{self.server.number}/maintenance":
            self.server.is_in_maintenance = to
            self.answer_json({})
        else:
            self.refuse()

    def refuse(self) -> None:
        """Answer what the stand-in does not know."""
        self.send_error(501, "The stand-in does not know this path")

    def answer_json(self, content: dict[str, Any]) -> None:
        """Answer with JSON."""
        self.answer("application/json", json.dumps(content))

    def answer(self, content_type: str, text: str) -> None:
        """Answer with a text."""
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, *_: object) -> None:
        """Log no probes."""


def start(flags: argparse.Namespace) -> int:
    """Run the broker until it ends or is stopped.

    Returns:
        The status to exit with.
    """
    configuration = read("redpanda.yaml")
    check_known("redpanda.yaml", configuration, {"redpanda", "rpk"})
    check_known("the section rpk", configuration["rpk"], {"tune_coredump"})
    redpanda = configuration["redpanda"]
    properties = {**broker_properties(flags, redpanda), **cluster_properties()}
    # rpk too writes into this folder.
    PROPERTIES.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
    [admin], [kafka] = redpanda["admin"], redpanda["kafka_api"]
    api = AdminApi(admin, kafka, node_id(flags))
    threading.Thread(target=api.serve_forever, daemon=True).start()

    storage = ("kafka.tools.StorageTool", "format", "--ignore-formatted")
    formatting = java(flags, *storage, "--cluster-id", CLUSTER_ID, "--config", str(PROPERTIES))
    status = subprocess.run(formatting, check=False).returncode
    if status != 0:
        return status
    with subprocess.Popen(java(flags, "kafka.Kafka", str(PROPERTIES))) as broker:
        signal.signal(signal.SIGTERM, lambda *_: broker.terminate())
        status = broker.wait()
    # As a shell has it when a signal ended the broker.
    return status if status >= 0 else 128 - status


def configs(admin: KafkaAdminClient, name: str) -> dict[str, str]:
    """Return the settings of a topic that are its own, not the broker's."""
    [answer] = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    [(*_, entries)] = answer.resources
    return {key: value for key, value, _, source, *_ in entries if source == OWN_SETTING}


def consume(brokers: str, name: str) -> None:
    """Print the values of all records of a topic, up to its present end."""
    with closing(KafkaConsumer(bootstrap_servers=brokers)) as consumer:
        partitions = [
            TopicPartition(name, number) for number in consumer.partitions_for_topic(name) or ()
        ]
        consumer.assign(partitions)
        consumer.seek_to_beginning()
        ends = consumer.end_offsets(partitions)
        while any(consumer.position(each) < end for each, end in ends.items()):
            for each, records in consumer.poll(timeout_ms=1000).items():
                say(*(record.value.decode() for record in records if record.offset < ends[each]))


def produce(brokers: str, name: str) -> None:
    """Send each line of the standard input to a topic, without a key."""
    with closing(KafkaProducer(bootstrap_servers=brokers)) as producer:
        for sent in [producer.send(name, line.rstrip(b"\n")) for line in sys.stdin.buffer]:
            done = sent.get(timeout=60)
            say(f"Produced to partition {done.partition} at offset {done.offset}.")


RECORDS = {"consume": consume, "produce": produce}


def topic(flags: argparse.Namespace) -> int:
    """Show or change a topic, and print it as rpk does.

    Returns:
        The status to exit with.
    """
    try:
        brokers = flags.option if flags.command == "trim-prefix" else os.environ["RPK_BROKERS"]
        if flags.command in RECORDS:
            RECORDS[flags.command](brokers, flags.topic)
            return 0
        admin = KafkaAdminClient(bootstrap_servers=brokers)
        [found] = admin.describe_topics([flags.topic])
        partitions = found["partitions"]
        if flags.command == "describe":
            if partitions:
                own = configs(admin, flags.topic).items()
                rest = [
                    f"REPLICAS    {len(partitions[0]['replicas'])}",
                    *(f"{key}  {value}  DYNAMIC_TOPIC_CONFIG" for key, value in own),
                ]
            else:
                rest = ["ERROR       UNKNOWN_TOPIC_OR_PARTITION"]
            say(f"NAME        {flags.topic}", f"PARTITIONS  {len(partitions)}", *rest)
            return 0
        if flags.command == "create":
            admin.create_topics([NewTopic(flags.topic, flags.partitions, flags.replicas)])
        elif flags.command == "trim-prefix":
            # -1 is the end of the partition.
            ends = {TopicPartition(flags.topic, each["partition"]): -1 for each in partitions}
            admin.delete_records(ends)
        elif flags.command == "alter-config":
            key, _, value = flags.set.partition("=")
            # Kafka's request replaces all settings; rpk changes one.
            changed = {**configs(admin, flags.topic), key: value}
            resource = ConfigResource(ConfigResourceType.TOPIC, flags.topic, changed)
            admin.alter_configs([resource])
        else:
            total = NewPartitions(len(partitions) + flags.num)
            admin.create_partitions({flags.topic: total})
    except TopicAlreadyExistsError:
        say("TOPIC  STATUS", f"{flags.topic}  TOPIC_ALREADY_EXISTS: it exists already.")
        return 1
    except KafkaError as error:
        say(f"unable to request it of the brokers: {error!r}")
        return 1
    say("TOPIC  STATUS", f"{flags.topic}  OK")
    return 0


def main() -> int:
    """Run the command line and return its exit status."""
    flags = parse(sys.argv[1:])
    return start(flags) if flags.group == "redpanda" else topic(flags)


if __name__ == "__main__":
    sys.exit(main())
