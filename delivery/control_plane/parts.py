"""The parts of the control plane: which there are, and what each is made of."""

import hashlib
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

PINS = Path(__file__).parents[2] / "tools" / "control-plane"
PLATFORMS = ("darwin-amd64", "darwin-arm64", "linux-amd64", "linux-arm64")

_ENVIRONMENT = {
    "CGO_ENABLED": "0",
    "GOAMD64": "v1",
    "GOARM64": "v8.0",
    # Flags of this machine, or the state of this checkout, would make other bytes.
    "GOFLAGS": "-mod=readonly -trimpath -buildvcs=false",
    "GOWORK": "off",
}
_VERSION_VARIABLES = {
    # The API server reports its version to every client.
    "kubernetes": "k8s.io/component-base/version.gitVersion",
    "kubeconform": "main.version",
}


class Requirement(NamedTuple):
    """A module that a go.mod requires, and its version, such as `v1.37.2`."""

    path: str
    version: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """A file of the control plane: a program, or a file that comes with a pinned module.

    Attributes:
        name: Its path in the folder of a control plane.
        pin: Folder below `tools/control-plane/`.
        source: Package of the pinned module, or None for our own package beside the pins; for what
            is not compiled, the file in the module.
        is_program: Whether it is compiled.
    """

    name: str
    pin: str
    source: str | None
    is_program: bool = True

    @property
    def build(self) -> tuple[str, ...]:
        """Arguments of `go build` that compile it: flags, and its package."""
        module = pinned(self.pin)
        linker_flags = "-s -w"
        if self.pin in _VERSION_VARIABLES:
            linker_flags += f" -X {_VERSION_VARIABLES[self.pin]}={module.version}"
        package = "." if self.source is None else f"{module.path}/{self.source}".removesuffix("/.")
        return f"-ldflags={linker_flags}", package

    def file(self, on: str | None = None) -> str:
        """Return the name that it has nowhere but where exactly these bytes are made.

        Args:
            on: One of `PLATFORMS`. Default: this machine's.
        """
        made: tuple[object, ...] = ("copy", self.source)
        if self.is_program:
            made = (on or this_platform(), sorted(go_environment().items()), self.build)
        recipe = hashlib.sha256(repr(made).encode())
        for file in sorted((PINS / self.pin).iterdir()):
            recipe.update(file.name.encode() + file.read_bytes())
        return f"{Path(self.name).name}-{recipe.hexdigest()[:16]}"

    def packed(self, on: str | None = None) -> str:
        """Return the name of the compressed file; see `file`."""
        return f"{self.file(on)}.zst"


def pinned(name: str) -> Requirement:
    """Return the module whose programs we build: the only direct requirement of a go.mod.

    Args:
        name: Folder below `tools/control-plane/`.
    """
    text = (PINS / name / "go.mod").read_text(encoding="utf-8")
    [requirement] = re.findall(r"^require (\S+) (\S+)$", text, flags=re.MULTILINE)
    return Requirement(*requirement)


def toolchain() -> str:
    """Return the one release of Go that compiles, such as `go1.26.8`."""
    return f"go{(PINS / '.go-version').read_text(encoding='utf-8').strip()}"


def go_environment() -> dict[str, str]:
    """Return the variables with which Go makes the same bytes on every machine of a platform."""
    return {**_ENVIRONMENT, "GOTOOLCHAIN": toolchain()}


def this_platform() -> str:
    """Return the platform of this machine as Go names it, such as `linux-amd64`."""
    machine = platform.machine().lower()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    return f"{platform.system().lower()}-{machine}"


def release() -> str:
    """Return the name of all parts together: it changes with each of them."""
    names = " ".join(part.file() for part in PARTS)
    return f"control-plane-{hashlib.sha256(names.encode()).hexdigest()[:16]}"


def _program(name: str, pin: str, source: str | None) -> Part:
    return Part(name=name, pin=pin, source=source)


def _file(folder: str, pin: str, source: str) -> Part:
    return Part(name=f"{folder}/{Path(source).name}", pin=pin, source=source, is_program=False)


API_SERVER = (
    _program("etcd", "etcd", "."),
    _program("kube-apiserver", "kubernetes", "cmd/kube-apiserver"),
    _program("kubectl", "kubernetes", "cmd/kubectl"),
)
"""What a rehearsal needs; the names are a convention of setup-envtest."""
MANIFESTS = "argocd-manifests"
STAGES = "kwok-stages"
PARTS = (
    *API_SERVER,
    _program("kustomize", "kustomize", "."),
    _program("kubeconform", "kubeconform", "cmd/kubeconform"),
    _program("kube-score", "kube-score", "cmd/kube-score"),
    _program("redis", "redis", None),
    _program("kube-controller-manager", "kubernetes", "cmd/kube-controller-manager"),
    _program("kube-scheduler", "kubernetes", "cmd/kube-scheduler"),
    _program("kwok", "kwok", "cmd/kwok"),
    _program("argocd", "argo-cd", "cmd"),
    *(
        _file(MANIFESTS, "argo-cd", f"manifests/{name}.yaml")
        for name in (
            "core-install",
            "crds/application-crd",
            "crds/applicationset-crd",
            "crds/appproject-crd",
        )
    ),
    *(
        _file(STAGES, "kwok", f"kustomize/stage/{name}.yaml")
        for name in (
            "node/fast/node-initialize",
            "node/heartbeat-with-lease/node-heartbeat-with-lease",
            "pod/fast/pod-ready",
            "pod/fast/pod-complete",
            "pod/fast/pod-delete",
        )
    ),
)
"""In the order in which they are needed, the cheap ones first."""
