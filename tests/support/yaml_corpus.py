"""The corpus with which our reader of YAML and the real kubectl are compared."""

import json
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

from rendering import Manifest
from repository import REPOSITORY

_CORPUS = REPOSITORY / "tests" / "manifests" / "yaml_corpus.json"
_PLACEHOLDER = "$OBJECT"
_OBJECT = {"apiVersion": "example.com/v1", "kind": "Example", "metadata": {"name": "example"}}
_OBJECT_LINES = "\n".join(f"{field}: {json.dumps(value)}" for field, value in _OBJECT.items())
_INT64 = range(-(2**63), 2**63)


class Case(NamedTuple):
    """A file, and what kubectl reads from it.

    Attributes:
        name: The peculiarity of the file.
        yaml: Its text.
        documents: Its documents, as `own_fields` returns them; empty if kubectl refuses the file.
    """

    name: str
    yaml: str
    documents: list[Manifest]


def cases(section: str) -> list[Case]:
    """Return the files of a section of the corpus.

    Args:
        section: `documents`, `refused` or `refused_only_here`.
    """
    return [
        Case(each["case"], each["yaml"].replace(_PLACEHOLDER, _OBJECT_LINES), each.get("json", []))
        for each in _corpus()[section]
    ]


def meanings(section: str) -> list[tuple[str, Any]]:
    """Return the texts of a section of the corpus, each with its value.

    Args:
        section: `scalars` or `keys`.
    """
    return [(text, value) for text, value in _corpus()[section]]


def listing(texts: Iterable[str]) -> str:
    """Return a file whose only object has a list of the texts, for `listed`."""
    return "\n".join([_OBJECT_LINES, "list:", *(f"- {text}" for text in texts), ""])


def listed(documents: Sequence[Manifest]) -> list[Any]:
    """Return the list that was read from a file that `listing` wrote."""
    [document] = own_fields(documents)
    values: list[Any] = document["list"]
    return values


def own_fields(documents: Iterable[Manifest]) -> list[Manifest]:
    """Return documents without the fields that all objects of the corpus have."""
    return [
        {field: value for field, value in document.items() if field not in _OBJECT}
        for document in documents
    ]


def differing(
    texts: Iterable[str], actual: Iterable[object], expected: Iterable[object]
) -> list[tuple[str, object, object]]:
    """Return the texts with two values that differ, in type, too: 1, 1.0 and True are three."""
    return [
        (text, one, other)
        for text, one, other in zip(texts, actual, expected, strict=True)
        if json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True)
    ]


def number(text: str) -> float:
    """Return an integer of JSON; like Kubernetes, as a float if it has more than 64 bits."""
    return int(text) if int(text) in _INT64 else float(text)


@cache
def _corpus() -> Manifest:
    corpus: Manifest = json.loads(_CORPUS.read_text(encoding="utf-8"), parse_int=number)
    return corpus
