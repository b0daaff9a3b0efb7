"""The running system: requests of its users, and faults."""

import json
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from http import HTTPStatus
from itertools import count
from pathlib import Path
from threading import Event, Thread
from uuid import uuid4

from delivery.control_plane.client import Client, Reference
from delivery.manifests.manifest import Manifest
from repository import REPOSITORY
from tests.runtime.dashboard import Dashboard
from tests.runtime.node.node import Node
from tests.runtime.observer import Observer
from tests.runtime.sync import NAMESPACE, Sync, find, rendered

KINDS: dict[str, str] = {
    manifest["metadata"]["name"]: manifest["kind"]
    for manifest in rendered()
    if manifest["kind"] in {"Deployment", "StatefulSet"}
}
"""The workloads that stay, each with one pod."""
CONTAINERS: list[tuple[str, str]] = [
    (manifest["metadata"]["name"], container["name"])
    for manifest in rendered()
    if manifest["metadata"]["name"] in KINDS and "template" in manifest["spec"]
    for container in manifest["spec"]["template"]["spec"]["containers"]
]
"""Each workload with each of its containers."""
CHECKPOINTS = "flink-checkpoints"
REDIS_DATA = "data-redis-0"
TOPIC_DATA = "data-redpanda-0"
_SEND = """
import sys, kafka
producer = kafka.KafkaProducer(bootstrap_servers="127.0.0.1:9093")
producer.send("transactions", sys.argv[1].encode(), partition=int(sys.argv[2])).get(timeout=60)
"""
FRAUD = 1_000_000.0
"""An amount that the job always scores as fraud."""


