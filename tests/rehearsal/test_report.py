"""Reports of a rehearsal: as text, as Markdown for GitHub, and as JSON."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from delivery.manifests.tree import Key
from delivery.rehearsal.consequences import Consequence
from delivery.rehearsal.rehearse import Finding, Rehearsal
from delivery.rehearsal.report import failure, to_json, to_markdown, to_text
from delivery.rehearsal.verdicts import Verdict

SOURCE = "constructs/fraud_detection/services/redis.py:74"


def key(name: str, kind: str = "Deployment") -> Key:
    """Return the key of an object."""
    return Key(kind=kind, name=name, namespace="shop", group="apps")


def finding(name: str, verdict: Verdict, **fields: object) -> Finding:
    """Return a minimal finding."""
    return Finding(
        key=key(name),
        verdict=verdict,
        change="0123456789ab",
        file="dist/dev/a.yaml",
        **fields,  # type: ignore[arg-type]
    )


def rehearsal(*findings: Finding, **fields: object) -> Rehearsal:
    """Return a rehearsal of one environment."""
    return Rehearsal(
        environment="dev",
        namespace="shop",
        base="origin/develop",
        kubernetes="v1.37.2",
        findings=findings,
        **fields,  # type: ignore[arg-type]
    )


@pytest.fixture(autouse=True)
def not_on_github(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports have no links, even if the tests run on GitHub."""
    monkeypatch.delenv("SOURCE_COMMIT", raising=False)


def test_unchanged_objects_are_only_counted() -> None:
    """Most objects never change, and would hide the others."""
    unchanged = rehearsal(finding("web", Verdict.UNCHANGED))
    for form in (to_text, to_markdown):
        assert "1 unchanged" in form([unchanged])
        assert "web" not in form([unchanged])


def test_the_markdown_starts_with_a_table() -> None:
    """A reader sees the verdict before unfolding anything."""
    text = to_markdown([rehearsal(finding("web", Verdict.PODS_ROLL, reasons=("slowly",)))])
    assert text.startswith("### Rehearsal of dev: nothing blocks\n")
    assert text.index("| pods roll | <code>Deployment.apps/web</code> | slowly |") < text.index(
        "<details>"
    )


def test_what_blocks_says_what_to_do() -> None:
    """A reader who knows what is wrong does not know yet how to go on."""
    rehearsals = [rehearsal(finding("web", Verdict.DATA_AT_RISK, reasons=("it is lost",)))]
    for form in (to_text, to_markdown):
        assert "blocked" in form(rehearsals)
        assert "move the data first" in form(rehearsals)
        assert "Rehearsal-Allow: dev Deployment.apps/web=data-at-risk:0123456789ab REASON" in form(
            rehearsals
        )


def test_what_is_allowed_says_why() -> None:
    """The reason answers whoever asks later."""
    rehearsals = [rehearsal(finding("web", Verdict.DATA_AT_RISK, allowed="dev starts empty"))]
    for form in (to_text, to_markdown):
        assert "nothing blocks" in form(rehearsals)
        assert "Allowed: dev starts empty" in form(rehearsals)
    assert "| data at risk, allowed | <code>Deployment.apps/web</code> |" in to_markdown(rehearsals)


def test_each_detail_names_its_environment() -> None:
    """Environments often change in the same way."""
    rehearsals = [rehearsal(finding("web", Verdict.IN_PLACE))]
    assert "<details><summary>dev: in place: Deployment.apps/web</summary>" in to_markdown(
        rehearsals
    )


def test_a_page_without_a_report_says_why() -> None:
    """A reader must not take it for a page on which nothing blocks."""
    page = failure(ValueError("there is no *origin/develop* here\n@everyone"))
    assert page.startswith("### Rehearsal failed\n\nthere is no \\*origin/develop\\* here ")
    assert "@everyone" not in page


def test_an_error_of_the_system_names_its_cause() -> None:
    """Its number means nothing to a reader of the page."""
    full = OSError(28, "No space left on device", "/disk/etcd")
    assert failure(full).endswith("No space left on device: /disk/etcd")


def test_the_point_where_a_sync_fails_is_reported() -> None:
    """Objects after it are judged, too, but the sync does not reach them."""
    rehearsals = [rehearsal(finding("web", Verdict.REFUSED), stops="in wave 2")]
    assert "The sync fails in wave 2: no later wave is applied" in to_text(rehearsals)


@pytest.mark.parametrize("form", [to_text, to_markdown])
def test_a_new_name_shows_the_old_one(form: object) -> None:
    """Both names belong to one object."""
    renamed = finding("shop", Verdict.RECREATED, old=key("web"))
    assert callable(form)
    assert "Deployment.apps/shop (was Deployment.apps/web)" in form([rehearsal(renamed)])


