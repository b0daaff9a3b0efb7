"""The report of a rehearsal: what a person, a page of GitHub and a program are told."""

import json
import re

import pytest

from delivery.manifests.tree import Key
from delivery.rehearsal.allowances import Allowance
from delivery.rehearsal.consequences import Consequence
from delivery.rehearsal.rehearse import Finding, Rehearsal
from delivery.rehearsal.report import failure, to_json, to_markdown, to_text
from delivery.rehearsal.verdicts import Verdict

SOURCE = "constructs/fraud_detection/services/redis.py:74"


def key(name: str, kind: str = "Deployment") -> Key:
    """An object."""
    return Key(kind=kind, name=name, namespace="shop", group="apps")


def finding(name: str, verdict: Verdict, **fields: object) -> Finding:
    """A finding with as little as it can have."""
    return Finding(key=key(name), verdict=verdict, file="dist/dev/a.yaml", **fields)  # type: ignore[arg-type]


def rehearsal(*findings: Finding, **fields: object) -> Rehearsal:
    """A rehearsal of one environment."""
    return Rehearsal(
        environment="dev",
        base="origin/develop",
        kubernetes="v1.37.2",
        findings=findings,
        **fields,  # type: ignore[arg-type]
    )


@pytest.fixture(autouse=True)
def not_on_github(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests."""
    monkeypatch.delenv("GITHUB_SHA", raising=False)


def test_what_did_not_change_is_only_counted() -> None:
    """Most of it never does."""
    said = rehearsal(finding("web", Verdict.UNCHANGED))
    for form in (to_text, to_markdown):
        assert "1 unchanged" in form([said])
        assert "web" not in form([said])


def test_the_markdown_starts_with_a_table() -> None:
    """The verdict is seen before anything is unfolded."""
    text = to_markdown([rehearsal(finding("web", Verdict.PODS_ROLL, reasons=("slowly",)))])
    assert text.startswith("### Rehearsal of dev: nothing blocks\n")
    assert text.index("| pods roll | `Deployment/web` | slowly |") < text.index("<details>")


def test_what_blocks_says_what_to_do() -> None:
    """The reader knows what is wrong; not yet what now."""
    said = [rehearsal(finding("web", Verdict.DATA_AT_RISK, reasons=("it is lost",)))]
    for form in (to_text, to_markdown):
        assert "blocked" in form(said)
        assert "move the data first" in form(said)
        assert "Rehearsal-Allow: dev Deployment/web=data-at-risk REASON" in form(said)


def test_what_is_allowed_says_why() -> None:
    """Whoever asks later finds the reason."""
    said = [rehearsal(finding("web", Verdict.DATA_AT_RISK, allowed="dev starts empty"))]
    for form in (to_text, to_markdown):
        assert "nothing blocks" in form(said)
        assert "Allowed: dev starts empty" in form(said)
    assert "| data at risk, allowed | `Deployment/web` |" in to_markdown(said)


def test_the_environment_of_each_detail_is_told() -> None:
    """Two of them often change alike."""
    said = [rehearsal(finding("web", Verdict.IN_PLACE))]
    assert "<details><summary>dev: in place: Deployment/web</summary>" in to_markdown(said)


def test_a_page_without_a_report_says_why() -> None:
    """Nobody must take it for one on which nothing blocks."""
    said = failure(ValueError("there is no *origin/develop* here\n@everyone"))
    assert said.startswith(
        "### It could not be rehearsed\n\nthere is no \\*origin/develop\\* here "
    )
    assert "@everyone" not in said


def test_the_end_of_a_failing_sync_is_told() -> None:
    """What comes later is judged all the same."""
    said = [rehearsal(finding("web", Verdict.REFUSED), stops="in wave 2")]
    assert "The sync fails in wave 2: nothing later is applied" in to_text(said)


@pytest.mark.parametrize("form", [to_text, to_markdown])
def test_a_new_name_shows_the_old_one(form: object) -> None:
    """They are one thing."""
    renamed = finding("shop", Verdict.RECREATED, old=key("web"))
    assert callable(form)
    assert "Deployment/shop (was web)" in form([rehearsal(renamed)])


def test_a_new_namespace_shows_the_old_one() -> None:
    """The name alone would say that nothing has changed."""
    old = key("web")._replace(namespace="annex")
    moved = rehearsal(finding("web", Verdict.RECREATED, old=old))
    assert "Deployment/web (was in annex)" in to_text([moved])


def test_what_is_refused_cannot_be_allowed() -> None:
    """The API server does not listen to us."""
    said = to_text([rehearsal(finding("web", Verdict.REFUSED))])
    assert "Correct it" in said
    assert "Rehearsal-Allow" not in said


def test_consequences_are_told() -> None:
    """They stand with none of the changed objects alone."""
    said = [rehearsal(consequences=[Consequence(key("web", "Service"), "selects no pod")])]
    for form in (to_text, to_markdown):
        assert re.search(r"Service/web`?: selects no pod", form(said))


def test_a_source_is_a_link_on_github(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reviewer clicks on it."""
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.test")
    monkeypatch.setenv("GITHUB_REPOSITORY", "some/repository")
    monkeypatch.setenv("GITHUB_SHA", "abc")
    text = to_markdown([rehearsal(finding("web", Verdict.IN_PLACE, source=SOURCE))])
    url = "https://github.test/some/repository/blob/abc/constructs/fraud_detection/services/redis.py#L74"
    assert f"[`redis.py:74`]({url})" in text


def test_quoted_text_stays_text() -> None:
    """A ConfigMap may hold Markdown, or somebody may try to say something in our name."""
    evil = "x | y\n```\n</details> <img> @everyone"
    text = to_markdown([rehearsal(finding("web", Verdict.IN_PLACE, changes=(evil,)))])
    assert "````text" in text
    assert "x \\| y" in text
    assert "@everyone" not in text.partition("<details>")[0]


@pytest.mark.parametrize("objects", [10, 3000])
def test_the_markdown_has_room_in_a_comment(objects: int) -> None:
    """GitHub refuses more than 65,536 characters as a whole."""
    many = [
        finding(f"web-{n}", Verdict.PODS_ROLL, reasons=("why " * 50,), changes=("what " * 50,) * 9)
        for n in range(objects)
    ]
    text = to_markdown([rehearsal(*many), rehearsal(*many)])
    assert len(text) <= 60_000
    assert text.count("<details>") == text.count("</details>")
    assert text.count("```") % 2 == 0
    assert text.count("### Rehearsal of dev") == 2


def test_the_json_has_all_there_is() -> None:
    """A program looks at every object, those without a change too."""
    [said] = json.loads(
        to_json([rehearsal(finding("web", Verdict.REPLACE_NEEDED, reasons=("a", "b")))])
    )
    assert said["blocks"]
    [found] = said["findings"]
    assert (found["kind"], found["name"], found["verdict"]) == (
        "Deployment",
        "web",
        "replace-needed",
    )
    assert found["reasons"] == ["a", "b"]


def test_an_allowance_is_read_as_it_is_typed() -> None:
    """With dashes, as a shell takes it."""
    assert Allowance.parse("StatefulSet/redis=data-at-risk", "why") == Allowance(
        kind="StatefulSet", name="redis", verdict=Verdict.DATA_AT_RISK, reason="why"
    )


def test_the_details_of_the_worst_come_first() -> None:
    """They are what there must be room for."""
    harmless, bad = finding("a", Verdict.IN_PLACE), finding("b", Verdict.REFUSED)
    text = to_markdown([rehearsal(harmless), rehearsal(bad)])
    assert text.index("dev: refused: Deployment/b") < text.index("dev: in place: Deployment/a")


def test_a_long_reason_is_cut_in_the_table() -> None:
    """It stands below in full; a cell of a page would push the others aside."""
    text = to_markdown([rehearsal(finding("web", Verdict.REFUSED, reasons=("x" * 301,)))])
    assert f"| {'x' * 300}… |" in text
    assert "x" * 301 in text
