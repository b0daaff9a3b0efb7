"""Markdown for GitHub."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.markdown import details, escaped, fenced, fitted


@pytest.mark.parametrize(
    "text", ["*a*", "_a_", "[a](b)", "<b>", "a|b", "@everyone", "`a`", "~a~", "# a"]
)
def test_text_stays_text(text: str) -> None:
    """A reason or a commit's subject may come from anybody."""
    assert escaped(text).replace("\\", "") == text
    assert len(escaped(text)) > len(text)


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
    assert f"{10 - shown} more parts have no room here" in text


def test_all_parts_are_there_if_they_fit() -> None:
    """Nothing is counted then."""
    assert fitted(["a", "b"]) == "a\n\nb\n"
