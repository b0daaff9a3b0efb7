"""The workflows and their callers, as the tests read them."""

import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from fraud_detection.repositories import REPOSITORY as REMOTE
from repository import REPOSITORY

GITHUB = REPOSITORY / ".github"

WORKFLOWS = sorted((GITHUB / "workflows").iterdir())

CALLERS = sorted((REPOSITORY / "docs" / "application-repository").glob("*.yml"))

CONFIGURATION = REMOTE.removeprefix("https://github.com/").removesuffix(".git")
"""This repository on GitHub, as OWNER/NAME."""

each_workflow = pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)

each_file = pytest.mark.parametrize("workflow", [*WORKFLOWS, *CALLERS], ids=lambda path: path.name)


@cache
def load(path: Path) -> Any:  # noqa: ANN401 - what YAML gives
    """Return a parsed file, which must not be changed."""
    return YAML(typ="safe").load(path)


def workflow(name: str) -> Any:  # noqa: ANN401 - what YAML gives
    """Return one of our workflows."""
    return load(GITHUB / "workflows" / f"{name}.yml")


def steps(path: Path) -> list[dict[str, Any]]:
    """Return the steps of all jobs."""
    return [step for job in load(path)["jobs"].values() for step in job.get("steps", [])]


def commands(path: Path) -> list[str]:
    """Return the commands that the steps run."""
    return [step["run"] for step in steps(path) if "run" in step]


def using(path: Path, action: str) -> list[dict[str, Any]]:
    """Return the steps that use an action."""
    return [step for step in steps(path) if step.get("uses", "").startswith(f"{action}@")]


def words(command: str) -> list[str]:
    """Split a command as the shell does if every variable is set, without its redirections.

    Raises:
        ValueError: If it is more than one command, or has an unquoted variable.
    """
    whole = re.sub(r"\$\{\w+:\+(.*?)\}", r"\1", command.strip())
    called = re.sub(r'\s+(>>?|<<<)\s+("\$\w+"|[\w.-]+)$', "", whole)
    unquoted = re.sub(r"'[^']*'|\"[^\"`(]*\"", "", called)
    if re.search(r"[\n;&|<>`$]", unquoted):
        raise ValueError(f"not one command: {command}")
    return shlex.split(called)


def named(path: Path, job: str) -> dict[str, dict[str, Any]]:
    """Return the steps of a job by their names, or else by what they run or use."""
    return {
        step.get("name", step.get("run", step.get("uses", "").partition("@")[0])): step
        for step in load(path)["jobs"][job]["steps"]
    }
