"""The changes between two versions of dist, or of an object, by resource and field."""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath

import click

from delivery.git import resolve
from delivery.manifests.applications import Environment, require_manifests
from delivery.manifests.fields import Field, differences, transition
from delivery.manifests.manifest import Manifest, applied
from delivery.manifests.renames import renames
from delivery.manifests.tree import DIST, Desired, Files, manifests, read_dist, tree
from delivery.text import details, dumped, escaped, fenced, fitted, on_one_line, short

_ROWS = 100
"""Rows of the table; a row has some 300 characters at most."""


class Verb(Enum):
    """Action on a resource."""

    ADDED = "added"
    REMOVED = "removed"
    RENAMED = "renamed"
    CHANGED = "changed"


_COLOURS = {Verb.ADDED: "green", Verb.REMOVED: "red", Verb.RENAMED: "yellow", Verb.CHANGED: "cyan"}


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A resource that differs.

    Its file is named without the suffix. Only a renamed one has an old name, and one that was
    added or removed has no fields.
    """

    environment: str
    file: str
    verb: Verb
    kind: str
    name: str
    old_name: str | None = None
    fields: Sequence[Field] = ()

    @property
    def title(self) -> str:
        """One line: the resource, and whether it is added, removed, renamed or changed."""
        was = f" (was {self.old_name})" if self.old_name else ""
        return f"{self.verb.value} {self.kind}/{self.name}{was}"


def changes(repository: Path, base: str, environment: Environment) -> list[Difference]:
    """Compare an environment in the working tree with a commit, which may not have it yet.

    Raises:
        GitError: If there is no such commit.
        TreeError: If the commit has no dist, the environment has no manifests in the working tree,
            or a file is not valid YAML.
    """
    old, new = read_dist(repository, resolve(repository, base)), read_dist(repository)
    require_manifests(new, [environment])
    return list(compare(environment.name, old, new))


def compare(environment: str, old: Files, new: Files) -> Iterator[Difference]:
    """Compare an environment, given by its name, in two versions of dist.

    Raises:
        TreeError: If a file is not valid YAML.
    """
    folder = PurePosixPath(DIST) / environment
    before, after = (tree(manifests(files, folder)).objects for files in (old, new))
    gone = [before[key] for key in before if key not in after]
    made = [after[key] for key in after if key not in before]
    for was, now in renames(gone, made):
        gone.remove(was)
        made.remove(now)
        yield _change(environment, Verb.RENAMED, now, was)
    yield from (_change(environment, Verb.REMOVED, each) for each in gone)
    yield from (_change(environment, Verb.ADDED, each) for each in made)
    for key in before:
        if key in after and differences(before[key].manifest, after[key].manifest):
            yield _change(environment, Verb.CHANGED, after[key], before[key])


def _change(environment: str, verb: Verb, now: Desired, was: Desired | None = None) -> Difference:
    return Difference(
        environment=environment,
        file=PurePosixPath(now.file).stem,
        verb=verb,
        kind=now.key.kind,
        name=now.key.name,
        old_name=was.key.name if was and verb is Verb.RENAMED else None,
        fields=differences(was.manifest, now.manifest) if was else (),
    )


def describe(before: Manifest, after: Manifest) -> tuple[str, ...]:
    """Return how a live object changes, one line per field, sorted by path."""
    was, now = applied(before), applied(after)
    found = differences(was, now)
    if not found and was != now:
        # The API server may update the object all the same.
        return ("only the order of lists or the notation of quantities changes",)
    return tuple(map(str, found))


def as_text(found: Sequence[Difference]) -> str:
    """Return the changes as lines with colours for a terminal."""
    lines = []
    for change in found:
        title = on_one_line(f"{change.environment}/{change.file}: {change.title}")
        lines.append(click.style(title, fg=_COLOURS[change.verb]))
        lines += (f"    {on_one_line(each)}" for field in change.fields for each in _lines(field))
    return "\n".join(lines) or "No changes."


def as_markdown(found: Sequence[Difference]) -> str:
    """Return a table and folded details per service, short enough for a comment on GitHub."""
    if not found:
        return "Nothing changes in the cluster.\n"
    return fitted([_table(found), *folded(found)], elsewhere="`delivery diff` shows all.")


def folded(found: Sequence[Difference]) -> list[str]:
    """Return the details as Markdown, folded per service."""
    services: dict[str, list[str]] = {}
    for change in found:
        lines = services.setdefault(f"{change.environment}/{change.file}", [])
        lines.append(change.title)
        lines += (f"  {each}" for field in change.fields for each in _lines(field))
    return [details(service, fenced("\n".join(lines))) for service, lines in services.items()]


def as_json(found: Sequence[Difference]) -> str:
    """Return the changes as JSON, with whole values."""
    return dumped(
        [
            {
                "environment": change.environment,
                "file": change.file,
                "change": change.verb.value,
                "kind": change.kind,
                "name": change.name,
                "oldName": change.old_name,
                "fields": [vars(field) for field in change.fields],
            }
            for change in found
        ]
    )


FORMATS: Mapping[str, Callable[[Sequence[Difference]], str]] = {
    "text": as_text,
    "markdown": as_markdown,
    "json": as_json,
}


def _table(found: Sequence[Difference]) -> str:
    rows = [
        f"| {escaped(change.environment)} | {escaped(change.file)} | {escaped(change.title)} "
        f"| {_gist(change)} |"
        for change in found
    ]
    more = [f"\n{len(rows) - _ROWS} rows omitted for length."] if len(rows) > _ROWS else []
    head = ["| environment | service | what happens | images, other fields |", "|---|---|---|---|"]
    return "\n".join([*head, *rows[:_ROWS], *more])


def _gist(change: Difference) -> str:
    images = dict.fromkeys(_move(field) for field in change.fields if _is_image(field))
    others = sum(not _is_image(field) for field in change.fields)
    return escaped("; ".join([*images, *([str(others)] if others else [])]))


def _is_image(field: Field) -> bool:
    return field.path.endswith(".image")


def _move(field: Field) -> str:
    """Return the old and the new image, by their tags if only these differ."""
    (old, old_tag), (new, new_tag) = (_parted(str(value)) for value in (field.old, field.new))
    if old != new or not new_tag:
        return transition(field.old, field.new)
    return f"{new.rpartition('/')[2]} {transition(short(old_tag), short(new_tag))}"


def _parted(reference: str) -> tuple[str, str]:
    """Return the repository of an image, whose host may have a port, and the tag."""
    path, slash, image = reference.rpartition("/")
    name, _, tag = image.partition(":")
    return f"{path}{slash}{name}", tag


def _lines(field: Field) -> list[str]:
    """Return a field on one line, or the lines of a text that differ."""
    if _is_image(field):
        return [f"{field.path}: {_move(field)}"]
    if "checksum/files" in field.path:
        return ["pods roll: the files that they mount changed"]
    if field.is_text:
        old, new = str(field.old).splitlines(), str(field.new).splitlines()
        if old == new:
            return [f"{field.path}: only line ends change"]
        return [f"{field.path}:", *list(difflib.unified_diff(old, new, n=1, lineterm=""))[2:]]
    return [str(field)]
