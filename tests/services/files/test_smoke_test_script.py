"""The smoke test succeeds only with an alert for its own fraud, and names the broken link."""

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
    """Return the message that alert-monitor sends for a transaction."""
    return json.dumps({**transaction, "is_fraud": True, "received_at": "2025-01-01T00:00:00"})


class System:
    """payment-api and alert-monitor, with a function of the test in place of the detector."""

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
        """Send the alert to all connected clients, and keep it for later ones."""
        with self._change:
            self.history.append(alert(transaction))
            for connection in self._open:
                with suppress(ConnectionClosed):  # it may just be leaving
                    connection.send(self.history[-1])

    def keep(self, transaction: Transaction) -> None:
        """Keep the alert for later clients, but send it to no connected one."""
        with self._change:
            assert self._change.wait_for(lambda: self._open, timeout=10)
            self.history.append(alert(transaction))

    def take(self, transaction: Transaction) -> int:
        """Return the answer of payment-api."""
        if self.status < 300:
            self.posted.append(transaction)
            self.detect(transaction)
        return self.status

    def count(self, _connection: ServerConnection, request: Request) -> None:
        """Record a WebSocket that is about to be accepted."""
        assert request.path == "/ws"
        self.connections += 1

    def watch(self, connection: ServerConnection) -> None:
        """Serve a WebSocket as alert-monitor does: replay, then wait for its end."""
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
        """Ignore a client that gave up."""


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
        """Log nothing."""


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    """A running system, with the environment that points the script to it."""
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
    """The script as a module that posts the next transaction soon."""
    monkeypatch.setattr(smoke_test, "ALERT_SECONDS", 0.2)
    return smoke_test


@pytest.fixture
def unreachable() -> Iterator[str]:
    """An address as host:port where nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def failure(smoke_test: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Run the script, which must fail with a message, and return the message."""

    def run() -> str:
        monkeypatch.setenv("DEADLINE_SECONDS", "0.5")
        with pytest.raises(SystemExit) as stopped:
            smoke_test.main()
        # A message instead of a number makes the exit status 1.
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
    """payment-api refuses anything else with 422, and a usual amount raises no alert."""
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
    """Neither replayed nor new alerts of others count."""
    system.history = [
        alert({"transaction_id": str(n), "user_id": "smoke-test-1"}) for n in range(100)
    ]
    system.detect = lambda transaction: system.show({**transaction, "transaction_id": "other"})
    assert "showed no alert" in failure()


def test_it_listens_before_it_posts(system: System, smoke_test: ModuleType) -> None:
    """An alert that comes immediately must not be missed."""
    listening: list[int] = []

    def detect(transaction: Transaction) -> None:
        listening.append(system.connections)
        system.show(transaction)

    system.detect = detect
    smoke_test.main()
    assert listening == [1]


def test_it_posts_again_when_no_alert_comes(system: System, impatient: ModuleType) -> None:
    """The detector never sees a transaction from before its start."""
    system.detect = lambda transaction: (
        system.show(transaction) if len(system.posted) >= 3 else None
    )
    impatient.main()
    ids = [transaction["transaction_id"] for transaction in system.posted]
    assert len(set(ids)) == len(ids) >= 3


def test_a_late_alert_counts(
    system: System, impatient: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slow chain works too: an alert for any of its own transactions is enough."""
    system.detect = lambda _: system.show(system.posted[0]) if len(system.posted) == 2 else None
    impatient.main()
    first = system.posted[0]["transaction_id"]
    assert f"The alert for {first} came" in capsys.readouterr().out


def test_an_alert_that_was_sent_to_nobody_counts_when_it_is_replayed(
    system: System, impatient: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """One dead connection of a browser keeps alert-monitor from sending to the others."""
    system.detect = system.keep
    impatient.main()
    first = system.posted[0]["transaction_id"]
    assert f"The alert for {first} came" in capsys.readouterr().out
    assert system.connections >= 2


def test_it_connects_again_when_the_connection_is_lost(
    system: System, smoke_test: ModuleType
) -> None:
    """A rolling update closes it."""
    system.lost = 1
    system.detect = lambda transaction: (
        system.show(transaction) if system.connections >= 2 else None
    )
    smoke_test.main()
    assert system.connections == 2


def test_a_missing_alert_is_named(system: System, failure: Callable[[], str]) -> None:
    """Both ends work, so the fault is between them."""
    system.detect = ignore
    message = failure()
    assert message.startswith(
        f"The smoke test failed after 0.5 s: payment-api accepted {len(system.posted)} "
        "transactions, but alert-monitor showed no alert for any of them"
    )


def test_a_refused_transaction_is_named(system: System, failure: Callable[[], str]) -> None:
    """The reason is that of payment-api: 503 is its producer, 422 is this script."""
    system.status = 503
    message = failure()
    assert "payment-api refused the transaction with status 503" in message
    assert "Kafka producer is not connected." in message


def test_a_payment_api_that_is_down_is_named(
    system: System,
    failure: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
    unreachable: str,
) -> None:
    """It is the first link of the chain."""
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
        message = failure()
        assert "did not answer in 1 s" in message
        assert "waiting for Redpanda" in message
    finally:
        release.set()


def test_an_alert_monitor_that_is_down_is_named(
    system: System,
    failure: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
    unreachable: str,
) -> None:
    """It is the last link; nothing is posted if nobody could see the alert."""
    monkeypatch.setenv("ALERT_MONITOR", unreachable)
    assert f"alert-monitor at {unreachable} is unreachable" in failure()
    assert system.posted == []


def test_it_ends_at_its_deadline(
    system: System,
    smoke_test: ModuleType,
    failure: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sync waits for it, and a little later the Job is killed without a message."""
    monkeypatch.setattr(smoke_test, "ALERT_SECONDS", 60)
    system.detect = ignore
    start = time.monotonic()
    failure()
    assert time.monotonic() - start < 30
