"""The names of a fork, in every place that names the upstream repositories."""

import re
from pathlib import Path

from delivery.errors import DeliveryError
from delivery.git import git
from delivery.temporary import replace_file

REPOSITORIES = "constructs/fraud_detection/repositories.py"
CODEOWNERS = ".github/CODEOWNERS"
_ELSEWHERE = ("dist/", "docs/decisions/", "imports/", "tests/")
"""Rendered or generated, about the past, or with names of their own."""
_NAME = r"([\w.-]+)/([\w.-]+?)"
_ADDRESS = rf'^{{}} = "https://github\.com/{_NAME}(?:\.git)?"$'


class ForkError(DeliveryError):
    """A name is not one of GitHub's; the message says which."""


def rename(repository: Path, *, configuration: str, application: str, reviewer: str) -> list[str]:
    """Rename a fork, and return the files that changed, from the root of the repository.

    Args:
        repository: Root of the Git working tree of the fork.
        configuration: OWNER/NAME of the fork on GitHub.
        application: OWNER/NAME of the repository that builds the images; they are in its owner's
            registry on GitHub.
        reviewer: Owner of the code in CODEOWNERS: @USER or @ORGANIZATION/TEAM.

    Raises:
        ForkError: If a name is not one of GitHub's, or repositories.py names none.
    """
    owner, name = _parts(configuration)
    application_owner, application_name = _parts(application)
    if not re.fullmatch(r"@[\w-]+(/[\w-]+)?", reviewer):
        raise ForkError(f"{reviewer!r} is not a reviewer: give @USER or @ORGANIZATION/TEAM.")
    old_owner, old_name = _declared(repository, "REPOSITORY")
    old_application_owner, old_application_name = _declared(repository, "APPLICATION")
    names = {
        f"{old_owner}/{old_name}": configuration,
        f"{old_application_owner}/{old_application_name}": application,
        # Registries take lower case only.
        f"ghcr.io/{old_application_owner.lower()}": f"ghcr.io/{application_owner.lower()}",
        f"--owner {old_application_owner}": f"--owner {application_owner}",
        # Above the other, which it contains if one owner has both.
        _token(old_application_owner, old_application_name): _token(
            application_owner, application_name
        ),
        f"owner: {old_owner}": f"owner: {owner}",
        f"repositories: {old_name}": f"repositories: {name}",
    }
    pattern = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, names))})(?![\w-])")
    changed = []
    for path in filter(None, git(repository, "ls-files", "-z").split("\0")):
        file = repository / path
        if path.startswith(_ELSEWHERE) or not file.is_file():
            continue
        before = file.read_text(encoding="utf-8")
        after = pattern.sub(lambda found: names[found[0]], before)
        if path == CODEOWNERS:
            after = re.sub(r"@\S+", reviewer, after)
        if after != before:
            replace_file(file, after)
            changed.append(path)
    return changed


def _token(owner: str, name: str) -> str:
    """Return what a workflow's step says to get a token for a repository of any owner."""
    return f"owner: {owner}\n          repositories: {name}"


def _parts(repository: str) -> tuple[str, str]:
    found = re.fullmatch(_NAME, repository)
    if found is None:
        raise ForkError(f"{repository!r} is not OWNER/NAME, a repository on GitHub.")
    return found[1], found[2]


def _declared(repository: Path, constant: str) -> tuple[str, str]:
    text = (repository / REPOSITORIES).read_text(encoding="utf-8")
    found = re.search(_ADDRESS.format(constant), text, re.MULTILINE)
    if found is None:
        raise ForkError(f"{REPOSITORIES}: {constant} is not the address of a repository on GitHub.")
    return found[1], found[2]
