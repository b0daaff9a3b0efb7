"""A stand-in for gh on the PATH: the pull requests and commit statuses of one repository, in files.

It refuses what GitHub refuses, and every command but `gh api`: those of an older gh ask for classic
projects, which GitHub has removed.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fraud_detection.commit_status import context
from programs_in_python import interpreted
from remotes import Remote, run_git

_PROGRAM = """\
{start}import argparse, json, pathlib, re, subprocess, sys, urllib.parse

here, bare = pathlib.Path(__file__).parent, {bare!r}
with (here / "calls").open("a") as calls:
    calls.write(" ".join(sys.argv[1:]) + "\\n")
if (here / "refusal").exists():
    sys.exit((here / "refusal").read_text())
if sys.argv[1] != "api":
    sys.exit("GraphQL: Projects (classic) is deprecated (repository.pullRequest.projectCards)")
parser = argparse.ArgumentParser()
parser.add_argument("--method", default="GET")
parser.add_argument("--input", choices=["-"])
parser.add_argument("--jq", default=".")
parser.add_argument("--raw-field", action="append", default=[])
parser.add_argument("--field", action="append", default=[])
parser.add_argument("path")
asked = parser.parse_args(sys.argv[2:])
given = json.load(sys.stdin) if asked.input else dict(f.split("=", 1) for f in asked.raw_field)
for field in asked.field:
    key, _, value = field.partition("=")
    given[key] = pathlib.Path(value[1:]).read_text() if value.startswith("@") else value
if asked.path == "graphql":
    repository = given["owner"] + "/" + given["repository"]
    published = json.loads((here / "published.json").read_text())
    if repository not in published:
        name = repository.rpartition("/")[2]
        sys.exit(f"gh: Could not resolve to a Repository with the name '{{name}}'.")
    newest = {{}}
    for each in json.loads((here / "statuses.json").read_text()):
        if each["repository"] == repository:
            newest.setdefault(each["commit"], {{}})[each["status"]["context"]] = each["status"]
    # GitHub knows no status of most commits, and has no object for those of others.
    objects = {{
        name: None if published[repository] and commit not in published[repository] else
        {{"status": {{"contexts": list(newest[commit].values())}} if commit in newest else None}}
        for name, commit in re.findall(r'(\\w+): object\\(oid: "(\\w+)"\\)', given["query"])
    }}
    print(json.dumps({{"data": {{"repository": objects}}}}))
    sys.exit()
method, path = asked.method, asked.path.replace("owner/name", "{{owner}}/{{repo}}")
path = path.replace("head=owner:", "head={{owner}}:")
pulls = json.loads((here / "pulls.json").read_text())
url = urllib.parse.urlsplit(path)
query = dict(urllib.parse.parse_qsl(url.query))
number = int(([part for part in url.path.split("/") if part.isdigit()] or [0])[0])


def head(branch):
    done = subprocess.run(
        ["git", "rev-parse", "--verify", f"refs/heads/{{branch}}"],
        cwd=bare, capture_output=True, text=True,
    )
    return done.stdout.strip()


def shown(pull):
    address = f"https://github.test/pull/{{pull['number']}}"
    return {{**pull, "html_url": address, "head": {{"sha": head(pull["head"])}}}}


assert url.path.startswith("repos/{{owner}}/{{repo}}/pulls"), url.path
same = [p for p in pulls if p["open"] and p["head"] == given.get("head")]
if method == "GET" and url.path.endswith("/reviews"):
    answer = json.loads((here / "reviews.json").read_text())
elif method == "GET":
    answer = [
        shown(pull) for pull in pulls
        if pull["open"] and query["base"] == pull["base"]
        # GitHub finds every branch if the name has no owner.
        and (":" not in query["head"] or query["head"] == "{{owner}}:" + pull["head"])
    ]
elif method == "PATCH":
    [pull] = [pull for pull in pulls if pull["number"] == number]
    pull["open"] = given.pop("state", "open") == "open"
    pull.update(given)
    answer = shown(pull)
elif same or not head(given["head"]):
    sys.exit("gh: Validation Failed (HTTP 422)")
else:
    pulls.append({{**given, "number": len(pulls) + 7, "open": True}})
    answer = shown(pulls[-1])
(here / "pulls.json").write_text(json.dumps(pulls))
if asked.jq == ".":
    print(json.dumps(answer))
