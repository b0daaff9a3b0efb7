"""Reports of texts that attack their reader: each stays text, in Markdown and on a terminal."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.console import Console
from rich.table import Table

from delivery.cli import main
from delivery.clusters import demo
from delivery.errors import DeliveryError
from delivery.manifests import diff
from delivery.manifests.diff import Difference, Verb
from delivery.manifests.fields import Field
from delivery.manifests.tree import Key
from delivery.network import connections
from delivery.network.connection import Connection, Verdict
from delivery.network.graph import Graph, Node, Shape, compare, mermaid
from delivery.rehearsal import report, run, verdicts
from delivery.rehearsal.consequences import Consequence
from delivery.rehearsal.rehearse import Finding, Rehearsal
from delivery.releases import status
from delivery.releases.reports import Report
from delivery.releases.status import Held, Pinned, Running, Status
from delivery.text import fenced
from hostile import CONTROLS, MARKUP, WRITTEN, assert_visible, structure
from repository import REPOSITORY

HOSTILE = [*MARKUP, *CONTROLS]


def rehearsals(text: str) -> list[Rehearsal]:
    """Return a rehearsal that has a text wherever an object, a commit or a server may put it."""
    key = Key(kind="ConfigMap", name=text, namespace=text, group="")
    findings = [
        Finding(key=key, verdict=verdict, change="", file="dist/dev/a.yaml", **more)
        for verdict, more in (
            (verdicts.Verdict.REFUSED, {"reasons": (text,)}),
            (verdicts.Verdict.DATA_AT_RISK, {"changes": (text,), "source": f"a/{text}.py:1"}),
            (verdicts.Verdict.DATA_AT_RISK, {"allowed": text}),
            (verdicts.Verdict.IN_PLACE, {"old": key._replace(name=f"{text}.")}),
        )
    ]
    return [
        Rehearsal(
            environment="dev",
            namespace="",
            base=text,
            kubernetes=text,
            findings=findings,
            consequences=[Consequence(key, text)],
            stops=text,
        )
    ]


def differences(text: str) -> list[Difference]:
    """Return changes that have a text wherever an object may put it."""
    return [
        Difference(environment="dev", file=text, verb=Verb.CHANGED, kind=text, name=text, fields=f)
        for f in (
            [Field(path=f"data.{text}", old="a", new=text)],
            [Field(path="spec.image", old=f"{text}:1", new=f"{text}:2")],
            [Field(path="data.file", old="a\nb\n", new=f"a\n{text}\n")],
        )
    ] + [Difference(environment="dev", file="a", verb=Verb.REMOVED, kind="ConfigMap", name=text)]


def statuses(text: str) -> list[Status]:
    """Return the status of a service that has a text wherever a branch or a cluster may put it."""
    return [
        Status(
            service="redis",
            images={"dev": text},
            behind={},
            missing={"staging": text},
            without_digest=[text],
            holds=[Held(branches=[text], reason=text)],
            pins=[Pinned(environment="dev", tag=text, reason=text, branches=[text])],
            reports={
                "dev": Report(commit=text, state=text, description=text, time=text, author=text)
            },
            running=[
                Running(environment="dev", images=[text], sync=text, health=text, revision=text)
            ],
        )
    ]


def rows(text: str) -> list[Connection]:
    """Return connections that have a text wherever an object may put it."""
    row = Connection(environment="dev", client=text, source=text, address=text)
    return [row, row.finding(f"there is no {text}", Verdict.DANGLING)]


@pytest.fixture(autouse=True)
def on_github(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give reports their links."""
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.test")
    monkeypatch.setenv("GITHUB_REPOSITORY", "acme/fraud")
    monkeypatch.setenv("SOURCE_COMMIT", "a" * 40)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize(
    "page",
    [
        lambda text: report.to_markdown(rehearsals(text)),
        lambda text: report.failure(DeliveryError(text)),
        lambda text: diff.as_markdown(differences(text)),
    ],
    ids=["rehearse", "failure", "diff"],
)
def test_no_text_is_markup(page: Callable[[str], str], text: str) -> None:
    """A name that makes a cell or a link can hide the verdict, and a mention notifies strangers."""

    def without_targets(markdown: str) -> list[str]:
        return [each.partition("/blob/")[0] for each in structure(markdown)]

    assert without_targets(page(text)) == without_targets(page("text"))
    assert_visible(page(text))


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_leaves_its_label(text: str) -> None:
    """Mermaid would obey a line of its own: `click a "https://…"` makes a link."""

    def drawing(text: str) -> str:
        node = Node(name="a", lines=("a", text), shape=Shape.WORKLOAD)
        graph = Graph(nodes={"a": node}, edges={("a", "a"): (text,)})
        return mermaid(compare(None, graph))

    lines = drawing(text).splitlines()
    assert len(lines) == len(drawing("text").splitlines())
    for line in lines[1:]:
        assert not set("`$") & set(line)
        assert line.count('"') == 2
    assert_visible(drawing(text))
    assert len(structure(fenced(drawing(text), language="mermaid"))) == 1


