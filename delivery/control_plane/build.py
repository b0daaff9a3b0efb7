"""Where the programs of the control plane are, and how they get there.

`delivery control-plane` builds them with Go, as the modules below `tools/control-plane/` pin them,
into a per-user cache that all clones of the repository share.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from delivery.errors import DeliveryError

PINS = Path(__file__).parents[2] / "tools" / "control-plane"

_FLAGS = ("-mod=readonly", "-trimpath")
_LINKER_FLAGS = "-s -w"
_ENVIRONMENT = {"CGO_ENABLED": "0", "GOWORK": "off"}
_VERSION_VARIABLES = {
    # The API server tells its version to every client.
    "kubernetes": "k8s.io/component-base/version.gitVersion",
    "kubeconform": "main.version",
}
_LAST_LINES = 15


class ControlPlaneError(DeliveryError):
    """There is no control plane, or it cannot be built; the message says what to do."""


@dataclass(frozen=True)
class Requirement:
    """A module that a go.mod asks for.

    Attributes:
        path: Its name among Go modules.
        version: For example `v1.37.2`.
    """

    path: str
    version: str


@dataclass(frozen=True, kw_only=True)
class ApiServerAssets:
    """What an API server alone needs.

    Attributes:
        etcd: Program.
        kube_apiserver: Program.
        kubectl: Program.
    """

    etcd: Path
    kube_apiserver: Path
    kubectl: Path


@dataclass(frozen=True, kw_only=True)
class ControlPlaneAssets:
    """What a control plane with simulated kubelets and Argo CD needs.

    Attributes:
        api_server: For the API server.
        kube_controller_manager: Program.
        kube_scheduler: Program.
        kwok: Program.
        kwok_stages: The lives of KWOK's nodes and pods; each is a `--config` of kwok.
        argocd_application_controller: Program.
        argocd_repo_server: Program.
        argocd_install: Manifest of Argo CD without a user interface, its CRDs included.
        argocd_crds: Manifests of its CRDs alone.
        redis: Program.
        kustomize: Program.
        kubeconform: Program.
        kube_score: Program.
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
    """The module whose programs we build: the one requirement that a go.mod makes directly.

    Args:
        name: A folder below `tools/control-plane/`.
    """
    text = (PINS / name / "go.mod").read_text(encoding="utf-8")
    [(path, version)] = re.findall(r"^require (\S+) (\S+)$", text, flags=re.MULTILINE)
    return Requirement(path, version)


def locate_api_server() -> ApiServerAssets:
    """Find etcd, kube-apiserver and kubectl, in `KUBEBUILDER_ASSETS` or among what was built.

    Raises:
        ControlPlaneError: If they are in neither.
    """
    folder = _folder()
    _require(folder, _API_SERVER)
    return _api_server(folder)


def locate() -> ControlPlaneAssets:
    """Find everything: where `KUBEBUILDER_ASSETS` names a control plane, there; or what was built.

    Raises:
        ControlPlaneError: If something is missing there.
    """
    folder = _folder()
    _require(folder, _PRODUCTS)
    manifests = folder / "argocd-manifests"
    return ControlPlaneAssets(
        api_server=_api_server(folder),
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
    """Build what is not built yet; may be interrupted, and run twice at the same time.

    Args:
        console: Gets a line per product, and the progress if it is a terminal.

    Returns:
        The folder of the control plane: what `KUBEBUILDER_ASSETS` names, if that has one.

    Raises:
        ControlPlaneError: If there is no Go, or it cannot build something.
    """
    folder = _named_folder()
    if folder is not None:
        console.print(f"named by KUBEBUILDER_ASSETS, nothing is built: {folder}")
        return folder
    folder = _cache_folder()
    if not _missing(folder, _PRODUCTS):
        console.print(f"already built: {folder}")
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder, console), _aside(folder) as aside:
        missing = _missing(folder, _PRODUCTS)
        for number, name in enumerate(missing, start=1):
            with _shown(console, f"{number}/{len(missing)} {name}"):
                _PRODUCTS[name](aside / name)
                (aside / name).rename(folder / name)
    console.print(f"built: {folder}")
    return folder


