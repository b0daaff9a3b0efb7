"""images.yaml with whatever Hypothesis thinks of: any layout, any change, any damage."""

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

from fraud_detection.images import Image, ImagesError, Pin, Release, read_images, update_images

Entry: TypeAlias = tuple[str, ...]
"""The keys that lead to one, from the service on."""

ENVIRONMENTS = ("dev", "staging")
OURS = ("payment-api", "alert-monitor", "flink-app")
SERVICES = (*OURS, "redpanda", "redis")

# No deadline: others may use the machine.
some = settings(deadline=None, max_examples=25)


def hexadecimal(digits: int) -> st.SearchStrategy[str]:
    """Often what YAML takes for a number."""
    return st.sampled_from(["0123456789abcdef", "0123456789e", "01"]).flatmap(
        lambda alphabet: st.text(alphabet, min_size=digits, max_size=digits)
    )


digests = st.none() | hexadecimal(64).map("sha256:{}".format)
words = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=5)
reasons = st.lists(words, min_size=1, max_size=3).map(" ".join)
versions = st.from_regex(r"\Av?[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{1,2}(-[a-z0-9]{1,5})?\Z")
repositories = st.sampled_from(["ghcr.io/mordris/a", "localhost:5000/b_c", "docker.io/library/d"])


def releases(service: str) -> st.SearchStrategy[Release]:
    """All that images.yaml may say about a service."""
    tags = hexadecimal(40) if service in OURS else versions
    pins = st.builds(Pin, tag=tags, digest=digests, reason=reasons)
    return st.builds(
        Release,
        image=st.builds(Image, repository=repositories, tag=tags, digest=digests),
        hold=st.none() | reasons,
        pins=st.dictionaries(st.sampled_from(ENVIRONMENTS), pins),
    )


changes = st.fixed_dictionaries({}, optional={name: releases(name) for name in SERVICES})


def nested(services: Mapping[str, Release]) -> dict[str, Any]:
    """The mappings that images.yaml has for these releases."""

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
    """Every entry of a file with its text, None for a mapping."""
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
    """A line, the entry that it goes with, and the text of that entry if it stands here."""

    entry: Entry
    value: str | None
    text: str


@dataclass(frozen=True)
class File:
    """What a file says, and how some hand laid it out."""

    services: dict[str, Release]
    lines: list[Line]


@st.composite
def files(draw: st.DrawFn) -> File:
    """Keys in any order, any indentation, quotes, comments, blank lines and line endings."""
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
    """It reads back as asked, and every line that it does not concern is there, byte for byte."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "images.yaml"
        path.write_bytes("".join(line.text for line in file.lines).encode())
        assert read_images(path, environments=ENVIRONMENTS).services == file.services
        update_images(path, changes, environments=ENVIRONMENTS)
        wanted = file.services | changes
        assert read_images(path, environments=ENVIRONMENTS).services == wanted
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
# Of all services.

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
    """Hold and release, pin and unpin, roll back: years of it must not wear the file out."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "images.yaml"
        path.write_bytes(CANONICAL.encode())
        original = read_images(path, environments=ENVIRONMENTS).services
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
            update_images(path, expected, environments=ENVIRONMENTS)
            assert read_images(path, environments=ENVIRONMENTS).services == expected
        update_images(path, original, environments=ENVIRONMENTS)
        assert path.read_bytes().decode() == CANONICAL


def mistake(call: Callable[[], object]) -> str:
    """What is said about a mistake; empty if there is none."""
    try:
        call()
    except ImagesError as error:
        message = str(error)
        assert message.startswith("images.yaml:")
        assert message.endswith(".")
        assert message.isprintable()
        return message
    return ""


# Also what no encoding takes: an argument of a command may be any bytes.
anything = st.text(st.characters(exclude_categories=()), max_size=10)


@some
@given(tag=anything, hold=anything, name=anything)
def test_any_text_is_written_exactly_or_refused(tag: str, hold: str, name: str) -> None:
    """There is nothing in between: no half, no other value, no crash."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "images.yaml"
        path.write_bytes(CANONICAL.encode())
        redis = read_images(path, environments=ENVIRONMENTS).services["redis"]
        for changed in (
            {"redis": redis.bumped(tag)},
            {"redis": replace(redis, hold=hold)},
            {"redis": replace(redis, pins={name: Pin(tag="7.2.17", reason="x")})},
            {name: redis},
        ):
            before = path.read_bytes()
            if mistake(partial(update_images, path, changed, environments=ENVIRONMENTS)):
                assert path.read_bytes() == before
            else:
                services = read_images(path, environments=ENVIRONMENTS).services
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
    """Whatever a slip of the hand does to the file, nobody has to read a traceback."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "images.yaml"
        damaged = CANONICAL[:start] + insertion + CANONICAL[start + length :]
        path.write_bytes(damaged.encode())
        mistake(partial(read_images, path, environments=ENVIRONMENTS))
