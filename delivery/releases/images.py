"""images.yaml of any commit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from delivery.git import file_of
from fraud_detection.images import Image, ImagesError, Pin, Release, Releases

IMAGES = "images.yaml"


def images_of(repository: Path, commit: str | None = None) -> Releases:
    """What a commit releases, also of services that only the code of that commit knows.

    Args:
        repository: Root of the Git working tree.
        commit: Of that repository. Default: the working tree.

    Raises:
        GitError: If the commit has no images.yaml.
        ImagesError: If that cannot be read.
    """
    if commit is None:
        text: bytes | str = (repository / IMAGES).read_bytes()
    else:
        text = file_of(repository, commit, IMAGES)
    try:
        # It takes everything for text: an unquoted 7.20 is not 7.2.
        services = yaml.load(text, yaml.CBaseLoader)  # noqa: S506 - it makes nothing but text
        return Releases(services={name: _release(entry) for name, entry in services.items()})
    except (AttributeError, KeyError, TypeError, yaml.YAMLError) as error:
        place = "the working tree" if commit is None else commit
        raise ImagesError(
            f"{IMAGES} of {place} is wrong: run `make synth` there, which names the line."
        ) from error


def _release(entry: Mapping[str, Any]) -> Release:
    return Release(
        image=Image(repository=entry["repository"], tag=entry["tag"], digest=entry.get("digest")),
        hold=entry.get("hold"),
        pins={name: Pin(**pin) for name, pin in entry.get("pins", {}).items()},
    )
