"""Manifests for tests: rendered in memory, found by kind and name, read field by field."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from functools import cache, cached_property
from tempfile import gettempdir
from typing import Any, TypeAlias

from cdk8s import App, Testing

from fraud_detection.argocd import ArgoCd
from fraud_detection.environments import ENVIRONMENTS, Environment
from fraud_detection.images import Images
from fraud_detection.platform.image import Image
from fraud_detection.system import System
from settings import LARGE, SMALL

Manifest: TypeAlias = dict[str, Any]


IMAGES = Images(
    **{
        field.name: Image(repository=f"registry.test/{field.name.replace('_', '-')}", tag="1.2.3")
        for field in fields(Images)
    }
)
"""Images that no release changes, so that a bump never touches a snapshot."""


def _app() -> App:
    return App(outdir=f"{gettempdir()}/never-written")


def _system(environment: Environment, images: Images) -> App:
    app = _app()
    System(app, environment=environment, images=images)
    return app


@dataclass(frozen=True)
class Manifests:
    """The objects of one environment, rendered when a test first asks for them.

    Attributes:
        environment: The settings.
        images: Default: those that no release changes.
    """

    environment: Environment
    images: Images = IMAGES

    @cached_property
    def files(self) -> dict[str, list[Manifest]]:
        """The objects of each file, by chart id, which is the name of the file."""
        charts = _system(self.environment, self.images).charts
        return {chart.node.id: Testing.synth(chart) for chart in charts}

    def __iter__(self) -> Iterator[Manifest]:
        """Iterate over all objects of all files."""
        return (manifest for file in self.files.values() for manifest in file)

    def kind(self, kind: str) -> list[Manifest]:
        """Return all objects of a kind."""
        return [manifest for manifest in self if manifest["kind"] == kind]

    def get(self, kind: str, name: str) -> Manifest:
        """Return the one object of that kind and name."""
        [manifest] = [m for m in self.kind(kind) if m["metadata"]["name"] == name]
        return manifest

    def pod_templates(self) -> Iterator[tuple[str, Manifest]]:
        """Iterate over the pod templates, each with `Kind/name` of its workload."""
        for manifest in self:
            if "template" in manifest.get("spec", {}):
                name = f"{manifest['kind']}/{manifest['metadata']['name']}"
                yield name, manifest["spec"]["template"]


LIVE = [Manifests(environment) for environment in ENVIRONMENTS]
"""The environments that Argo CD applies."""
small = Manifests(SMALL)
large = Manifests(LARGE)


def live_manifests() -> list[Manifest]:
    """Return all objects of all live environments."""
    return [manifest for system in LIVE for manifest in system]


def kinds(environment: Environment) -> set[tuple[str, str]]:
    """Return the API group and the kind of everything that an environment renders."""
    return {
        (manifest["apiVersion"].rpartition("/")[0], manifest["kind"])
        for manifest in Manifests(environment)
    }


@cache
def argocd() -> dict[str, Manifest]:
    """Render what Argo CD is given for the live environments, by `Kind/name`."""
    return argocd_of(*ENVIRONMENTS)


def argocd_of(
    *environments: Environment, configures_notifications: bool = True
) -> dict[str, Manifest]:
    """Render what Argo CD is given for environments, by `Kind/name`."""
    app = _app()
    ArgoCd(
        app,
        environments=environments,
        kinds={environment.name: kinds(environment) for environment in environments},
        configures_notifications=configures_notifications,
    )
    return {
        f"{manifest['kind']}/{manifest['metadata']['name']}": manifest
        for chart in app.charts
        for manifest in Testing.synth(chart)
    }


def container(template: Manifest, name: str) -> Manifest:
    """Return a container of a pod template by its name; init containers included."""
    spec = template["spec"]
    [found] = [c for c in containers(spec) if c["name"] == name]
    return found


def containers(pod: Manifest) -> list[Manifest]:
    """Return all containers of a pod spec, init containers first."""
    return [*pod.get("initContainers", []), *pod["containers"]]


def variables(container: Manifest) -> dict[str, str]:
    """Return the plain environment variables of a container."""
    return {v["name"]: v["value"] for v in container.get("env", []) if "value" in v}


def names(manifests: Iterable[Manifest]) -> set[str]:
    """Return the names of some objects."""
    return {manifest["metadata"]["name"] for manifest in manifests}
