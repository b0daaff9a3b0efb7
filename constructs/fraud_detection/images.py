"""The released images: what images.yaml says, and how it is changed without losing a comment."""

import io
import json
import re
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from reprlib import Repr
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode
from ruamel.yaml.reader import ReaderError


class ImagesError(ValueError):
    """images.yaml is wrong; the message is one sentence with file, line, field and remedy."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """A container image.

    Attributes:
        repository: Registry and path.
        tag: Full Git SHA of our own images, exact version of all others.
        digest: `sha256:` and 64 hexadecimal digits. Default: whatever the tag means.
    """

    repository: str
    tag: str
    digest: str | None = None

    @property
    def reference(self) -> str:
        """How a pod names it: `repository:tag`, and `@digest` where there is one."""
        return f"{self.repository}:{self.tag}" + (f"@{self.digest}" if self.digest else "")


@dataclass(frozen=True, kw_only=True)
class Pin:
    """What one environment runs instead of the release.

    Attributes:
        tag: As of `Image`.
        digest: As of `Image`.
        reason: Why.
    """

    tag: str
    digest: str | None = None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Release:
    """What images.yaml says about one service.

    Attributes:
        image: What every environment runs that has no pin.
        hold: Why no bump may change the image. Default: bumps may.
        pins: By name of the environment.
    """

    image: Image
    hold: str | None = None
    pins: Mapping[str, Pin] = field(default_factory=dict)

    def for_environment(self, name: str) -> Image:
        """The image that an environment runs: its pin wins."""
        pin = self.pins.get(name)
        return replace(self.image, tag=pin.tag, digest=pin.digest) if pin else self.image

    def bumped(self, tag: str, digest: str | None = None) -> "Release":
        """The release of another build, which never inherits the digest of this one."""
        return replace(self, image=replace(self.image, tag=tag, digest=digest))


_QUOTE = Repr()
# More than any value that could be meant.
_QUOTE.maxstring = 200


@dataclass(frozen=True, kw_only=True)
class _Text:
    """What a value must look like, and how an error message says so."""

    accepts: Callable[[str], object]
    meaning: str
    remedy: str

    def refusal(self, text: str) -> str:
        """What is wrong with a text that it does not accept."""
        return f"{_QUOTE.repr(text)} is not {self.meaning}; {self.remedy}."


_TAG = "tag"
_COMMIT = _Text(
    accepts=re.compile(r"[0-9a-f]{40}").fullmatch,
    meaning="a full Git commit SHA (40 hexadecimal digits)",
    remedy="give the commit that was built",
)
_VERSION = _Text(
    # No registry takes a tag of more than 128 characters.
    accepts=re.compile(r"(?=.{1,128}\Z)v?[0-9]+(\.[0-9]+){2,}[A-Za-z0-9_.-]*").fullmatch,
    meaning="an exact version such as 7.2.16",
    remedy="give one that never moves",
)


@dataclass(frozen=True, kw_only=True)
class Images:
    """The images of one environment: a field per service, in images.yaml with `-` for `_`."""

    payment_api: Image = field(metadata={_TAG: _COMMIT})
    alert_monitor: Image = field(metadata={_TAG: _COMMIT})
    flink_app: Image = field(metadata={_TAG: _COMMIT})
    redpanda: Image = field(metadata={_TAG: _VERSION})
    redis: Image = field(metadata={_TAG: _VERSION})


_SERVICES = {image.name.replace("_", "-"): image for image in fields(Images)}


@dataclass(frozen=True, kw_only=True)
class Releases:
    """All of images.yaml.

    Attributes:
        services: By the name that images.yaml uses, such as `payment-api`.
    """

    services: Mapping[str, Release]

    def for_environment(self, name: str) -> Images:
        """The images that an environment runs."""
        return Images(
            **{
                image.name: self.services[service].for_environment(name)
                for service, image in _SERVICES.items()
            }
        )


def read_images(path: Path, *, environments: Collection[str]) -> Releases:
    """Read images.yaml.

    Args:
        path: The file.
        environments: Names that a pin may use.

    Raises:
        ImagesError: On the first thing that is wrong with the file.
    """
    return _releases(_compose(_read(path), path.name), path.name, environments)


def check_build(service: str, tag: str, digest: str | None = None) -> None:
    """Refuse what images.yaml could not say about a service, before anything is done with it.

    Args:
        service: As images.yaml calls it.
        tag: As of `Image`.
        digest: As of `Image`.

    Raises:
        ImagesError: On the first thing that is wrong.
    """
    if service not in _SERVICES:
        raise ImagesError(f"{service!r} is no service; the services are {', '.join(_SERVICES)}.")
    texts = [("tag", tag, _SERVICES[service].metadata[_TAG])]
    if digest is not None:
        texts.append(("digest", digest, _DIGEST))
    for key, text, rule in texts:
        if not rule.accepts(text):
            raise ImagesError(f"{service}.{key}: {rule.refusal(text)}")


def check_reason(reason: str) -> None:
    """Refuse a reason that images.yaml could not say.

    Raises:
        ImagesError: If it is not one line of text.
    """
    if not _REASON.accepts(reason):
        raise ImagesError(f"reason: {_REASON.refusal(reason)}")


def update_images(
    path: Path, changes: Mapping[str, Release], *, environments: Collection[str]
) -> None:
    """Make images.yaml say what the releases of some services are.

    Only the lines change that must: comments, order, quotes and line endings stay. The file is
    replaced as a whole by one that reads back as asked, or not touched at all.

    Args:
        path: The file.
        changes: By service, the whole release that it shall have.
        environments: Names that a pin may use.

    Raises:
        ImagesError: If the file or a change is wrong; the line is where the value would stand.
        OSError: If the file cannot be written.
    """
    text = _read(path)
    root = _compose(text, path.name)
    wanted = Releases(
        services={**_releases(root, path.name, environments).services, **changes},
    )
    edited = _edited(text, root, wanted)
    # A name that brings YAML of its own could read back as more than was asked for.
    if _releases(_compose(edited, path.name), path.name, environments) != wanted:
        raise ImagesError(
            f"{path.name}: {', '.join(map(repr, changes))}: would not read back as asked; "
            "give plain names of services and environments."
        )
    if edited != text:
        _replace(path, edited)


@dataclass(frozen=True, kw_only=True)
class _Keys:
    """Which keys a mapping must and may have, and what an error message calls one."""

    noun: str
    required: Mapping[str, "_Keys | _Text"]
    optional: Mapping[str, "_Keys | _Text"]


_REPOSITORY = _Text(
    # A host, known by its dot or port, then lower-case components; runtimes take nothing else.
    accepts=re.compile(
        r"([a-z0-9-]+(\.[a-z0-9-]+)+(:[0-9]+)?|[a-z0-9-]+:[0-9]+)"
        r"(/[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*)+"
    ).fullmatch,
    meaning="an image with its registry, in lower case",
    remedy="write it like docker.io/library/redis",
)
_DIGEST = _Text(
    accepts=re.compile(r"sha256:[0-9a-f]{64}").fullmatch,
    meaning="a digest (sha256: and 64 hexadecimal digits)",
    remedy="copy it from the registry",
)
_REASON = _Text(
    accepts=lambda text: text.strip() and text.isprintable(),
    meaning="a reason in one line of text",
    remedy="say why",
)


def _service(tag: _Text, environments: Collection[str]) -> _Keys:
    pin = _Keys(noun="key", required={"tag": tag, "reason": _REASON}, optional={"digest": _DIGEST})
    pins = _Keys(noun="environment", required={}, optional=dict.fromkeys(environments, pin))
    return _Keys(
        noun="key",
        required={"repository": _REPOSITORY, "tag": tag},
        optional={"digest": _DIGEST, "hold": _REASON, "pins": pins},
    )


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where in the file something stands; lines count from 0."""

    file: str
    line: int = 0
    field: str = ""

    def error(self, problem: str) -> ImagesError:
        """The error that names this place."""
        return ImagesError(
            ": ".join(filter(None, [f"{self.file}:{self.line + 1}", self.field, problem]))
        )

    def below(self, key: str) -> "_Place":
        """The place of a key of this mapping."""
        return replace(self, field=f"{self.field}.{key}".lstrip("."))


