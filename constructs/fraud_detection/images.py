"""The released images: the content of images.yaml, and what is valid in it."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from reprlib import Repr
from typing import Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode
from ruamel.yaml.reader import ReaderError

from fraud_detection.platform.image import Image

Entries: TypeAlias = Mapping[str, Any]
"""A mapping in images.yaml: each value is a text or another such mapping."""


class ImagesError(ValueError):
    """images.yaml is wrong; the message is one sentence with file, line, field and remedy."""


@dataclass(frozen=True, kw_only=True)
class Pin:
    """The build that one environment runs instead of the released one.

    Attributes:
        tag: See `Image`.
        digest: See `Image`.
        reason: Why the environment is pinned.
    """

    tag: str
    digest: str | None = None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Release:
    """The entry of one service in images.yaml.

    Attributes:
        image: Image of every environment without a pin.
        hold: Why the service accepts no bumps. Default: it accepts them.
        pins: Pins by environment.
    """

    image: Image
    hold: str | None = None
    pins: Mapping[str, Pin] = field(default_factory=dict)

    @classmethod
    def from_entries(cls, entries: Entries) -> "Release":
        """Build a release from a service's mapping in images.yaml.

        Raises:
            KeyError: If a required key is missing.
            TypeError: If a pin has an unknown key or lacks a required one.
        """
        return cls(
            image=Image(
                repository=entries["repository"],
                tag=entries["tag"],
                digest=entries.get("digest"),
            ),
            hold=entries.get("hold"),
            pins={name: Pin(**pin) for name, pin in entries.get("pins", {}).items()},
        )

    def for_environment(self, name: str) -> Image:
        """Return the image that an environment runs: its pin, else the released one."""
        pin = self.pins.get(name)
        return replace(self.image, tag=pin.tag, digest=pin.digest) if pin else self.image

    def bumped(self, tag: str, digest: str | None = None) -> "Release":
        """Return the release of another build; it never inherits the digest of this one."""
        return replace(self, image=replace(self.image, tag=tag, digest=digest))


_QUOTE = Repr()
# Longer than any valid value.
_QUOTE.maxstring = 200


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule for a text, and how an error message describes it.

    Attributes:
        accepts: Returns something true for a valid text.
        meaning: A noun phrase for a valid text.
        remedy: An imperative clause.
    """

    accepts: Callable[[str], object]
    meaning: str
    remedy: str

    def objection(self, text: str) -> str | None:
        """Return the sentence that is wrong with a text, or None if it is valid."""
        if self.accepts(text):
            return None
        return f"{_QUOTE.repr(text)} is not {self.meaning}; {self.remedy}."


COMMIT = Rule(
    accepts=re.compile(r"[0-9a-f]{40}").fullmatch,
    meaning="a full Git commit SHA (40 hexadecimal digits)",
    remedy="give the commit that was built",
)
VERSION = Rule(
    # Registries accept at most 128 characters.
    accepts=re.compile(r"(?=.{1,128}\Z)v?[0-9]+(\.[0-9]+){2,}[A-Za-z0-9_.-]*").fullmatch,
    meaning="an exact version such as 7.2.16",
    remedy="give one that never moves",
)
DIGEST = Rule(
    accepts=re.compile(r"sha256:[0-9a-f]{64}").fullmatch,
    meaning="a digest (sha256: and 64 hexadecimal digits)",
    remedy="copy it from the registry",
)
REASON = Rule(
    # Persian and emoji need joiners, which Python takes for unprintable.
    accepts=lambda text: text.strip() and re.sub("[\u200c\u200d]", "", text).isprintable(),
    meaning="a reason in one line of text",
    remedy="say why",
)
_REPOSITORY = Rule(
    # A host, recognized by its dot or port, then lower-case components, as runtimes require.
    accepts=re.compile(
        r"([a-z0-9-]+(\.[a-z0-9-]+)+(:[0-9]+)?|[a-z0-9-]+:[0-9]+)"
        r"(/[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*)+"
    ).fullmatch,
    meaning="an image with its registry, in lower case",
    remedy="write it like docker.io/library/redis",
)

_TAG = "tag"


@dataclass(frozen=True, kw_only=True)
class Images:
    """The images of one environment: a field per service, with `_` for the `-` of images.yaml.

    The metadata of a field is the rule for the service's tags.
    """

    payment_api: Image = field(metadata={_TAG: COMMIT})
    alert_monitor: Image = field(metadata={_TAG: COMMIT})
    flink_app: Image = field(metadata={_TAG: COMMIT})
    redpanda: Image = field(metadata={_TAG: VERSION})
    redis: Image = field(metadata={_TAG: VERSION})
    redis_exporter: Image = field(metadata={_TAG: VERSION})


SERVICES: Mapping[str, Rule] = {
    image.name.replace("_", "-"): image.metadata[_TAG] for image in fields(Images)
}
"""The services of images.yaml, each with the rule for its tags."""


@dataclass(frozen=True, kw_only=True)
class Releases:
    """The content of images.yaml.

    Attributes:
        services: Releases by the service's name in images.yaml, such as `payment-api`.
    """

    services: Mapping[str, Release]

    def for_environment(self, name: str) -> Images:
        """Return the images that an environment runs."""
        return Images(
            **{
                service.replace("-", "_"): release.for_environment(name)
                for service, release in self.services.items()
            }
        )


@dataclass(frozen=True, kw_only=True)
class Document:
    """A valid images.yaml.

    Attributes:
        text: The whole file.
        root: Its YAML, with the position of each value.
        releases: Its meaning.
    """

    text: str
    root: Node
    releases: Releases


