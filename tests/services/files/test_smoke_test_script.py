"""The smoke test succeeds only when its own fraud comes out, and says which link broke."""

import importlib.util
import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Event, Thread
from types import ModuleType
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request
from websockets.sync.server import ServerConnection, serve

from repository import SERVICE_FILES

SCRIPT = SERVICE_FILES / "smoke_test/smoke_test.py"

Transaction = dict[str, Any]


def alert(transaction: Transaction) -> str:
    """What alert-monitor sends for a transaction."""
    return json.dumps({**transaction, "is_fraud": True, "received_at": "2025-01-01T00:00:00"})


class System:
    """payment-api and alert-monitor, and in place of all between them a function of the test."""

    def __init__(self) -> None:
        self.posted: list[Transaction] = []
        self.status = 202
        self.history: list[str] = []
        self.connections = 0
        self.detect: Callable[[Transaction], None] = self.show
        self.lost = 0  # so many connections end as soon as they are made
        self._open: list[ServerConnection] = []
        self._change = Condition()

    def show(self, transaction: Transaction) -> None:
        """Send the alert to everybody who is connected, and keep it for those who come later."""
        with self._change:
            self.history.append(alert(transaction))
            for connection in self._open:
                with suppress(ConnectionClosed):  # it may just be leaving
                    connection.send(self.history[-1])

    def keep(self, transaction: Transaction) -> None:
        """Keep the alert for those who come later, but send it to nobody who is connected."""
        with self._change:
            assert self._change.wait_for(lambda: self._open, timeout=10)
            self.history.append(alert(transaction))

    def take(self, transaction: Transaction) -> int:
        """What payment-api answers."""
        if self.status < 300:
            self.posted.append(transaction)
            self.detect(transaction)
        return self.status

    def count(self, _connection: ServerConnection, request: Request) -> None:
        """Note a WebSocket that is about to be accepted."""
        assert request.path == "/ws"
        self.connections += 1

    def watch(self, connection: ServerConnection) -> None:
        """What alert-monitor does with a WebSocket: replay, then wait for its end."""
        if self.connections <= self.lost:
            return
        with self._change:
            for message in self.history:
                connection.send(message)
            self._open.append(connection)
            self._change.notify_all()
        for _ in connection:
            pass
        with self._change:
            self._open.remove(connection)


