"""kubeconform, a validator of many pipelines, finds everything in dist valid.

It would download its schemas; these are the same ones, from a package.
"""

import json
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped] # it ships no types
import pytest
import yaml

from delivery.control_plane.assets import ControlPlaneAssets
from fraud_detection.environments import ENVIRONMENTS
from rendering import Manifest, large
from repository import REPOSITORY
from schemas import schema_of

pytestmark = pytest.mark.xdist_group("kubeconform")

KUBERNETES_SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
VERSIONS = ("1.27.0", "1.37.0")
"""The version of the typed constructs, and the newest of the package."""
LOCATION = "{{.NormalizedKubernetesVersion}}/{{.ResourceKind}}{{.KindSuffix}}.json"
DIST = [f"dist/{name}" for name in ("argocd", *(each.name for each in ENVIRONMENTS))]
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: some
spec:
  replicas: 1
  selector:
    matchLabels: {app: some}
  template:
    metadata:
      labels: {app: some}
    spec:
      containers:
      - name: main
        image: some
"""
APPLICATION = """\
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata:
  name: some
spec:
  project: some
  destination: {}
  syncPolicy:
    automated: {selfHeal: true}
"""


@pytest.fixture(scope="module")
def kubeconform(
    assets: ControlPlaneAssets, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Manifest]:
    """Runs kubeconform in strict mode, for a version of Kubernetes, on files."""
    schemas = tmp_path_factory.mktemp("schemas")
    for version in VERSIONS:
        (schemas / f"v{version}").mkdir()
        crds = [*assets.argocd_crds, REPOSITORY / "crds" / "monitoring.yaml"]
        write_schemas(schemas / f"v{version}", version, crds=crds)

    def check(version: str, *paths: Path) -> Manifest:
        output = subprocess.run(
            [
                assets.kubeconform,
                "-strict",
                "-summary",
                "-output=json",
                f"-kubernetes-version={version}",
                f"-schema-location={schemas}/{LOCATION}",
                *paths,
            ],
            check=False,
            stdout=subprocess.PIPE,
        ).stdout
        answer: Manifest = json.loads(output)
        return answer

    return check


def write_schemas(folder: Path, version: str, *, crds: Iterable[Path]) -> None:
    """Write the strict schema of every kind where kubeconform looks for it."""
    strict = KUBERNETES_SCHEMAS / f"v{version}-local-strict"
    shared = json.loads((strict / "_definitions.json").read_text(encoding="utf-8"))["$defs"]
    examples = yaml.load_all(f"{DEPLOYMENT}---\n{APPLICATION}", yaml.CSafeLoader)
    for name in {schema_file(manifest) for manifest in [*committed(), *examples]}:
        if (strict / name).exists():
            text = (strict / name).read_text(encoding="utf-8")
            # kubeconform cannot follow a reference to another file of the package.
            schema = json.loads(text.replace("/api/_definitions.json#", "#"))
            write(folder / name, {**schema, "$defs": shared})
    for definition in (each for crd in crds for each in load(crd)):
        spec = definition["spec"]
        [api] = spec["versions"]
        kind = {"apiVersion": f"{spec['group']}/{api['name']}", "kind": spec["names"]["kind"]}
        write(folder / schema_file(kind), schema_of(definition))


def committed() -> list[Manifest]:
    """Return every manifest in dist."""
    return [
        manifest
        for folder in DIST
        for file in (REPOSITORY / folder).glob("*.yaml")
        for manifest in load(file)
    ]


def schema_file(manifest: Manifest) -> str:
    """Return the file name of the schema of a manifest's kind."""
    group, _, version = manifest["apiVersion"].rpartition("/")
    return "-".join(
        filter(None, (manifest["kind"].lower(), group.split(".")[0], f"{version}.json"))
    )


def load(file: Path) -> list[Manifest]:
    """Return the documents of a YAML file."""
    return list(yaml.load_all(file.read_text(encoding="utf-8"), yaml.CSafeLoader))


def write(file: Path, schema: Manifest) -> None:
    """Write a schema to a file."""
    file.write_text(json.dumps(schema), encoding="utf-8")


@pytest.mark.parametrize("version", VERSIONS)
def test_kubeconform_finds_every_manifest_valid(
    kubeconform: Callable[..., Manifest], version: str
) -> None:
    """Others may run this program on the repository, too."""
    result = kubeconform(version, *(REPOSITORY / folder for folder in DIST))
    assert result.get("resources", []) == []
    assert result["summary"] == {
        "valid": len(committed()),
        "invalid": 0,
        "errors": 0,
        "skipped": 0,
    }


def test_kubeconform_finds_what_monitoring_adds_valid(
    kubeconform: Callable[..., Manifest], tmp_path: Path
) -> None:
    """Whoever switches it on should not have to teach the tools of others."""
    manifests = [*large.kind("PodMonitor"), *large.kind("PrometheusRule"), *large.kind("ConfigMap")]
    file = tmp_path / "large.yaml"
    file.write_text("\n---\n".join(map(json.dumps, manifests)), encoding="utf-8")
    result = kubeconform(VERSIONS[-1], file)
    assert result.get("resources", []) == []
    assert result["summary"]["valid"] == len(manifests)


@pytest.mark.parametrize(
    ("manifest", "edit", "message"),
    [
        pytest.param(DEPLOYMENT, ("replicas:", "replicass:"), "'replicass' not allowed", id="typo"),
        pytest.param(DEPLOYMENT, ("replicas: 1", "replicas: '1'"), "/spec/replicas", id="type"),
        pytest.param(
            DEPLOYMENT, ("replicas: 1", "replicas: 1\n  replicas: 1"), "already set", id="twice"
        ),
        pytest.param(APPLICATION, ("selfHeal:", "selfHeel:"), "'selfHeel' not allowed", id="CRD"),
    ],
)
def test_kubeconform_finds_a_mistake(
    kubeconform: Callable[..., Manifest],
    tmp_path: Path,
    manifest: str,
    edit: tuple[str, str],
    message: str,
) -> None:
    """With schemas that require nothing it would find everything valid."""
    broken = tmp_path / "broken.yaml"
    broken.write_text(manifest.replace(*edit), encoding="utf-8")
    assert message in str(kubeconform(VERSIONS[-1], broken)["resources"])
