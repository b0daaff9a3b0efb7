"""Risks of changing the Job that creates a topic."""

import pytest

from delivery.manifests.manifest import Manifest
from delivery.products.redpanda import REDPANDA


def job(**variables: str) -> Manifest:
    """Return a Job with variables, by default those of a topic."""
    topic = {"TOPIC": "sales", "PARTITIONS": "6", "REPLICAS": "3", **variables}
    env = [{"name": name, "value": value} for name, value in topic.items()]
    spec = {"template": {"spec": {"containers": [{"name": "main", "env": env}]}}}
    return {"kind": "Job", "spec": spec}


@pytest.mark.parametrize(
    ("after", "risk"),
    [
        (job(PARTITIONS="3"), "from 6 to 3 partitions"),
        (job(REPLICAS="1"), "from 3 to 1 replicas"),
        (job(TOPIC="orders"), "unread transactions stay in the topic sales"),
        (None, "nothing creates the topic sales any more"),
    ],
    ids=["partitions", "replicas", "name", "job"],
)
def test_a_lesser_topic_is_a_risk(after: Manifest | None, risk: str) -> None:
    """Brokers keep the old topic, so that the manifest would promise too little or too much."""
    [found] = REDPANDA.data_risks(job(), after)
    assert found.startswith(risk)


@pytest.mark.parametrize("after", [job(), job(PARTITIONS="12", REPLICAS="5"), job(OTHER="x")])
def test_a_greater_topic_is_no_risk(after: Manifest) -> None:
    """A false alarm teaches people to ignore the true ones."""
    assert list(REDPANDA.data_risks(job(), after)) == []


@pytest.mark.parametrize("before", [job(PARTITIONS="many"), {"kind": "Deployment"}])
def test_other_objects_are_left_alone(before: Manifest) -> None:
    """Any service may have a Job, or a variable of that name."""
    assert list(REDPANDA.data_risks(before, None)) == []