class PaymentApi(ThreadingHTTPServer):
    """The HTTP side of a system."""

    def __init__(self, system: System) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.system = system

    def handle_error(self, *_args: object) -> None:
        """A client that gave up is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: PaymentApi

    def do_POST(self) -> None:
        assert self.path == "/transaction"
        assert self.headers["Content-Type"] == "application/json"
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.server.system.take(json.loads(body)))
        self.end_headers()
        self.wfile.write(b'{"detail": "Kafka producer is not connected."}')

    def log_message(self, *_args: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    """A running system, and the environment that points the script to it."""
    system = System()
    with ExitStack() as stack:
        payment_api = stack.enter_context(PaymentApi(system))
        alert_monitor = stack.enter_context(
            serve(system.watch, "127.0.0.1", 0, process_request=system.count)
        )
        threads = [
            Thread(target=payment_api.serve_forever, kwargs={"poll_interval": 0.01}),
            Thread(target=alert_monitor.serve_forever),
        ]
        for thread in threads:
            thread.start()
        monkeypatch.setenv("PAYMENT_API", f"127.0.0.1:{payment_api.server_port}")
        monkeypatch.setenv("ALERT_MONITOR", f"127.0.0.1:{alert_monitor.socket.getsockname()[1]}")
        monkeypatch.setenv("DEADLINE_SECONDS", "60")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield system
        payment_api.shutdown()
        alert_monitor.shutdown()
        for thread in threads:
            thread.join()


@pytest.fixture
def smoke_test(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module that does not pause between attempts."""
    spec = importlib.util.spec_from_file_location("smoke_test_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "smoke_test_script", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.01)
    return module


@pytest.fixture
def impatient(smoke_test: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module that soon posts the next transaction."""
    monkeypatch.setattr(smoke_test, "ALERT_SECONDS", 0.2)
    return smoke_test


@pytest.fixture
def unreachable() -> Iterator[str]:
    """host:port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def failure(smoke_test: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Run the script, which must fail with a sentence, and return that."""

    def run() -> str:
        monkeypatch.setenv("DEADLINE_SECONDS", "0.5")
        with pytest.raises(SystemExit) as stopped:
            smoke_test.main()
        # A text as the code makes the exit status 1.
        assert isinstance(stopped.value.code, str)
        return stopped.value.code

    return run


def ignore(_transaction: Transaction) -> None:
    """Detect nothing."""


def test_it_succeeds_when_its_alert_comes(
    system: System, smoke_test: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole chain works."""
    smoke_test.main()
    [transaction] = system.posted
    assert f"The alert for {transaction['transaction_id']} came" in capsys.readouterr().out


def test_the_transaction_is_valid_and_a_clear_fraud(system: System, smoke_test: ModuleType) -> None:
    """payment-api refuses anything else with 422; and a usual amount raises no alert."""
    smoke_test.main()
    [transaction] = system.posted
    texts = {"transaction_id", "user_id", "card_number", "timestamp", "merchant_id", "location"}
    assert transaction.keys() == texts | {"amount"}
    assert all(isinstance(transaction[name], str) and transaction[name] for name in texts)
    assert transaction["amount"] == 1_000_000
    assert datetime.fromisoformat(transaction["timestamp"]).utcoffset() == timedelta(0)


def test_each_run_has_its_own_transaction_and_user(system: System, smoke_test: ModuleType) -> None:
    """alert-monitor replays the alerts of earlier runs, and the detector knows their users."""
    smoke_test.main()
    smoke_test.main()
    first, second = system.posted
    assert first["transaction_id"] != second["transaction_id"]
    assert first["user_id"] != second["user_id"]


def test_alerts_of_others_do_not_satisfy_it(system: System, failure: Callable[[], str]) -> None:
    """Neither replayed nor new ones."""
    system.history = [
        alert({"transaction_id": str(n), "user_id": "smoke-test-1"}) for n in range(100)
    ]
    system.detect = lambda transaction: system.show({**transaction, "transaction_id": "other"})
    assert "showed no alert" in failure()


def test_it_listens_before_it_posts(system: System, smoke_test: ModuleType) -> None:
    """An alert that comes at once must not be missed."""
    listening: list[int] = []

    def detect(transaction: Transaction) -> None:
        listening.append(system.connections)
        system.show(transaction)

    system.detect = detect
    smoke_test.main()
    assert listening == [1]


def test_it_posts_again_when_no_alert_comes(system: System, impatient: ModuleType) -> None:
    """What is posted before the detector reads is never seen."""
    system.detect = lambda transaction: (
        system.show(transaction) if len(system.posted) >= 3 else None
    )
    impatient.main()
    ids = [transaction["transaction_id"] for transaction in system.posted]
    assert len(set(ids)) == len(ids) >= 3


def test_a_late_alert_counts(
    system: System, impatient: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slow chain works too: any of its own transactions will do."""
    system.detect = lambda _: system.show(system.posted[0]) if len(system.posted) == 2 else None
    impatient.main()
    first = system.posted[0]["transaction_id"]
    assert f"The alert for {first} came" in capsys.readouterr().out


def test_an_alert_that_was_sent_to_nobody_counts_when_it_is_replayed(
    system: System, impatient: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """One dead connection of a browser keeps alert-monitor from sending to all others."""
    system.detect = system.keep
    impatient.main()
    first = system.posted[0]["transaction_id"]
    assert f"The alert for {first} came" in capsys.readouterr().out
    assert system.connections >= 2


def test_it_connects_again_when_the_connection_is_lost(
    system: System, smoke_test: ModuleType
) -> None:
    """A rolling update ends it."""
    system.lost = 1
    system.detect = lambda transaction: (
        system.show(transaction) if system.connections >= 2 else None
    )
    smoke_test.main()
    assert system.connections == 2


def test_a_missing_alert_is_named(system: System, failure: Callable[[], str]) -> None:
    """Then both ends work, and what lies between them does not."""
    system.detect = ignore
    said = failure()
    assert said.startswith(
        f"The smoke test failed after 0.5 s: payment-api accepted {len(system.posted)} "
        "transactions, but alert-monitor showed no alert for any of them"
    )


def test_a_refused_transaction_is_named(system: System, failure: Callable[[], str]) -> None:
    """With payment-api's own reason: 503 is its producer, 422 is this script."""
    system.status = 503
    said = failure()
    assert "payment-api refused the transaction with status 503" in said
    assert "Kafka producer is not connected." in said


def test_a_payment_api_that_is_down_is_named(
    system: System,
    failure: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
    unreachable: str,
) -> None:
    """The first link."""
    assert system.connections == 0
    monkeypatch.setenv("PAYMENT_API", unreachable)
    assert f"payment-api at {unreachable} is unreachable" in failure()


def test_a_payment_api_that_does_not_answer_is_named(
    system: System,
    smoke_test: ModuleType,
    failure: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A request has a time limit of its own, or it would outlast the deadline.

    It is reachable, so what to look at is what it waits for: without Redpanda, a payment-api that
    has just been started answers after a minute.
    """
    release = Event()
    monkeypatch.setattr(smoke_test, "REQUEST_SECONDS", 1)

    def hang(_transaction: Transaction) -> None:
        release.wait(20)

    system.detect = hang
    try:
        said = failure()
        assert "did not answer in 1 s" in said
        assert "waiting for Redpanda" in said
    finally:
        release.set()


def test_an_alert_monitor_that_is_down_is_named(
    system: System,
    failure: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
    unreachable: str,
) -> None:
    """The last link; nothing is posted whose alert nobody could see."""
    monkeypatch.setenv("ALERT_MONITOR", unreachable)
    assert f"alert-monitor at {unreachable} is unreachable" in failure()
    assert system.posted == []


def test_it_ends_at_its_deadline(
    system: System,
    smoke_test: ModuleType,
    failure: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sync waits for it, and the Job is killed a little later without a sentence."""
    monkeypatch.setattr(smoke_test, "ALERT_SECONDS", 60)
    system.detect = ignore
    start = time.monotonic()
    failure()
    assert time.monotonic() - start < 30
