"""Text for people: Markdown for GitHub, and short names of commits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.text import details, escaped, fenced, fitted, short


@pytest.mark.parametrize("text", ["*a*", "_a_", "[a](b)", "<b>", "a|b", "`a`", "~a~", "&lt;"])
def test_text_stays_text(text: str) -> None:
    """Anybody may write a reason or a commit message."""
    assert escaped(text).replace("\\", "") == text
    assert len(escaped(text)) > len(text)


@pytest.mark.parametrize(
    ("text", "sign"), [("@everyone", "@"), ("a#1", "#"), ("GH @a, #2", "@"), ("# a", "#")]
)
def test_nobody_is_notified(text: str, sign: str) -> None:
    """GitHub ignores the backslash; only a zero-width space prevents a mention."""
    assert f"{sign}&#8203;" in escaped(text)
    assert escaped(text).replace("&#8203;", "") == text


def test_text_stays_on_its_line() -> None:
    """A second line would end a table row."""
    assert escaped("a\nb") == "a b"


@given(st.text(alphabet="`a\n"))
def test_no_text_ends_its_fence(text: str) -> None:
    """The rest of the text would be rendered as Markdown."""
    first, *_, last = fenced(text).splitlines()
    fence = first.removesuffix("text")
    assert last == fence
    assert fence not in text


def test_a_summary_is_plain_text() -> None:
    """It is inside an HTML element."""
    assert "<summary>a &amp; &lt;b&gt;</summary>" in details("a & <b>", "c")


@given(st.lists(st.text(max_size=50)), st.integers(min_value=100, max_value=400))
def test_the_result_fits(sections: list[str], limit: int) -> None:
    """GitHub refuses longer comments."""
    assert len(fitted(sections, limit=limit)) <= limit


def test_sections_are_whole_or_omitted() -> None:
    """A truncated fence would swallow the rest of the page."""
    sections = [details(str(number), fenced("x" * 100)) for number in range(10)]
    text = fitted(sections, limit=500)
    shown = text.count("<details>")
    assert 0 < shown < 10
    assert text.count("```") == 2 * shown
    assert f"{10 - shown} sections omitted for length." in text


def test_an_overlong_section_omits_no_other() -> None:
    """One long file must not hide those after it."""
    text = fitted(["first", "x" * 500, "last"], limit=200, elsewhere="Look there.")
    assert text == "first\n\nlast\n\n1 section omitted for length. Look there.\n"


def test_nothing_is_omitted_if_everything_fits() -> None:
    """A note about omissions would be wrong."""
    assert fitted(["a", "b"]) == "a\n\nb\n"


@pytest.mark.parametrize(
    ("tag", "shown"),
    [
        ("a" * 40, "a" * 12),
        ("7.2.16-bookworm", "7.2.16-bookworm"),
        (f"1.0.0@sha256:{'b' * 64}", f"1.0.0@sha256:{'b' * 12}"),
    ],
    ids=["commit", "version", "digest"],
)
def test_only_commits_and_digests_are_shortened(tag: str, shown: str) -> None:
    """Part of a version would name another one."""
    assert short(tag) == shown