def _read(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImagesError(f"{path}: {error.strerror}; restore the file from Git.") from error
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        place = _Place(file=path.name, line=content.count(b"\n", 0, error.start))
        raise place.error("is not UTF-8; save the file in that encoding.") from error


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
            f"is not YAML: {problem}; correct this line or the one before it."
        ) from error
    # This is how ruamel.yaml meets a version of YAML that it does not know.
    except (AssertionError, KeyError) as error:
        raise _Place(file=file).error(
            "asks for an unknown version of YAML; delete the line %YAML."
        ) from error
    if root is None:
        raise _Place(file=file).error("is empty; restore the file from Git.")
    return root


def _releases(root: Node, file: str, environments: Collection[str]) -> Releases:
    services = _Keys(
        noun="service",
        required={
            name: _service(image.metadata[_TAG], environments) for name, image in _SERVICES.items()
        },
        optional={},
    )
    return Releases(
        services={
            name: Release(
                image=Image(
                    repository=entry["repository"], tag=entry["tag"], digest=entry.get("digest")
                ),
                hold=entry.get("hold"),
                pins={name: Pin(**pin) for name, pin in entry.get("pins", {}).items()},
            )
            for name, entry in _checked_keys(root, services, _Place(file=file)).items()
        }
    )


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


# What a node says: a text, or a mapping of such.
_Document: TypeAlias = dict[str, Any]


