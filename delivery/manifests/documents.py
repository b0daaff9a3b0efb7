"""YAML documents as Argo CD and kubectl read them, so that a reviewer sees what is applied.

Both use sigs.k8s.io/yaml: a file is split at the lines that begin with `---`, and each document is
decoded by go-yaml v2 and converted to JSON. tests/manifests/yaml_corpus.json holds what kubectl
makes of every kind of scalar and document.

Some of what Argo CD accepts is an error here, because it means something else than a reader expects
or would exhaust memory:

- a duplicate key (the last value counts) and a key that is a float (`1.10` becomes `1.1`);
- text after the end of a document (it is ignored);
- `!!binary` that is not UTF-8 (it is damaged) and the tag `!!timestamp`;
- a byte order mark at the beginning of any line but the first;
- JSON with escaped surrogate pairs;
- nesting of more than 100 levels (10,000 are allowed).
"""

import base64
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType
from typing import Any, TypeAlias

import yaml

from delivery.errors import DeliveryError
from delivery.manifests.scalars import Scalar, as_json, as_key, resolve

_Event: TypeAlias = Any
"""An event of PyYAML's parser; most of their attributes have no common base class."""
_Json: TypeAlias = Any

_SEPARATOR = "---"
# libyaml skips it, and go-yaml takes it for text.
_BYTE_ORDER_MARK = re.compile("[\n\r\x85\u2028\u2029]\ufeff")
_MAX_DEPTH = 100
# Those of go-yaml for documents of up to 400,000 nodes.
_MAX_ALIASED_SHARE = 0.99
_ALIASES_ARE_FREE_UP_TO = 1000

_TAG = "tag:yaml.org,2002:"
_BINARY = f"{_TAG}binary"
_MERGE = f"{_TAG}merge"
_TYPES: dict[str, tuple[type, ...]] = {
    f"{_TAG}bool": (bool,),
    f"{_TAG}float": (int, float),
    f"{_TAG}int": (int,),
    f"{_TAG}null": (NoneType,),
    f"{_TAG}timestamp": (),
}


class DocumentError(DeliveryError):
    """A file is not valid YAML, or is misleading; the message names file and line."""


