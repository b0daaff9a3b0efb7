"""A stand-in for GitHub on loopback: statuses and deployments, rulesets, dispatched workflows."""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from serving import serving


class Report(NamedTuple):
    """A commit status."""

    commit: str
    context: str
    state: str
    description: str
    target: str


@dataclass
class GitHubApi:
    """The statuses and deployments of a repository.

    Attributes:
        url: Its address.
        statuses: Every commit status.
        deployments: Commit and environment of every deployment; its number is its position.
        deployed: Number of the deployment, and state, of every deployment status.
        rulesets: Every ruleset, by its number.
        dispatched: The inputs of every dispatch of a workflow.
        refuses: Whether it answers 500 now.
        refusals: What it answers next instead of an answer: HTTP status and message.
        refused: The number of these answers.
    """

    url: str = ""
    statuses: list[Report] = field(default_factory=list)
    deployments: list[tuple[str, str]] = field(default_factory=list)
    deployed: list[tuple[int, str]] = field(default_factory=list)
    rulesets: dict[int, dict[str, Any]] = field(default_factory=dict)
    dispatched: list[dict[str, str]] = field(default_factory=list)
    refuses: bool = False
    refusals: list[tuple[HTTPStatus, str]] = field(default_factory=list)
    refused: int = 0

    def states(self, commit: str, context: str) -> list[str]:
        """Return the states that a commit had, without repetitions."""
        found: list[str] = []
        for each in self.statuses:
            if (each.commit, each.context) == (commit, context) and found[-1:] != [each.state]:
                found.append(each.state)
        return found

    def answer(self, method: str, path: str, query: dict[str, list[str]], given: Any) -> Any:  # noqa: ANN401 - JSON
        """Return what GitHub answers."""
        match [method, *path.strip("/").split("/")]:
            case ["POST", "app", "installations", _, "access_tokens"]:
                return {"token": "a-token", "expires_at": "2099-01-01T00:00:00Z"}
            case ["POST", "api", "v3", "repos", _, _, "statuses", commit]:
                target = given.get("target_url", "")
                report = given["context"], given["state"], given["description"], target
                self.statuses.append(Report(commit, *report))
                return {"context": given["context"]}
            case ["GET", "api", "v3", "repos", _, _, "deployments"]:
                wanted = (query["ref"][0], query["environment"][0])
                return [{"id": n} for n, each in enumerate(self.deployments) if each == wanted]
            case ["POST", "api", "v3", "repos", _, _, "deployments"]:
                # Anything else waits for statuses, or merges the default branch.
                assert (given["required_contexts"], given["auto_merge"]) == ([], False)
                self.deployments.append((given["ref"], given["environment"]))
                return {"id": len(self.deployments) - 1}
            case ["POST", "api", "v3", "repos", _, _, "deployments", number, "statuses"]:
                self.deployed.append((int(number), given["state"]))
                return {}
        return self._administer(method, path, given)

    def _administer(self, method: str, path: str, given: Any) -> Any:  # noqa: ANN401 - JSON
        """Return what GitHub answers about rulesets and workflows."""
        match [method, *path.strip("/").split("/")]:
            case ["POST", "api", "graphql"]:
                return {"data": {"repository": {"defaultBranchRef": {"name": "main"}}}}
            case ["GET", *_, "meta"]:
                # gh asks every GitHub but github.com what it can do.
                return {"installed_version": "3.20.0"}
            case ["GET", *_, "owner", "name", "rulesets"]:
                return [{"id": number, **each} for number, each in self.rulesets.items()]
            case ["POST" | "PUT", "api", "v3", "repos", "owner", "name", "rulesets", *number]:
                return self._rule(int(number[0]) if number else len(self.rulesets) + 1, given)
            case ["GET", *_, "owner", "name", "actions", "workflows", name]:
                return {"id": 1, "name": name, "path": f".github/workflows/{name}"}
            case ["POST", *_, "owner", "name", "actions", "workflows", "1", "dispatches"]:
                self.dispatched.append(given["inputs"])
                return {}
        raise AssertionError(f"{method} {path}")

    def _rule(self, number: int, given: dict[str, Any]) -> dict[str, Any]:
        names = {each["name"] for known, each in self.rulesets.items() if known != number}
        assert given["name"] not in names
        # There is no App of this number: GitHub refuses it.
        assert all(each["actor_id"] for each in given.get("bypass_actors", []))
        self.rulesets[number] = given
        return {"id": number, **given}


@contextmanager
def github_api(*, context: ssl.SSLContext | None = None) -> Iterator[GitHubApi]:
    """Serve a stand-in on a free port of 127.0.0.1.

    Args:
        context: Its certificate. Default: without encryption.
    """
    github = GitHubApi()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            given = self._given()
            if github.refuses or github.refusals:
                github.refused += 1
                status, message = HTTPStatus.INTERNAL_SERVER_ERROR, "Server Error"
                if not github.refuses:
                    status, message = github.refusals.pop(0)
                self._send(status, {"message": message})
                return
            url = urlsplit(self.path)
            content = json.loads(given) if given else None
            answer = github.answer(self.command, url.path, parse_qs(url.query), content)
            created = self.command == "POST"
            self._send(HTTPStatus.CREATED if created else HTTPStatus.OK, answer)

        def _given(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            # As gh sends what it reads from its standard input.
            given = b""
            while size := int(self.rfile.readline(), 16):
                given += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return given

        def _send(self, status: HTTPStatus, answer: object) -> None:
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = _answer  # noqa: N815 - as http.server names them

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "http" if context is None else "https"
        github.url = f"{scheme}://127.0.0.1:{server.server_port}"
        with serving(server):
            yield github
