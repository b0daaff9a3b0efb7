"""The topic exists with the configured layout before an application could create a lesser one."""

from operator import attrgetter

import pytest

from rendering import LIVE, Manifest, Manifests, variables, wave


@pytest.fixture(params=LIVE, ids=attrgetter("environment.name"))
def system(request: pytest.FixtureRequest) -> Manifests:
    """Each live environment in turn."""
    found: Manifests = request.param
    return found


def _job(system: Manifests) -> Manifest:
    return system.get("Job", "transactions-topic")


def test_it_runs_after_the_brokers_and_before_the_applications(system: Manifests) -> None:
    """Otherwise payment-api would create it with 1 partition and 1 replica."""
    brokers = wave(system.get("StatefulSet", "redpanda"))
    applications = {wave(manifest) for manifest in system.kind("Deployment")}
    assert brokers < wave(_job(system)) < min(applications)


def test_it_runs_again_at_every_sync(system: Manifests) -> None:
    """The template of a Job is immutable: only a hook that is replaced can run twice."""
    annotations = _job(system)["metadata"]["annotations"]
    assert annotations["argocd.argoproj.io/hook"] == "Sync"
    assert annotations["argocd.argoproj.io/hook-delete-policy"] == "BeforeHookCreation"


def test_its_layout_comes_from_the_settings(system: Manifests) -> None:
    """A number that changes in environments.py arrives here."""
    [main] = _job(system)["spec"]["template"]["spec"]["containers"]
    values = variables(main)
    assert int(values["PARTITIONS"]) == system.environment.topic.partitions
    assert int(values["REPLICAS"]) == system.environment.topic.replicas


def test_there_are_brokers_for_every_replica(system: Manifests) -> None:
    """Redpanda refuses more replicas than brokers, and an even number of replicas."""
    environment = system.environment
    assert environment.topic.replicas <= environment.redpanda.brokers
    assert environment.topic.replicas % 2 == 1


def test_every_taskmanager_has_something_to_read(system: Manifests) -> None:
    """The source runs no wider than the topic has partitions."""
    environment = system.environment
    assert environment.flink.max_taskmanagers <= environment.topic.partitions


def test_applications_use_the_topic_that_it_creates(system: Manifests) -> None:
    """A name typed twice could differ, so the readers get the object."""
    [main] = _job(system)["spec"]["template"]["spec"]["containers"]
    readers = ["payment-api", "flink-jobmanager", "flink-taskmanager"]
    topics = {
        variables(system.get("Deployment", reader)["spec"]["template"]["spec"]["containers"][0])[
            "TRANSACTIONS_TOPIC"
        ]
        for reader in readers
    }
    assert topics == {variables(main)["TOPIC"]}


def test_a_hanging_job_ends(system: Manifests) -> None:
    """A sync waits for its hook; without a deadline it would wait for ever."""
    assert _job(system)["spec"]["activeDeadlineSeconds"] <= 900


def test_a_job_that_gives_up_logs_the_reason(system: Manifests) -> None:
    """A Job that is killed before the script's own deadline leaves no reason in the log."""
    spec = _job(system)["spec"]
    [main] = spec["template"]["spec"]["containers"]
    attempts = spec["backoffLimit"] + 1
    assert attempts * int(variables(main)["DEADLINE_SECONDS"]) < spec["activeDeadlineSeconds"]
