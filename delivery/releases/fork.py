"""The names of a fork, in every place that names the upstream repositories."""

import re
from dataclasses import dataclass
from pathlib import Path

from delivery.errors import DeliveryError
from delivery.git import git

REPOSITORIES = "constructs/fraud_detection/repositories.py"
CODEOWNERS = ".github/CODEOWNERS"
_ELSEWHERE = ("dist/", "docs/decisions/", "imports/", "tests/")
"""Rendered or generated, about the past, or with names of their own."""
_NAME = r"([\w.-]+)/([\w.-]+?)"
_ADDRESS = rf'^{{}} = "https://github\.com/{_NAME}(?:\.git)?"$'


class ForkError(DeliveryError):
    """A name is not one of GitHub's; the message says which."""


@dataclass(frozen=True, kw_only=True)
class GitHubRepository:
    """A repository on GitHub; the owner is a person or an organization."""

    owner: str
    name: str

    @classmethod
    def parse(cls, text: str) -> "GitHubRepository":
        """Read OWNER/NAME.

        Raises:
            ForkError: If it is anything else.
        """
        found = re.fullmatch(_NAME, text)
        if found is None:
            raise ForkError(f"{text!r} is not OWNER/NAME, a repository on GitHub.")
        return cls(owner=found[1], name=found[2])

    def __str__(self) -> str:
        """Return OWNER/NAME."""
        return f"{self.owner}/{self.name}"


def rename(
    repository: Path,
    *,
    configuration: GitHubRepository,
    application: GitHubRepository,
    reviewer: str,
) -> list[str]:
    """Rename a fork, and return the files that changed, from the root of the repository.

    Args:
        repository: Root of the Git working tree of the fork.
        configuration: The fork itself.
        application: Where the images are built; they are in its owner's registry on GitHub.
        reviewer: Owner of the code in CODEOWNERS: @USER or @ORGANIZATION/TEAM.

    Raises:
        ForkError: If the reviewer is not an owner, or repositories.py names none.
    """
    if not re.fullmatch(r"@[\w-]+(/[\w-]+)?", reviewer):
        raise ForkError(f"{reviewer!r} is not a reviewer: give @USER or @ORGANIZATION/TEAM.")
    old = _named(repository, "REPOSITORY")
    old_application = _named(repository, "APPLICATION")
    names = {
        str(old): str(configuration),
        str(old_application): str(application),
        # Registries take lower case only.
        f"ghcr.io/{old_application.owner.lower()}": f"ghcr.io/{application.owner.lower()}",
        f"--owner {old_application.owner}": f"--owner {application.owner}",
        f"owner: {old.owner}": f"owner: {configuration.owner}",
        f"repositories: {old.name}": f"repositories: {configuration.name}",
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
            file.write_text(after, encoding="utf-8")
            changed.append(path)
    return changed


def _named(repository: Path, constant: str) -> GitHubRepository:
    text = (repository / REPOSITORIES).read_text(encoding="utf-8")
    found = re.search(_ADDRESS.format(constant), text, re.MULTILINE)
    if found is None:
        raise ForkError(f"{REPOSITORIES}: {constant} is not the address of a repository on GitHub.")
    return GitHubRepository(owner=found[1], name=found[2])