def test_a_new_namespace_shows_the_old_one() -> None:
    """The name alone would look unchanged."""
    old = key("web")._replace(namespace="annex")
    moved = rehearsal(finding("web", Verdict.RECREATED, old=old))
    assert "Deployment.apps/web (was Deployment.apps/annex/web)" in to_text([moved])


def test_what_is_refused_may_be_fine_elsewhere() -> None:
    """The real cluster may have a PriorityClass, for example, that the rehearsal lacks."""
    text = to_text([rehearsal(finding("web", Verdict.REFUSED))])
    assert "Correct it" in text
    assert "Rehearsal-Allow: dev Deployment.apps/web=refused:0123456789ab REASON" in text


@pytest.mark.parametrize("form", [to_text, to_markdown])
def test_a_foreign_object_is_named_with_its_namespace(
    form: Callable[[Sequence[Rehearsal]], str],
) -> None:
    """Its name alone would be that of an own object."""
    foreign = replace(finding("web", Verdict.OUT_OF_BOUNDS), key=key("web")._replace(namespace="x"))
    note = Consequence(foreign.key, "selects no pod")
    text = form([rehearsal(foreign, finding("web", Verdict.IN_PLACE), consequences=[note])])
    assert re.search(r"out of bounds\W+(<code>)?Deployment.apps/x/web", text)
    assert re.search(r"in place\W+(<code>)?Deployment.apps/web", text)
    assert re.search(r"Deployment.apps/x/web(</code>)?: selects no pod", text)
    assert "Rehearsal-Allow: dev Deployment.apps/x/web=out-of-bounds:0123456789ab" in text


def test_consequences_are_reported() -> None:
    """They may concern objects that do not change."""
    rehearsals = [rehearsal(consequences=[Consequence(key("web", "Service"), "selects no pod")])]
    for form in (to_text, to_markdown):
        assert re.search(r"Service.apps/web(</code>)?: selects no pod", form(rehearsals))


def test_a_source_is_a_link_on_github(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reviewer gets to the construct with one click."""
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.test")
    monkeypatch.setenv("GITHUB_REPOSITORY", "some/repository")
    monkeypatch.setenv("SOURCE_COMMIT", "abc")
    text = to_markdown([rehearsal(finding("web", Verdict.IN_PLACE, source=SOURCE))])
    url = "https://github.test/some/repository/blob/abc/constructs/fraud_detection/services/redis.py#L74"
    assert f"[<code>redis.py:74</code>]({url})" in text


def test_quoted_text_stays_text() -> None:
    """A ConfigMap may contain Markdown, and an attacker could write in the name of the bot."""
    evil = "x | y\n```\n</details> <img> @everyone"
    text = to_markdown([rehearsal(finding("web", Verdict.IN_PLACE, changes=(evil,)))])
    assert "````text" in text
    assert "x \\| y" in text
    assert "@everyone" not in text.partition("<details>")[0]


@pytest.mark.parametrize("objects", [10, 3000])
def test_the_markdown_fits_into_a_comment(objects: int) -> None:
    """GitHub rejects comments of more than 65,536 characters."""
    many = [
        finding(f"web-{n}", Verdict.PODS_ROLL, reasons=("why " * 50,), changes=("what " * 50,) * 9)
        for n in range(objects)
    ]
    text = to_markdown([rehearsal(*many), rehearsal(*many)])
    assert len(text) <= 60_000
    assert text.count("<details>") == text.count("</details>")
    assert text.count("```") % 2 == 0
    assert text.count("### Rehearsal of dev") == 2


def test_the_json_is_complete() -> None:
    """A program may need every object, even the unchanged ones."""
    [parsed] = json.loads(
        to_json([rehearsal(finding("web", Verdict.REPLACE_NEEDED, reasons=("a", "b")))])
    )
    assert parsed["blocks"]
    [found] = parsed["findings"]
    assert (found["kind"], found["name"], found["verdict"]) == (
        "Deployment",
        "web",
        "replace-needed",
    )
    assert found["reasons"] == ["a", "b"]


def test_the_details_of_the_worst_come_first() -> None:
    """A long report omits the last details."""
    harmless, bad = finding("a", Verdict.IN_PLACE), finding("b", Verdict.REFUSED)
    text = to_markdown([rehearsal(harmless), rehearsal(bad)])
    assert text.index("dev: refused: Deployment.apps/b") < text.index(
        "dev: in place: Deployment.apps/a"
    )


def test_a_long_reason_is_cut_in_the_table() -> None:
    """The details have all of it; a long cell would squeeze the other columns."""
    text = to_markdown([rehearsal(finding("web", Verdict.REFUSED, reasons=("x" * 301,)))])
    assert f"| {'x' * 300}… |" in text
    assert "x" * 301 in text
