"""A container registry on loopback that is as unkind as real ones, and more so on request."""

import hashlib
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeAlias
from urllib.parse import parse_qs, urlsplit

from serving import serving

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
PAGE = 2
"""Tags per page, however many a client asks for."""


class StandIn(ThreadingHTTPServer):
    """A registry that answers in small pages.

    Args:
        tokens: Whether it wants a token, even for what is public.

    Attributes:
        faults: Answers to the next requests, each used once; one without a token does not count.
        asked: Path and query of every request, in order.
        tokens: The tokens that came with them.
        stopped: Set when the registry ends.
    """

    daemon_threads = False

    def __init__(self, *, tokens: bool) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self._wants_tokens = tokens
        self.tokens: list[str | None] = []
        self.faults: deque[Fault] = deque()
        self.asked: list[str] = []
        self.stopped = threading.Event()
        self._manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self._tags: dict[str, list[str]] = {}

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.server_port}"

    def push(self, path: str, tag: str, *, content: str = "{}", kind: str = MANIFEST) -> str:
        """Publish a manifest under a tag.

        Args:
            path: Repository, without the address.
            tag: The tag, which moves if it exists.
            content: The manifest; the registry does not look into it.
            kind: Its media type.

        Returns:
            Its digest.
        """
        digest = _digest(content.encode())
        self._manifests[path, tag] = self._manifests[path, digest] = (kind, content.encode())
        tags = self._tags.setdefault(path, [])
        if tag not in tags:
            tags.append(tag)
        return digest

    def answer(self, handler: "Handler") -> None:
        """Answer a request as a registry does."""
        token = handler.headers["Authorization"]
        self.asked.append(handler.path)
        self.tokens.append(token)
        address = urlsplit(handler.path)
        query = {key: values[0] for key, values in parse_qs(address.query).items()}
        if address.path == "/token":
            handler.send(200, json.dumps({"token": _token(query["service"], query["scope"])}))
            return
        path, _, rest = address.path.removeprefix("/v2/").partition("/manifests/")
        path = path.removesuffix("/tags/list")
        scope = f"repository:{path}:pull"
        if self._wants_tokens and token != f"Bearer {_token('stand-in', scope)}":
            realm = f'realm="http://{self.address}/token",service="stand-in",scope="{scope}"'
            handler.send(401, "{}", {"WWW-Authenticate": f"Bearer {realm}"})
        elif self.faults:
            self.faults.popleft()(handler)
        elif address.path.endswith("/tags/list") and path in self._tags:
            self._list(handler, path, after=query.get("last"))
        elif rest and (path, rest) in self._manifests:
            kind, content = self._manifests[path, rest]
            # A real one answers with an older format, or not at all.
            accepted = kind in handler.headers.get("Accept", "")
            handler.send(200 if accepted else 404, content.decode(), _about(kind, content))
        else:
            handler.send(404, json.dumps({"errors": [{"code": "NAME_UNKNOWN"}]}))

    def _list(self, handler: "Handler", path: str, *, after: str | None) -> None:
        tags = sorted(self._tags[path])
        start = 0 if after is None else tags.index(after) + 1
        page = tags[start : start + PAGE]
        headers = {}
        if start + PAGE < len(tags):
            headers["Link"] = f'</v2/{path}/tags/list?last={page[-1]}&n={PAGE}>; rel="next"'
        handler.send(200, json.dumps({"name": path, "tags": page}), headers)


class Handler(BaseHTTPRequestHandler):
    """One connection to the registry."""

    server: StandIn

    def do_GET(self) -> None:
        """Answer a GET."""
        self.server.answer(self)

    def send(self, status: int, body: str, headers: dict[str, str] | None = None) -> None:
        """Send a whole answer; headers that are given replace those that follow from the body."""
        defaults = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        self.send_response(status)
        for name, value in {**defaults, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


Fault: TypeAlias = Callable[[Handler], None]


def refuse(status: int, **headers: str) -> Fault:
    """Return an answer without content, with headers such as `Retry_After`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.send(status, "", named)


def reply(body: str, **headers: str) -> Fault:
    """Return an answer that succeeds, with a body and headers that may lie."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.send(200, body, {**_about(MANIFEST, body.encode()), **named})


def hang_up(handler: Handler) -> None:
    """Close the connection without an answer."""


def stall(handler: Handler) -> None:
    """Keep the connection open without an answer."""
    handler.server.stopped.wait()


def drip_headers(handler: Handler) -> None:
    """Send a header that never ends, byte by byte."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    _drip(handler)


def drip_body(handler: Handler) -> None:
    """Send a body that never ends, byte by byte."""
    handler.send(200, "", {**_about(MANIFEST, b""), "Content-Length": "1000000"})
    _drip(handler)


def _drip(handler: Handler) -> None:
    # A client that has had enough hangs up.
    with suppress(OSError):
        while not handler.server.stopped.wait(0.01):
            handler.wfile.write(b"x")


@contextmanager
def serve(*, tokens: bool = True) -> Iterator[StandIn]:
    """Run a registry until the end of the block; `tokens` is that of `StandIn`."""
    with StandIn(tokens=tokens) as stand_in, serving(stand_in):
        yield stand_in
        stand_in.stopped.set()


def _about(kind: str, content: bytes) -> dict[str, str]:
    return {"Content-Type": kind, "Docker-Content-Digest": _digest(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _token(service: str, scope: str) -> str:
    return hashlib.sha256(f"{service} {scope}".encode()).hexdigest()
