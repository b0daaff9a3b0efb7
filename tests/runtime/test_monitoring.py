"""Each alert, raised by its fault: dev with monitoring on, and a real Prometheus and Alertmanager.

Prometheus runs in a pod, so that the policies decide what it scrapes. It starts anew for each
fault, with six hours without one behind it. Alerts whose fault must last for ten minutes or more
are also evaluated with one minute instead; no other duration is changed.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from threading import Event, Thread

import pytest

import promtool
from delivery.control_plane.programs import wait_until
from delivery.manifests.manifest import Manifest
from repository import REPOSITORY
from tests.runtime import monitoring
from tests.runtime.images.build import build_monitoring
from tests.runtime.monitoring import IMAGE, WATCHER
from tests.runtime.observer import NOTICED
from tests.runtime.prometheus import Page, Prometheus, watching
from tests.runtime.sync import MANAGER, NAMESPACE, find
from tests.runtime.system import CHECKPOINTS, System, commands, transaction

pytestmark = [pytest.mark.alerts, pytest.mark.xdist_group("monitoring")]

CALM_SECONDS = 600
ROLLED = ("payment-api", "alert-monitor", "flink-jobmanager")
PRODUCER = """
import json, time, kafka
producer = kafka.KafkaProducer(bootstrap_servers="127.0.0.1:9093")
sent = json.dumps({
    "transaction_id": "x", "user_id": "busy", "card_number": "0", "amount": 1.0,
    "timestamp": "2026-01-01T00:00:00+00:00", "merchant_id": "m", "location": "l",
}).encode()
for _ in range(480):
    for _ in range(50):
        producer.send("transactions", sent)
    producer.flush()
    time.sleep(1)
"""
"""Runs in the broker's container: 50 transactions a second, for 8 minutes."""
UNTRIED = ("-n argocd", "top pods", "rpk cluster health")
"""Commands of the runbooks that need what the node lacks: Argo CD, metrics-server, Redpanda."""
ELSEWHERE = ("ALERTS", "argocd_", "kube_")
"""Series of programs that the node lacks, and of Prometheus itself."""
SLACK_SECONDS = 90
"""Beyond an alert's own time: scrapes, evaluations, and the way through Alertmanager."""
END_SECONDS = 900
"""A restart loop is over when it is ten minutes ago."""


@pytest.fixture(scope="module")
def monitored(whole_system: System) -> Iterator[System]:
    """Switch monitoring on."""
    whole_system.node.import_image(build_monitoring(sys.stderr, IMAGE.reference).archive)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": WATCHER.namespace}}
    with closing(whole_system.node.server.client()) as client:
        client.create(namespace)
    whole_system.deliver(*monitoring.applied())
    yield whole_system
    whole_system.deliver()


@pytest.fixture
def prometheus(monitored: System) -> Iterator[Prometheus]:
    """Start a Prometheus that has seen no fault; `make picture` wants what it saw."""
    monitored.wait_until_ready()
    started = time.time()
    with watching(monitored.node) as running:
        yield running
        if path := os.environ.get("CURVES"):
            recorded = {
                "dashboard": promtool.dashboard(monitoring.MONITORED),
                "curves": {
                    use: running.curve(expression, start=started, end=time.time(), step=15)
                    for use, expression in monitoring.panels().items()
                },
            }
            Path(path).write_text(json.dumps(recorded), encoding="utf-8")


Make = Callable[[System], AbstractContextManager[object]]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault, and the alerts that it must raise.

    Attributes:
        name: What happens.
        make: Makes it, and repairs it in the end.
        fires: Seconds after which each alert fires at the latest, by its name.
        labels: Labels of alerts, by their names.
    """

    name: str
    make: Make
    fires: Mapping[str, int]
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def manifest(kind: str, name: str) -> Manifest:
    """Return an object of dev with monitoring on."""
    [found] = [
        each
        for each in monitoring.applied()
        if (each["kind"], each["metadata"]["name"]) == (kind, name)
    ]
    return found


def missing(workload: str) -> Make:
    """Return a fault: a workload has no pod."""
    return lambda system: system.without(workload)


def full(workload: str, claim: str) -> Make:
    """Return a fault: no room on a workload's volume."""

    @contextmanager
    def make(system: System) -> Iterator[None]:
        with system.small_volume(workload, claim) as volume:
            system.wait_until_ready()
            filler = volume / "filler"
            subprocess.run(["dd", "if=/dev/zero", f"of={filler}"], check=False, capture_output=True)
            try:
                yield
            finally:
                filler.unlink()

    return make


