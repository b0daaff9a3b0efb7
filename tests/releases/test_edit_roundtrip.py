"""The editor of images.yaml with generated layouts, changes and damage."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.releases.edit import update_images
from fraud_detection.images import COMMIT, ImagesError, Pin, Release
from fraud_detection.platform.image import Image
from images_yaml import ENVIRONMENTS, SERVICES, read

Entry: TypeAlias = tuple[str, ...]
"""The path of an entry: its keys from the service on."""

update = partial(update_images, environments=ENVIRONMENTS, services=SERVICES)

# No deadline: other programs share the machine.
some = settings(deadline=None, max_examples=25)


def hexadecimal(digits: int) -> st.SearchStrategy[str]:
    """Generate digits that YAML often reads as a number."""
    return st.sampled_from(["0123456789abcdef", "0123456789e", "01"]).flatmap(
        lambda alphabet: st.text(alphabet, min_size=digits, max_size=digits)
    )


digests = st.none() | hexadecimal(64).map("sha256:{}".format)
words = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=5)
reasons = st.lists(words, min_size=1, max_size=3).map(" ".join)
versions = st.from_regex(r"\Av?[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{1,2}(-[a-z0-9]{1,5})?\Z")
repositories = st.sampled_from(["ghcr.io/mordris/a", "localhost:5000/b_c", "docker.io/library/d"])


def releases(service: str) -> st.SearchStrategy[Release]:
    """Generate everything that images.yaml may hold for a service."""
    tags = hexadecimal(40) if SERVICES[service] is COMMIT else versions
    pins = st.builds(Pin, tag=tags, digest=digests, reason=reasons)
    return st.builds(
        Release,
        image=st.builds(Image, repository=repositories, tag=tags, digest=digests),
        hold=st.none() | reasons,
        pins=st.dictionaries(st.sampled_from(ENVIRONMENTS), pins),
    )


changes = st.fixed_dictionaries({}, optional={name: releases(name) for name in SERVICES})


def nested(services: Mapping[str, Release]) -> dict[str, Any]:
    """Return the mappings of these releases in images.yaml."""

    def present(values: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in values.items() if value}

    return {
        name: present(
            {
                **asdict(release.image),
                "hold": release.hold,
                "pins": {name: present(asdict(pin)) for name, pin in release.pins.items()},
            }
        )
        for name, release in services.items()
    }


def entries(mapping: Mapping[str, Any], above: Entry = ()) -> dict[Entry, str | None]:
    """Return every entry of a file with its text, or None for a mapping."""
    found: dict[Entry, str | None] = {}
    for key, value in mapping.items():
        entry = (*above, key)
        if isinstance(value, str):
            found[entry] = value
        else:
            found |= {entry: None} | entries(value, entry)
    return found


@dataclass(frozen=True)
class Line:
    """A line, the entry that it belongs to, and that entry's text if it is on this line."""

    entry: Entry
    value: str | None
    text: str


@dataclass(frozen=True)
class File:
    """The releases in a file, and its layout."""

    services: dict[str, Release]
    lines: list[Line]


@st.composite
def files(draw: st.DrawFn) -> File:
    """Generate any order, indentation, quotes, comments, blank lines and line endings."""
    services = {name: draw(releases(name)) for name in SERVICES}
    ending = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    step = draw(st.integers(1, 4))
    fillers = st.lists(st.sampled_from(["", "# why: not", "    # 'aside'"]), max_size=2)
    comments = st.sampled_from(["", "  # a: b"])
    lines: list[Line] = []

    def scalar(text: str) -> str:
        single = "'" + text.replace("'", "''") + "'"
        return draw(st.sampled_from([single, json.dumps(text, ensure_ascii=False)]))

    def write(mapping: Mapping[str, Any], above: Entry) -> None:
        for key in draw(st.permutations(list(mapping))):
            lines.extend(Line(above, None, filler + ending) for filler in draw(fillers))
            entry, value = (*above, key), mapping[key]
            text = f"{'':{step * len(above)}}{key}:"
            comment = draw(comments) + ending
            if isinstance(value, str):
                lines.append(Line(entry, value, f"{text} {scalar(value)}{comment}"))
            else:
                lines.append(Line(entry, None, text + comment))
                write(value, entry)

    write(nested(services), ())
    return File(services, lines)