def _checked_keys(node: Node, keys: _Keys, place: _Place) -> _Document:
    if not isinstance(node, MappingNode):
        raise place.error(f"is {_kind(node)}; write its keys below it, one per line.")
    if node.flow_style:
        raise place.error("is in braces; write its keys below it, one per line.")
    known = {**keys.required, **keys.optional}
    found: _Document = {}
    for key, value in node.value:
        here = replace(place, line=key.start_mark.line)
        name = key.value if isinstance(key, ScalarNode) else "?"
        if name not in known:
            raise here.error(
                f"{name!r} is no {keys.noun}; the {keys.noun}s are {', '.join(known)}."
            )
        here = here.below(name)
        if name in found:
            raise here.error("stands here for the second time; delete one of the two.")
        schema = known[name]
        if isinstance(schema, _Keys):
            found[name] = _checked_keys(value, schema, here)
        else:
            found[name] = _checked_text(value, schema, here)
    for name in keys.required:
        if name not in found:
            raise place.below(name).error("is missing; add it.")
    return found


def _checked_text(node: Node, rule: _Text, place: _Place) -> str:
    if _kind(node) != "text":
        raise place.error(f"is {_kind(node)}; write it as text, in quotes.")
    # What `_edit` relies on; it also rules out aliases.
    if not place.line == node.start_mark.line == node.end_mark.line:
        raise place.error("is not on one line with its key; write it there, in quotes.")
    text: str = node.value
    if not rule.accepts(text):
        raise place.error(rule.refusal(text))
    return text


def _document(releases: Releases) -> _Document:
    def present(values: Mapping[str, Any]) -> _Document:
        return {key: value for key, value in values.items() if value is not None}

    return {
        service: present(
            {
                **asdict(release.image),
                "hold": release.hold,
                "pins": {name: present(asdict(pin)) for name, pin in release.pins.items()} or None,
            }
        )
        for service, release in releases.services.items()
    }


def _edited(text: str, root: Node, wanted: Releases) -> str:
    # Like YAML, this knows the line endings \n, \r\n and \r, and no others.
    lines = io.StringIO(text, newline="").readlines()
    _edit(lines, root, _document(wanted))
    return "".join(lines)


def _edit(lines: list[str], mapping: Node, wanted: _Document) -> None:
    """Change the lines in place, each where it is, so that all positions stay true."""
    for key, value in mapping.value:
        new = wanted.get(key.value)
        if new is None:
            for line in range(key.start_mark.line, _last_line(value) + 1):
                lines[line] = ""
        elif isinstance(new, dict):
            _edit(lines, value, new)
        elif new != value.value:
            line = value.start_mark.line
            before = lines[line][: value.start_mark.column]
            lines[line] = before + _quoted(new) + lines[line][value.end_mark.column :]
    last_lines = {key.value: _last_line(value) for key, value in mapping.value}
    indent = mapping.value[0][0].start_mark.column
    ending = "\r\n" if lines[0].endswith("\r\n") else "\n"
    # A new key follows the one that comes before it in `wanted`, else the last one.
    line = _last_line(mapping)
    for name, new in wanted.items():
        line = last_lines.get(name, line)
        if name not in last_lines:
            if lines[line].rstrip("\r\n") == lines[line] != "":
                lines[line] += ending
            lines[line] += _entry(name, new, indent=indent, ending=ending)


def _last_line(node: Node) -> int:
    """The last line of a value; where a mapping ends by its own account, the next one starts."""
    if isinstance(node, MappingNode):
        return _last_line(node.value[-1][1])
    line: int = node.end_mark.line
    return line


def _entry(name: str, value: "str | _Document", *, indent: int, ending: str) -> str:
    key = f"{'':{indent}}{name}:"
    if isinstance(value, str):
        return f"{key} {_quoted(value)}{ending}"
    entries = (_entry(name, v, indent=indent + 2, ending=ending) for name, v in value.items())
    return key + ending + "".join(entries)


def _quoted(text: str) -> str:
    """In double quotes, since some SHAs are numbers to YAML; its escapes include those of JSON."""
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _replace(path: Path, text: str) -> None:
    # On the same file system, so that the old file is there until the new one is, whole.
    with TemporaryDirectory(prefix=".images-", dir=path.parent) as folder:
        new = Path(folder) / path.name
        new.write_bytes(text.encode())
        shutil.copymode(path, new)
        new.replace(path)