@contextmanager
def full_redis_memory(system: System) -> Iterator[None]:
    """Fill Redis up to nine tenths of its limit."""
    maximum = int(system.redis("CONFIG", "GET", "maxmemory").split()[1])
    system.redis("SETRANGE", "filler", str(int(maximum * 0.9)), "x")
    try:
        yield
    finally:
        system.redis("DEL", "filler")


@contextmanager
def poison(system: System) -> Iterator[None]:
    """Post what the job cannot read; the runbook's commands repair it."""
    system.wait_for_checkpoint()
    system.accept({**transaction("poisoner"), "amount": float("inf")})
    yield
    for script in commands("runbooks/poison-message.md"):
        system.follow(script)
    system.wait_for_detection()


@contextmanager
def wrong_probes(system: System) -> Iterator[None]:
    """Release an alert-monitor that is asked for a page which it lacks."""
    good = manifest("Deployment", "alert-monitor")
    bad = manifest("Deployment", "alert-monitor")
    [container] = bad["spec"]["template"]["spec"]["containers"]
    for probe in ("readinessProbe", "livenessProbe"):
        container[probe]["httpGet"]["path"] = "/missing"
    with closing(system.node.server.client()) as client:
        client.apply(bad, field_manager=MANAGER)
        yield
    system.deliver(good)


@contextmanager
def blocked(system: System) -> Iterator[None]:
    """Take Prometheus's way to the prober."""
    system.deliver(find("NetworkPolicy", "prober"))
    yield
    system.deliver(manifest("NetworkPolicy", "prober"))


@contextmanager
def stuck(system: System) -> Iterator[None]:
    """Stop Flink's Python while transactions arrive."""
    pod = system.pod("flink-jobmanager")

    def send(signal: str) -> None:
        script = (
            "for each in /proc/[0-9]*; do grep -qs pyflink.fn_execution $each/cmdline && "
            f"kill -{signal} ${{each#/proc/}}; done; true"
        )
        system.node.execute(pod, "taskmanager", "bash", "-c", script, namespace=NAMESPACE)

    send("STOP")
    producer = Thread(
        target=system.node.execute,
        args=[system.pod("redpanda"), "redpanda", "python3", "-c", PRODUCER],
        kwargs={"namespace": NAMESPACE},
    )
    producer.start()
    yield
    producer.join()
    send("CONT")


RUNBOOKS = [
    line
    for page in sorted((REPOSITORY / "docs" / "runbooks").glob("*.md"))
    if page.stem != "poison-message"
    for block in commands(f"runbooks/{page.name}")
    for line in block.splitlines()
    if not any(each in line for each in UNTRIED)
]
FAULTS: Sequence[Fault] = (
    Fault(
        name="blocked Prometheus",
        make=blocked,
        fires={"MetricsMissing": 60},
        labels={"MetricsMissing": {"container": "prober"}},
    ),
    Fault(name="no Redis", make=missing("redis"), fires={"RedisDown": 120}),
    Fault(
        name="no Flink",
        make=missing("flink-jobmanager"),
        fires={"JobNotRunning": 180, "DetectionStopped": 300, "CheckpointTooOld": 420},
    ),
    Fault(name="no prober", make=missing("prober"), fires={"DetectionUnknown": 300}),
    Fault(name="no broker", make=missing("redpanda"), fires={"BrokerMissing": 300}),
    Fault(name="a full Redis", make=full_redis_memory, fires={"RedisMemoryNearlyFull": 300}),
    Fault(
        name="no room for Redis",
        make=full("redis", "data-redis-0"),
        fires={"RedisCannotPersist": 60},
    ),
    Fault(
        name="no room for checkpoints",
        make=full("flink-jobmanager", CHECKPOINTS),
        fires={"VolumeFull": 180, "CheckpointTooOld": 420},
        labels={"VolumeFull": {"persistentvolumeclaim": CHECKPOINTS}},
    ),
    Fault(
        name="wrong probes",
        make=wrong_probes,
        fires={"ProbesFail": 180},
        labels={"ProbesFail": {"container": "alert-monitor"}},
    ),
    Fault(
        name="no payment-api",
        make=missing("payment-api"),
        # 14.4 % of an hour, and the two minutes for which a failure counts.
        fires={"TransactionsRefusedFast": 660},
    ),
    Fault(name="a stuck job", make=stuck, fires={"DetectionFallsBehind": 420}),
    Fault(name="a poison message", make=poison, fires={"JobRestartLoop": 300}),
)