@some
@given(file=files(), changes=changes)
def test_any_change_of_any_layout(file: File, changes: dict[str, Release]) -> None:
    """The result reads back as asked, and every unrelated line is unchanged."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "images.yaml"
        path.write_bytes("".join(line.text for line in file.lines).encode())
        assert read(path).services == file.services
        update(path, changes)
        wanted = file.services | changes
        assert read(path).services == wanted
        lines = path.read_bytes().decode().splitlines(keepends=True)

    old, new = entries(nested(file.services)), entries(nested(wanted))
    kept = [
        line.text
        for line in file.lines
        if line.entry == () or (line.entry in new and line.value in {None, new[line.entry]})
    ]
    rest = iter(lines)
    assert all(line in rest for line in kept)
    written = [entry for entry, value in new.items() if entry not in old or value != old[entry]]
    assert len(lines) == len(kept) + len(written)


CANONICAL = f"""\
# All services.

payment-api:
  repository: ghcr.io/mordris/payment-api
  tag: "{"a" * 40}"  # aside

# Below payment-api.
alert-monitor:
  repository: 'ghcr.io/mordris/alert-monitor'
  tag: "{"b" * 40}"
  # At the end of alert-monitor.
flink-app:
  repository: ghcr.io/mordris/flink-app
  tag: "{"c" * 40}"

redpanda:
  repository: docker.io/redpandadata/redpanda
  # Above the tag.
  tag: "v25.3.15"

redis:
  repository: docker.io/library/redis
  tag: "7.2.16"
# The end.
"""


@some
@given(steps=st.lists(changes, max_size=4))
def test_changes_undone_leave_no_trace(steps: list[dict[str, Release]]) -> None:
    """Years of holds, pins and rollbacks must not degrade the file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "images.yaml"
        path.write_bytes(CANONICAL.encode())
        original = read(path).services
        expected = dict(original)
        for step in steps:
            # No command changes the repository.
            expected |= {
                name: replace(
                    release,
                    image=replace(release.image, repository=original[name].image.repository),
                )
                for name, release in step.items()
            }
            update(path, expected)
            assert read(path).services == expected
        update(path, original)
        assert path.read_bytes().decode() == CANONICAL


def mistake(call: Callable[[], object]) -> str:
    """Return the error of a call; empty if there is none."""
    try:
        call()
    except ImagesError as error:
        message = str(error)
        assert message.startswith("images.yaml:")
        assert message.endswith(".")
        assert message.isprintable()
        return message
    return ""


# Including lone surrogates: the argument of a command may be any bytes.
anything = st.text(st.characters(exclude_categories=()), max_size=10)


@some
@given(tag=anything, hold=anything, name=anything)
def test_any_text_is_written_exactly_or_refused(tag: str, hold: str, name: str) -> None:
    """No partial value, no other value, no traceback."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "images.yaml"
        path.write_bytes(CANONICAL.encode())
        redis = read(path).services["redis"]
        for changed in (
            {"redis": redis.bumped(tag)},
            {"redis": replace(redis, hold=hold)},
            {"redis": replace(redis, pins={name: Pin(tag="7.2.17", reason="x")})},
            {name: redis},
        ):
            before = path.read_bytes()
            if mistake(partial(update, path, changed)):
                assert path.read_bytes() == before
            else:
                services = read(path).services
                assert services == {**services, **changed}


pieces = st.sampled_from(
    [
        *"abc: \n\r\t-?[]{}#&*!|>'\"%@`,0.~=<\\\x00\x85\u2028\ufeff\u00e9",
        *("redis:", "\n  tag: ", "---\n", "...\n", "%YAML 1.1\n", "%YAML 1.9\n", "%TAG ! x\n"),
        *("!!int ", "&a ", "*a", "<<: *a\n", "? ", ">-\n", '"\\u', '"\\x', "\n  pins:\n    dev:\n"),
    ]
)


@pytest.mark.filterwarnings("ignore::ruamel.yaml.error.ReusedAnchorWarning")
@settings(some, max_examples=200)
@given(
    start=st.integers(0, len(CANONICAL)),
    length=st.integers(0, 5),
    insertion=st.lists(pieces, max_size=6).map("".join),
)
def test_any_damage_ends_with_one_sentence(start: int, length: int, insertion: str) -> None:
    """Nobody should have to read a traceback because of a typo."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "images.yaml"
        damaged = CANONICAL[:start] + insertion + CANONICAL[start + length :]
        path.write_bytes(damaged.encode())
        mistake(partial(read, path))
