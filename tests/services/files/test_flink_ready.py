"""The readiness probe of the JobManager reads the answer of Flink, not only its status."""

import ast
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fraud_detection.services.files.flink import ready
from serving import serving


class Rest(ThreadingHTTPServer):
    """The REST API of Flink, with one answer."""

    answer = ""


class Handler(BaseHTTPRequestHandler):
    """A handler that answers only the request of the probe."""

    server: Rest

    def do_GET(self) -> None:
        """Send the answer."""
        self.send_response(200)
        self.end_headers()
        if self.path == "/jobs/overview":
            self.wfile.write(self.server.answer.encode())

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def rest(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rest]:
    """The server that the probe asks."""
    with Rest(("127.0.0.1", 0), Handler) as server, serving(server):
        monkeypatch.setattr(ready, "REST_PORT", server.server_port)
        yield server


def job(*, state: str = "RUNNING", running: int = 2, total: int = 2) -> dict[str, Any]:
    """Return a job as `/jobs/overview` lists it."""
    return {"jid": "a" * 32, "state": state, "tasks": {"running": running, "total": total}}


def test_a_job_that_runs_in_full_is_ready(rest: Rest) -> None:
    """This is the normal state."""
    rest.answer = json.dumps({"jobs": [job()]})
    assert ready.main() == 0


def test_no_job_is_not_ready(rest: Rest) -> None:
    """The REST API answers before the job is submitted."""
    rest.answer = json.dumps({"jobs": []})
    assert ready.main() == 1


def test_two_jobs_are_not_ready(rest: Rest) -> None:
    """Two detectors duplicate every alert."""
    rest.answer = json.dumps({"jobs": [job(), job()]})
    assert ready.main() == 1


@pytest.mark.parametrize("state", ["CREATED", "INITIALIZING", "RESTARTING", "FAILING", "FINISHED"])
def test_a_job_that_does_not_run_is_not_ready(rest: Rest, state: str) -> None:
    """A job without any TaskManager stays CREATED."""
    rest.answer = json.dumps({"jobs": [job(state=state)]})
    assert ready.main() == 1


@pytest.mark.parametrize(("running", "total"), [(0, 2), (1, 2), (0, 0)])
def test_tasks_that_do_not_all_run_are_not_ready(rest: Rest, running: int, total: int) -> None:
    """A job is already RUNNING while its tasks still restore their state."""
    rest.answer = json.dumps({"jobs": [job(running=running, total=total)]})
    assert ready.main() == 1


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "<html>",
        "[]",
        "null",
        '{"errors": ["x"]}',
        '{"jobs": 1}',
        '{"jobs": [{}]}',
        '{"jobs": [{"state": "RUNNING", "tasks": {"running": "2", "total": "2"}}]}',
    ],
)
def test_an_unknown_answer_is_not_ready(rest: Rest, answer: str) -> None:
    """The probe ends with one line instead of a traceback."""
    rest.answer = answer
    assert ready.main() == 1


def test_a_flink_that_does_not_listen_is_not_ready(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """This is so at every start."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed:
        monkeypatch.setattr(ready, "REST_PORT", closed.server_port)
    assert ready.main() == 1
    assert "refused" in capsys.readouterr().out


def test_a_flink_that_does_not_answer_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """During garbage collection a JobManager accepts connections and does not answer."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as silent:
        monkeypatch.setattr(ready, "REST_PORT", silent.server_port)
        monkeypatch.setattr(ready, "TIMEOUT", 0.05)
        assert ready.main() == 1


@pytest.mark.parametrize(
    ("overview", "reason"),
    [
        ({"jobs": []}, "not ready: 0 jobs instead of 1"),
        ({"jobs": [job(state="RESTARTING")]}, "not ready: the job is RESTARTING"),
        ({"jobs": [job(running=1)]}, "not ready: 1 of 2 tasks are running"),
        ({"jobs": [job()]}, "ready"),
    ],
)
def test_one_line_tells_why(
    rest: Rest, capsys: pytest.CaptureFixture[str], overview: object, reason: str
) -> None:
    """`kubectl describe` shows this line for the probe."""
    rest.answer = json.dumps(overview)
    ready.main()
    assert capsys.readouterr().out.splitlines() == [reason]


def test_a_proxy_in_the_environment_is_not_asked(
    rest: Rest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a cluster that sets proxies for all pods, the pod would never be ready."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    rest.answer = json.dumps({"jobs": [job()]})
    assert ready.main() == 0


def test_the_oldest_python_understands_it() -> None:
    """The image brings its own Python, and PyFlink 1.18 runs on 3.8 to 3.10."""
    ast.parse(Path(ready.__file__).read_text(), feature_version=(3, 8))