def documents(content: bytes, file: str) -> list[_Json]:
    """Return the documents of a file as JSON values, without the empty ones.

    Args:
        content: Content of the file. JSON is read as the YAML that it is.
        file: Name of the file, for messages.

    Raises:
        DocumentError: If the file is not valid YAML, or has something that this module refuses.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _invalid(file, line, "not UTF-8") from error
    if mark := _BYTE_ORDER_MARK.search(text):
        line = text.count("\n", 0, mark.end()) + 1
        raise _invalid(file, line, "byte order mark at the beginning of a line")
    found = (_Document(part, file, line).read() for line, part in _split(text, file))
    return [each for each in found if each is not None]


def _split(text: str, file: str) -> Iterator[tuple[int, str]]:
    """Yield the text of each document, after the number of its first line.

    Like `YAMLReader` of Kubernetes, which does not parse the YAML: a separator ends the lines that
    precede it; where none do, it is the first line of the document.
    """
    part: list[str] = []
    for number, line in enumerate(text.replace("\r\n", "\n").removesuffix("\n").split("\n"), 1):
        if line.startswith(_SEPARATOR):
            rest = line.removeprefix(_SEPARATOR).strip()
            if rest and not rest.startswith("#"):
                raise _invalid(file, number, f"only a comment may follow {_SEPARATOR}")
            if part:
                yield number - len(part), "".join(part)
                part.clear()
                continue
        part.append(f"{line}\n")
    yield number - len(part) + 1, "".join(part)


def _invalid(file: str, line: int, problem: str | None) -> DocumentError:
    return DocumentError(f"{file}:{line}: is not valid YAML: {problem}")


@dataclass
class _Anchor:
    """The node that an anchor names.

    Attributes:
        value: Its value, once it is complete.
        size: Number of nodes in it; 0 until it is complete.
    """

    value: _Json = None
    size: int = 0


class _Document:
    """One document, while it is read."""

    def __init__(self, text: str, file: str, first_line: int) -> None:
        self._text = text
        self._file = file
        self._first_line = first_line
        self._events: Iterator[_Event] = yaml.parse(text, yaml.CBaseLoader)
        self._anchors: dict[str, _Anchor] = {}
        self._depth = 0
        self._nodes = 0
        self._aliased_nodes = 0

    def read(self) -> _Json:
        """Return the value of the document; None if it is empty."""
        value = None
        try:
            next(self._events)
            event = next(self._events)
            if isinstance(event, yaml.DocumentStartEvent):
                value = self._node(next(self._events))
                next(self._events)
                event = next(self._events)
            if not isinstance(event, yaml.StreamEndEvent):
                raise self._error(event, "text after the end of the document is ignored: remove it")
        except yaml.reader.ReaderError as error:
            line = self._text.encode().count(b"\n", 0, error.position)
            raise _invalid(self._file, self._first_line + line, error.reason) from error
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line if error.problem_mark else 0
            raise _invalid(self._file, self._first_line + line, error.problem) from error
        return value

    def _node(self, event: _Event) -> _Json:
        """Return the value of the node that begins with an event."""
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        nodes_before = self._nodes
        self._nodes += 1
        anchor = _Anchor()
        if event.anchor is not None:
            self._anchors[event.anchor] = anchor
        if isinstance(event, yaml.ScalarEvent):
            anchor.value = self._json(event)
        else:
            self._depth += 1
            if self._depth > _MAX_DEPTH:
                raise self._error(event, f"nested in more than {_MAX_DEPTH} levels")
            is_mapping = isinstance(event, yaml.MappingStartEvent)
            anchor.value = self._mapping() if is_mapping else self._sequence()
            self._depth -= 1
        anchor.size = self._nodes - nodes_before
        return anchor.value

    def _alias(self, event: _Event) -> _Json:
        anchor = self._anchors.get(event.anchor)
        if anchor is None or anchor.size == 0:
            raise self._error(event, f"unknown anchor {event.anchor!r}")
        self._nodes += anchor.size
        self._aliased_nodes += anchor.size
        if self._nodes > _ALIASES_ARE_FREE_UP_TO and (
            self._aliased_nodes > _MAX_ALIASED_SHARE * self._nodes
        ):
            raise self._error(event, "excessive aliasing")
        return anchor.value

    def _sequence(self) -> list[_Json]:
        found = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            found.append(self._node(event))
        return found

    def _mapping(self) -> dict[str, _Json]:
        """Return the keys and values up to the end; of a key that is also merged, the later."""
        found: dict[str, _Json] = {}
        keys = set()
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if _is_merge(event):
                found.update(self._merged(next(self._events)))
                continue
            key = self._key(event)
            if key in keys:
                raise self._error(event, f"duplicate key {key!r}")
            keys.add(key)
            found[key] = self._node(next(self._events))
        return found

    def _merged(self, event: _Event) -> dict[str, _Json]:
        """Return what is merged into a mapping; of a list, the first has precedence."""
        value = self._node(event)
        found: dict[str, _Json] = {}
        for each in reversed(value) if isinstance(value, list) else [value]:
            if not isinstance(each, dict):
                raise self._error(event, "only a mapping can be merged with <<")
            found.update(each)
        return found

    def _key(self, event: _Event) -> str:
        key = as_key(self._scalar(event)) if isinstance(event, yaml.ScalarEvent) else None
        if key is None:
            raise self._error(event, "a key has to be a string: quote it")
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchor(value=self._json(event), size=1)
        return key

    def _json(self, event: yaml.ScalarEvent) -> Scalar:
        value = self._scalar(event)
        if isinstance(value, float) and not math.isfinite(value):
            raise self._error(event, f"{event.value} has no equivalent in JSON: quote it")
        return as_json(value)

    def _scalar(self, event: yaml.ScalarEvent) -> Scalar:
        if event.tag is None:
            return resolve(event.value) if event.implicit[0] else event.value
        if event.tag == _BINARY:
            try:
                return base64.b64decode(re.sub(r"[\r\n]", "", event.value), validate=True).decode()
            except ValueError as error:
                raise self._error(event, "!!binary has to be UTF-8 in base64") from error
        if event.tag not in _TYPES:
            return event.value
        value = resolve(event.value)
        if type(value) not in _TYPES[event.tag]:
            raise self._error(event, f"not a valid {event.tag.replace(_TAG, '!!')}")
        return value

    def _error(self, event: _Event, problem: str) -> DocumentError:
        return DocumentError(f"{self._file}:{self._first_line + event.start_mark.line}: {problem}")


def _is_merge(event: _Event) -> bool:
    return (
        isinstance(event, yaml.ScalarEvent)
        and event.value == "<<"
        and (event.implicit[0] or event.tag == _MERGE)
    )
