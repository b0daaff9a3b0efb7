"""Markdown for GitHub."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.text import details, escaped, fenced, fitted


@pytest.mark.parametrize("text", ["*a*", "_a_", "[a](b)", "<b>", "a|b", "`a`", "~a~", "&lt;"])
def test_text_stays_text(text: str) -> None:
    """A reason or a commit's subject may come from anybody."""
    assert escaped(text).replace("\\", "") == text
    assert len(escaped(text)) > len(text)


@pytest.mark.parametrize(
    ("text", "sign"), [("@everyone", "@"), ("a#1", "#"), ("GH @a, #2", "@"), ("# a", "#")]
)
def test_nobody_is_notified(text: str, sign: str) -> None:
    """GitHub mentions also behind a backslash; only a space of no width stops it."""
    assert f"{sign}&#8203;" in escaped(text)
    assert escaped(text).replace("&#8203;", "") == text


def test_text_stays_on_its_line() -> None:
    """A second line would end the row of a table."""
    assert escaped("a\nb") == "a b"


@given(st.text(alphabet="`a\n"))
def test_no_text_ends_its_fence(text: str) -> None:
    """What follows would be read as Markdown."""
    first, *_, last = fenced(text).splitlines()
    fence = first.removesuffix("text")
    assert last == fence
    assert fence not in text


def test_a_summary_is_plain_text() -> None:
    """It stands inside HTML."""
    assert "<summary>a &amp; &lt;b></summary>" in details("a & <b>", "c")


@given(st.lists(st.text(max_size=50)), st.integers(min_value=100, max_value=400))
def test_it_fits(parts: list[str], limit: int) -> None:
    """GitHub refuses a longer one."""
    assert len(fitted(parts, limit=limit)) <= limit


def test_parts_are_whole_or_not_there() -> None:
    """A fence that was cut would swallow the rest of the page."""
    parts = [details(str(number), fenced("x" * 100)) for number in range(10)]
    text = fitted(parts, limit=500)
    shown = text.count("<details>")
    assert 0 < shown < 10
    assert text.count("```") == 2 * shown
    assert f"Parts that have no room here: {10 - shown}." in text


def test_a_part_that_is_too_long_takes_no_other_along() -> None:
    """One long file must not hide what happens to all that come after it."""
    text = fitted(["first", "x" * 500, "last"], limit=200, elsewhere="Look there.")
    assert text == "first\n\nlast\n\nParts that have no room here: 1. Look there.\n"


def test_all_parts_are_there_if_they_fit() -> None:
    """Nothing is counted then."""
    assert fitted(["a", "b"]) == "a\n\nb\n"
