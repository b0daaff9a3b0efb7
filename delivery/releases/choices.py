"""The choices that the workflow `operate` offers: services, environments and their branches."""

import json
import re
from pathlib import Path

from delivery.errors import DeliveryError
from delivery.manifests.applications import environments
from delivery.releases.images import images_of
from delivery.temporary import replace_file

OPERATE = ".github/workflows/operate.yml"


class ChoicesError(DeliveryError):
    """The workflow lacks a place that is written; the message says which."""


def rewrite(repository: Path) -> bool:
    """Write what images.yaml and `dist/argocd` declare into the workflow, if there is one.

    GitHub cannot derive the choices of a form, and its expressions know no environment's branch.

    Args:
        repository: Root of the working tree, with an up-to-date dist.

    Returns:
        Whether the workflow has changed.

    Raises:
        ChoicesError: If a place is missing.
    """
    workflow = repository / OPERATE
    if not workflow.exists():
        return False
    known = environments(repository)
    services = ", ".join(images_of(repository).services)
    names = ", ".join(each.name for each in known)
    branches = json.dumps({each.name: each.branch for each in known}, separators=(",", ":"))
    places = {
        r"(?<=options: )\[.*\](?= # services$)": f"[{services}]",
        r"(?<=options: )\[.*\](?= # environments$)": f"[{names}]",
        r"(?<=fromJSON\(')\{.*\}(?='\)\[inputs\.environment\])": branches,
    }
    before = after = workflow.read_text(encoding="utf-8")
    for place, text in places.items():
        found = list(re.finditer(place, after, re.MULTILINE))
        if len(found) != 1:
            raise ChoicesError(
                f"{OPERATE}: expected one match of {place!r}, found {len(found)}: restore it."
            )
        after = after[: found[0].start()] + text + after[found[0].end() :]
    if after != before:
        replace_file(workflow, after)
    return after != before