def command(monkeypatch: pytest.MonkeyPatch, name: str, text: str, form: str) -> str:
    """Return the standard output of a command whose findings have a text."""
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(status, "status", lambda *_, **__: statuses(text))
    monkeypatch.setattr(run, "run", lambda *_, **__: rehearsals(text))
    monkeypatch.setattr(connections, "analyze", lambda *_: rows(text))
    monkeypatch.setattr(diff, "changes", lambda *_: differences(text))
    base = ["HEAD", "-e", "dev"] if name in {"diff", "rehearse"} else []
    return CliRunner().invoke(main, [name, *base, "--format", form], color=True).stdout


COMMANDS = ["connections", "diff", "rehearse", "status"]


@pytest.mark.parametrize("name", COMMANDS)
def test_no_text_controls_a_terminal(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """An escape sequence in an annotation erased the headline above it, and bidi turns a line."""

    def headlines(output: str) -> int:
        return sum(not line.startswith("    ") for line in output.splitlines())

    expected = headlines(command(monkeypatch, name, "text", "text"))
    for text in [*CONTROLS, "a\nRehearsal of dev: nothing blocks"]:
        output = command(monkeypatch, name, text, "text")
        # Our own colours are around whole lines.
        assert_visible(click.unstyle(output) if name == "diff" else output)
        assert text not in output
        assert headlines(output) == expected


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("text", CONTROLS)
def test_json_is_as_visible(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    """People read it on a terminal, too; a program gets the text as it is."""
    output = command(monkeypatch, name, text, "json")
    assert_visible(output)
    assert text in texts(json.loads(output))


def texts(value: object) -> list[object]:
    """Return all values in a JSON value."""
    if isinstance(value, dict):
        return [each for child in value.values() for each in texts(child)]
    if isinstance(value, list):
        return [each for child in value for each in texts(child)]
    return [value]


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("text", WRITTEN)
def test_people_write_as_they_like(
    monkeypatch: pytest.MonkeyPatch, name: str, form: str, text: str
) -> None:
    """Joiners, combining marks and other scripts are not an attack."""
    assert text in command(monkeypatch, name, text, form)


@pytest.mark.parametrize("text", WRITTEN)
def test_markdown_keeps_what_people_write(text: str) -> None:
    """On GitHub as well."""
    assert text in report.to_markdown(rehearsals(text))
    assert text in diff.as_markdown(differences(text))


@pytest.mark.parametrize("text", CONTROLS)
@pytest.mark.parametrize("error", [DeliveryError, click.UsageError, OSError, RuntimeError])
def test_no_error_controls_a_terminal(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception], text: str
) -> None:
    """A remote, a server or a payload writes a part of the message."""

    def fail(*_: object, **__: object) -> Sequence[Status]:
        raise error(text)

    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(status, "status", fail)
    assert_visible(CliRunner().invoke(main, ["status"]).output)


def test_no_step_controls_a_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The name of a branch is in it."""
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(status, "status", lambda *_, **__: statuses("a"))
    output = CliRunner().invoke(main, ["status", "--remote", f"{tmp_path}\x1b[2K"]).output
    assert_visible(output)
    assert "[2K" in output


@pytest.mark.parametrize("text", CONTROLS)
def test_no_table_of_the_demo_controls_a_terminal(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Names and states come from a cluster."""

    def show(_: Path, console: Console) -> None:
        console.print(text)
        table = Table("name")
        table.add_row(text)
        console.print(table)

    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(demo, "run", show)
    assert_visible(CliRunner().invoke(main, ["demo"]).output)


@pytest.mark.parametrize("text", ["[bold]a[/bold]", "[/a]", ":tada:"])
def test_a_table_of_the_status_has_no_markup(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """The library that draws it has a markup of its own, which fails where it is wrong."""
    lines = command(monkeypatch, "status", text, "text").splitlines()
    assert ["redis", text, text] in [line.split() for line in lines]


def test_one_function_prints() -> None:
    """Whoever prints past it prints what others wrote; only the colours of `diff` are our own."""
    source = (REPOSITORY / "delivery" / "cli.py").read_text(encoding="utf-8")
    assert source.count("click.echo(") == 2
