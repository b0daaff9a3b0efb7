"""The client of an API server that dies, hangs or is none: one sentence, and never a refusal."""

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from delivery.control_plane import client as module
from delivery.control_plane.client import ApiError, Client, Reference, UnreachableError
from delivery.errors import DeliveryError

KINDS = b'{"resources": [{"name": "nodes", "kind": "Node", "namespaced": false}]}'
NODE = Reference("v1", "Node", "some")


def answer(
    body: bytes, *, status: str = "200 OK", length: int | None = None, header: str = ""
) -> bytes:
    """Return an HTTP response, which may promise more than it has."""
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n{header}\r\n".encode() + body


def conflict(**details: object) -> bytes:
    """Return the refusal of a write."""
    status = {"reason": "Conflict", "message": "written at once", "details": details}
    return answer(json.dumps(status).encode(), status="409 Conflict")


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[list[bytes]], Client]]:
    """Starts a server with one answer per connection, and gives a client of it."""
    # TLS is the standard library's; a stand-in has no certificate.
    monkeypatch.setattr(ssl, "create_default_context", lambda **_: None)
    monkeypatch.setattr(
        http.client,
        "HTTPSConnection",
        lambda host, *, timeout, context: http.client.HTTPConnection(host, timeout=timeout),  # noqa: ARG005 - of HTTPS
    )
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def start(answers: list[bytes]) -> Client:
            threads.append(threading.Thread(target=serve_all, args=[listener, answers]))
            threads[-1].start()
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            return Client(url, token="some", certificate=Path("some"))  # noqa: S106 - no secret

        yield start
        # Ends those who wait for a request that did not come.
        listener.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


def serve_all(listener: socket.socket, answers: list[bytes]) -> None:
    """Answer one request per connection, and then leave all others without an answer."""
    with suppress(OSError):
        for each in answers:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(each)


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([b"", b""], id="closes the connection"),
        pytest.param([answer(b'{"kind": ', length=1000)], id="dies in the middle"),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Le"], id="dies in a header"),
        pytest.param([b"SSH-2.0-OpenSSH_9.6\r\n"], id="speaks another protocol"),
        pytest.param([answer(b"<html>")], id="is a web server"),
        pytest.param(
            [answer(b'{"message": "etcd is gone"}', status="504 Gateway Timeout")],
            id="has lost its store",
        ),
    ],
)
def test_a_lost_server_is_one_sentence(
    serve: Callable[[list[bytes]], Client], answers: list[bytes]
) -> None:
    """Whoever rehearses learns which server failed; a traceback would say where in Python."""
    with closing(serve(answers)) as client, pytest.raises(DeliveryError) as caught:
        client.get(NODE)
    assert isinstance(caught.value, UnreachableError)
    assert "http://127.0.0.1:" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_silent_server_is_one_sentence(
    serve: Callable[[list[bytes]], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firewall may drop the answer."""
    monkeypatch.setattr(module, "_TIMEOUT_SECONDS", 0.05)
    with closing(serve([])) as client, pytest.raises(UnreachableError, match="timed out"):
        client.get(NODE)


def test_a_closed_connection_is_opened_again(serve: Callable[[list[bytes]], Client]) -> None:
    """The server closes a connection that is idle while a render runs."""
    with closing(serve([answer(KINDS), answer(b'{"kind": "Node"}')])) as client:
        assert client.get(NODE) == {"kind": "Node"}


def test_a_kind_is_looked_up_once(serve: Callable[[list[bytes]], Client]) -> None:
    """Each object of a rehearsal would otherwise cost one request more."""
    with closing(serve([answer(KINDS)])) as client:
        assert client.resource("v1", "Node") == ("nodes", False)
        assert client.resource("v1", "Node") == ("nodes", False)


def test_an_unknown_kind_has_no_resource(serve: Callable[[list[bytes]], Client]) -> None:
    """Its CRD may be missing."""
    with closing(serve([answer(KINDS)])) as client:
        assert client.resource("v1", "Unheard") is None


def test_a_failed_lookup_is_not_an_unknown_kind(serve: Callable[[list[bytes]], Client]) -> None:
    """A user without permission would otherwise be told that a Deployment does not exist."""
    forbidden = answer(b'{"reason": "Forbidden", "message": "no"}', status="403 Forbidden")
    with closing(serve([forbidden])) as client, pytest.raises(ApiError, match="no"):
        client.resource("v1", "Node")


@pytest.mark.parametrize(
    "status", ["429 Too Many Requests", "503 Service Unavailable", "500 Internal Server Error"]
)
def test_what_the_server_defers_is_repeated(
    serve: Callable[[list[bytes]], Client], status: str
) -> None:
    """While its storage is initializing, and under load, it asks for another attempt."""
    deferred = answer(b'{"message": "later"}', status=status, header="Retry-After: 0\r\n")
    with closing(serve([answer(KINDS), deferred, deferred, answer(b"{}")])) as client:
        assert client.get(NODE) == {}


def test_a_server_that_always_defers_does_not_answer(
    serve: Callable[[list[bytes]], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal would be taken for a verdict on the change."""
    monkeypatch.setattr(module, "_TIMEOUT_SECONDS", 5)
    wait = "Retry-After: 60\r\n"
    later = answer(b'{"message": "later"}', status="429 Too Many Requests", header=wait)
    with closing(serve([later])) as client, pytest.raises(UnreachableError, match="later"):
        client.get(NODE)


def test_a_write_that_lost_to_another_is_repeated(serve: Callable[[list[bytes]], Client]) -> None:
    """Two rehearsals write the same StorageClass at the same time."""
    with closing(serve([answer(KINDS), conflict(), answer(b"{}")])) as client:
        assert client.merge(NODE, {}) == {}


@pytest.mark.parametrize(
    ("details", "answers"),
    [({}, 10), ({"causes": [{"reason": "FieldManagerConflict"}]}, 1)],
    ids=["always", "another manager's field"],
)
def test_a_lasting_conflict_is_a_refusal(
    serve: Callable[[list[bytes]], Client], details: dict[str, object], answers: int
) -> None:
    """An outdated resourceVersion never matches; without a limit, it would for a minute."""
    with (
        closing(serve([answer(KINDS), *[conflict(**details)] * answers])) as client,
        pytest.raises(ApiError, match="written at once"),
    ):
        client.merge(NODE, {})


@pytest.mark.parametrize("error", [ssl.SSLEOFError, ssl.SSLZeroReturnError, BrokenPipeError])
def test_a_connection_that_was_dropped_while_idle_is_opened_again(
    serve: Callable[[list[bytes]], Client],
    monkeypatch: pytest.MonkeyPatch,
    error: type[OSError],
) -> None:
    """TLS has errors of its own for it, which depend on how far the server came."""
    with closing(serve([answer(KINDS), answer(b"{}")])) as client:
        client.resource("v1", "Node")
        send = http.client.HTTPConnection.send

        def fail_once(*_: object) -> None:
            monkeypatch.setattr(http.client.HTTPConnection, "send", send)
            raise error(8, "EOF occurred in violation of protocol")

        monkeypatch.setattr(http.client.HTTPConnection, "send", fail_once)
        assert client.get(NODE) == {}
