"""The programs of the control plane: built, or found.

`delivery control-plane` builds them with Go from the modules that `tools/control-plane/` pins, into
a per-user cache that all clones of the repository share.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from delivery.errors import DeliveryError
from delivery.temporary import temporary_folder

PINS = Path(__file__).parents[2] / "tools" / "control-plane"

_FLAGS = ("-mod=readonly", "-trimpath")
_LINKER_FLAGS = "-s -w"
_ENVIRONMENT = {"CGO_ENABLED": "0", "GOWORK": "off"}
_VERSION_VARIABLES = {
    # The API server reports its version to every client.
    "kubernetes": "k8s.io/component-base/version.gitVersion",
    "kubeconform": "main.version",
}
_LAST_LINES = 15


class ControlPlaneError(DeliveryError):
    """The control plane is missing, or cannot be built; the message says what to do."""


class Requirement(NamedTuple):
    """A module that a go.mod requires, and its version, such as `v1.37.2`."""

    path: str
    version: str


@dataclass(frozen=True, kw_only=True)
class ApiServerAssets:
    """The programs of an API server alone."""

    etcd: Path
    kube_apiserver: Path
    kubectl: Path

    @classmethod
    def in_folder(cls, folder: Path) -> "ApiServerAssets":
        """Name the programs in a folder, whether they exist or not."""
        return cls(
            etcd=folder / "etcd",
            kube_apiserver=folder / "kube-apiserver",
            kubectl=folder / "kubectl",
        )


@dataclass(frozen=True, kw_only=True)
class ControlPlaneAssets:
    """The programs and files of a control plane with simulated kubelets and Argo CD.

    A field is the path of the program of that name, with these exceptions.

    Attributes:
        kwok_stages: Life cycles of KWOK's nodes and pods; each is a `--config` of kwok.
        argocd_install: Manifest of Argo CD without its user interface, but with its CRDs.
        argocd_crds: Manifests of its CRDs alone.
    """

    api_server: ApiServerAssets
    kube_controller_manager: Path
    kube_scheduler: Path
    kwok: Path
    kwok_stages: tuple[Path, ...]
    argocd_application_controller: Path
    argocd_repo_server: Path
    argocd_install: Path
    argocd_crds: tuple[Path, ...]
    redis: Path
    kustomize: Path
    kubeconform: Path
    kube_score: Path


def pinned(name: str) -> Requirement:
    """Return the module whose programs we build: the only direct requirement of a go.mod.

    Args:
        name: Folder below `tools/control-plane/`.
    """
    text = (PINS / name / "go.mod").read_text(encoding="utf-8")
    [requirement] = re.findall(r"^require (\S+) (\S+)$", text, flags=re.MULTILINE)
    return Requirement(*requirement)


def locate_api_server() -> ApiServerAssets:
    """Find etcd, kube-apiserver and kubectl, in `KUBEBUILDER_ASSETS` or in the cache.

    Raises:
        ControlPlaneError: If they are in neither.
    """
    return ApiServerAssets.in_folder(_folder_with(_API_SERVER))


def locate() -> ControlPlaneAssets:
    """Find everything, in `KUBEBUILDER_ASSETS` if that is set to a control plane, or in the cache.

    Raises:
        ControlPlaneError: If something is missing.
    """
    folder = _folder_with(_PRODUCTS)
    manifests = folder / "argocd-manifests"
    return ControlPlaneAssets(
        api_server=ApiServerAssets.in_folder(folder),
        kube_controller_manager=folder / "kube-controller-manager",
        kube_scheduler=folder / "kube-scheduler",
        kwok=folder / "kwok",
        kwok_stages=tuple(sorted((folder / "kwok-stages").iterdir())),
        argocd_application_controller=folder / "argocd-application-controller",
        argocd_repo_server=folder / "argocd-repo-server",
        argocd_install=manifests / "core-install.yaml",
        argocd_crds=tuple(sorted(manifests.glob("*-crd.yaml"))),
        redis=folder / "redis",
        kustomize=folder / "kustomize",
        kubeconform=folder / "kubeconform",
        kube_score=folder / "kube-score",
    )


def build(console: Console) -> Path:
    """Build what is not built yet; may be interrupted, and may run twice at the same time.

    Args:
        console: Console for a line per product, and for the progress on a terminal.

    Returns:
        Folder of the control plane: `KUBEBUILDER_ASSETS`, if that contains one.

    Raises:
        ControlPlaneError: If Go is missing, or a build fails.
    """
    folder = _named_folder()
    if folder is not None:
        console.print(f"nothing to build: KUBEBUILDER_ASSETS is {folder}")
        return folder
    folder = _cache_folder()
    if not _missing(folder, _PRODUCTS):
        console.print(f"already built: {folder}")
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder, console), temporary_folder(".staging-", parent=folder) as staging:
        missing = _missing(folder, _PRODUCTS)
        for number, name in enumerate(missing, start=1):
            with _shown(console, f"{number}/{len(missing)} {name}"):
                _PRODUCTS[name](staging / name)
                # On the same file system, so that an interrupted build leaves no half product.
                (staging / name).rename(folder / name)
    console.print(f"built: {folder}")
    return folder


def _folder_with(names: Iterable[str]) -> Path:
    named = _named_folder()
    folder = named or _cache_folder()
    missing = _missing(folder, names)
    if missing:
        raise ControlPlaneError(
            f"{', '.join(missing)} not found in {folder}: run `make control-plane`"
            f"{' without KUBEBUILDER_ASSETS' if named else ''}."
        )
    return folder


def _named_folder() -> Path | None:
    """Return `KUBEBUILDER_ASSETS`, if it contains what its convention promises."""
    named = os.environ.get("KUBEBUILDER_ASSETS")
    if not named or _missing(Path(named), _API_SERVER):
        return None
    return Path(named).absolute()


def _cache_folder() -> Path:
    """Return the folder for exactly these pins, products, Go version and platform."""
    key = hashlib.sha256(_go("env", "GOVERSION", "GOOS", "GOARCH", folder=PINS).encode())
    for file in sorted(PINS.glob("*/*")):
        key.update(f"{file.relative_to(PINS)}".encode() + file.read_bytes())
    products = [(name, make.func.__name__, make.args) for name, make in _PRODUCTS.items()]
    recipe = (_FLAGS, _LINKER_FLAGS, _ENVIRONMENT, _VERSION_VARIABLES, products)
    key.update(repr(recipe).encode())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "fraud-detection-config" / "control-plane" / key.hexdigest()[:16]


def _missing(folder: Path, names: Iterable[str]) -> list[str]:
    return [name for name in names if not (folder / name).exists()]


def _compile(pin: str, package: str | None, target: Path) -> None:
    """Build a package of a pinned module, or our own package beside its pins."""
    module = pinned(pin)
    linker_flags = _LINKER_FLAGS
    if pin in _VERSION_VARIABLES:
        linker_flags += f" -X {_VERSION_VARIABLES[pin]}={module.version}"
    _go(
        "build",
        *_FLAGS,
        f"-ldflags={linker_flags}",
        "-o",
        str(target),
        "." if package is None else f"{module.path}/{package}".removesuffix("/."),
        folder=PINS / pin,
    )


def _link(program: str, target: Path) -> None:
    """Give a program a second name: its role."""
    target.symlink_to(program)


def _copy(pin: str, files: Sequence[str], target: Path) -> None:
    """Copy files of a pinned module, so that Go's module cache may be deleted."""
    module = json.loads(_go("mod", "download", "-json", pinned(pin).path, folder=PINS / pin))
    target.mkdir()
    for file in files:
        shutil.copyfile(Path(module["Dir"]) / file, target / Path(file).name)


