"""What holds for every workflow: pinned, least privilege, and thin."""

import os
import re
from pathlib import Path

import click
import pytest

from delivery.cli import main
from repository import REPOSITORY
from workflows import (
    CONFIGURATION,
    GITHUB,
    WORKFLOWS,
    commands,
    each_file,
    each_workflow,
    load,
    using,
    words,
)

TARGETS = re.findall(r"^\.PHONY: (.+)$", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE)

SCRIPTS = sorted((GITHUB / "scripts").iterdir())
OURS = [path for path in WORKFLOWS if path.stem != "deliver-service"]


@each_file
def test_actions_are_pinned_by_commit_with_their_version(workflow: Path) -> None:
    """A tag can be moved to other code; the comment names the version of the commit."""
    uses = re.findall(r"\buses: *(.*)", workflow.read_text())
    ours = rf"{CONFIGURATION}/\.github/workflows/[\w-]+\.yml@main # .+"
    pinned = re.compile(rf"[\w.-]+/[\w./-]+@[0-9a-f]{{40}} # v\d+\.\d+\.\d+|{ours}")
    assert [action for action in uses if not pinned.fullmatch(action)] == []


def test_an_action_has_one_commit() -> None:
    """Two versions side by side are an unfinished update."""
    uses = {
        action
        for path in WORKFLOWS
        for action in re.findall(r"\buses: *(\S+@[0-9a-f]{40})", path.read_text())
    }
    names = [action.partition("@")[0] for action in uses]
    assert sorted(names) == sorted(set(names))


@each_file
def test_nothing_is_permitted_by_default(workflow: Path) -> None:
    """A job without permissions of its own would get the repository's default, often write."""
    assert load(workflow)["permissions"] == {}


@each_file
def test_every_permission_has_a_reason(workflow: Path) -> None:
    """A reviewer can ask whether the reason still holds."""
    granted = re.findall(r"^ +[a-z-]+: (?:read|write)\b(.*)$", workflow.read_text(), re.MULTILINE)
    reasons = [comment for comment in granted if re.match(r" # \w", comment)]
    inputs = re.findall(
        r"^ +permission-[a-z-]+: (?:read|write)$", workflow.read_text(), re.MULTILINE
    )
    assert len(reasons) == len(granted) - len(inputs)


@each_workflow
def test_commands_take_no_expressions(workflow: Path) -> None:
    """GitHub pastes an expression into the script: the name of a branch could be a command."""
    assert [command for command in commands(workflow) if "${{" in command] == []


def refused(command: str) -> str | None:
    """Return why this is not a valid call of make or delivery, or None if it is one."""
    program, *arguments = words(command)
    if program in {"cat", "exit", "gh"}:
        return None
    if program == "make":
        return None if arguments and set(arguments) <= set(TARGETS) else "no such target"
    if program.startswith(".github/scripts/"):
        is_there = REPOSITORY / program in SCRIPTS and os.access(REPOSITORY / program, os.X_OK)
        return None if is_there else "no such script"
    return refused_by_delivery(program, arguments)


def refused_by_delivery(program: str, arguments: list[str]) -> str | None:
    """Return why `delivery` would not take these arguments, or None if it would."""
    if program != ".venv/bin/delivery":
        return "neither a script, make nor delivery"
    name, *options = arguments
    if name not in main.commands:
        return "no such command"
    called = main.commands[name]
    context = click.Context(called, info_name=name)
    try:
        values, left, _ = called.make_parser(context).parse_args(options)
        for parameter in called.params:
            value = values.get(str(parameter.name))
            # A file may be what an earlier step writes.
            if "$" not in str(value) and not isinstance(parameter.type, click.Path):
                parameter.process_value(context, value)
    except click.UsageError as error:
        return error.format_message()
    return f"left over: {left}" if left else None


@pytest.mark.parametrize("workflow", OURS, ids=lambda path: path.name)
def test_commands_are_ours(workflow: Path) -> None:
    """Everything that a workflow does can then be tried on a laptop."""
    found = {command: refused(command) for command in commands(workflow)}
    assert {command: why for command, why in found.items() if why} == {}


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("make nonsense", "no such target"),
        ("make", "no such target"),
        ("delivery check", "neither a script, make nor delivery"),
        (".github/scripts/nonsense.sh", "no such script"),
        (".venv/bin/delivery nonsense", "no such command"),
        (".venv/bin/delivery check --nonsense", "No such option"),
        (".venv/bin/delivery check nonsense", "left over"),
        (".venv/bin/delivery bump", "Missing argument"),
        (".venv/bin/delivery connections --format nonsense", "Invalid value"),
    ],
)
def test_a_command_that_does_not_exist_is_noticed(command: str, why: str) -> None:
    """Otherwise the test above would accept everything."""
    assert why in str(refused(command))


@pytest.mark.parametrize(
    "command",
    [
        "make a; make b",
        "make a && make b",
        "make a | tee b",
        "make a\nmake b",
        "make $A",
        'make "$(make b)"',
        "make `a`",
    ],
)
def test_a_second_command_is_noticed(command: str) -> None:
    """The first of two could fail unnoticed, and a bare variable could become several words."""
    with pytest.raises(ValueError, match="not one command"):
        words(command)


@each_workflow
def test_checkouts_keep_no_token(workflow: Path) -> None:
    """Every later step could push with a token in .git/config."""
    checkouts = using(workflow, "actions/checkout")
    assert [
        step for step in checkouts if step.get("with", {}).get("persist-credentials") is not False
    ] == []


@each_workflow
def test_every_job_has_a_time_limit(workflow: Path) -> None:
    """The default is six hours, which block the rest of the concurrency group."""
    jobs = load(workflow)["jobs"]
    assert [name for name, job in jobs.items() if job["timeout-minutes"] > 60] == []


@each_file
def test_nothing_is_skipped_by_its_commit_message(workflow: Path) -> None:
    """A required check of a skipped commit waits for ever, and promotions end in bumps."""
    assert re.findall(r"\[(?:skip|no) ci\]|\[ci skip\]", workflow.read_text()) == []


@each_workflow
def test_no_stranger_starts_a_run_with_secrets(workflow: Path) -> None:
    """A pull request runs its own code, which must not see our secrets."""
    events = load(workflow)["on"]
    assert not {"pull_request_target", "workflow_run", "issue_comment"} & set(events)
    assert not ("pull_request" in events and "secrets." in workflow.read_text())


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_is_used(script: Path) -> None:
    """One that nobody calls would be reviewed for nothing."""
    used = [command for path in WORKFLOWS for command in commands(path) if script.name in command]
    assert used != []
