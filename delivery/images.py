"""images.yaml of any commit."""

from pathlib import Path
from tempfile import TemporaryDirectory

from delivery import dist
from delivery.git import file_of
from fraud_detection.images import Releases, read_images

IMAGES = "images.yaml"


def images_of(repository: Path, commit: str) -> Releases:
    """What a commit releases.

    Args:
        repository: Root of the Git working tree, which says which environments there are.
        commit: Of that repository.

    Raises:
        GitError: If the commit has no images.yaml.
        ImagesError: If that is wrong.
    """
    names = [environment.name for environment in dist.environments(repository / dist.DIST)]
    with TemporaryDirectory() as folder:
        path = Path(folder) / IMAGES
        path.write_text(file_of(repository, commit, IMAGES), encoding="utf-8")
        return read_images(path, environments=names)