_API_SERVER = ("etcd", "kube-apiserver", "kubectl")
_PRODUCTS = {
    "etcd": partial(_compile, "etcd", "."),
    "kube-apiserver": partial(_compile, "kubernetes", "cmd/kube-apiserver"),
    "kube-controller-manager": partial(_compile, "kubernetes", "cmd/kube-controller-manager"),
    "kube-scheduler": partial(_compile, "kubernetes", "cmd/kube-scheduler"),
    "kubectl": partial(_compile, "kubernetes", "cmd/kubectl"),
    "argocd": partial(_compile, "argo-cd", "cmd"),
    "argocd-application-controller": partial(_link, "argocd"),
    "argocd-repo-server": partial(_link, "argocd"),
    "argocd-manifests": partial(
        _copy,
        "argo-cd",
        (
            "manifests/core-install.yaml",
            "manifests/crds/application-crd.yaml",
            "manifests/crds/applicationset-crd.yaml",
            "manifests/crds/appproject-crd.yaml",
        ),
    ),
    "redis": partial(_compile, "redis", None),
    "kwok": partial(_compile, "kwok", "cmd/kwok"),
    "kwok-stages": partial(
        _copy,
        "kwok",
        (
            "kustomize/stage/node/fast/node-initialize.yaml",
            "kustomize/stage/node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
            "kustomize/stage/pod/fast/pod-ready.yaml",
            "kustomize/stage/pod/fast/pod-complete.yaml",
            "kustomize/stage/pod/fast/pod-delete.yaml",
        ),
    ),
    "kustomize": partial(_compile, "kustomize", "."),
    "kubeconform": partial(_compile, "kubeconform", "cmd/kubeconform"),
    "kube-score": partial(_compile, "kube-score", "cmd/kube-score"),
}


def _go(*arguments: str, folder: Path) -> str:
    program = shutil.which("go")
    if program is None:
        raise ControlPlaneError(
            "There is no Go on the PATH: install Go, or have setup-envtest install etcd, "
            "kube-apiserver and kubectl and set KUBEBUILDER_ASSETS to their folder."
        )
    with subprocess.Popen(  # noqa: S603 - the user's own Go, with our own arguments
        [program, *arguments],
        cwd=folder,
        env={**os.environ, **_ENVIRONMENT},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            answer, complaint = process.communicate()
        except BaseException:
            # With its compilers, before they write into a folder that is being removed.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    if process.returncode != 0:
        lines = "\n".join(complaint.splitlines()[-_LAST_LINES:])
        raise ControlPlaneError(f"`go {arguments[0]}` failed in {folder}:\n{lines}")
    return answer


@contextmanager
def _locked(folder: Path, console: Console) -> Iterator[None]:
    """Wait for another build into the same folder; the system frees the lock with its process."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.print("another build is running: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _shown(console: Console, what: str) -> Iterator[None]:
    """Show a task while it runs, and then how long it took."""
    started = time.monotonic()
    if not console.is_terminal:
        console.print(f"{what} …")
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        progress.add_task(what, total=None)
        yield
    console.print(f"{what} {timedelta(seconds=round(time.monotonic() - started))}")
