"""The images.yaml of any commit."""

from pathlib import Path

import yaml

from delivery.git import file_of
from fraud_detection.images import ImagesError, Release, Releases, Rule

IMAGES = "images.yaml"
ANY_TAG = Rule(accepts=bool, meaning="a tag", remedy="give one")
"""Rule for the tags of a service that only another branch's code knows; its render is stricter."""


def images_of(repository: Path, commit: str | None = None) -> Releases:
    """Read the releases of a commit, by default of the working tree.

    Services that only its own code knows are included.

    Raises:
        GitError: If the commit has no images.yaml.
        ImagesError: If images.yaml cannot be read.
    """
    if commit is None:
        return parse((repository / IMAGES).read_bytes(), "the working tree")
    return parse(file_of(repository, commit, IMAGES), commit)


def parse(text: bytes | str, place: str) -> Releases:
    """Return the releases of an images.yaml; `place` is where it is, for the error.

    Raises:
        ImagesError: If it cannot be read.
    """
    try:
        # It reads everything as text: an unquoted 7.20 is not 7.2.
        services = yaml.load(text, yaml.CBaseLoader)  # noqa: S506 - it constructs only text
        releases = {name: Release.from_entries(entries) for name, entries in services.items()}
    except (AttributeError, KeyError, TypeError, yaml.YAMLError) as error:
        raise ImagesError(
            f"{IMAGES} of {place} is wrong: run `make synth` there, which names the line."
        ) from error
    return Releases(services=releases)
