"""Redpanda: brokers, and the workload that creates a topic on them."""

from collections.abc import Iterator
from typing import NamedTuple

from delivery.manifests import workloads
from delivery.manifests.manifest import Manifest
from delivery.products.product import Product
from delivery.products.versions import Series, version_rule

_FEATURE_RELEASES_A_YEAR = 3


class _Topic(NamedTuple):
    """A topic as a container creates it."""

    name: str
    partitions: int
    replicas: int


def _topic_risks(before: Manifest, after: Manifest | None) -> Iterator[str]:
    """Return what a change of the workload that creates a topic does to its transactions."""
    was, now = _topic(before), _topic(after) if after else None
    if was is None:
        return
    if now is None:
        yield (
            f"nothing creates the topic {was.name} any more: its clients find it with default "
            "settings or not at all"
        )
    elif now.name != was.name:
        yield f"unread transactions stay in the topic {was.name}, and {now.name} starts empty"
    else:
        if now.partitions < was.partitions:
            yield (
                f"from {was.partitions} to {now.partitions} partitions: Kafka cannot remove "
                "partitions"
            )
        if now.replicas < was.replicas:
            yield (
                f"from {was.replicas} to {now.replicas} replicas: fewer brokers hold each "
                "transaction"
            )


def _topic_remarks(before: Manifest, after: Manifest) -> Iterator[str]:
    """Return what a larger topic needs: Flink looks for partitions at its start only."""
    was, now = _topic(before), _topic(after)
    if was and now and was.name == now.name and was.partitions < now.partitions:
        yield (
            f"from {was.partitions} to {now.partitions} partitions: Flink reads the new ones "
            "after its next start"
        )


def _topic(manifest: Manifest) -> _Topic | None:
    if manifest["kind"] not in workloads.KINDS:
        return None
    variables = workloads.variables(manifest)
    try:
        return _Topic(variables["TOPIC"], int(variables["PARTITIONS"]), int(variables["REPLICAS"]))
    except (KeyError, ValueError):
        return None


def _skipped(was: Series, now: Series) -> Iterator[str]:
    """Return the feature release that must run between two others, if there is one."""
    year, number = was
    following = (year, number + 1) if number < _FEATURE_RELEASES_A_YEAR else (year + 1, 1)
    if now > following:
        between = ".".join(map(str, following))
        yield f"brokers take one feature release at a time: v{between} must run first"


REDPANDA = Product(
    name="Redpanda",
    # The listeners of redpanda.yaml bind to every address, so that a flag must advertise one.
    listeners={
        "redpanda.kafka_api": "advertise-kafka-addr",
        "redpanda.rpc_server": "advertise-rpc-addr",
    },
    versions={"redpanda": version_rule(_skipped)},
    durable_settings={
        "redpanda.yaml": {
            "data_directory": "the broker looks for its data elsewhere and starts empty",
        },
    },
    initial_settings={".bootstrap.yaml": "rpk cluster config set"},
    data_risks=_topic_risks,
    remarks=_topic_remarks,
)