class System:
    """dist/dev on a node.

    Args:
        node: Where it runs.
        client: Client of the node's API server.
        sync: Sync that delivered it.
        shown: alert-monitor's dashboard.
        manifests: What was delivered.
    """

    def __init__(
        self,
        node: Node,
        client: Client,
        sync: Sync,
        shown: Dashboard,
        manifests: Sequence[Manifest],
    ) -> None:
        self.node = node
        self._manifests = manifests
        self.first_restarts = {name: restarts(client, name) for name in KINDS}
        """Restarts of each workload until everything was ready."""
        self._client = client
        self._sync = sync
        self._shown = shown
        self._checkpoints = self.volume(CHECKPOINTS)
        self._transactions = f"http://{address(client, 'payment-api')}/transaction"

    def deliver(self, *manifests: Manifest) -> None:
        """Apply manifests; without any, those that were delivered first."""
        self._sync.deliver(manifests or self._manifests)

    def wait_until_ready(self) -> None:
        """Wait until everything is healthy."""
        self._sync.wait_until_healthy(self._manifests)

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition, and fail if it does not hold in time."""
        self._sync.wait(condition, what)

    @contextmanager
    def probed_often(self) -> Iterator[None]:
        """Let the prober probe every few seconds."""
        prober = find("Deployment", "prober")
        [container] = prober["spec"]["template"]["spec"]["containers"]
        for variable in container["env"]:
            if variable["name"] in {"EVERY_SECONDS", "WITHIN_SECONDS"}:
                variable["value"] = "5"
        self.deliver(prober)
        try:
            yield
        finally:
            self.deliver()

    def wait_for_failed_probe(self) -> str:
        """Wait until the prober is not ready, and return the last line of its log."""
        what = "the prober stayed ready"
        self.wait(lambda: not self.is_ready("prober"), what)
        return self.log("prober").splitlines()[-1]

    def post(self, sent: Manifest) -> int:
        """Post a transaction to payment-api's Service; return the status, 0 without an answer.

        May be called by any thread.
        """
        return post(self._transactions, sent)

    def accept(self, sent: Manifest) -> None:
        """Post a transaction until it is accepted."""
        self.wait(lambda: self.post(sent) == HTTPStatus.ACCEPTED, "payment-api did not accept it")

    def send(self, sent: Manifest, *, partition: int) -> None:
        """Write a transaction into a partition of the topic, from the broker's container."""
        command = ("python3", "-c", _SEND, json.dumps(sent), str(partition))
        done = self.node.execute(self.pod("redpanda"), "redpanda", *command, namespace=NAMESPACE)
        assert done.returncode == 0, done.stderr

    def wait_for_alert(self, sent: Manifest) -> Manifest:
        """Wait until alert-monitor shows the alert of a transaction, and return the first one."""
        what = f"alert-monitor showed no alert for {sent['transaction_id']}"
        self.wait(lambda: self._shown.alert(sent) is not None, what)
        alert = self._shown.alert(sent)
        assert alert is not None
        return alert

    def wait_for_detection(self) -> None:
        """Post frauds until one of them is shown; those before it may be skipped."""
        posted: list[Manifest] = []

        def is_shown() -> bool:
            posted.append(transaction("detected"))
            self.post(posted[-1])
            return any(self._shown.alert(each) is not None for each in posted)

        self.wait(is_shown, "no fraud was detected")

    def wait_for_history(self, user: str, *, posted: int) -> int:
        """Wait until all transactions of a user are counted, including those posted here.

        Nothing orders the partitions of the topic, so the job may meet what is new before what was
        posted earlier. A client that got no answer has posted again, so there may be more than was
        posted.

        Returns:
            How many are posted then.
        """
        numbers = count(posted)

        def is_whole() -> bool:
            sent = transaction(user)
            self.accept(sent)
            return bool(self.wait_for_alert(sent)["count"] >= next(numbers))

        self.wait(is_whole, f"a part of {user}'s history is lost")
        return next(numbers)

    def redis(self, *command: str) -> str:
        """Run redis-cli and return its answer; nothing while its container is away."""
        with suppress(KeyError):
            pod = self.pod("redis")
            done = self.node.execute(pod, "redis", "redis-cli", *command, namespace=NAMESPACE)
            return done.stdout.strip()
        return ""

    def are_unseen(self, posted: Iterable[Manifest]) -> bool:
        """Return whether the alerts of all these transactions are still in Redis."""
        unseen = self.redis("LRANGE", "fraud_alerts", "0", "-1")
        return all(each["transaction_id"] in unseen for each in posted)

    def checkpoints(self) -> list[Path]:
        """Return the folders of all complete checkpoints, oldest first."""
        while True:
            # Flink may delete one in the meantime.
            with suppress(FileNotFoundError):
                complete = self._checkpoints.glob("*/chk-*/_metadata")
                by_time = sorted(complete, key=lambda each: each.stat().st_mtime)
                return [each.parent for each in by_time]

    def wait_for_checkpoint(self) -> None:
        """Wait until all that is counted now is in a checkpoint."""
        seen = set(self.checkpoints())
        # The first one may have begun before.
        self.wait(lambda: len(set(self.checkpoints()) - seen) > 1, "no further checkpoints")

    def pod(self, name: str) -> str:
        """Return the name of a workload's one pod."""
        [pod] = pods(self._client, name)
        return str(pod["metadata"]["name"])

    def addresses(self) -> dict[str, str]:
        """Return the address of each workload's one pod."""
        return {name: pods(self._client, name)[0]["status"]["podIP"] for name in KINDS}

    def container(self, workload: str, name: str) -> str:
        """Return the id of a workload's running container."""
        return self.node.containers(self.pod(workload), namespace=NAMESPACE)[name]

    @contextmanager
    def observed(self, note: Callable[[list[str]], None]) -> Iterator[None]:
        """Post frauds meanwhile, and note what users noticed."""
        user = f"observer-{uuid4()}"
        with closing(Observer(lambda: transaction(user), self.post, self._shown)) as observer:
            yield
            known = len(observer.accepted)
            self.wait(lambda: len(observer.accepted) > known, "no transaction was accepted")
        self.wait(observer.is_finished, "the last fraud was not shown")
        note(observer.noticed())

    def is_ready(self, name: str) -> bool:
        """Return whether the one pod of a workload is ready."""
        return _is_ready(pods(self._client, name)[0])

    def log(self, name: str, container: str = "") -> str:
        """Return the log of a container; without its name, of the one with the workload's."""
        return self.node.log(self.pod(name), container or name, namespace=NAMESPACE)

    def follow(self, script: str) -> None:
        """Run commands of a document until they succeed."""
        self.wait(
            lambda: self.node.shell(script).returncode == 0,
            f"these commands did not succeed:\n{script}",
        )

    def lose_checkpoints(self) -> None:
        """Empty the checkpoint volume."""
        with self.without("flink-jobmanager"):
            for each in self._checkpoints.glob("*/chk-*"):
                shutil.rmtree(each)

    def volume(self, claim: str) -> Path:
        """Return the folder behind a claim."""
        return self.node.volume(claim, namespace=NAMESPACE)

    @contextmanager
    def small_volume(self, workload: str, claim: str) -> Iterator[Path]:
        """Give a workload a volume that is easily filled."""
        with ExitStack() as stack:
            with self.without(workload):
                volume = stack.enter_context(self.node.small_volume(claim, namespace=NAMESPACE))
            yield volume
            with self.without(workload):
                stack.close()

    def drain(self, node: str) -> None:
        """Empty a node as an upgrade does, and give it back."""
        try:
            drained = self.node.shell(f"kubectl drain {node} --delete-emptydir-data --timeout=5m")
            assert drained.returncode == 0, drained.stdout
        finally:
            self.node.shell(f"kubectl uncordon {node}").check_returncode()

    def delete_pod(self, name: str) -> None:
        """Delete the one pod of a workload, and wait until it is gone."""
        [before] = pods(self._client, name)
        self._client.delete(Reference("v1", "Pod", before["metadata"]["name"], NAMESPACE))
        self.wait(
            lambda: before["metadata"]["uid"] not in self._all_pods(name), f"{name} did not go"
        )

    def kill(self, workload: str, name: str) -> None:
        """Kill a container of a workload's one pod, and wait for the restart."""
        before = restarts(self._client, workload)
        self.node.kill(self.container(workload, name))
        self.wait(lambda: restarts(self._client, workload) > before, f"{name} was not restarted")

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """Scale a workload to zero, and back to one afterwards."""
        self._scale(name, 0)
        try:
            yield
        finally:
            self._scale(name, 1)

    def roll(self, name: str) -> None:
        """Replace the pods of a workload as a release does; wait until the old ones are gone."""
        template = {"metadata": {"annotations": {"test/rolled": str(uuid4())}}}
        before = self._all_pods(name)
        self._client.merge(_workload(name), {"spec": {"template": template}})
        self.wait(lambda: not before & self._all_pods(name), f"{name} was not rolled")

    def _scale(self, name: str, replicas: int) -> None:
        """Scale a workload, and wait until the other pods are gone."""
        self._client.merge(_workload(name), {"spec": {"replicas": replicas}})
        self.wait(lambda: len(self._all_pods(name)) == replicas, f"{name} was not scaled")

    def _all_pods(self, name: str) -> set[str]:
        """Return the uids of a workload's pods, terminating ones included."""
        return {pod["metadata"]["uid"] for pod in pods(self._client, name, leaving=True)}


