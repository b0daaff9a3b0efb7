"""The topic has the configured layout before the job that reads it starts."""

from dataclasses import replace
from operator import attrgetter

import pytest

from rendering import LIVE, Manifest, Manifests, container, small, variables
from settings import SMALL

MAKER = "flink-jobmanager"


@pytest.fixture(params=LIVE, ids=attrgetter("environment.name"))
def system(request: pytest.FixtureRequest) -> Manifests:
    """Each live environment in turn."""
    found: Manifests = request.param
    return found


def _template(system: Manifests) -> Manifest:
    template: Manifest = system.get("Deployment", MAKER)["spec"]["template"]
    return template


def _step(system: Manifests) -> Manifest:
    return container(_template(system), "ensure-topic")


def test_the_job_starts_when_the_topic_is_there(system: Manifests) -> None:
    """The job reads the partitions that it finds at its start, and no others."""
    assert _step(system) in _template(system)["spec"]["initContainers"]


def test_nobody_else_makes_it(system: Manifests) -> None:
    """Two that add partitions at the same time could add too many, and none can be removed."""
    assert [
        name
        for name, template in system.pod_templates()
        for each in template["spec"].get("initContainers", [])
        if each["name"] == "ensure-topic"
    ] == [f"Deployment/{MAKER}"]
    assert system.get("Deployment", MAKER)["spec"]["replicas"] == 1
    assert system.get("Deployment", MAKER)["spec"]["strategy"] == {"type": "Recreate"}


def test_more_partitions_roll_the_job() -> None:
    """A running job never reads a partition that was added later."""
    more = replace(SMALL, topic=replace(SMALL.topic, partitions=SMALL.topic.partitions + 1))
    assert _template(Manifests(more)) != _template(small)


def test_its_layout_comes_from_the_settings(system: Manifests) -> None:
    """A number that changes in environments.py arrives here."""
    values = variables(_step(system))
    assert int(values["PARTITIONS"]) == system.environment.topic.partitions
    assert int(values["REPLICAS"]) == system.environment.topic.replicas


def test_there_are_brokers_for_every_replica(system: Manifests) -> None:
    """Redpanda refuses more replicas than brokers, and an even number of replicas."""
    environment = system.environment
    assert environment.topic.replicas <= environment.redpanda.brokers
    assert environment.topic.replicas % 2 == 1


def test_every_slot_of_flink_has_something_to_read(system: Manifests) -> None:
    """The source runs no wider than the topic has partitions."""
    flink = system.environment.flink
    assert flink.max_taskmanagers * flink.slots <= system.environment.topic.partitions


def test_applications_use_the_topic_that_it_creates(system: Manifests) -> None:
    """A name typed twice could differ, so the readers get the object."""
    topics = {
        variables(each)["TRANSACTIONS_TOPIC"]
        for reader in ("payment-api", "flink-jobmanager")
        for each in system.get("Deployment", reader)["spec"]["template"]["spec"]["containers"]
    }
    assert topics == {variables(_step(system))["TOPIC"]}
