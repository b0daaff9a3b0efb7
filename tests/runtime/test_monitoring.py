"""Each alert, raised by its fault: dev with monitoring on, and a real Prometheus and Alertmanager.

Prometheus runs in a pod, so that the policies decide what it scrapes. It starts anew for each
fault, with six hours without one behind it. Alerts whose fault must last for ten minutes or more
are also evaluated with one minute instead; no other duration is changed.
"""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from threading import Event, Thread

import pytest

import promtool
from delivery.control_plane.client import Reference
from delivery.control_plane.programs import start, wait_until
from repository import REPOSITORY
from tests.runtime import monitoring
from tests.runtime.faults import FAULTS, Fault
from tests.runtime.images.build import build_monitoring
from tests.runtime.monitoring import IMAGE, WATCHER
from tests.runtime.node.build import build_kube_state_metrics
from tests.runtime.observer import NOTICED
from tests.runtime.prometheus import KUBE_STATE_METRICS, Page, Prometheus, watching
from tests.runtime.sync import NAMESPACE
from tests.runtime.system import System, commands, transaction

pytestmark = pytest.mark.alerts

CALM_SECONDS = 3600
ROLLED = ("payment-api", "alert-monitor", "flink-jobmanager")
UNTRIED = ("-n argocd", "top pods", "rpk cluster health")
"""Commands of the runbooks that need what the node lacks: Argo CD, metrics-server, Redpanda."""
ELSEWHERE = ("ALERTS", "argocd_")
"""Series of a program that the node lacks, and of Prometheus itself."""
SCALED = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "payment-api", "namespace": NAMESPACE},
    "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "payment-api"},
        "maxReplicas": 1,
    },
}
"""dev has no autoscaler of its own."""
SLACK_SECONDS = 90
"""Beyond an alert's own time: scrapes, evaluations, and the way through Alertmanager."""
END_SECONDS = 900
"""A restart loop is over when it is ten minutes ago."""


@pytest.fixture(scope="module")
def monitored(whole_system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Switch monitoring on."""
    node = whole_system.node
    node.import_image(build_monitoring(sys.stderr, IMAGE.reference).archive)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": WATCHER.namespace}}
    with closing(node.server.client()) as client:
        client.create(namespace)
    host, _, port = KUBE_STATE_METRICS.partition(":")
    kube_state_metrics = node.inside(
        build_kube_state_metrics(sys.stderr),
        f"--kubeconfig={node.server.kubeconfig}",
        *(f"--host={host}", f"--port={port}", "--telemetry-host=127.0.0.1"),
    )
    with ExitStack() as stack:
        start(stack, kube_state_metrics, logs=tmp_path_factory.mktemp("kube-state-metrics"))
        whole_system.deliver(*monitoring.applied())
        yield whole_system
    whole_system.deliver()


@contextmanager
def load(system: System) -> Iterator[None]:
    """Post a harmless transaction a second meanwhile."""
    done = Event()

    def post() -> None:
        for number in count():
            if done.wait(1):
                return
            system.post(transaction(f"user-{number % 50}", 1.0))

    client = Thread(target=post)
    client.start()
    try:
        yield
    finally:
        done.set()
        client.join()


@contextmanager
def watched(system: System) -> Iterator[Prometheus]:
    """Start a Prometheus that has seen no fault; `make picture` wants what it saw."""
    system.wait_until_ready()
    started = time.time()
    with watching(system.node) as running:
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


@pytest.fixture
def prometheus(monitored: System) -> Iterator[Prometheus]:
    """A Prometheus that has seen no fault."""
    with watched(monitored) as running:
        yield running


RUNBOOKS = dict.fromkeys(
    line
    for page in sorted((REPOSITORY / "docs" / "runbooks").glob("*.md"))
    if page.stem != "poison-message"
    for block in commands(f"runbooks/{page.name}")
    for line in block.splitlines()
    if not any(each in line for each in UNTRIED)
)
"""The commands of the runbooks, each once."""


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

    with closing(monitored.node.server.client()) as client:
        client.create(SCALED)
        try:
            for name in used.keys() - recorded:
                if not name.startswith(ELSEWHERE):
                    # Some exist from the first checkpoint on.
                    wait(monitored, partial(exists, name), 300, f"there is no {name}")
                    assert used[name] <= found(name), name
        finally:
            client.delete(Reference.of(SCALED))


@pytest.mark.parametrize("command", RUNBOOKS)
def test_a_command_of_a_runbook_works(monitored: System, command: str) -> None:
    """It is typed by somebody who was just woken; those about poison are tried by its fault."""
    done = monitored.node.shell(command)
    assert done.returncode == 0, done.stdout


def test_ordinary_load_and_rollouts_raise_nothing(
    monitored: System, prometheus: Prometheus
) -> None:
    """Whoever is woken for nothing looks less closely the next time."""
    with load(monitored):
        for workload in ROLLED:
            time.sleep(CALM_SECONDS / len(ROLLED))
            monitored.roll(workload)
            monitored.wait_until_ready()
    assert raised(prometheus) == set()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_raises_its_alerts_alone(
    monitored: System, fault: Fault, record_property: Callable[[str, object], None]
) -> None:
    """Each in time, with what it is about; what else fires is in the runbook; all of it ends."""
    with fault.prepare(monitored), watched(monitored) as prometheus, load(monitored):

        def pages() -> dict[str, Page]:
            return {
                name: page
                for page in prometheus.receiver.pages
                for name in [page.labels["alertname"]]
                if name in fault.fires and fault.labels.get(name, {}).items() <= page.labels.items()
            }

        def is_raised(alert: str) -> bool:
            return alert in pages()

        def is_over() -> bool:
            return all(page.ended is not None for page in pages().values())

        with fault.make(monitored):
            made = time.monotonic()
            for alert, seconds in fault.fires.items():
                left = made + seconds + SLACK_SECONDS - time.monotonic()
                wait(monitored, partial(is_raised, alert), left, f"{alert} did not fire")
        repaired = time.monotonic()
        wait(monitored, is_over, END_SECONDS, f"some of {sorted(fault.fires)} did not end")
        others = raised(prometheus) - fault.fires.keys()
        for alert, page in pages().items():
            ended = (page.ended or repaired) - repaired
            record_property(
                NOTICED, f"{alert} after {page.fired - made:.0f} s, ended after {ended:.0f} s"
            )
        record_property(NOTICED, f"also {', '.join(sorted(others)) or 'nothing'}")
        assert others <= {each for alert in fault.fires for each in consequences(alert)}
