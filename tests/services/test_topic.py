"""The topic exists, as the platform wants it, before any application could make a lesser one."""

import pytest

from fraud_detection.environments import ENVIRONMENTS, Environment
from rendering import Manifest, render, variables, wave


@pytest.fixture(params=ENVIRONMENTS, ids=lambda environment: environment.name)
def environment(request: pytest.FixtureRequest) -> Environment:
    """Each environment in turn."""
    found: Environment = request.param
    return found


def _job(environment: Environment) -> Manifest:
    return render(environment).get("Job", "transactions-topic")


def test_it_runs_after_the_brokers_and_before_the_applications(environment: Environment) -> None:
    """payment-api's own fallback is 1 partition with 1 replica; it must never come to it."""
    system = render(environment)
    brokers = wave(system.get("StatefulSet", "redpanda"))
    applications = {wave(manifest) for manifest in system.kind("Deployment")}
    assert brokers < wave(_job(environment)) < min(applications)


def test_it_runs_again_at_every_sync(environment: Environment) -> None:
    """A Job's template is immutable: only a hook that is replaced can run twice."""
    annotations = _job(environment)["metadata"]["annotations"]
    assert annotations["argocd.argoproj.io/hook"] == "Sync"
    assert annotations["argocd.argoproj.io/hook-delete-policy"] == "BeforeHookCreation"


def test_its_layout_comes_from_the_settings(environment: Environment) -> None:
    """The reviewer changes a number in environments.py, and this is where it arrives."""
    [main] = _job(environment)["spec"]["template"]["spec"]["containers"]
    values = variables(main)
    assert int(values["PARTITIONS"]) == environment.topic.partitions
    assert int(values["REPLICAS"]) == environment.topic.replicas


def test_there_are_brokers_for_every_replica(environment: Environment) -> None:
    """More replicas than brokers are refused, and an even number of replicas too."""
    assert environment.topic.replicas <= environment.redpanda.brokers
    assert environment.topic.replicas % 2 == 1


def test_every_taskmanager_has_something_to_read(environment: Environment) -> None:
    """The source runs no wider than the topic has partitions."""
    assert environment.flink.max_taskmanagers <= environment.topic.partitions


def test_applications_use_the_topic_that_it_makes(environment: Environment) -> None:
    """A name typed twice could differ; the readers are given the object."""
    system = render(environment)
    [main] = _job(environment)["spec"]["template"]["spec"]["containers"]
    readers = ["payment-api", "flink-jobmanager", "flink-taskmanager"]
    topics = {
        variables(system.get("Deployment", reader)["spec"]["template"]["spec"]["containers"][0])[
            "TRANSACTIONS_TOPIC"
        ]
        for reader in readers
    }
    assert topics == {variables(main)["TOPIC"]}


def test_a_hanging_job_ends(environment: Environment) -> None:
    """A sync waits for its hook; without a deadline it would wait for ever."""
    assert _job(environment)["spec"]["activeDeadlineSeconds"] <= 900


def test_a_job_that_gives_up_says_why(environment: Environment) -> None:
    """Killed before the script's own deadline, no attempt would leave its sentence in the log."""
    spec = _job(environment)["spec"]
    [main] = spec["template"]["spec"]["containers"]
    attempts = spec["backoffLimit"] + 1
    assert attempts * int(variables(main)["DEADLINE_SECONDS"]) < spec["activeDeadlineSeconds"]
