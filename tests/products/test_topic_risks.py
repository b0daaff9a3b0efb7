"""Risks of changing the workload that creates a topic."""

import pytest

from delivery.manifests.manifest import Manifest
from delivery.products.redpanda import REDPANDA


def maker(**variables: str) -> Manifest:
    """Return a workload whose init container has variables, by default those of a topic."""
    topic = {"TOPIC": "sales", "PARTITIONS": "6", "REPLICAS": "3", **variables}
    env = [{"name": name, "value": value} for name, value in topic.items()]
    spec = {"initContainers": [{"name": "topic", "env": env}], "containers": [{"name": "main"}]}
    return {"kind": "Deployment", "spec": {"template": {"spec": spec}}}


@pytest.mark.parametrize(
    ("after", "risk"),
    [
        (maker(PARTITIONS="3"), "from 6 to 3 partitions"),
        (maker(REPLICAS="1"), "from 3 to 1 replicas"),
        (maker(TOPIC="orders"), "unread transactions stay in the topic sales"),
        (None, "nothing creates the topic sales any more"),
    ],
    ids=["partitions", "replicas", "name", "workload"],
)
def test_a_lesser_topic_is_a_risk(after: Manifest | None, risk: str) -> None:
    """Brokers keep the old topic, so that the manifest would promise too little or too much."""
    [found] = REDPANDA.data_risks(maker(), after)
    assert found.startswith(risk)


@pytest.mark.parametrize("after", [maker(), maker(PARTITIONS="12", REPLICAS="5"), maker(OTHER="x")])
def test_a_greater_topic_is_no_risk(after: Manifest) -> None:
    """A false alarm teaches people to ignore the true ones."""
    assert list(REDPANDA.data_risks(maker(), after)) == []


def test_more_partitions_are_remarked() -> None:
    """A running job of Flink reads none of their transactions, silently."""
    [remark] = REDPANDA.remarks(maker(), maker(PARTITIONS="12"))
    assert remark.startswith("from 6 to 12 partitions: Flink reads the new ones after")


@pytest.mark.parametrize(
    "after", [maker(), maker(PARTITIONS="3"), maker(TOPIC="x", PARTITIONS="12")]
)
def test_a_topic_that_does_not_grow_is_not_remarked(after: Manifest) -> None:
    """A note that is always there is not read."""
    assert list(REDPANDA.remarks(maker(), after)) == []


@pytest.mark.parametrize("before", [maker(PARTITIONS="many"), {"kind": "ConfigMap"}])
def test_other_objects_are_left_alone(before: Manifest) -> None:
    """Any service may have a variable of that name."""
    assert list(REDPANDA.data_risks(before, None)) == []
