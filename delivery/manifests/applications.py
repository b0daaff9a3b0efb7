"""The environments that `dist/argocd` declares: where Argo CD deploys them, and what it may apply.

This is the one reader of these files. Their order is the chain of promotion.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from delivery.errors import DeliveryError
from delivery.git import resolve
from delivery.manifests.manifest import Labels, Manifest
from delivery.manifests.tree import DIST, Files, Key, TreeError, manifests, read_folder
from fraud_detection.commit_status import SUBSCRIPTION

FOLDER = PurePosixPath(DIST, "argocd")
"""The folder that the root Application applies, after it was applied by hand once."""
EVERYTHING = {
    "sourceRepos": ["*"],
    "destinations": [{"namespace": "*", "server": "*"}],
    "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
}
"""Spec of the AppProject `default`, which every Argo CD comes with."""


class UnknownEnvironmentError(DeliveryError):
    """There is no environment of that name; the message lists those that exist."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One environment: the specs of its Argo CD Application and AppProject, and its labels.

    The labels are those of its Namespace, or else those that Argo CD gives it at every sync. If it
    `reports`, Argo CD sets a commit status of what it has proved.
    """

    application: str
    spec: Manifest
    project: Manifest
    labels: Labels = field(default_factory=dict)
    reports: bool = False

    @property
    def folder(self) -> PurePosixPath:
        """Folder that Argo CD applies, from the root of the repository."""
        return PurePosixPath(self.spec["source"]["path"])

    @property
    def name(self) -> str:
        """Name of that folder below `dist/`."""
        return self.folder.name

    @property
    def branch(self) -> str:
        """Branch that Argo CD tracks."""
        return str(self.spec["source"]["targetRevision"])

    @property
    def namespace(self) -> str:
        """Namespace that it is deployed to."""
        return str(self.spec["destination"]["namespace"])

    @property
    def prunes(self) -> bool:
        """Whether a sync deletes objects that are gone from the folder."""
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
        """Return why the project does not let Argo CD apply an object, or None if it does."""
        name, project = self.spec["project"], self.project
        source = self.spec["source"]["repoURL"]
        if not any(fnmatchcase(source, each) for each in project.get("sourceRepos") or []):
            return f"the project {name} does not allow this repository"
        if self._manages_namespace and not _lists(
            project.get("clusterResourceWhitelist"), Key("Namespace", self.namespace, "", "")
        ):
            return f"the project {name} does not allow the kind Namespace, which every sync applies"
        scope = "namespace" if namespaced else "cluster"
        allowed = project.get(f"{scope}ResourceWhitelist")
        # Without a list, all namespaced kinds are allowed, and no cluster-scoped ones.
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


def environments(repository: Path, commit: str | None = None) -> list[Environment]:
    """Read the environments of a commit, the one where releases begin first.

    The default is the working tree.

    Raises:
        GitError: If there is no such commit.
        TreeError: If `dist/argocd` is missing or damaged, or declares no environment.
    """
    revision = None if commit is None else resolve(repository, commit)
    return declared(read_folder(repository, str(FOLDER), revision))


def declared(files: Files) -> list[Environment]:
    """Return the environments that `dist/argocd` declares, in the order of its documents.

    Raises:
        TreeError: If it is damaged, or declares no environment.
    """
    found = parse(each.manifest for each in manifests(files, FOLDER))
    if not found:
        raise TreeError(f"{FOLDER} has no Application: run `make synth`.")
    return found


def parse(objects: Iterable[Manifest]) -> list[Environment]:
    """Return the environments that the Applications among some objects declare, in their order.

    The root Application, which keeps `dist/argocd` itself, is not one of them.

    Raises:
        TreeError: If an Application lacks a field that we need.
    """
    objects = list(objects)

    def by_name(kind: str, part: str) -> dict[str, Manifest]:
        found = [each for each in objects if each["kind"] == kind]
        return {each["metadata"]["name"]: each.get(part) or {} for each in found}

    projects = by_name("AppProject", "spec")
    namespaces = by_name("Namespace", "metadata")
    metadata = by_name("Application", "metadata")
    found = []
    for name, spec in by_name("Application", "spec").items():
        match spec:
            case {"source": {"path": path}} if path == str(FOLDER):
                pass
            case {
                "project": str(project),
                "source": {"repoURL": str(), "targetRevision": str(), "path": str()},
                "destination": {"namespace": str(namespace)},
            }:
                policy = spec.get("syncPolicy") or {}
                managed = policy.get("managedNamespaceMetadata") or {}
                found.append(
                    Environment(
                        application=name,
                        spec=spec,
                        project=projects.get(project, EVERYTHING),
                        labels=namespaces.get(namespace, managed).get("labels") or {},
                        reports=SUBSCRIPTION in (metadata[name].get("annotations") or {}),
                    )
                )
            case _:
                raise TreeError(
                    f"{FOLDER} is damaged: the Application {name} lacks its project, source or "
                    "destination; run `make synth`."
                )
    return found


def select(known: Sequence[Environment], name: str | None = None) -> list[Environment]:
    """Return the environment of that name, or all of them without a name.

    Raises:
        UnknownEnvironmentError: If none has that name.
    """
    found = [each for each in known if name in {None, each.name}]
    if not found:
        names = ", ".join(each.name for each in known)
        raise UnknownEnvironmentError(f"Unknown environment {name!r}; known environments: {names}.")
    return found


def require_manifests(files: Files, known: Iterable[Environment]) -> None:
    """Refuse an environment without any object: Argo CD would prune everything in it.

    Raises:
        TreeError: If a folder is missing or empty, or a file is not valid YAML.
    """
    for environment in known:
        if not manifests(files, environment.folder):
            raise TreeError(
                f"{environment.folder} has no manifests, although the Application "
                f"{environment.application} deploys it: run `make synth`."
            )


def _lists(kinds: Iterable[Mapping[str, str]] | None, key: Key) -> bool:
    return any(
        fnmatchcase(key.group, entry["group"])
        and fnmatchcase(key.kind, entry["kind"])
        and fnmatchcase(key.name, entry.get("name", "*"))
        for entry in kinds or []
    )
