"""dist/dev, really run: what is accepted survives the end of a container, a pod or a node."""

from http import HTTPStatus
from threading import Event, Thread

import pytest

from tests.runtime.node.node import NAME
from tests.runtime.observer import Survived
from tests.runtime.system import CONTAINERS, KINDS, System, transaction

SERVING = sorted(KINDS.keys() - {"prober"})
"""The workloads that somebody waits for; the prober only watches."""


@pytest.mark.parametrize("workload", SERVING)
def test_nothing_accepted_is_lost_with_a_pod(
    system: System, survived: Survived, workload: str
) -> None:
    """An eviction or a person ends it; a user's history must go on where it was."""
    with survived(f"the pod of {workload} is deleted"):
        system.delete_pod(workload)


@pytest.mark.parametrize("workload", SERVING)
def test_nothing_accepted_is_lost_in_a_rollout(
    system: System, survived: Survived, workload: str
) -> None:
    """A release must be no reason to wait for the night."""
    with survived(f"{workload} is rolled out"):
        system.roll(workload)


@pytest.mark.parametrize(("workload", "container"), [c for c in CONTAINERS if c[0] in SERVING])
def test_nothing_accepted_is_lost_with_a_container(
    system: System, survived: Survived, workload: str, container: str
) -> None:
    """A crash asks nobody; a user's history must go on where it was."""
    with survived(f"the container {container} is killed"):
        system.kill(workload, container)


def test_nothing_accepted_is_lost_with_a_drained_node(system: System, survived: Survived) -> None:
    """No pod may refuse to go, and each must find all that it had when there is room again."""
    with survived("the only node is drained, and is back at once"):
        system.drain(NAME)


def test_no_request_fails_while_payment_api_is_rolled(system: System) -> None:
    """Its clients are payments: each refused one is somebody's purchase."""
    done = Event()
    statuses: list[int] = []

    def post() -> None:
        while not done.is_set():
            statuses.append(system.post(transaction("steady", 1.0)))

    client = Thread(target=post)
    client.start()
    try:
        system.roll("payment-api")
    finally:
        done.set()
        client.join()
    assert len(statuses) > 20
    assert set(statuses) == {HTTPStatus.ACCEPTED}


def test_payment_api_waits_for_the_broker_after_a_restart(system: System) -> None:
    """Kubernetes does not repeat the init containers of a container that it restarts."""
    with system.without("redpanda"):
        system.kill("payment-api", "payment-api")
        system.wait(
            lambda: "does not answer yet" in system.log("payment-api"), "payment-api does not wait"
        )
    system.wait_until_ready()
    sent = transaction("restarted")
    system.accept(sent)
    system.wait_for_alert(sent)
