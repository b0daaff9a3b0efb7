"""dist/dev, really run: it does its job, under load and with what its clients do to it."""

import time
from dataclasses import replace
from threading import Event, Thread

import pytest

from fraud_detection.environments import DEV
from rendering import Manifests
from tests.runtime.observer import Survived
from tests.runtime.sync import IMAGES
from tests.runtime.system import CONTAINERS, KINDS, System, commands, transaction

STEPS = {"alert-monitor": "connect", "payment-api": "post", "redis": "alert"}
"""The step at which the prober fails while a workload is missing."""
OUTAGE_SECONDS = 180
"""After 75 s the liveness probe of `/health` killed payment-api."""
MORE_PARTITIONS = 4
MORE = Manifests(replace(DEV, topic=replace(DEV.topic, partitions=MORE_PARTITIONS)), IMAGES)
"""dev with a wider topic. A topic does not shrink: it stays as wide for the tests that follow."""
LOAD = 3600
"""Number of transactions: one a second for an hour."""


def test_everything_becomes_ready_without_a_restart(system: System) -> None:
    """A restart points to a wrong probe or a wrong order."""
    assert system.first_restarts == dict.fromkeys(KINDS, 0)


def test_no_memory_limit_is_hit_under_load(system: System) -> None:
    """The load is an hour of everyday traffic, as fast as it is accepted."""
    containers = {each: system.container(*each) for each in CONTAINERS}
    for number in range(LOAD):
        system.accept(transaction(f"user-{number % 50}", 1.0 + number % 7))
    last = transaction("user-0")
    system.accept(last)
    assert system.wait_for_alert(last)["count"] >= LOAD // 50
    # A killed container would have another id now.
    assert {each: system.container(*each) for each in CONTAINERS} == containers
    failures = {each: system.node.memory_failures(own) for each, own in containers.items()}
    assert failures == dict.fromkeys(CONTAINERS, 0)


@pytest.mark.parametrize("workload", STEPS)
def test_the_prober_names_a_broken_link(system: System, workload: str) -> None:
    """Health tells whether detection works, and the log where to look first."""
    with system.probed_often(), system.without(workload):
        assert f"failed: {STEPS[workload]}: " in system.wait_for_failed_probe()


def test_payment_api_survives_a_broker_outage_under_load(
    system: System, survived: Survived
) -> None:
    """It answered 503 for ever: killed while requests hung, it started again without a broker."""
    done = Event()

    def post() -> None:
        while not done.wait(0.1):
            Thread(target=system.post, args=[transaction("hurried", 1.0)], daemon=True).start()

    before = system.container("payment-api", "payment-api")
    client = Thread(target=post)
    client.start()
    try:
        with survived("the broker is away for three minutes"), system.without("redpanda"):
            time.sleep(OUTAGE_SECONDS)
    finally:
        done.set()
        client.join()
    assert system.container("payment-api", "payment-api") == before


def test_the_job_reads_new_partitions(system: System, survived: Survived) -> None:
    """Its source looks for partitions when it starts: the one that ran would never read these."""
    with survived("the topic gets more partitions"):
        system.deliver(*MORE)
        for partition in range(MORE_PARTITIONS):
            sent = transaction("spread")
            system.send(sent, partition=partition)
            system.wait_for_alert(sent)


def test_poison_stops_the_job_until_it_is_skipped(system: System, survived: Survived) -> None:
    """The commands of the runbook bring the job back, with its state."""
    with survived("a poison message is skipped with the runbook"):
        # What was counted later is forgotten: the commands delete it from the topic.
        system.wait_for_checkpoint()
        # As JSON: infinity, which payment-api accepts and the job's schema does not.
        system.accept({**transaction("poisoner"), "amount": float("inf")})
        system.wait(lambda: not system.is_ready("flink-jobmanager"), "the job did not stop")
        for script in commands("runbooks/poison-message.md"):
            system.follow(script)
        # The job skips what is posted until it restarts, and may be ready for a moment before that.
        system.wait_for_detection()
