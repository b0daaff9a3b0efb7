"""Set-up that all tests share: Ctrl-C that works, the Node of the environment, and Git."""

import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import remotes


def pytest_configure() -> None:
    """Let Ctrl-C end what tests start, and cdk8s start the Node of this environment."""
    # A background job of a shell inherits an ignored SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Typed without an activated environment, pytest would find the system's Node, old or missing.
    os.environ["JSII_NODE"] = str(Path(sys.executable).with_name("node"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report each cause of skipped tests on one line, however many tests it concerns."""
    skipped = terminalreporter.stats.get("skipped", [])
    causes = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    for cause, number in causes.most_common():
        terminalreporter.write_line(f"{number} skipped: {cause}")


@pytest.fixture
def git_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of whoever runs the tests."""
    for name, value in remotes.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


class _Unauthorized(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="test"')
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def locked_server() -> Iterator[str]:
    """The address of a server that lets nobody in."""
    with HTTPServer(("127.0.0.1", 0), _Unauthorized) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
