"""`make audit`, with a stand-in for the vulnerability database."""

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from repository import REPOSITORY
from serving import serving
from tools import audit
from tools.audit import Package

UV = """\
version = 1

[[package]]
name = "click"
version = "8.5.1"
source = { registry = "https://packages.test/simple" }

[[package]]
name = "ours"
version = "0.1.0"
source = { editable = "." }
"""
NPM = {
    "packages": {
        "": {"name": "ours", "version": "0.1.0"},
        "node_modules/cdk8s-cli": {"version": "2.0.0"},
        "node_modules/cdk8s-cli/node_modules/@types/node": {"version": "24.0.0"},
    }
}
GO = """\
module control-plane/some

require k8s.io/kubernetes v1.37.2

require (
\tk8s.io/api v0.0.0 // indirect
\tgithub.com/old/name v1.0.0 // indirect
)

replace k8s.io/api => k8s.io/api v0.37.2

replace (
\tgithub.com/old/name => github.com/new/name v1.1.0
)
"""
PINNED = [
    Package("Go", "github.com/new/name", "1.1.0"),
    Package("Go", "k8s.io/api", "0.37.2"),
    Package("Go", "k8s.io/kubernetes", "1.37.2"),
    Package("PyPI", "click", "8.5.1"),
    Package("npm", "@types/node", "24.0.0"),
    Package("npm", "cdk8s-cli", "2.0.0"),
]

Audit = Callable[..., Result]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with a few packages."""
    (tmp_path / "uv.lock").write_text(UV, encoding="utf-8")
    (tmp_path / "package-lock.json").write_text(json.dumps(NPM), encoding="utf-8")
    module = tmp_path / "tools" / "control-plane" / "some"
    module.mkdir(parents=True)
    (module / "go.mod").write_text(GO, encoding="utf-8")
    return tmp_path


@pytest.fixture
def run(root: Path) -> Iterator[Audit]:
    """Runs the audit on a database with a vulnerability of click, or with another answer."""
    answers = [b""]

    class Database(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
            results = [
                {"vulns": [{"id": "GHSA-1"}]} if each["package"]["name"] == "click" else {}
                for each in queries
            ]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answers[0] or json.dumps({"results": results}).encode())

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with HTTPServer(("127.0.0.1", 0), Database) as server, serving(server):

        def run(*, answer: bytes = b"", **accepted: str) -> Result:
            answers[0] = answer
            file = root / "tools" / "accepted-vulnerabilities.json"
            file.write_text(json.dumps(accepted), encoding="utf-8")
            url = f"http://127.0.0.1:{server.server_port}"
            return CliRunner().invoke(audit.main, ["--root", str(root), "--url", url])

        yield run


def test_every_lock_file_is_read(root: Path) -> None:
    """A replaced module is the one that is compiled."""
    assert audit.pinned(root) == PINNED


def test_our_own_lock_files_are_read() -> None:
    """Their format may change with the next version of a package manager."""
    names = {(each.ecosystem, each.name) for each in audit.pinned(REPOSITORY)}
    expected = {("PyPI", "cdk8s"), ("npm", "cdk8s-cli"), ("Go", "k8s.io/kubernetes")}
    assert expected <= names


def test_a_vulnerability_is_named_with_its_package(run: Audit) -> None:
    """Whoever reads it wants to know what to upgrade."""
    result = run()
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "https://osv.dev/GHSA-1: PyPI click 8.5.1",
        "6 packages, vulnerabilities that are not accepted: 1",
    ]


def test_an_accepted_vulnerability_is_no_finding(run: Audit) -> None:
    """Somebody has explained it."""
    assert run(**{"GHSA-1": "never called"}).exit_code == 0


def test_an_acceptance_ends_with_its_cause(run: Audit) -> None:
    """It would hide the next version's return to the fault."""
    result = run(**{"GHSA-1": "never called", "GHSA-2": "fixed long ago"})
    assert result.exit_code == 1
    assert "GHSA-2: concerns no package any more" in result.stdout


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"{}"], ids=["page", "list", "nothing"])
def test_no_answer_is_no_success(run: Audit, answer: bytes) -> None:
    """A proxy's page would otherwise mean that all is well."""
    result = run(answer=answer)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: http://127.0.0.1:")


def test_an_unreachable_database_is_no_success(root: Path, run: Audit) -> None:
    """Many machines cannot reach it."""
    run()
    typed = ["--root", str(root), "--url", "http://127.0.0.1:1"]
    result = CliRunner().invoke(audit.main, typed)
    assert result.exit_code == 2
    assert "did not answer" in result.stderr


def test_questions_have_the_size_that_the_database_accepts(
    run: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It refuses more than a thousand packages at once."""
    monkeypatch.setattr(audit, "_BATCH", 2)
    assert "not accepted: 1" in run().stdout


def test_every_accepted_vulnerability_has_a_reason() -> None:
    """An ID alone convinces nobody."""
    file = REPOSITORY / "tools" / "accepted-vulnerabilities.json"
    accepted = json.loads(file.read_text(encoding="utf-8"))
    assert [name for name, reason in accepted.items() if not reason.strip()] == []
