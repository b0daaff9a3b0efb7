"""Pull requests on GitHub, by its REST API: the commands of gh differ between its versions."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from delivery.commands import gh

_PULLS = "repos/{owner}/{repo}/pulls"
_COUNTS = frozenset({"COLLABORATOR", "MEMBER", "OWNER"})
"""Who may approve: anybody can review a public repository."""


@dataclass(frozen=True, kw_only=True)
class PullRequest:
    """An open pull request between two branches of this repository."""

    number: int
    url: str
    head: str


def find(repository: Path, *, head: str, base: str) -> PullRequest | None:
    """Return the open pull request from one branch to another, if there is one.

    Raises:
        CommandError: If there is no `gh`, or GitHub refuses.
    """
    # A fork may have a branch of the same name.
    query = f"state=open&head={{owner}}:{quote(head)}&base={quote(base)}"
    found = _ask(repository, "GET", f"{_PULLS}?{query}")
    return _read(found[0]) if found else None


def is_approved(repository: Path, number: int) -> bool:
    """Return whether somebody who may has approved a pull request, and not changed their mind."""
    latest = {
        review["user"]["login"]: review["state"]
        for review in _ask(repository, "GET", f"{_PULLS}/{number}/reviews?per_page=100")
        if review["state"] != "COMMENTED" and review["author_association"] in _COUNTS
    }
    return "APPROVED" in latest.values()


def create(repository: Path, *, head: str, base: str, title: str, body: str) -> str:
    """Open a pull request and return its URL; errors are those of `find`."""
    given = {"title": title, "body": body, "head": head, "base": base}
    return _read(_ask(repository, "POST", _PULLS, **given)).url


def edit(repository: Path, number: int, *, title: str, body: str) -> None:
    """Replace the title and the text of a pull request; errors are those of `find`."""
    _ask(repository, "PATCH", f"{_PULLS}/{number}", title=title, body=body)


def close(repository: Path, number: int) -> None:
    """Close a pull request without a merge; errors are those of `find`."""
    _ask(repository, "PATCH", f"{_PULLS}/{number}", state="closed")


def _ask(repository: Path, method: str, path: str, **fields: str) -> Any:  # noqa: ANN401 - JSON
    given = ("--input", "-") if fields else ()
    text = json.dumps(fields) if fields else ""
    return json.loads(gh("api", "--method", method, path, *given, given=text, folder=repository))


def _read(found: dict[str, Any]) -> PullRequest:
    return PullRequest(number=found["number"], url=found["html_url"], head=found["head"]["sha"])