def consequences(alert: str) -> set[str]:
    """Return the alerts that a runbook says may follow from an alert."""
    pages = (REPOSITORY / "docs" / "runbooks").glob("*.md")
    for page in pages:
        text = page.read_text(encoding="utf-8")
        _, _, rest = text.partition("**What follows.**")
        if f"`{alert}`" in text.splitlines()[2]:
            return set(re.findall(r"`([A-Z]\w+)`", rest.split("\n\n")[0]))
    return set()


def raised(prometheus: Prometheus) -> set[str]:
    """Return the alerts so far, without those of the hurried rules."""
    return {
        page.labels["alertname"]
        for page in prometheus.receiver.pages
        if monitoring.HURRIED not in page.labels
    }


def wait(system: System, condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for a condition."""
    wait_until(condition, programs=system.node.programs, seconds=seconds, what=what, pause=1)


def test_every_metric_and_label_is_real(monitored: System, prometheus: Prometheus) -> None:
    """The fast tests believe recorded scrapes; a new version may have renamed something."""
    recorded = {rule["record"] for rule in monitoring.rules() if "record" in rule}
    used: dict[str, set[str]] = {}
    for expression in promtool.expressions(monitoring.MONITORED).values():
        for name, labels in promtool.selectors(expression):
            used.setdefault(name, set()).update(labels)

    def found(name: str) -> set[str]:
        return {label for each in prometheus.query(name) for label in each["metric"]}

    def exists(name: str) -> bool:
        return bool(found(name))

    for name in used.keys() - recorded:
        if not name.startswith(ELSEWHERE):
            # Some exist from the first checkpoint on.
            wait(monitored, partial(exists, name), 300, f"there is no {name}")
            assert used[name] <= found(name), name


@pytest.mark.parametrize("command", RUNBOOKS)
def test_a_command_of_a_runbook_works(monitored: System, command: str) -> None:
    """It is typed by somebody who was just woken; those about poison are tried by its fault."""
    done = monitored.node.shell(command)
    assert done.returncode == 0, done.stdout


def test_ordinary_load_and_rollouts_raise_nothing(
    monitored: System, prometheus: Prometheus
) -> None:
    """Whoever is woken for nothing looks less closely the next time."""
    done = Event()

    def post() -> None:
        numbers = count()
        while not done.wait(1):
            monitored.post(transaction(f"user-{next(numbers) % 50}", 1.0))

    client = Thread(target=post)
    client.start()
    try:
        for workload in ROLLED:
            time.sleep(CALM_SECONDS / len(ROLLED))
            monitored.roll(workload)
            monitored.wait_until_ready()
    finally:
        done.set()
        client.join()
    assert raised(prometheus) == set()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_raises_its_alerts_alone(
    monitored: System,
    prometheus: Prometheus,
    fault: Fault,
    record_property: Callable[[str, object], None],
) -> None:
    """Each in time, with what it is about; what else fires is in the runbook; all of it ends."""

    def pages() -> dict[str, Page]:
        return {
            name: page
            for page in prometheus.receiver.pages
            for name in [page.labels["alertname"]]
            if name in fault.fires and fault.labels.get(name, {}).items() <= page.labels.items()
        }

    def fires(alert: str) -> bool:
        return alert in pages()

    with fault.make(monitored):
        made = time.monotonic()
        for alert, seconds in fault.fires.items():
            limit = made + seconds + SLACK_SECONDS - time.monotonic()
            wait(monitored, partial(fires, alert), limit, f"{alert} did not fire")
    repaired = time.monotonic()
    wait(
        monitored,
        lambda: all(pages()[alert].ended is not None for alert in fault.fires),
        END_SECONDS,
        f"of {sorted(fault.fires)} some did not end",
    )
    allowed = {*fault.fires, *(each for alert in fault.fires for each in consequences(alert))}
    others = raised(prometheus)
    for alert in fault.fires:
        page = pages()[alert]
        record_property(
            NOTICED,
            f"{alert} fired after {page.fired - made:.0f} s, ended after "
            f"{(page.ended or 0) - repaired:.0f} s; also {sorted(others - fault.fires.keys())}",
        )
    assert others <= allowed
