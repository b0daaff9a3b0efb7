"""GitHub and its runner, played by act, with stand-ins for all that a workflow calls.

The repository holds our workflows and scripts, and a `delivery` that does what a test asks for.
"""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from programs_in_python import interpreted
from remotes import ENVIRONMENT, Remote, commit, run_git
from repository import REPOSITORY

ACT = shutil.which("act")
SECRETS = {
    "RELEASE_APP_PRIVATE_KEY": "key-of-release",
    "DISPATCH_APP_PRIVATE_KEY": "key-of-dispatch",
    "REPORT_APP_PRIVATE_KEY": "key-of-report",
}
TOKEN = "token-of-the-app"  # noqa: S105 - a stand-in
_INPUTS = ("ref", "path", "name", "message", "header", "client-payload")
"""Inputs of actions that a stand-in reads."""
_ACTIONS = {
    "actions/checkout": """
git init --quiet . && git remote add origin "$REMOTE" 2> /dev/null || true
git fetch --quiet origin '+refs/heads/*:refs/remotes/origin/*'
branch=${INPUT_REF:-$CHECKED_OUT}
git checkout --quiet --force -B "$branch" "origin/$branch" && git clean -ffdxq
""",
    "actions/upload-artifact": """
for each in $INPUT_PATH; do
    [ ! -e "$each" ] || cp --parents "$each" "$RECORDS/artifacts/"
    [ ! -e "$each" ] || echo artifact-id=1 >> "$GITHUB_OUTPUT"
done
""",
    "actions/download-artifact": """
mkdir -p "${INPUT_PATH:-.}" && cp -r "$RECORDS/artifacts/." "${INPUT_PATH:-.}"
""",
    "actions/create-github-app-token": f'echo "token={TOKEN}" >> "$GITHUB_OUTPUT"',
    "marocchino/sticky-pull-request-comment": """
text=${INPUT_MESSAGE:-$(cat "$INPUT_PATH")}
printf '%s\\n' "$text" > "$RECORDS/comment-$INPUT_HEADER"
""",
    "peter-evans/repository-dispatch": 'printf "%s" "$INPUT_CLIENT_PAYLOAD" > "$RECORDS/payload"',
}
"""What the stand-in of an action does; all others do nothing."""

