"""What Argo CD reads from a folder of `dist/`: which objects, and what it is told about each."""

import io
import subprocess
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import yaml

from delivery.control_plane.client import Manifest
from delivery.errors import DeliveryError
from delivery.manifests.dist import DIST

_SKIP_FILE = b"+argocd:skip-file-rendering"
_SUFFIXES = frozenset({".yaml", ".yml", ".json"})
_ANNOTATION = "argocd.argoproj.io/"

Files = Mapping[PurePosixPath, bytes]
"""Content by path from the root of the repository."""


class TreeError(DeliveryError):
    """A tree cannot be read; the message says why."""


class Key(NamedTuple):
    """Which object, whatever the version of its kind.

    Attributes:
        kind: Of the object.
        name: Of the object.
        namespace: Where it is; empty for an object of the whole cluster.
        group: Of the kind; empty for the core.
    """

    kind: str
    name: str
    namespace: str
    group: str

    @classmethod
    def of(cls, manifest: Manifest) -> "Key":
        """The key of what a manifest describes."""
        metadata = manifest["metadata"]
        group, _, _ = manifest["apiVersion"].rpartition("/")
        return cls(manifest["kind"], metadata["name"], metadata.get("namespace", ""), group)

    def __str__(self) -> str:
        """As a person writes it."""
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class Desired:
    """One object of a tree.

    Attributes:
        manifest: The object.
        file: The path from which it was read.
    """

    manifest: Manifest
    file: str

    @property
    def key(self) -> Key:
        """Which object."""
        return Key.of(self.manifest)

    @property
    def wave(self) -> int:
        """When it is applied; 0 where nothing, or no number, is said."""
        try:
            return int(annotation(self.manifest, "sync-wave"))
        except ValueError:
            return 0

    @property
    def hooks(self) -> frozenset[str]:
        """The phases in which it is made anew, such as `Sync`; empty: an ordinary object."""
        return _values(self.manifest, "hook")

    @property
    def delete_policies(self) -> frozenset[str]:
        """When a hook's previous run is deleted."""
        return _values(self.manifest, "hook-delete-policy") or frozenset({"BeforeHookCreation"})

    @property
    def options(self) -> frozenset[str]:
        """The sync options of this object alone, such as `Prune=false`."""
        return sync_options(self.manifest)


@dataclass(frozen=True, kw_only=True)
class Tree:
    """All that Argo CD applies to one environment.

    Attributes:
        objects: By key; of two with the same key the later one, as Argo CD has it.
        repeated: The keys that stand there more than once.
    """

    objects: Mapping[Key, Desired]
    repeated: tuple[Key, ...]


def annotation(manifest: Manifest, name: str) -> str:
    """One of Argo CD's annotations, empty where there is none.

    Args:
        manifest: The object.
        name: Without Argo CD's prefix.
    """
    annotations = manifest["metadata"].get("annotations") or {}
    return str(annotations.get(f"{_ANNOTATION}{name}", ""))


def sync_options(manifest: Manifest) -> frozenset[str]:
    """The sync options that an object carries."""
    return _values(manifest, "sync-options")


def read_dist(repository: Path, commit: str | None = None) -> Files:
    """Read all files of `dist/`.

    Args:
        repository: Root of the Git working tree.
        commit: Whose dist it is. Default: that of the working tree.

    Raises:
        TreeError: If there is no such commit, or it has no dist.
    """
    return read_folder(repository, DIST, commit)


def read_folder(repository: Path, folder: str, commit: str | None = None) -> Files:
    """Read all files below a folder of a repository.

    Args:
        repository: Root of the Git working tree.
        folder: From that root.
        commit: Whose folder it is. Default: that of the working tree.

    Raises:
        TreeError: If there is no such commit, or it has no such folder.
    """
    if commit is None:
        return {
            PurePosixPath(path.relative_to(repository).as_posix()): path.read_bytes()
            for path in (repository / folder).rglob("*")
            if path.is_file()
        }
    try:
        archive = subprocess.run(  # noqa: S603 - Git, with our own options
            ["git", "archive", "--format=tar", commit, "--", folder],  # noqa: S607 - the user's own Git
            cwd=repository,
            check=True,
            capture_output=True,
        ).stdout
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()
        raise TreeError(f"There is no {folder} in {commit}: {said}") from error
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {
            PurePosixPath(member.name): content.read()
            for member in tar
            if (content := tar.extractfile(member))
        }


def manifests(files: Files, folder: PurePosixPath) -> list[Desired]:
    """Read the objects of a folder as Argo CD does: by the path of the file, not of its subfolders.

    Args:
        files: Of the repository.
        folder: That an Application names.

    Raises:
        TreeError: If a file is not YAML, or holds something that is no object.
    """
    found = []
    for path in sorted(files):
        if path.parent != folder or path.suffix not in _SUFFIXES or _SKIP_FILE in files[path]:
            continue
        try:
            documents = _documents(files[path])
        except yaml.YAMLError as error:
            raise TreeError(f"{path} is no YAML: {error}") from error
        for document in documents:
            if document is not None:
                _require_object(path, document)
                found.append(Desired(manifest=document, file=str(path)))
    return found


def folders(files: Files) -> dict[str, list[Manifest]]:
    """The objects of each folder of `dist/`, by the folder's name.

    Args:
        files: Of dist.

    Raises:
        TreeError: If a file is not YAML, or holds something that is no object.
    """
    return {
        folder.name: [each.manifest for each in manifests(files, folder)]
        for folder in sorted({path.parent for path in files})
    }


def tree(desired: Iterable[Desired]) -> Tree:
    """Put objects together as Argo CD does."""
    objects: dict[Key, Desired] = {}
    repeated = []
    for each in desired:
        if each.key in objects:
            repeated.append(each.key)
        objects[each.key] = each
    return Tree(objects=objects, repeated=tuple(dict.fromkeys(repeated)))


@cache
def _documents(content: bytes) -> Sequence[Any]:
    """What a file holds; most files of two trees are the same, and nobody changes what is read."""
    return tuple(yaml.load_all(content, yaml.CSafeLoader))


def _values(manifest: Manifest, name: str) -> frozenset[str]:
    return frozenset(filter(None, map(str.strip, annotation(manifest, name).split(","))))


def _require_object(path: PurePosixPath, document: object) -> None:
    match document:
        case {"apiVersion": str(), "kind": str(), "metadata": {"name": str()}}:
            return
    raise TreeError(f"{path}: holds something that is no object: give it apiVersion, kind, name.")
