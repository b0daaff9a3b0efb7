"""The archives from which the runtime tests' pods start."""

import json
import os
import re
import tarfile
from pathlib import Path

import pytest

from repository import REPOSITORY
from tests.runtime.node.image import write_image

REFERENCE = "registry.test/some/image:1.2.3"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Create a folder with a few files."""
    folder = tmp_path / "root"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "program").write_text("#!/bin/sh\n", encoding="utf-8")
    (folder / "bin" / "program").chmod(0o755)
    (folder / "bin" / "link").symlink_to("program")
    return folder


def test_the_node_and_its_control_plane_are_of_one_version() -> None:
    """Dependabot updates them one by one; a kubelet must never be newer than its API server."""
    pins = {
        re.findall(r"^require k8s\.io/kubernetes (\S+)$", file.read_text(), re.MULTILINE)[0]
        for file in REPOSITORY.glob("tools/*/kubernetes/go.mod")
    }
    assert len(pins) == 1


def read(archive: Path, name: str) -> bytes:
    """Return the content of a file of an archive."""
    with tarfile.open(archive) as files:
        content = files.extractfile(name)
        assert content is not None
        return content.read()


def test_an_image_has_the_reference_of_its_pods(root: Path, tmp_path: Path) -> None:
    """Without a registry, a pod whose image has another name would wait for ever."""
    write_image(root, reference=REFERENCE, target=tmp_path / "image.tar")
    [image] = json.loads(read(tmp_path / "image.tar", "manifest.json"))
    assert image["RepoTags"] == [REFERENCE]


def test_an_image_has_its_entrypoint_user_and_folder(root: Path, tmp_path: Path) -> None:
    """Pods rely on the entrypoint, the user and the folder of an image."""
    write_image(
        root,
        reference=REFERENCE,
        target=tmp_path / "image.tar",
        entrypoint=["program"],
        command=["start"],
        environment={"PATH": "/opt/bin", "HOME": "/tmp"},  # noqa: S108 - in the image
        user="9999",
        working_directory="/app",
    )
    assert json.loads(read(tmp_path / "image.tar", "config.json"))["config"] == {
        "Entrypoint": ["program"],
        "Cmd": ["start"],
        "Env": ["PATH=/opt/bin", "HOME=/tmp"],
        "User": "9999",
        "WorkingDir": "/app",
    }


def test_an_image_holds_the_files_as_they_are(root: Path, tmp_path: Path) -> None:
    """A program that lost its mode would not start."""
    write_image(root, reference=REFERENCE, target=tmp_path / "image.tar")
    [image] = json.loads(read(tmp_path / "image.tar", "manifest.json"))
    with tarfile.open(tmp_path / "image.tar") as archive:
        layer = archive.extractfile(image["Layers"][0])
        with tarfile.open(fileobj=layer) as files:
            assert files.getmember("./bin/program").mode == 0o755
            assert files.getmember("./bin/link").linkname == "program"


def test_the_same_files_make_the_same_image(root: Path, tmp_path: Path) -> None:
    """A rebuilt image is then the one that the node already has."""
    write_image(root, reference=REFERENCE, target=tmp_path / "one.tar")
    os.utime(root / "bin" / "program", (1, 1))
    write_image(root, reference=REFERENCE, target=tmp_path / "two.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