@contextmanager
def delivered(node: Node, manifests: Sequence[Manifest]) -> Iterator[System]:
    """Deliver an environment in dev's namespace to an empty node.

    Raises:
        StartError: If it does not become healthy.
    """
    with closing(node.server.client()) as client:
        sync = Sync(node, client)
        sync.make_namespace()
        sync.deliver(manifests)
        with closing(Dashboard(f"ws://{address(client, 'alert-monitor')}/ws")) as shown:
            system = System(node, client, sync, shown, manifests)
            # Without one a restarted job reads only new transactions.
            system.wait(lambda: bool(system.checkpoints()), "there was no checkpoint")
            yield system


@contextmanager
def filled(volume: Path) -> Iterator[None]:
    """Leave no room on a volume meanwhile, also where its owner makes some."""
    done = Event()
    filler = volume / "filler"
    with filler.open("wb", buffering=0) as file:

        def fill() -> None:
            with suppress(OSError):
                while True:
                    file.write(bytes(1024))

        def stay_full() -> None:
            while not done.wait(0.1):
                fill()

        fill()
        thread = Thread(target=stay_full)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            filler.unlink()


def commands(document: str, heading: str = "# ") -> list[str]:
    """Return the blocks of commands in a document below docs/, or in one section of it."""
    text = (REPOSITORY / "docs" / document).read_text(encoding="utf-8")
    _, _, section = text.partition(heading)
    return re.findall(r"```(?:sh)?\n(.*?)```", section.split("\n## ")[0], re.DOTALL)


def post(url: str, sent: Manifest) -> int:
    """Post a transaction and return the status, 0 without an answer."""
    request = urllib.request.Request(  # noqa: S310 - always http
        url, json.dumps(sent).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - always http
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


def transaction(user: str, amount: float = FRAUD) -> Manifest:
    """Return a new transaction."""
    return {
        "transaction_id": str(uuid4()),
        "user_id": user,
        "card_number": "0000-0000-0000-0000",
        "amount": amount,
        "timestamp": "2026-01-01T00:00:00+00:00",
        "merchant_id": "test",
        "location": "test",
    }


def pods(client: Client, name: str, *, leaving: bool = False) -> list[Manifest]:
    """Return the pods of a workload.

    Args:
        client: Client of the API server.
        name: Name of the workload.
        leaving: Whether terminating pods count.
    """
    label = f"app.kubernetes.io/name={name}"
    found = client.list("v1", "Pod", namespace=NAMESPACE, labels=label)
    return [pod for pod in found if leaving or "deletionTimestamp" not in pod["metadata"]]


def _is_ready(pod: Manifest) -> bool:
    """Return whether a pod's readiness probes succeed."""
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in pod["status"].get("conditions", [])
    )


def restarts(client: Client, name: str) -> int:
    """Return how often the containers of a workload's one pod were restarted."""
    statuses = [s for pod in pods(client, name) for s in pod["status"]["containerStatuses"]]
    return sum(status["restartCount"] for status in statuses)


def address(client: Client, service: str) -> str:
    """Return the address and first port of a Service."""
    spec = client.get(Reference("v1", "Service", service, NAMESPACE))["spec"]
    return f"{spec['clusterIP']}:{spec['ports'][0]['port']}"


def _workload(name: str) -> Reference:
    return Reference("apps/v1", KINDS[name], name, NAMESPACE)
