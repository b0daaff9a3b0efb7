"""Mirrors of small parts, on loopback, with every fault that a real one may have."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import zstandard

from delivery.control_plane import parts, sums
from delivery.control_plane.parts import PARTS, Part
from serving import serving

LARGE = b"".join(sha256(b"%d" % number).digest() for number in range(8192))
"""A quarter of a megabyte that cannot be compressed."""


def part_named(name: str) -> Part:
    """Return a part by its name."""
    [found] = [part for part in PARTS if part.name == name]
    return found


def content(part: Part) -> bytes:
    """Return what the stand-in for Go makes of a part."""
    if part.is_program:
        return f"{part.build[-1]}\n".encode()
    return f"{part.source}\n".encode()


def write_mirror(folder: Path, contents: dict[str, bytes] | None = None) -> None:
    """Write a mirror of all parts, and the sums of exactly these.

    Args:
        folder: The mirror.
        contents: Bytes of some parts, by their names. Default: what Go makes of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known: dict[str, str] = {}
    for part in PARTS:
        made = (contents or {}).get(part.name, content(part))
        packed = zstandard.ZstdCompressor().compress(made)
        (folder / part.packed()).write_bytes(packed)
        known |= {part.file(): sha256(made).hexdigest()}
        known |= {part.packed(): sha256(packed).hexdigest()}
    assert parts.PINS.name != "control-plane"
    sums.write(known)


class Mirror:
    """A web server of a folder.

    Attributes:
        url: Its address.
        faults: By the names of parts: an HTTP status, `truncated` (the file ends early), `drops`
            (so does the connection), `ignores ranges`, `silent` (in the middle of the file),
            `held` (there, until `release` is set), `releases` (sets it) or `endless`.
        requests: Names of parts, each with the first byte that was asked for.
        release: Ends what is held.
    """

    def __init__(self, folder: Path) -> None:
        self.faults: dict[str, int | str] = {}
        self.requests: list[tuple[str, int]] = []
        self.release = threading.Event()
        self.folder = folder
        self.url = ""

    def asked_for(self) -> list[str]:
        """Return the names of the parts that were asked for, sorted."""
        return sorted(name for name, _ in self.requests)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer a request for a part."""
        file = handler.path.removeprefix("/")
        [name] = [part.name for part in PARTS if part.packed() == file] or [file]
        start = int(handler.headers.get("Range", "bytes=0-")[len("bytes=") : -1])
        self.requests.append((name, start))
        fault = self.faults.get(name)
        if isinstance(fault, int) or not (self.folder / file).exists():
            handler.send_error(fault if isinstance(fault, int) else 404)
            return
        body = (self.folder / file).read_bytes()
        if fault == "releases":
            self.release.set()
        if fault == "ignores ranges":
            start = 0
        if fault == "endless":
            handler.send_response(200)
            handler.end_headers()
            while not self.release.wait(0.05):
                handler.wfile.write(LARGE[:2048])
        elif start >= len(body):
            handler.send_error(416)
        else:
            handler.send_response(206 if start else 200)
            handler.send_header("Content-Length", str(len(body) - start))
            handler.end_headers()
            self._send(handler, body[start:], name)

    def _send(self, handler: BaseHTTPRequestHandler, body: bytes, name: str) -> None:
        fault = self.faults.get(name)
        half = len(body) // 2
        if fault in {"truncated", "drops", "silent", "held"}:
            handler.wfile.write(body[:half])
            if fault == "drops":
                # The next connection gets the rest.
                del self.faults[name]
            elif fault != "truncated":
                self.release.wait()
            if fault != "held":
                return
            body = body[half:]
        handler.wfile.write(body)


@contextmanager
def mirror(folder: Path, *, context: ssl.SSLContext | None = None) -> Iterator[Mirror]:
    """Serve a folder on loopback.

    Args:
        folder: The mirror.
        context: Its certificate. Default: without encryption.
    """
    mirror = Mirror(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # A killed client no longer listens.
            with suppress(OSError):
                mirror.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, ExitStack() as stack:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "http" if context is None else "https"
        mirror.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
        server.daemon_threads = True
        stack.enter_context(serving(server))
        stack.callback(mirror.release.set)
        yield mirror


@contextmanager
def proxy(target: int) -> Iterator[tuple[str, list[str]]]:
    """Run a proxy that leads every tunnel to one port of loopback.

    Returns:
        Its address, and the names of the hosts that were asked for.
    """
    hosts: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            hosts.append(self.path)
            with socket.create_connection(("127.0.0.1", target)) as far:
                self.send_response(200)
                self.end_headers()
                back = threading.Thread(target=_relay, args=[far, self.connection], daemon=True)
                back.start()
                _relay(self.connection, far)
                back.join()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, serving(server):
        server.daemon_threads = True
        yield f"http://127.0.0.1:{server.server_address[1]}", hosts


def _relay(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(1 << 16):
            target.sendall(chunk)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
