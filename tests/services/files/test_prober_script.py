"""The prober is ready only while its own frauds raise alerts on an open connection, in time."""

import json
import re
import runpy
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime, timedelta
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread, Timer
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from repository import SERVICE_FILES
from serving import serving

pytestmark = pytest.mark.slow

SCRIPT = SERVICE_FILES / "prober/prober.py"
BOOT = """
import json, sys, types
module = types.ModuleType("prober")
exec(compile(open(sys.argv[1]).read(), sys.argv[1], "exec"), vars(module))
vars(module).update(json.loads(sys.argv[2]))
module.main()
"""
SECONDS = 60
"""Limit of every wait, for slow machines."""

Transaction = dict[str, Any]


def wait(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition."""
    give_up_at = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < give_up_at, what
        time.sleep(0.02)


def alert(transaction: Transaction) -> str:
    """Return the message that alert-monitor sends for a transaction."""
    return json.dumps({**transaction, "is_fraud": "True", "received_at": "2025-01-01T00:00:00"})


class System:
    """payment-api and alert-monitor, with a function of the test in place of the detector."""

    def __init__(self) -> None:
        self.posted: list[Transaction] = []
        self.status = 202
        self.history: list[str] = []
        self.detect: Callable[[Transaction], None] = self.show
        self.replay: Callable[[ServerConnection], None] = self.replay_history
        self.is_live = True  # whether an open connection gets new alerts
        self.end: Callable[[BaseHTTPRequestHandler], object] = lambda _: None
        self.codes: list[int | None] = []  # how each connection was closed
        self._open: list[ServerConnection] = []
        self._lock = Lock()

    def show(self, transaction: Transaction) -> None:
        """Keep the alert for later connections, and send it to the open ones."""
        with self._lock:
            self.history.append(alert(transaction))
            for connection in self._open if self.is_live else ():
                with suppress(ConnectionClosed):  # it may just be leaving
                    connection.send(self.history[-1])

    def replay_history(self, connection: ServerConnection) -> None:
        """Send the latest alerts."""
        for message in self.history[-100:]:
            connection.send(message)

    def watch(self, connection: ServerConnection) -> None:
        """Serve a WebSocket as alert-monitor does: replay, then wait for its end."""
        with suppress(ConnectionClosed):
            with self._lock:
                self._open.append(connection)
                self.replay(connection)
            for _ in connection:
                pass
        with self._lock:
            self._open.remove(connection)
            self.codes.append(connection.close_code)


class PaymentApi(ThreadingHTTPServer):
    """The HTTP side of a system."""

    def __init__(self, system: System) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.system = system

    def handle_error(self, *_args: object) -> None:
        """Ignore a client that gave up."""


class _Handler(BaseHTTPRequestHandler):
    server: PaymentApi

    def do_POST(self) -> None:
        assert self.path == "/transaction"
        assert self.headers["Content-Type"] == "application/json"
        system = self.server.system
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if system.status < 300:
            system.posted.append(json.loads(body))
            system.detect(system.posted[-1])
        system.end(self)
        self.send_response(system.status)
        self.end_headers()
        self.wfile.write(b'{"detail": "Kafka producer is not connected."}')

    def log_message(self, *_args: object) -> None:
        """Log nothing."""


class Prober:
    """The script as a process, with the addresses of a system."""

    def __init__(self, system: System, payment_api: str, alert_monitor: str) -> None:
        self.system = system
        self.payment_api = payment_api
        self.alert_monitor = alert_monitor
        self.lines: list[str] = []
        self._port = 0

    @contextmanager
    def run(
        self, *, within: float = 20, every: float = 0.05, **constants: float
    ) -> Iterator["subprocess.Popen[str]"]:
        """Run the script, with constants that suit a test."""
        quick = {"QUIET_SECONDS": 0.1, **constants}
        with subprocess.Popen(
            [sys.executable, "-c", BOOT, str(SCRIPT), json.dumps(quick)],
            env={
                "PAYMENT_API": self.payment_api,
                "ALERT_MONITOR": self.alert_monitor,
                "EVERY_SECONDS": str(every),
                "WITHIN_SECONDS": str(within),
                "PORT": "0",
            },
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            reader = Thread(target=self._read, args=[process])
            reader.start()
            try:
                wait(lambda: self._port, "the prober does not serve")
                yield process
            finally:
                process.kill()
                reader.join()

    def get(self, path: str) -> tuple[int, str]:
        """Return the status and the body of the prober's answer."""
        with closing(HTTPConnection("127.0.0.1", self._port, timeout=20)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def is_ready(self) -> bool:
        """Return whether the readiness probe succeeds."""
        return self.get("/ready")[0] == 200

    def metric(self, name: str) -> float:
        """Return the value of a series."""
        [value] = re.findall(rf"^{re.escape(name)} (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        return float(value)

    def failures(self, step: str) -> float:
        """Return how many probes have failed at a step."""
        return self.metric(f'fraud_prober_failures_total{{step="{step}"}}')

    def wait_for_failure(self, step: str) -> str:
        """Wait until a probe fails at a step, and return what it logs; no other step may fail."""
        wait(lambda: self.failures(step) or self.is_ready(), f"no probe failed at {step}")
        assert not self.is_ready()
        start = f"The probe failed: {step}: "
        wait(lambda: any(line.startswith(start) for line in self.lines), "it was not logged")
        return next(line for line in self.lines if line.startswith(start))

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.append(line)
            if match := re.match(r"Serving on port (\d+)", line):
                self._port = int(match[1])


@pytest.fixture
def system() -> System:
    """Everything works."""
    return System()


@pytest.fixture
def prober(system: System) -> Iterator[Prober]:
    """The script, ready to probe the running system."""
    with ExitStack() as stack:
        payment_api = stack.enter_context(PaymentApi(system))
        stack.enter_context(serving(payment_api))
        alert_monitor = stack.enter_context(serve(system.watch, "127.0.0.1", 0))
        thread = Thread(target=alert_monitor.serve_forever)
        thread.start()
        yield Prober(
            system,
            f"127.0.0.1:{payment_api.server_port}",
            f"127.0.0.1:{alert_monitor.socket.getsockname()[1]}",
        )
        alert_monitor.shutdown()
        thread.join()


@pytest.fixture
def silent() -> Iterator[str]:
    """An address as host:port that accepts connections and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def unreachable() -> Iterator[str]:
    """An address as host:port where nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def ignore(_transaction: Transaction) -> None:
    """Detect nothing."""


def test_it_is_ready_once_an_alert_has_come(prober: Prober) -> None:
    """The whole chain works."""
    with prober.run():
        wait(prober.is_ready, "it did not become ready")
        assert prober.metric("fraud_prober_alert_delay_seconds_count") >= 1
        last = prober.metric("fraud_prober_last_success_timestamp_seconds")
    assert abs(last - time.time()) < SECONDS


def test_it_is_not_ready_before_the_first_alert(system: System, prober: Prober) -> None:
    """A new pod must not report a broken chain as healthy."""
    system.detect = ignore
    with prober.run():
        wait(lambda: system.posted, "nothing was posted")
        assert not prober.is_ready()


def test_a_replayed_alert_does_not_count(system: System, prober: Prober) -> None:
    """With uvicorn 0.48 open dashboards got nothing more, and the smoke test passed."""
    system.is_live = False
    with prober.run(within=0.3):
        assert "TimeoutError" in prober.wait_for_failure("alert")
        wait(lambda: prober.failures("alert") >= 3, "it stopped probing")
        assert len(system.history) >= 2
        assert not prober.is_ready()


def test_an_alert_within_a_replay_that_is_not_over_does_not_count(
    system: System, prober: Prober
) -> None:
    """alert-monitor walks its live list: an alert that comes meanwhile is part of the replay."""
    system.history = [alert({"transaction_id": str(n)}) for n in range(5)]
    sent: list[int] = []

    def replay(connection: ServerConnection) -> None:
        for message in system.history[:5]:
            time.sleep(0.05)
            connection.send(message)
        sent.append(len(system.posted))

    system.replay = replay
    with prober.run(QUIET_SECONDS=2):
        wait(prober.is_ready, "it did not become ready")
    assert sent[0] == 0


def test_alerts_of_others_that_never_pause_do_not_hold_it_up(
    system: System, prober: Prober
) -> None:
    """The replay is over after a hundred alerts at the latest."""

    def replay(connection: ServerConnection) -> None:
        def flood() -> None:
            with suppress(ConnectionClosed):
                while True:
                    connection.send(alert({"transaction_id": "of-another"}))
                    time.sleep(0.005)

        Thread(target=flood, daemon=True).start()

    system.replay = replay
    with prober.run(QUIET_SECONDS=30):
        wait(prober.is_ready, "it did not become ready")


def test_a_late_alert_does_not_count(system: System, prober: Prober) -> None:
    """Detection that takes minutes is broken, too."""
    system.detect = lambda transaction: Timer(1, system.show, [transaction]).start()
    with prober.run(within=0.2):
        prober.wait_for_failure("alert")
        wait(lambda: len(system.history) >= 2, "no alert came late")
        assert not prober.is_ready()


def test_alerts_of_others_do_not_stretch_the_limit() -> None:
    """While they keep coming, waiting for the next one never times out."""

    class Flood:
        def recv(self, *, timeout: float) -> str:  # noqa: ARG002 - it never has to wait
            return alert({"transaction_id": "of-another"})

    script = runpy.run_path(str(SCRIPT))
    with pytest.raises(TimeoutError):
        script["await_alert"](Flood(), "its-own", time.monotonic() + 0.05)


def test_alerts_of_others_do_not_count(system: System, prober: Prober) -> None:
    """Another user's fraud says nothing about this one."""
    system.detect = lambda transaction: system.show({**transaction, "transaction_id": "other"})
    with prober.run(within=0.3):
        prober.wait_for_failure("alert")


def test_it_becomes_unready_and_ready_again(system: System, prober: Prober) -> None:
    """Argo CD's health follows the chain, without anybody's help."""
    with prober.run(within=0.5):
        wait(prober.is_ready, "it did not become ready")
        system.detect = ignore
        wait(lambda: not prober.is_ready(), "it stayed ready")
        system.detect = system.show
        wait(prober.is_ready, "it did not become ready again")


def test_one_failed_probe_is_no_outage(system: System, prober: Prober) -> None:
    """A single lost packet must not make an environment unhealthy."""
    with prober.run(every=0.5):
        wait(prober.is_ready, "it did not become ready")
        system.status = 503
        wait(lambda: prober.failures("post") >= 1, "no probe failed")
        assert prober.is_ready()


def test_a_refused_transaction_is_named(system: System, prober: Prober) -> None:
    """After an outage payment-api may answer 503 for ever, with all its probes green."""
    system.status = 503
    with prober.run():
        line = prober.wait_for_failure("post")
    assert "answered 503" in line
    assert "Kafka producer is not connected." in line


def test_a_payment_api_that_does_not_answer_is_named(system: System, prober: Prober) -> None:
    """While the broker is down it holds every request."""
    release = Event()
    system.end = lambda _: release.wait(SECONDS)
    try:
        with prober.run(REQUEST_SECONDS=0.5):
            prober.wait_for_failure("post")
    finally:
        release.set()


def test_an_answer_that_never_ends_is_given_up(system: System, prober: Prober) -> None:
    """A byte now and then keeps every limit of a single read from passing."""
    release = Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        with suppress(OSError):
            while not release.wait(0.05):
                handler.wfile.write(b"H")
                handler.wfile.flush()

    system.end = drip
    try:
        with prober.run(within=0.5, REPLAYED=1, REQUEST_SECONDS=0.5):
            prober.wait_for_failure("post")
    finally:
        release.set()


def test_a_dashboard_that_is_down_is_named(prober: Prober, unreachable: str) -> None:
    """Nothing is posted if nobody could see the alert."""
    prober.alert_monitor = unreachable
    with prober.run():
        prober.wait_for_failure("connect")
    assert prober.system.posted == []


def test_a_dashboard_that_never_answers_is_named(prober: Prober, silent: str) -> None:
    """A half-open connection must not hold the prober for ever."""
    prober.alert_monitor = silent
    with prober.run(REQUEST_SECONDS=0.3):
        prober.wait_for_failure("connect")
        wait(lambda: prober.failures("connect") >= 2, "it stopped probing")


def test_a_payment_api_that_is_down_is_named(prober: Prober, unreachable: str) -> None:
    """It is the first link of the chain."""
    prober.payment_api = unreachable
    with prober.run():
        prober.wait_for_failure("post")


def test_the_transaction_is_valid_and_a_clear_fraud(system: System, prober: Prober) -> None:
    """payment-api refuses anything else with 422, and a usual amount raises no alert."""
    with prober.run():
        wait(lambda: system.posted, "nothing was posted")
    transaction = system.posted[0]
    texts = {"transaction_id", "user_id", "card_number", "timestamp", "merchant_id", "location"}
    assert transaction.keys() == texts | {"amount"}
    assert all(isinstance(transaction[name], str) and transaction[name] for name in texts)
    assert transaction["amount"] == 1_000_000
    assert datetime.fromisoformat(transaction["timestamp"]).utcoffset() == timedelta(0)


def test_a_few_users_take_turns(system: System, prober: Prober) -> None:
    """Flink keeps the history of every user that it has ever seen."""
    with prober.run(QUIET_SECONDS=0.01, every=0.01):
        wait(lambda: len(system.posted) > 20, "it stopped probing")
    assert {each["user_id"] for each in system.posted} == {f"prober-{n}" for n in range(10)}
    ids = [each["transaction_id"] for each in system.posted]
    assert len(set(ids)) == len(ids)


def test_it_leaves_the_dashboard_properly(system: System, prober: Prober) -> None:
    """alert-monitor stops sending to all browsers when one has vanished."""
    system.detect = ignore
    with prober.run() as process:
        wait(lambda: system.posted, "nothing was posted")
        process.terminate()
        assert process.wait(SECONDS) == 0
    wait(lambda: system.codes, "the connection was not closed")
    # The code of a connection that ends without a farewell.
    assert 1006 not in system.codes


def test_the_histogram_is_cumulative(prober: Prober) -> None:
    """Prometheus computes quantiles from buckets that each include the smaller ones."""
    with prober.run():
        wait(lambda: prober.metric("fraud_prober_alert_delay_seconds_count") >= 3, "no alerts")
        _, text = prober.get("/metrics")
    counts = [int(n) for n in re.findall(r'_bucket\{le="[^"]+"\} (\d+)', text)]
    assert counts == sorted(counts)
    [count] = re.findall(r"_count (\d+)", text)
    assert counts[-1] == int(count)
    assert '_bucket{le="+Inf"}' in text


def test_it_serves_nothing_else(prober: Prober) -> None:
    """Its port is for the kubelet and for Prometheus."""
    with prober.run():
        assert prober.get("/")[0] == 404