def _folder() -> Path:
    return _named_folder() or _cache_folder()


def _named_folder() -> Path | None:
    """What `KUBEBUILDER_ASSETS` names, if it has what that convention promises."""
    named = os.environ.get("KUBEBUILDER_ASSETS")
    if not named or _missing(Path(named), _API_SERVER):
        return None
    return Path(named).absolute()


def _cache_folder() -> Path:
    """A folder for exactly these pins, products, Go and platform."""
    key = hashlib.sha256(_go("env", "GOVERSION", "GOOS", "GOARCH", folder=PINS).encode())
    for file in sorted(PINS.glob("*/*")):
        key.update(f"{file.relative_to(PINS)}".encode() + file.read_bytes())
    products = [(name, make.func.__name__, make.args) for name, make in _PRODUCTS.items()]
    recipe = (_FLAGS, _LINKER_FLAGS, _ENVIRONMENT, _VERSION_VARIABLES, products)
    key.update(repr(recipe).encode())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "fraud-detection-config" / "control-plane" / key.hexdigest()[:16]


def _api_server(folder: Path) -> ApiServerAssets:
    return ApiServerAssets(
        etcd=folder / "etcd",
        kube_apiserver=folder / "kube-apiserver",
        kubectl=folder / "kubectl",
    )


def _missing(folder: Path, names: Iterable[str]) -> list[str]:
    return [name for name in names if not (folder / name).exists()]


def _require(folder: Path, names: Iterable[str]) -> None:
    missing = _missing(folder, names)
    if missing:
        raise ControlPlaneError(
            f"There is no {', '.join(missing)} in {folder}: run `make control-plane`"
            f"{' without KUBEBUILDER_ASSETS' if folder == _named_folder() else ''}."
        )


def _compile(pin: str, package: str | None, target: Path) -> None:
    """Build one program of a pinned module.

    Args:
        pin: The folder that pins it.
        package: From the root of the module; None: our own, which stands beside the pins.
        target: The program.
    """
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
    """Give a program the further name by which it knows its role."""
    target.symlink_to(program)


def _copy(pin: str, files: Sequence[str], target: Path) -> None:
    """Keep files of a pinned module, so that Go's cache may go.

    Args:
        pin: The folder that pins it.
        files: From the root of the module.
        target: A folder for them all.
    """
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
    """What Go answers.

    Args:
        arguments: Of the command `go`.
        folder: Where it runs.

    Raises:
        ControlPlaneError: If there is no Go, or it fails.
    """
    program = shutil.which("go")
    if program is None:
        raise ControlPlaneError(
            "There is no Go to build it with: install Go, or name a folder with etcd, "
            "kube-apiserver and kubectl, as setup-envtest installs it, in KUBEBUILDER_ASSETS."
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
            # Its compilers too, before they write into a folder that is cleaned up.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    if process.returncode != 0:
        lines = "\n".join(complaint.splitlines()[-_LAST_LINES:])
        raise ControlPlaneError(f"`go {arguments[0]}` failed in {folder}:\n{lines}")
    return answer


@contextmanager
def _alone(folder: Path, console: Console) -> Iterator[None]:
    """Wait for another build into the same folder; the lock ends with its process, however."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.print("another build is running: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """A folder on the same file system, from which a finished product is renamed into place."""
    prefix = ".aside-"
    for left_by_a_killed_build in folder.glob(f"{prefix}*"):
        shutil.rmtree(left_by_a_killed_build)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=folder) as aside:
        yield Path(aside)


@contextmanager
def _shown(console: Console, what: str) -> Iterator[None]:
    """Tell what is being made while that lasts, and then how long it took."""
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
