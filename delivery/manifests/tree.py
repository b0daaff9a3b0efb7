"""The objects of a folder of `dist/` as Argo CD reads them, with their sync annotations."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from delivery.errors import DeliveryError
from delivery.git import GitError, blobs, entries
from delivery.manifests.documents import documents
from delivery.manifests.manifest import Manifest

DIST = "dist"
"""The folder of the repository that Argo CD reads."""
_SKIP_FILE = b"+argocd:skip-file-rendering"
_MANIFEST = re.compile(r"(?!kustomization\.)[a-z0-9-]+\.yaml")
"""Names of files that Argo CD applies as they are.

It evaluates `*.jsonnet`, leaves a folder with `Chart.yaml` or `kustomization.yaml` to Helm or
Kustomize, and takes settings from `.argocd-source.yaml`: what it applies then is in no file.
"""
_NO_FILES = {"120000": "symbolic link", "160000": "submodule"}
"""Modes in Git of what points elsewhere; it is not known what Argo CD would read there."""
# Most files of two trees are the same, and nobody changes what is read.
_documents = cache(documents)

Files = Mapping[PurePosixPath, bytes]
"""Content of files, by path from the root of the repository."""


class TreeError(DeliveryError):
    """Manifests cannot be read; the message names them and the reason."""


class Key(NamedTuple):
    """Identity of an object, whatever the version of its kind.

    The namespace is empty for a cluster-scoped object, the group for the core group.
    """

    kind: str
    name: str
    namespace: str
    group: str

    @classmethod
    def of(cls, manifest: Manifest) -> "Key":
        """Return the key of a manifest's object."""
        metadata = manifest["metadata"]
        group, _, _ = manifest["apiVersion"].rpartition("/")
        return cls(manifest["kind"], metadata["name"], metadata.get("namespace", ""), group)

    def __str__(self) -> str:
        """Return it as `Kind/name`."""
        return f"{self.kind}/{self.name}"

    def within(self, namespace: str) -> str:
        """Return it as kubectl does, such as `Deployment.apps/web`, without the given namespace.

        An object of another namespace is `Deployment.apps/other/web`.
        """
        kind = f"{self.kind}.{self.group}" if self.group else self.kind
        place = f"{self.namespace}/" if self.namespace not in {"", namespace} else ""
        return f"{kind}/{place}{self.name}"


@dataclass(frozen=True, kw_only=True)
class Desired:
    """One object that Argo CD applies, and the path of the file that holds it."""

    manifest: Manifest
    file: str

    @property
    def key(self) -> Key:
        """Identity of the object."""
        return Key.of(self.manifest)

    @property
    def wave(self) -> int:
        """Sync wave; 0 by default, and where the annotation is not a number."""
        try:
            return int(annotation(self.manifest, "sync-wave"))
        except ValueError:
            return 0

    @property
    def hooks(self) -> frozenset[str]:
        """Phases in which the hook runs, such as `Sync`; empty for an ordinary object."""
        return _values(self.manifest, "hook")

    @property
    def delete_policies(self) -> frozenset[str]:
        """Events at which the previous run of a hook is deleted."""
        return _values(self.manifest, "hook-delete-policy") or frozenset({"BeforeHookCreation"})


@dataclass(frozen=True, kw_only=True)
class Tree:
    """All objects that Argo CD applies to one environment.

    Attributes:
        objects: Objects by key; of two with the same key the later one, as in Argo CD.
        repeated: Keys that are defined more than once.
    """

    objects: Mapping[Key, Desired]
    repeated: tuple[Key, ...]


def annotation(manifest: Manifest, name: str) -> str:
    """Return one of Argo CD's annotations, named without its prefix; empty if it is not set."""
    annotations = manifest["metadata"].get("annotations") or {}
    return str(annotations.get(f"argocd.argoproj.io/{name}", ""))


def sync_options(manifest: Manifest) -> frozenset[str]:
    """Return an object's own sync options, such as `Prune=false`."""
    return _values(manifest, "sync-options")


