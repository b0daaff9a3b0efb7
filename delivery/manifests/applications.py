"""What Argo CD is told once, by hand: where an environment goes, and what may be applied at all."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from delivery.control_plane.client import Manifest
from delivery.manifests.dist import DIST
from delivery.manifests.tree import Files, Key, manifests

FOLDER = PurePosixPath(DIST, "argocd")
_EVERYTHING = {
    "sourceRepos": ["*"],
    "destinations": [{"namespace": "*", "server": "*"}],
    "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
}
"""The project `default` that every Argo CD comes with."""


@dataclass(frozen=True, kw_only=True)
class Application:
    """How one environment is synced.

    Attributes:
        spec: Of the Application, as Argo CD's API has it.
        project: `spec` of its AppProject.
    """

    spec: Manifest
    project: Manifest

    @property
    def folder(self) -> PurePosixPath:
        """What it applies, from the root of the repository."""
        return PurePosixPath(self.spec["source"]["path"])

    @property
    def environment(self) -> str:
        """The name of that folder."""
        return self.folder.name

    @property
    def branch(self) -> str:
        """The branch whose folder it is."""
        branch: str = self.spec["source"]["targetRevision"]
        return branch

    @property
    def namespace(self) -> str:
        """Where to."""
        namespace: str = self.spec["destination"]["namespace"]
        return namespace

    @property
    def labels(self) -> Mapping[str, str]:
        """Of the namespace, which Argo CD makes."""
        managed: Manifest = self._policy.get("managedNamespaceMetadata") or {}
        return managed.get("labels") or {}

    @property
    def prunes(self) -> bool:
        """Whether what is gone from the folder is deleted."""
        return bool((self._policy.get("automated") or {}).get("prune"))

    @property
    def _manages_namespace(self) -> bool:
        """Whether every sync applies the namespace, for the sake of its labels."""
        creates = "CreateNamespace=true" in (self._policy.get("syncOptions") or [])
        return creates and self._policy.get("managedNamespaceMetadata") is not None

    @property
    def _policy(self) -> Manifest:
        return self.spec.get("syncPolicy") or {}

    def objection(self, key: Key, *, namespaced: bool) -> str | None:
        """Why Argo CD would not apply an object, or None.

        Args:
            key: The object.
            namespaced: Whether its kind lives in namespaces.
        """
        name, project = self.spec["project"], self.project
        if not _matches(self.spec["source"]["repoURL"], project.get("sourceRepos")):
            return f"the project {name} does not allow this repository"
        if self._manages_namespace and not _lists(
            project.get("clusterResourceWhitelist"), Key("Namespace", self.namespace, "", "")
        ):
            return f"the project {name} does not allow the kind Namespace, which every sync applies"
        scope = "namespace" if namespaced else "cluster"
        allowed = project.get(f"{scope}ResourceWhitelist")
        # Left out, all kinds of a namespace are allowed, and none of the whole cluster.
        if not (allowed is None and namespaced) and not _lists(allowed, key):
            return f"the project {name} does not allow the kind {key.kind}"
        if _lists(project.get(f"{scope}ResourceBlacklist"), key):
            return f"the project {name} forbids the kind {key.kind}"
        if namespaced and not self._reaches(key.namespace):
            return f"the project {name} does not allow the namespace {key.namespace}"
        return None

    def _reaches(self, namespace: str) -> bool:
        server = self.spec["destination"].get("server", "")
        return any(
            fnmatchcase(namespace, allowed.get("namespace", ""))
            and fnmatchcase(server, allowed.get("server", "*"))
            for allowed in self.project.get("destinations") or []
        )


def applications(files: Files) -> list[Application]:
    """All that `dist/argocd` tells Argo CD, in the order of the environments' names."""
    told = [each.manifest for each in manifests(files, FOLDER)]
    projects = {
        manifest["metadata"]["name"]: manifest["spec"]
        for manifest in told
        if manifest["kind"] == "AppProject"
    }
    found = [
        Application(
            spec=manifest["spec"],
            project=projects.get(manifest["spec"]["project"], _EVERYTHING),
        )
        for manifest in told
        if manifest["kind"] == "Application"
    ]
    return sorted(found, key=lambda application: application.environment)


def _matches(text: str, patterns: Iterable[str] | None) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in patterns or [])


def _lists(kinds: Iterable[Mapping[str, str]] | None, key: Key) -> bool:
    return any(
        fnmatchcase(key.group, entry["group"])
        and fnmatchcase(key.kind, entry["kind"])
        and fnmatchcase(key.name, entry.get("name", "*"))
        for entry in kinds or []
    )
