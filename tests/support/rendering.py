"""How the tests look at manifests: rendered in memory, found by kind and name, walked by field."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from tempfile import gettempdir
from typing import Any, TypeAlias

from cdk8s import App, Testing

from fraud_detection.environments import DEV, STAGING, Environment
from fraud_detection.images import Image, Images
from fraud_detection.system import System

Manifest: TypeAlias = dict[str, Any]


# No release ever changes these, so a bump never touches a snapshot.
IMAGES = Images(
    payment_api=Image(repository="registry.test/payment-api", tag="1" * 40),
    alert_monitor=Image(repository="registry.test/alert-monitor", tag="2" * 40),
    flink_app=Image(repository="registry.test/flink-app", tag="3" * 40),
    redpanda=Image(repository="registry.test/redpanda", tag="v1.2.3"),
    redis=Image(repository="registry.test/redis", tag="1.2.3"),
)


@dataclass(frozen=True)
class Manifests:
    """One environment's objects.

    Attributes:
        files: The objects of each file, by the file's name without its ending.
    """

    files: dict[str, list[Manifest]]

    def __iter__(self) -> Iterator[Manifest]:
        """All objects of all files."""
        return (manifest for file in self.files.values() for manifest in file)

    def kind(self, kind: str) -> list[Manifest]:
        """All objects of a kind."""
        return [manifest for manifest in self if manifest["kind"] == kind]

    def get(self, kind: str, name: str) -> Manifest:
        """The one object of that kind and name."""
        [manifest] = [m for m in self.kind(kind) if m["metadata"]["name"] == name]
        return manifest

    def pod_templates(self) -> Iterator[tuple[str, Manifest]]:
        """The pod template of every workload, with the workload's kind and name."""
        for manifest in self:
            if manifest["kind"] in {"Deployment", "StatefulSet", "Job"}:
                name = f"{manifest['kind']}/{manifest['metadata']['name']}"
                yield name, manifest["spec"]["template"]


def render(environment: Environment, images: Images = IMAGES) -> Manifests:
    """What the constructs make of an environment's settings."""
    app = App(outdir=f"{gettempdir()}/never-written")
    System(app, environment=environment, images=images)
    return Manifests({chart.node.id: Testing.synth(chart) for chart in app.charts})


@cache
def dev() -> Manifests:
    """The development environment, rendered once per test process."""
    return render(DEV)


@cache
def staging() -> Manifests:
    """The staging environment, rendered once per test process."""
    return render(STAGING)


def both() -> list[Manifest]:
    """All objects of both environments."""
    return [*dev(), *staging()]


def container(template: Manifest, name: str) -> Manifest:
    """A container of a pod template, by name; also an init container."""
    spec = template["spec"]
    [found] = [c for c in containers(spec) if c["name"] == name]
    return found


def containers(pod: Manifest) -> list[Manifest]:
    """All containers of a pod spec, those that run first included."""
    return [*pod.get("initContainers", []), *pod["containers"]]


def variables(container: Manifest) -> dict[str, str]:
    """The plain environment variables of a container."""
    return {v["name"]: v["value"] for v in container.get("env", []) if "value" in v}


def wave(manifest: Manifest) -> int:
    """The sync wave that a manifest states."""
    return int(manifest["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"])


def names(manifests: Iterable[Manifest]) -> set[str]:
    """The names of some objects."""
    return {manifest["metadata"]["name"] for manifest in manifests}
