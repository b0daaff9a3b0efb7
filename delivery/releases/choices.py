"""The services, environments and branches that workflows name."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from delivery.errors import DeliveryError
from delivery.manifests.applications import environments
from delivery.releases.images import images_of
from delivery.temporary import replace_file

WORKFLOWS = ".github/workflows"


class ChoicesError(DeliveryError):
    """A workflow lacks a place that is written; the message says which."""


def rewrite(repository: Path) -> list[str]:
    """Write what images.yaml and `dist/argocd` declare into the workflows, where there are any.

    GitHub cannot derive the choices of a form or the branches of an event, and its expressions do
    not know which branch is whose.

    Args:
        repository: Root of the working tree, with an up-to-date dist.

    Returns:
        The workflows that have changed, from the root of the repository.

    Raises:
        ChoicesError: If a place is missing; no workflow changes then.
    """
    if not (repository / WORKFLOWS).is_dir():
        return []
    known = environments(repository)
    services = ", ".join(images_of(repository).services)
    names = ", ".join(each.name for each in known)
    branches = ", ".join(each.branch for each in known)
    branch_of = {each.name: each.branch for each in known}
    promoted = {each.branch: each.name for each in known[1:]}
    pushed = {r"(?<=branches: )\[.*\](?= # of the environments$)": f"[{branches}]"}
    places = {
        "operate.yml": {
            r"(?<=options: )\[.*\](?= # services$)": f"[{services}]",
            r"(?<=options: )\[.*\](?= # environments$)": f"[{names}]",
            r"(?<=fromJSON\(')\{.*\}(?='\)\[inputs\.environment\])": _table(branch_of),
        },
        "ci.yml": {
            **pushed,
            r"(?<=fromJSON\(')\{.*\}(?='\)\[github\.base_ref)": _table(promoted),
        },
        "report.yml": pushed,
    }
    changed = {}
    for name, texts in places.items():
        path = f"{WORKFLOWS}/{name}"
        if (repository / path).exists():
            before = (repository / path).read_text(encoding="utf-8")
            after = _written(path, before, texts)
            if after != before:
                changed[path] = after
    for path, after in changed.items():
        replace_file(repository / path, after)
    return list(changed)


def _table(entries: Mapping[str, str]) -> str:
    return json.dumps(entries, separators=(",", ":"))


def _written(path: str, text: str, places: Mapping[str, str]) -> str:
    """Return the text of a workflow with each of these places written."""
    for place, new in places.items():
        found = list(re.finditer(place, text, re.MULTILINE))
        if len(found) != 1:
            raise ChoicesError(
                f"{path}: expected one match of {place!r}, found {len(found)}: restore it."
            )
        text = text[: found[0].start()] + new + text[found[0].end() :]
    return text
