"""Reports of rehearsals: as text, as Markdown for GitHub, and as JSON."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from urllib.parse import quote

from delivery.errors import describe
from delivery.rehearsal.allowances import KEYWORD
from delivery.rehearsal.rehearse import Finding, Rehearsal
from delivery.rehearsal.verdicts import Verdict
from delivery.text import LIMIT, code, details, dumped, escaped, fenced, fitted, on_one_line

_LONGEST_CELL = 300
_REMEDIES = {
    Verdict.REFUSED: (
        "Correct it: the sync fails as it is. If it lacks something that the real cluster has, "
        "record that as a line of a commit message:"
    ),
    Verdict.OUT_OF_BOUNDS: (
        "Leave it out: an environment's sync must not reach beyond its own namespace. If everybody "
        "concerned agrees, record that as a line of a commit message:"
    ),
    Verdict.REPLACE_NEEDED: (
        "Leave the field as it is, or rename the object. If somebody will delete the object right "
        "before the sync, record that as a line of a commit message:"
    ),
    Verdict.DATA_AT_RISK: (
        "Leave it as it is, or move the data first and record that as a line of a commit message:"
    ),
}


def to_text(rehearsals: Sequence[Rehearsal]) -> str:
    """Report as plain text."""
    return "\n\n".join("\n".join(map(on_one_line, _text(each))) for each in rehearsals)


def to_markdown(rehearsals: Sequence[Rehearsal], *, limit: int = LIMIT) -> str:
    """Report as Markdown: tables, with as many folded details as fit the limit in characters."""
    tables = [_cut("\n".join(_table(each)), limit // len(rehearsals)) for each in rehearsals]
    found = [(finding, each) for each in rehearsals for finding in _changed(each)]
    found.sort(key=lambda pair: pair[0].rank)
    return fitted([*tables, *(_details(*pair) for pair in found)], limit=limit).rstrip()


def to_json(rehearsals: Sequence[Rehearsal]) -> str:
    """Report as JSON; the same two trees give the same bytes."""
    return dumped([_plain(each) for each in rehearsals])


def failure(error: Exception) -> str:
    """Report as Markdown why the rehearsal failed."""
    return f"### Rehearsal failed\n\n{_cell(describe(error))}"


FORMATS: Mapping[str, Callable[[Sequence[Rehearsal]], str]] = {
    "text": to_text,
    "markdown": to_markdown,
    "json": to_json,
}


def _headline(rehearsal: Rehearsal) -> str:
    verdict = "blocked" if rehearsal.blocks else "nothing blocks"
    return f"Rehearsal of {rehearsal.environment}: {verdict}"


def _summary(rehearsal: Rehearsal) -> str:
    count = Counter(finding.verdict for finding in rehearsal.findings)
    counts = ", ".join(f"{count[each]} {each.value}" for each in Verdict if count[each])
    summary = (
        f"Compared with {rehearsal.base}, on Kubernetes {rehearsal.kubernetes}: "
        f"{counts or 'no objects'}."
    )
    if rehearsal.stops:
        summary += (
            f" The sync fails {rehearsal.stops}: no later wave is applied, and nothing pruned."
        )
    return summary


def _changed(rehearsal: Rehearsal) -> list[Finding]:
    return [each for each in rehearsal.findings if each.verdict is not Verdict.UNCHANGED]


def _label(finding: Finding, rehearsal: Rehearsal) -> str:
    name = finding.key.within(rehearsal.namespace)
    return f"{name} (was {finding.old.within(rehearsal.namespace)})" if finding.old else name


def _advice(finding: Finding, rehearsal: Rehearsal) -> Iterator[str]:
    if finding.allowed is not None:
        yield f"Allowed: {finding.allowed}"
    elif finding.blocks:
        yield _REMEDIES[finding.verdict]
        allowance = finding.allowance(rehearsal.namespace)
        yield f"{KEYWORD}: {rehearsal.environment} {allowance} REASON"


def _text(rehearsal: Rehearsal) -> Iterator[str]:
    yield _headline(rehearsal)
    yield _summary(rehearsal)
    for finding in _changed(rehearsal):
        yield ""
        source = f"  {finding.source}" if finding.source else ""
        yield f"{finding.verdict.value}: {_label(finding, rehearsal)}{source}"
        for each in (*finding.reasons, *finding.changes):
            yield f"    {each}"
        for each in _advice(finding, rehearsal):
            yield f"  > {each}"
    if rehearsal.consequences:
        yield ""
        yield "Also note:"
        for note in rehearsal.consequences:
            yield f"    {note.key.within(rehearsal.namespace)}: {note.text}"


def _table(rehearsal: Rehearsal) -> Iterator[str]:
    yield f"### {escaped(_headline(rehearsal))}"
    yield ""
    yield escaped(_summary(rehearsal))
    changed = _changed(rehearsal)
    if changed:
        yield ""
        yield "| | object | why | source |"
        yield "|---|---|---|---|"
        for finding in changed:
            yield _row(finding, rehearsal)
    if rehearsal.consequences:
        yield ""
        yield "Also note:"
        yield ""
        for each in rehearsal.consequences:
            yield f"- {code(each.key.within(rehearsal.namespace))}: {escaped(each.text)}"


def _row(finding: Finding, rehearsal: Rehearsal) -> str:
    verdict = f"**{finding.verdict.value}**" if finding.blocks else finding.verdict.value
    if finding.allowed is not None:
        verdict += ", allowed"
    why = (finding.reasons or finding.changes or ("",))[0]
    cells = [verdict, code(_label(finding, rehearsal)), _cell(why), _link(finding.source)]
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return escaped(text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]}…")


def _link(source: str | None) -> str:
    """Return the source, as a link if this runs on GitHub, which knows `SOURCE_COMMIT`."""
    if source is None:
        return ""
    variables = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "SOURCE_COMMIT")
    server, repository, commit = (os.environ.get(name) for name in variables)
    path, _, number = source.rpartition(":")
    short = code(f"{path.rpartition('/')[2]}:{number}")
    if not (server and repository and commit):
        return short
    return f"[{short}]({server}/{repository}/blob/{commit}/{quote(path)}#L{number})"


def _details(finding: Finding, rehearsal: Rehearsal) -> str:
    parts = [fenced("\n".join((*finding.reasons, *finding.changes)) or finding.file)]
    parts += [
        code(each) if each.startswith(KEYWORD) else escaped(each)
        for each in _advice(finding, rehearsal)
    ]
    summary = f"{rehearsal.environment}: {finding.verdict.value}: {_label(finding, rehearsal)}"
    return details(summary, "\n\n".join(parts))


def _cut(table: str, limit: int) -> str:
    if len(table) <= limit:
        return table
    note = "\n\nTable truncated; `delivery rehearse` prints all of it."
    return table[: table.rindex("\n", 0, limit - len(note))] + note


def _plain(rehearsal: Rehearsal) -> dict[str, object]:
    return {
        "environment": rehearsal.environment,
        "namespace": rehearsal.namespace,
        "base": rehearsal.base,
        "kubernetes": rehearsal.kubernetes,
        "blocks": rehearsal.blocks,
        "stops": rehearsal.stops,
        "findings": [
            {
                **each.key._asdict(),
                "verdict": each.verdict.slug,
                "blocks": each.blocks,
                "change": each.change,
                "allowed": each.allowed,
                "old": each.old and each.old._asdict(),
                "reasons": each.reasons,
                "changes": each.changes,
                "file": each.file,
                "source": each.source,
            }
            for each in rehearsal.findings
        ],
        "consequences": [
            {**each.key._asdict(), "text": each.text} for each in rehearsal.consequences
        ],
    }
