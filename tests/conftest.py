"""Set-up that all tests share: signals, a temporary folder, Node and Git."""

import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import remotes
from delivery.releases import changes, landing, resolve
from delivery.temporary import temporary_folder
from serving import serving

_MEMORY = Path("/dev/shm")  # noqa: S108 - each test gets a folder of its own below it
"""A file system in memory, where tests that make Git repositories take a third less time."""
_ROOM = 4 << 30
"""Free bytes that it must have; `make test` has used a quarter of them."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `make test` run the fast tests first."""
    parser.addoption(
        "--part", choices=("fast", "slow"), help="run the tests without the marker `slow`, or with"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the other part; unlike `-m`, this keeps what pyproject.toml deselects."""
    part = config.getoption("part")
    if part is None:
        return
    parts: dict[str, list[pytest.Item]] = {"fast": [], "slow": []}
    for item in items:
        parts["slow" if item.get_closest_marker("slow") else "fast"].append(item)
    items[:] = parts.pop(part)
    [left_out] = parts.values()
    config.hook.pytest_deselected(items=left_out)


def pytest_configure(config: pytest.Config) -> None:
    """Clean up whatever ends the tests, and after the programs that they start.

    Ctrl-C is ignored in the background jobs of a shell, unless we handle it.
    """
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(each, signal.default_int_handler)
    # The workers of xdist inherit it.
    if not hasattr(config, "workerinput"):
        if config.getoption("part") and _is_roomy(_MEMORY):
            tempfile.tempdir = str(_MEMORY)
        # Python remembers this folder, where pytest keeps the folders of failed tests.
        tempfile.gettempdir()
        stack = ExitStack()
        config.add_cleanup(stack.close)
        os.environ["TMPDIR"] = str(stack.enter_context(temporary_folder("delivery-tests-")))
    # Without an activated environment cdk8s would find the system's Node, which is old or missing.
    node = Path(sys.executable).with_name("node")
    if not node.exists():
        raise pytest.UsageError(f"{node} is missing: run `make setup`.")
    os.environ["JSII_NODE"] = str(node)


def _is_roomy(folder: Path) -> bool:
    """Return whether a folder has room for the files of all tests, and can run programs."""
    if not folder.exists():
        return False
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize >= _ROOM and not found.f_flag & os.ST_NOEXEC


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report each cause of skipped tests on one line, however many tests it concerns."""
    skipped = terminalreporter.stats.get("skipped", [])
    causes = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    for cause, number in causes.most_common():
        terminalreporter.write_line(f"{number} skipped: {cause}")


@pytest.fixture
def git_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the Git configuration of the person who runs the tests."""
    for name, value in remotes.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> None:
    """Release the services of the tests' remotes: the live ones may change at any time."""
    for module in (changes, landing, resolve):
        monkeypatch.setattr(module, "SERVICES", remotes.SERVICES)


class _Unauthorized(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="test"')
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def locked_server() -> Iterator[str]:
    """Start a server that answers 401 to everybody; return its address."""
    with HTTPServer(("127.0.0.1", 0), _Unauthorized) as server, serving(server):
        yield f"127.0.0.1:{server.server_port}"