_RECORDER = f"""{interpreted()}import json, os, subprocess, sys
records = os.environ["RECORDS"]
name = os.path.basename(sys.argv[0])
with open(os.path.join(records, "calls"), "a") as calls:
    print(json.dumps([name, sys.argv[1:], dict(os.environ)]), file=calls)
script = os.path.join(records, name + ".sh")
if os.path.exists(script):
    sys.exit(subprocess.run(["bash", "-e", script, *sys.argv[1:]]).returncode)
"""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        succeeded: Whether every job succeeded or was skipped.
        log: All that was printed.
        jobs: The jobs that ran, and whether each succeeded.
    """

    succeeded: bool
    log: str
    jobs: dict[str, bool]


@dataclass(frozen=True)
class GitHub:
    """A repository with our workflows, on a remote with develop and main.

    Attributes:
        remote: The remote, and a clone of it.
        folder: A folder for everything else.
    """

    remote: Remote
    folder: Path

    @classmethod
    def create(cls, folder: Path) -> "GitHub":
        """Create it in an empty folder."""
        github = cls(Remote.create(folder), folder / "github")
        (github.records / "artifacts").mkdir(parents=True)
        clone = github.remote.clone
        shutil.copytree(REPOSITORY / ".github", clone / ".github")
        (clone / "recorder").write_text(_RECORDER)
        (clone / "recorder").chmod(0o755)
        (clone / ".gitignore").write_text(".venv\n/*.md\n/*.txt\n/*.bundle\n")
        (clone / "Makefile").write_text(
            "%:\n\t@mkdir -p .venv/bin && cp recorder .venv/bin/delivery\n"
        )
        commit(clone, "Add the workflows")
        run_git(clone, "push", "--quiet", "origin", "HEAD:develop", "HEAD:main")
        run_git(clone, "fetch", "--quiet")
        # What act takes for the name of the repository.
        run_git(clone, "remote", "add", "github", "https://github.com/owner/name.git")
        programs = github.folder / "bin"
        programs.mkdir()
        for name in ("gh", "trivy", "uv", "uvx", "docker"):
            (programs / name).write_text(_RECORDER)
            (programs / name).chmod(0o755)
        return github

    @property
    def records(self) -> Path:
        """Where the stand-ins write, and find what they do, as `NAME.sh`."""
        return self.folder / "records"

    def answer(self, program: str, script: str) -> None:
        """Say what a program does after its call was recorded."""
        (self.records / f"{program}.sh").write_text(script)

    def calls(self, program: str) -> list[tuple[list[str], dict[str, str]]]:
        """Return the arguments and the environment of each call of a program."""
        path = self.records / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        found = [json.loads(line) for line in lines]
        return [(arguments, env) for name, arguments, env in found if name == program]

    def run(
        self, workflow: Path, event: str, payload: dict[str, Any], *, branch: str = "main"
    ) -> Run:
        """Run a workflow.

        Args:
            workflow: Its file; copied to the repository if it is one of the callers.
            event: Name of the event.
            payload: What GitHub says about it.
            branch: The branch that the event is about.
        """
        run_git(
            self.remote.clone, "switch", "--quiet", "--force-create", branch, f"origin/{branch}"
        )
        event_file = self.folder / "event.json"
        repository = {"default_branch": "main", "name": "name", "full_name": "owner/name"}
        event_file.write_text(
            json.dumps({"ref": f"refs/heads/{branch}", "repository": repository, **payload})
        )
        assert ACT is not None
        done = subprocess.run(
            [
                *(ACT, event, "--eventpath", event_file, "--workflows", workflow, "--json"),
                *("--platform", "ubuntu-24.04=-self-hosted", "--no-skip-checkout", "--rm"),
                *("--remote-name", "github"),
                *(
                    each
                    for name, value in SECRETS.items()
                    for each in (
                        *("--secret", f"{name}={value}"),
                        *("--var", name.replace("PRIVATE_KEY", "CLIENT_ID=id")),
                    )
                ),
                *("--secret", "GITHUB_TOKEN=token-of-the-run"),
                *(each for action in self._actions() for each in ("--local-repository", action)),
            ],
            cwd=self.remote.clone,
            env={
                **{name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ},
                **ENVIRONMENT,
                "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
                "HOME": str(self.folder),
                "XDG_CACHE_HOME": str(self.folder / "cache"),
                "RECORDS": str(self.records),
                "REMOTE": str(self.remote.bare),
                "CHECKED_OUT": branch,
            },
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
        )
        lines = done.stdout.splitlines()
        events = [json.loads(each) if each.startswith("{") else {"msg": each} for each in lines]
        results = {
            each["jobID"]: each["jobResult"] == "success" for each in events if "jobResult" in each
        }
        log = "\n".join(each["msg"].rstrip("\n") for each in events)
        return Run(done.returncode == 0, log, results)

    def _actions(self) -> list[str]:
        """Write a stand-in for each action that a workflow uses, and return where it is."""
        found = []
        for source in (REPOSITORY / ".github" / "workflows").iterdir():
            for used in re.findall(r"\buses: *(\S+@[0-9a-f]{40})", source.read_text()):
                name, _, version = used.partition("@")
                repository = "/".join(name.split("/")[:2])
                root = self.folder / "actions" / repository
                target = root / name.removeprefix(repository).strip("/")
                target.mkdir(parents=True, exist_ok=True)
                (target / "action.yml").write_text(json.dumps(_stand_in(name)))
                found.append(f"{repository}@{version}={root}")
        return sorted(set(found))


def _stand_in(name: str) -> dict[str, Any]:
    """Return an action that hands its inputs to a script as GitHub hands them to a program."""
    return {
        "name": name,
        "inputs": {each: {"default": ""} for each in _INPUTS},
        "outputs": {
            each: {"value": f"${{{{ steps.done.outputs.{each} }}}}"}
            for each in ("artifact-id", "token", "cache-hit", "cache-primary-key")
        },
        "runs": {
            "using": "composite",
            "steps": [
                {
                    "id": "done",
                    "shell": "bash",
                    "run": _ACTIONS.get(name, "true"),
                    "env": {
                        f"INPUT_{each.upper().replace('-', '_')}": f"${{{{ inputs.{each} }}}}"
                        for each in _INPUTS
                    },
                }
            ],
        },
    }
