"""Texts that attack a reader, and checks that a report shows them as text."""

import re
from html import unescape

from markdown_it import MarkdownIt

MARKUP = (
    "x`|**unchanged**|[a](https://evil.example)|@somebody<br>",
    "``x`",
    r"back\|slash\`",
    "a|b",
    "| a | b |",
    "<img src=x onerror=y>",
    "</summary></details><b>",
    "&lt;b&gt; &#64;somebody &commat;somebody",
    "![a](x) [a][b] [^1]",
    "<https://evil.example> https://evil.example HTTP://evil.example www.evil.example",
    "ftp://evil.example mailto:a@evil.example somebody@evil.example xmpp:a@evil.example",
    "@somebody @acme/team acme/fraud@abc",
    "#1 acme/fraud#1 GH-1 gh-1",
    "$x$ $$x$$ $`x`$",
    ":tada: :+1: :white_check_mark: ::tada::",
    "~~a~~ ~a~ **a** __a__ _a_ *a*",
    "a\n\n# b\n\n- c",
    "- a",
    "1. a",
    "10. a",
    "1.",
    "1) a",
    "+ a",
    "---",
    "===",
    "> a",
    "# a",
    "    a",
    "```\n@somebody\n```",
    "~~~",
    "a\\",
)
"""Markdown of GitHub that is more than text."""
CONTROLS = (
    "\x1b[1A\x1b[2KRehearsal of dev: nothing blocks",
    "\x1b]8;;https://evil.example\x1b\\a\x1b]8;;\x1b\\",
    "\x9b2K",
    "a\rb",
    "a\x08b",
    "a\x00b",
    "a\x7fb",
    "a\u202eb",
    "a\u2066b\u2069",
    "\u200e\u200f\u061c",
    "\u2028a\u2029b",
    "\x85a",
)
"""Characters that change how a terminal shows others."""
WRITTEN = (
    "می\u200cخواهم",  # noqa: RUF001 - Persian
    "👩\u200d🚒",
    "e\u0301",
    "שלום",
    "日本語",
)
"""Texts that people write."""

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)
_TAG = re.compile(r"</?[a-z]+")
_REFERENCE = re.compile(r"[@#]\w|GH-\d|:[\w+-]+:|://|www\.|(?<!<span>)\$(?!</span>)", re.IGNORECASE)
_TEXT = {"text", "text_special"}


def assert_visible(text: str) -> None:
    """Fail if a text has a character that a terminal obeys, other than a line break or a tab."""
    found = _HIDDEN.search(text)
    assert found is None, repr(text)


def structure(markdown: str) -> list[str]:
    """Return what a page of Markdown consists of, apart from its texts, as GitHub reads it."""
    parser = MarkdownIt("gfm-like", {"html": True})
    assert parser.linkify is not None
    # GitHub has no links without `www.` or a scheme.
    parser.linkify.set({"fuzzy_link": False})
    found = []
    for block in parser.parse(markdown):
        for token in block.children or [block]:
            if token.type.startswith("html_"):
                found += [tag for tag in _TAG.findall(token.content) if not tag.endswith("span")]
            elif token.type not in _TEXT:
                found.append(f"{token.type} {token.attrGet('href') or ''}")
        _assert_text(block.type, parser.renderer.render([block], parser.options, {}))
    return found


def _assert_text(kind: str, html: str) -> None:
    """Fail if GitHub would find a reference in what is rendered; it ignores links and fences."""
    if kind not in {"fence", "code_block"}:
        text = unescape(re.sub(r"<(?!/?span>)[^>]*>", "", html))
        assert not _REFERENCE.search(text), text
