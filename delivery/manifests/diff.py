"""What changes between two commits' dist, by resource and field."""

import difflib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath

import click

from delivery.git import resolve
from delivery.manifests.dist import DIST
from delivery.manifests.fields import MISSING, Field, differences
from delivery.manifests.renames import renames
from delivery.manifests.tree import Desired, Files, manifests, read_dist, tree
from delivery.releases.images import short
from delivery.text import details, escaped, fenced, fitted

_CHECKSUM = "checksum/files"
_LONGEST = 300
_ROWS = 100
"""Of the table; a row has some 300 characters at most."""


class Verb(Enum):
    """What happens to a resource."""

    ADDED = "added"
    REMOVED = "removed"
    RENAMED = "renamed"
    CHANGED = "changed"


_COLOURS = {
    Verb.ADDED: "green",
    Verb.REMOVED: "red",
    Verb.RENAMED: "yellow",
    Verb.CHANGED: "cyan",
}


@dataclass(frozen=True, kw_only=True)
class Change:
    """A resource that differs.

    Attributes:
        environment: Its folder of `dist/`.
        file: Name of its file, without the ending.
        verb: What happens to it.
        kind: Of the resource.
        name: Of the resource, as it is now.
        old_name: What it was called, if it was renamed.
        fields: What differs in it; of an added or removed one, nothing.
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
        """What happens to what."""
        was = f" (was {self.old_name})" if self.old_name else ""
        return f"{self.verb.value} {self.kind}/{self.name}{was}"


def changes(
    repository: Path, base: str, head: str | None = None, *, environments: Sequence[str]
) -> list[Change]:
    """Compare two commits' dist.

    Args:
        repository: Root of the Git working tree.
        base: The older commit.
        head: The newer one. Default: the working tree.
        environments: The folders of dist to compare.

    Raises:
        GitError: If there is no such commit.
        TreeError: If one of them has no dist, or it is not YAML.
    """
    old, new = (
        read_dist(repository, None if revision is None else resolve(repository, revision))
        for revision in (base, head)
    )
    return [change for name in environments for change in compare(name, old, new)]


def compare(environment: str, old: Files, new: Files) -> Iterator[Change]:
    """Compare what two `dist/` say of an environment.

    Args:
        environment: Its folder.
        old: Files of the older one, by path from the root of the repository.
        new: Those of the newer one.

    Raises:
        TreeError: If a file is not YAML.
    """
    folder = PurePosixPath(DIST) / environment
    before, after = (tree(manifests(files, folder)).objects for files in (old, new))
    gone = [before[key] for key in before if key not in after]
    made = [after[key] for key in after if key not in before]
    renamed = renames(gone, made)
    for was, now in renamed:
        yield _change(environment, Verb.RENAMED, now, was)
    for each in gone:
        if not any(each is was for was, _ in renamed):
            yield _change(environment, Verb.REMOVED, each)
    for each in made:
        if not any(each is now for _, now in renamed):
            yield _change(environment, Verb.ADDED, each)
    for key in before:
        if key in after and differences(before[key].manifest, after[key].manifest):
            yield _change(environment, Verb.CHANGED, after[key], before[key])


def _change(environment: str, verb: Verb, now: Desired, was: Desired | None = None) -> Change:
    return Change(
        environment=environment,
        file=PurePosixPath(now.file).stem,
        verb=verb,
        kind=now.key.kind,
        name=now.key.name,
        old_name=was.key.name if was and verb is Verb.RENAMED else None,
        fields=differences(was.manifest, now.manifest) if was else (),
    )


def as_text(found: Sequence[Change]) -> str:
    """In lines, for a person; the colours are for a terminal."""
    lines = []
    for change in found:
        title = f"{change.environment}/{change.file}: {change.title}"
        lines.append(click.style(title, fg=_COLOURS[change.verb]))
        for field in change.fields:
            lines += (f"    {line}" for line in _lines(field))
    return "\n".join(lines) or "nothing changes"


def as_markdown(found: Sequence[Change]) -> str:
    """In a table with folded details for each service, short enough for a comment on GitHub."""
    if not found:
        return "Nothing changes in the cluster.\n"
    return fitted([_table(found), *folded(found)], elsewhere="`delivery diff` shows them.")


def folded(found: Sequence[Change]) -> list[str]:
    """Details, folded per service, in Markdown."""
    services = dict.fromkeys((change.environment, change.file) for change in found)
    return [
        _fold(f"{environment}/{file}", [c for c in found if (c.environment, c.file) == service])
        for service in services
        for environment, file in [service]
    ]


def as_json(found: Sequence[Change]) -> str:
    """For a program."""
    return json.dumps(
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
        ],
        indent=2,
        ensure_ascii=False,
    )


FORMATS: Mapping[str, Callable[[Sequence[Change]], str]] = {
    "text": as_text,
    "markdown": as_markdown,
    "json": as_json,
}


def _table(found: Sequence[Change]) -> str:
    rows = [
        f"| {change.environment} | {change.file} | {escaped(change.title)} | {_gist(change)} |"
        for change in found
    ]
    more = [f"\n{len(rows) - _ROWS} more have no room here."] if len(rows) > _ROWS else []
    head = ["| environment | service | what happens | images, other fields |", "|---|---|---|---|"]
    return "\n".join([*head, *rows[:_ROWS], *more])


def _gist(change: Change) -> str:
    images = dict.fromkeys(_move(field) for field in change.fields if _is_image(field))
    others = sum(not _is_image(field) for field in change.fields)
    return escaped("; ".join([*images, *([str(others)] if others else [])]))


def _fold(title: str, found: Sequence[Change]) -> str:
    lines = []
    for change in found:
        lines.append(change.title)
        lines += (f"  {line}" for field in change.fields for line in _lines(field))
    return details(title, fenced("\n".join(lines)))


def _is_image(field: Field) -> bool:
    return field.path.endswith(".image")


def _move(field: Field) -> str:
    """The old and the new image: by their tags, where only these differ."""
    (old, old_tag), (new, new_tag) = (_parted(str(value)) for value in (field.old, field.new))
    if old != new or not new_tag:
        return f"{_shown(field.old)} → {_shown(field.new)}"
    return f"{new.rpartition('/')[2]} {short(old_tag)} → {short(new_tag)}"


def _parted(reference: str) -> tuple[str, str]:
    """The repository of an image, whose host may have a port, and the tag."""
    path, slash, image = reference.rpartition("/")
    name, _, tag = image.partition(":")
    return f"{path}{slash}{name}", tag


def _lines(field: Field) -> list[str]:
    """A field for a person: a text by its lines, all else on one."""
    if _is_image(field):
        return [f"{field.path}: {_move(field)}"]
    if _CHECKSUM in field.path:
        return ["the pods roll: the files that they mount differ"]
    if "\n" in f"{field.old}{field.new}" and isinstance(field.old, str) == isinstance(
        field.new, str
    ):
        old, new = str(field.old).splitlines(), str(field.new).splitlines()
        return [f"{field.path}:", *list(difflib.unified_diff(old, new, n=1, lineterm=""))[2:]]
    return [f"{field.path}: {_shown(field.old)} → {_shown(field.new)}"]


def _shown(value: object) -> str:
    if value is MISSING:
        return "unset"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