else:
    jq = ["jq", "--raw-output", asked.jq]
    subprocess.run(jq, input=json.dumps(answer), text=True, check=True)
"""


_THIS = "{owner}/{repo}"
"""What gh replaces by the repository of the remote."""


@dataclass(frozen=True)
class GitHub:
    """The pull requests of a remote.

    Attributes:
        folder: Folder with the program, on the PATH.
        bare: The remote.
    """

    folder: Path
    bare: Path

    @classmethod
    def of(cls, remote: Remote, folder: Path, monkeypatch: pytest.MonkeyPatch) -> "GitHub":
        """Put a stand-in for a remote on the PATH."""
        folder.mkdir()
        program = folder / "gh"
        text = _PROGRAM.format(start=interpreted(), bare=str(remote.bare))
        program.write_text(text, encoding="utf-8")
        program.chmod(0o755)
        for name in ("pulls", "reviews", "statuses"):
            (folder / f"{name}.json").write_text("[]", encoding="utf-8")
        (folder / "published.json").write_text(json.dumps({_THIS: []}), encoding="utf-8")
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return cls(folder, remote.bare)

    @property
    def pulls(self) -> list[dict[str, Any]]:
        """All pull requests, the oldest first."""
        found: list[dict[str, Any]] = json.loads((self.folder / "pulls.json").read_text("utf-8"))
        return found

    def review(self, *states: str, association: str = "MEMBER") -> None:
        """Let a person review the pull requests, once for each state."""
        reviews = [
            {"user": {"login": "ada"}, "state": state, "author_association": association}
            for state in states
        ]
        (self.folder / "reviews.json").write_text(json.dumps(reviews), encoding="utf-8")

    def publish(self, *commits: str, repository: str = "owner/application") -> None:
        """Make commits of another repository known."""
        file = self.folder / "published.json"
        published = json.loads(file.read_text("utf-8"))
        published.setdefault(repository, []).extend(commits)
        file.write_text(json.dumps(published), encoding="utf-8")

    def report(
        self,
        commit: str,
        state: str,
        *,
        environment: str = "dev",
        description: str = "Synced, Healthy",
        by: str | None = "argocd[bot]",
        repository: str = _THIS,
        name: str | None = None,
    ) -> None:
        """Set a commit status after all others, by default as Argo CD does for an environment."""
        file = self.folder / "statuses.json"
        statuses = json.loads(file.read_text("utf-8"))
        status = {
            "context": name or context(environment),
            "state": state.upper(),
            "description": description,
            "createdAt": f"2026-01-02T03:04:{len(statuses):02}Z",
            "creator": by and {"login": by},
        }
        entry = {"repository": repository, "commit": commit, "status": status}
        file.write_text(json.dumps([*statuses, entry]), encoding="utf-8")

    def refuse(self, message: str) -> None:
        """Refuse everything from now on."""
        (self.folder / "refusal").write_text(message, encoding="utf-8")

    def merge(self, clone: Path, number: int, *options: str) -> str:
        """Merge a pull request as GitHub does, and return the new commit of its target.

        Args:
            clone: A clone, whose checkout is changed.
            number: Number of the pull request.
            options: Options of `git merge`. Default: those of a merge commit.
        """
        pulls = self.pulls
        [pull] = [pull for pull in pulls if pull["number"] == number]
        pull["open"] = False
        (self.folder / "pulls.json").write_text(json.dumps(pulls), encoding="utf-8")
        return merge(clone, pull["head"], pull["base"], options or ("--no-ff",))


def merge(clone: Path, head: str, base: str, options: Sequence[str] = ("--no-ff",)) -> str:
    """Merge a branch of the remote into another there, and return the new commit.

    The option `--rebase` stands for GitHub's button of that name.
    """
    run_git(clone, "fetch", "--quiet")
    first, then = (head, base) if "--rebase" in options else (base, head)
    run_git(clone, "switch", "--quiet", "--detach", f"origin/{first}")
    if "--rebase" in options:
        run_git(clone, "rebase", "--quiet", f"origin/{then}")
    else:
        run_git(clone, "merge", "--quiet", *options, "--no-edit", f"origin/{then}")
    if "--squash" in options:
        run_git(clone, "commit", "--quiet", "--message", f"Squash {head}")
    run_git(clone, "push", "--quiet", "origin", f"HEAD:{base}")
    return run_git(clone, "rev-parse", "HEAD")
