"""The probe of the broker reads its answer, not only the status code."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from repository import SERVICE_FILES
from serving import serving

SCRIPT = SERVICE_FILES / "redpanda/ready.sh"

pytestmark = pytest.mark.skipif(
    shutil.which("curl") is None, reason="needs curl, which the redpanda image has"
)


class Admin(ThreadingHTTPServer):
    """The admin API of the broker, with one answer."""

    status = 200
    body = ""
    path = ""

    @property
    def address(self) -> str:
        """The address as host:port."""
        return f"127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Admin

    def do_GET(self) -> None:
        self.server.path = self.path
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.body.encode())

    def log_message(self, *_args: object) -> None:
        """Log nothing."""


@pytest.fixture
def admin() -> Iterator[Admin]:
    """A running admin API."""
    with Admin(("127.0.0.1", 0), _Handler) as server, serving(server):
        yield server


def ready(address: str) -> bool:
    """Return whether the probe succeeds."""
    env = {"PATH": os.environ["PATH"], "ADMIN_API": address}
    return subprocess.run(["bash", SCRIPT], env=env, check=False, timeout=30).returncode == 0


@pytest.mark.parametrize("body", ['{"status":"ready"}', '{"status": "ready"}'])
def test_a_broker_that_reports_ready_is_ready(admin: Admin, body: str) -> None:
    """The spacing of the JSON does not matter."""
    admin.body = body
    assert ready(admin.address)
    assert admin.path == "/v1/status/ready"


@pytest.mark.parametrize("body", ['{"status":"booting"}', '{"status":"not ready"}', ""])
def test_a_broker_that_reports_anything_else_is_not(admin: Admin, body: str) -> None:
    """While it boots it answers 200 as well: the status code alone would let clients in."""
    admin.body = body
    assert not ready(admin.address)


def test_an_error_is_never_ready(admin: Admin) -> None:
    """The text of a failing API cannot be trusted."""
    admin.status = 503
    admin.body = '{"status":"ready"}'
    assert not ready(admin.address)


def test_a_broker_that_does_not_answer_is_not_ready() -> None:
    """There is no answer before the admin API listens."""
    assert not ready("127.0.0.1:1")
