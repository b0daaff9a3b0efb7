"""Faults of the running system, and the alerts that each of them must raise."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import TypeAlias

from tests.runtime.monitoring import MONITORED
from tests.runtime.sync import MANAGER, NAMESPACE, find
from tests.runtime.system import CHECKPOINTS, REDIS_DATA, System, commands, filled, transaction

Make: TypeAlias = Callable[[System], AbstractContextManager[object]]

_PRODUCER = """
import json, time, kafka
producer = kafka.KafkaProducer(bootstrap_servers="127.0.0.1:9093")
sent = json.dumps({
    "transaction_id": "x", "user_id": "busy", "card_number": "0", "amount": 1.0,
    "timestamp": "2026-01-01T00:00:00+00:00", "merchant_id": "m", "location": "l",
}).encode()
while True:
    for _ in range(50):
        producer.send("transactions", sent)
    producer.flush()
    time.sleep(1)
"""
"""Runs in the broker's container: 50 transactions a second."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault, and the alerts that it must raise.

    Attributes:
        name: What happens.
        prepare: What it needs, before anybody watches. Default: nothing.
        make: Makes it, and repairs it in the end.
        fires: Seconds after which each alert fires at the latest, by its name.
        labels: Labels of alerts, by their names.
    """

    name: str
    prepare: Make = nullcontext
    make: Make
    fires: Mapping[str, int]
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def _missing(workload: str) -> Make:
    """Return a fault: a workload has no pod."""
    return lambda system: system.without(workload)


def _small(workload: str, claim: str) -> Make:
    """Return the preparation of `_full`."""
    return lambda system: system.small_volume(workload, claim)


def _full(claim: str) -> Make:
    """Return a fault: no room on a volume."""
    return lambda system: filled(system.node.volume(claim, namespace=NAMESPACE))


@contextmanager
def _full_redis(system: System) -> Iterator[None]:
    """Leave no room on the volume of Redis."""
    with _full(REDIS_DATA)(system):
        # The last block of its log may have room for many alerts.
        system.redis("SET", "filler", "x" * 10_000)
        yield
    system.redis("DEL", "filler")


@contextmanager
def _nearly_full_memory(system: System) -> Iterator[None]:
    """Fill Redis to more than 85 % of its limit; it still takes alerts."""

    def share() -> float:
        memory = dict(re.findall(r"^(\w+):(\d+)", system.redis("INFO", "memory"), re.MULTILINE))
        return int(memory["used_memory"]) / int(memory["maxmemory"])

    filled = 0
    while share() < 0.85:
        # One large value would take far more than its length.
        system.redis("SETRANGE", f"filler-{filled}", str(8 << 20), "x")
        filled += 1
    try:
        yield
    finally:
        system.redis("DEL", *(f"filler-{number}" for number in range(filled)))


@contextmanager
def _poison(system: System) -> Iterator[None]:
    """Post what the job cannot read; the runbook's commands repair it."""
    system.wait_for_checkpoint()
    system.accept({**transaction("poisoner"), "amount": float("inf")})
    yield
    for script in commands("runbooks/poison-message.md"):
        system.follow(script)
    system.wait_for_detection()


@contextmanager
def _wrong_probes(system: System) -> Iterator[None]:
    """Release an alert-monitor that is asked for a page which it lacks."""
    good = MONITORED.get("Deployment", "alert-monitor")
    bad = deepcopy(good)
    [container] = bad["spec"]["template"]["spec"]["containers"]
    for probe in ("readinessProbe", "livenessProbe"):
        container[probe]["httpGet"]["path"] = "/missing"
    with closing(system.node.server.client()) as client:
        client.apply(bad, field_manager=MANAGER)
    yield
    system.deliver(good)


@contextmanager
def _blocked(system: System) -> Iterator[None]:
    """Take Prometheus's way to the prober."""
    system.deliver(find("NetworkPolicy", "prober"))
    yield
    system.deliver(MONITORED.get("NetworkPolicy", "prober"))


@contextmanager
def _stuck(system: System) -> Iterator[None]:
    """Stop Flink's Python while transactions arrive."""
    pod = system.pod("flink-jobmanager")
    done = Event()

    def send(signal: str) -> None:
        script = (
            "for each in /proc/[0-9]*; do grep -qs [p]yflink.fn_execution $each/cmdline && "
            f"kill -{signal} ${{each#/proc/}}; done; true"
        )
        system.node.execute(pod, "taskmanager", "bash", "-c", script, namespace=NAMESPACE)

    def produce() -> None:
        # What runs in a container does not end with this thread.
        command = ("timeout", "20", "python3", "-c", _PRODUCER)
        while not done.is_set():
            system.node.execute(system.pod("redpanda"), "redpanda", *command, namespace=NAMESPACE)

    producer = Thread(target=produce)
    send("STOP")
    producer.start()
    try:
        yield
    finally:
        done.set()
        producer.join()
        send("CONT")


FAULTS: Sequence[Fault] = (
    Fault(
        name="blocked Prometheus",
        make=_blocked,
        fires={"MetricsMissing": 60},
        labels={"MetricsMissing": {"container": "prober"}},
    ),
    Fault(name="no prober", make=_missing("prober"), fires={"DetectionUnknown": 300}),
    Fault(
        name="no Flink",
        make=_missing("flink-jobmanager"),
        fires={"JobNotRunning": 180, "DetectionStopped": 300, "CheckpointTooOld": 420},
    ),
    Fault(
        name="a stuck job",
        make=_stuck,
        fires={"DetectionStopped": 360, "DetectionFallsBehind": 420, "CheckpointTooOld": 480},
    ),
    Fault(
        name="no room for checkpoints",
        prepare=_small("flink-jobmanager", CHECKPOINTS),
        make=_full(CHECKPOINTS),
        fires={"VolumeFull": 180, "CheckpointTooOld": 420},
        labels={"VolumeFull": {"persistentvolumeclaim": CHECKPOINTS}},
    ),
    Fault(name="a poison message", make=_poison, fires={"JobRestartLoop": 300}),
    Fault(name="no broker", make=_missing("redpanda"), fires={"BrokerMissing": 300}),
    Fault(name="no Redis", make=_missing("redis"), fires={"RedisDown": 120}),
    Fault(name="nearly full Redis", make=_nearly_full_memory, fires={"RedisMemoryNearlyFull": 300}),
    Fault(
        name="no room for Redis",
        prepare=_small("redis", REDIS_DATA),
        make=_full_redis,
        fires={"RedisCannotPersist": 60},
    ),
    Fault(
        name="wrong probes",
        make=_wrong_probes,
        fires={"ProbesFail": 180},
        labels={"ProbesFail": {"container": "alert-monitor"}},
    ),
    Fault(
        name="no payment-api",
        make=_missing("payment-api"),
        # 14.4 % of an hour, and the two minutes for which a failure counts.
        fires={"TransactionsRefusedFast": 660},
    ),
)