def read_images(
    path: Path, *, environments: Collection[str], services: Mapping[str, Rule] = SERVICES
) -> Releases:
    """Read images.yaml.

    Args:
        path: The file.
        environments: Names that a pin may use.
        services: The services that the file must have, each with the rule for its tags.

    Raises:
        ImagesError: At the first mistake in the file.
    """
    return load(path, environments=environments, services=services).releases


def load(path: Path, *, environments: Collection[str], services: Mapping[str, Rule]) -> Document:
    """Read images.yaml with the positions that an editor needs.

    Args:
        path: The file.
        environments: See `read_images`.
        services: See `read_images`.

    Raises:
        ImagesError: At the first mistake in the file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImagesError(f"{path}: {error.strerror}; restore the file from Git.") from error
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        place = _Place(file=path.name, line=content.count(b"\n", 0, error.start))
        raise place.error("is not UTF-8; save the file in that encoding.") from error
    return parse(text, file=path.name, environments=environments, services=services)


def parse(
    text: str, *, file: str, environments: Collection[str], services: Mapping[str, Rule]
) -> Document:
    """Parse the text of images.yaml.

    Args:
        text: The whole file.
        file: Name of the file, for error messages.
        environments: See `read_images`.
        services: See `read_images`.

    Raises:
        ImagesError: At the first mistake in the text.
    """
    root = _compose(text, file)
    keys = _Keys(
        noun="service",
        required={name: _service(tag, environments) for name, tag in services.items()},
    )
    entries = _checked_keys(root, keys, _Place(file=file))
    releases = {name: Release.from_entries(entry) for name, entry in entries.items()}
    return Document(text=text, root=root, releases=Releases(services=releases))


@dataclass(frozen=True, kw_only=True)
class _Keys:
    """The keys that a mapping must and may have, and the noun for one in error messages."""

    noun: str = "key"
    required: Mapping[str, "_Keys | Rule"] = field(default_factory=dict)
    optional: Mapping[str, "_Keys | Rule"] = field(default_factory=dict)


def _service(tag: Rule, environments: Collection[str]) -> _Keys:
    pin = _Keys(required={"tag": tag, "reason": REASON}, optional={"digest": DIGEST})
    pins = _Keys(noun="environment", optional=dict.fromkeys(environments, pin))
    return _Keys(
        required={"repository": _REPOSITORY, "tag": tag},
        optional={"digest": DIGEST, "hold": REASON, "pins": pins},
    )


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A position in the file; lines count from 0."""

    file: str
    line: int = 0
    field: str = ""

    def error(self, problem: str) -> ImagesError:
        """Return an error that names this place."""
        return ImagesError(
            ": ".join(filter(None, [f"{self.file}:{self.line + 1}", self.field, problem]))
        )

    def below(self, key: str) -> "_Place":
        """Return the place of a key of this mapping."""
        return replace(self, field=f"{self.field}.{key}".lstrip("."))


def _compose(text: str, file: str) -> Node:
    try:
        root: Node | None = YAML(typ="safe", pure=True).compose(text)
    except ReaderError as error:
        place = _Place(file=file, line=text.count("\n", 0, error.position))
        raise place.error("has a control character; delete it.") from error
    except MarkedYAMLError as error:
        place = _Place(file=file, line=(error.problem_mark or error.context_mark).line)
        problem = ", ".join(filter(None, [error.context, error.problem]))
        raise place.error(
            f"is not valid YAML: {problem}; correct this line or the one before it."
        ) from error
    # ruamel.yaml raises these for a version of YAML that it does not know.
    except (AssertionError, KeyError) as error:
        raise _Place(file=file).error(
            "asks for an unknown version of YAML; delete the line %YAML."
        ) from error
    if root is None:
        raise _Place(file=file).error("is empty; restore the file from Git.")
    return root


_KINDS = {
    "bool": "true or false",
    "float": "a number",
    "int": "a number",
    "map": "a mapping",
    "null": "empty",
    "seq": "a list",
    "str": "text",
    "timestamp": "a date",
}


def _kind(node: Node) -> str:
    return _KINDS.get(str(node.tag).rpartition(":")[2], "of an unknown type")


def _checked_keys(node: Node, keys: _Keys, place: _Place) -> dict[str, Any]:
    if not isinstance(node, MappingNode):
        raise place.error(f"is {_kind(node)}; write its keys below it, one per line.")
    if node.flow_style:
        raise place.error("is in braces; write its keys below it, one per line.")
    known = {**keys.required, **keys.optional}
    found: dict[str, Any] = {}
    for key, value in node.value:
        here = replace(place, line=key.start_mark.line)
        name = key.value if isinstance(key, ScalarNode) else "?"
        if name not in known:
            raise here.error(
                f"unknown {keys.noun} {name!r}; known {keys.noun}s: {', '.join(known)}."
            )
        here = here.below(name)
        if name in found:
            raise here.error("duplicate key; delete one of the two.")
        schema = known[name]
        if isinstance(schema, _Keys):
            found[name] = _checked_keys(value, schema, here)
        else:
            found[name] = _checked_text(value, schema, here)
    for name in keys.required:
        if name not in found:
            raise place.below(name).error("is missing; add it.")
    return found


def _checked_text(node: Node, rule: Rule, place: _Place) -> str:
    if _kind(node) != "text":
        raise place.error(f"is {_kind(node)}; write it as text, in quotes.")
    # The editor replaces values within their line; this also rules out aliases.
    if not place.line == node.start_mark.line == node.end_mark.line:
        raise place.error("is not on one line with its key; write it there, in quotes.")
    text: str = node.value
    objection = rule.objection(text)
    if objection is not None:
        raise place.error(objection)
    return text