def read_dist(repository: Path, commit: str | None = None) -> Files:
    """Read all files of `dist/`, as `read_folder` does."""
    return read_folder(repository, DIST, commit)


def read_folder(repository: Path, folder: str, commit: str | None = None) -> Files:
    """Read all files below a folder in a commit; by default, in the working tree.

    Raises:
        TreeError: If there is no such commit, it has no such folder, or something below it is a
            symbolic link or a submodule.
    """
    return (
        _checked_out(repository, folder)
        if commit is None
        else _committed(repository, folder, commit)
    )


def _checked_out(repository: Path, folder: str) -> Files:
    root = repository / folder
    above = [repository / each for each in PurePosixPath(folder).parents[:-1]]
    files = {}
    for path in (*above, root, *root.rglob("*")):
        relative = path.relative_to(repository).as_posix()
        if path.is_symlink():
            raise _refused(relative, "symbolic link")
        if path.name == ".git":
            raise _refused(str(PurePosixPath(relative).parent), "submodule")
        if path.is_file():
            files[PurePosixPath(relative)] = path.read_bytes()
    return files


def _committed(repository: Path, folder: str, commit: str) -> Files:
    try:
        found = entries(repository, commit, folder)
    except GitError as error:
        raise TreeError(f"There is no {folder} in {commit}: {error}") from error
    if not found:
        raise TreeError(f"There is no {folder} in {commit}.")
    for each in found:
        if each.mode in _NO_FILES:
            raise _refused(f"{each.path} in {commit}", _NO_FILES[each.mode])
    contents = blobs(repository, [each.name for each in found])
    return dict(zip((PurePosixPath(each.path) for each in found), contents, strict=True))


def _refused(place: str, kind: str) -> TreeError:
    return TreeError(f"{place} is a {kind}: replace it by the files themselves.")


def manifests(files: Files, folder: PurePosixPath) -> list[Desired]:
    """Read the objects of a folder as Argo CD does: file by file, without its subfolders.

    The objects must not be changed: calls share them.

    Raises:
        DocumentError: If a file is not valid YAML, or is misleading.
        TreeError: If a file is not a manifest, or holds a document that is not an object.
    """
    found = []
    for path in sorted(files):
        if path.parent != folder:
            continue
        if not _MANIFEST.fullmatch(path.name):
            raise TreeError(
                f"{path} is not a manifest: Argo CD may apply something else because of it; "
                "remove it."
            )
        if _SKIP_FILE in files[path]:
            continue
        for document in _documents(files[path], str(path)):
            match document:
                case {"items": list()}:
                    raise TreeError(
                        f"{path} holds a list of objects, which Argo CD takes apart: write each as "
                        "a document of its own."
                    )
                case {"apiVersion": str(), "kind": str(), "metadata": {"name": str()}}:
                    found.append(Desired(manifest=document, file=str(path)))
                case _:
                    raise TreeError(
                        f"{path} holds a document that is not a Kubernetes object: it needs "
                        "apiVersion, kind and metadata.name."
                    )
    return found


def folders(files: Files) -> dict[str, list[Manifest]]:
    """Return the objects of each folder of `dist/`, by the folder's name.

    Raises:
        DocumentError: If a file is not valid YAML, or is misleading.
        TreeError: If a file holds a document that is not an object.
    """
    return {
        folder.name: [each.manifest for each in manifests(files, folder)]
        for folder in sorted({path.parent for path in files})
    }


def tree(desired: Iterable[Desired]) -> Tree:
    """Combine objects into a tree as Argo CD does."""
    objects: dict[Key, Desired] = {}
    repeated = []
    for each in desired:
        if each.key in objects:
            repeated.append(each.key)
        objects[each.key] = each
    return Tree(objects=objects, repeated=tuple(dict.fromkeys(repeated)))


def _values(manifest: Manifest, name: str) -> frozenset[str]:
    return frozenset(filter(None, map(str.strip, annotation(manifest, name).split(","))))
