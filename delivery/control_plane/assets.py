"""The programs and files of the control plane, where they are on this machine."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from delivery.control_plane import sums
from delivery.control_plane.cache import Cache, ControlPlaneError
from delivery.control_plane.parts import API_SERVER, MANIFESTS, PARTS, STAGES, Part


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
    argocd_notifications: Path
    argocd_repo_server: Path
    argocd_install: Path
    argocd_crds: tuple[Path, ...]
    redis: Path
    kustomize: Path
    kubeconform: Path
    kube_score: Path


def named_folder() -> Path | None:
    """Return `KUBEBUILDER_ASSETS`, if it contains what its convention promises."""
    named = os.environ.get("KUBEBUILDER_ASSETS")
    if named and all((Path(named) / part.name).exists() for part in API_SERVER):
        return Path(named).absolute()
    return None


def needed(parts: Iterable[Part]) -> list[Part]:
    """Return the parts that the cache must have: without those of `KUBEBUILDER_ASSETS`."""
    named = named_folder()
    return [part for part in parts if named is None or part not in API_SERVER]


def locate_api_server() -> ApiServerAssets:
    """Find etcd, kube-apiserver and kubectl, in `KUBEBUILDER_ASSETS` or verified in the cache.

    Raises:
        ControlPlaneError: If they are in neither.
    """
    return ApiServerAssets.in_folder(named_folder() or _with(API_SERVER))


def locate() -> ControlPlaneAssets:
    """Find everything: an API server as `locate_api_server` does, the rest verified in the cache.

    Raises:
        ControlPlaneError: If something is missing.
    """
    folder = _with(PARTS)
    return ControlPlaneAssets(
        api_server=ApiServerAssets.in_folder(named_folder() or folder),
        kube_controller_manager=folder / "kube-controller-manager",
        kube_scheduler=folder / "kube-scheduler",
        kwok=folder / "kwok",
        kwok_stages=tuple(_files(folder, STAGES)),
        argocd_application_controller=_role(folder, "argocd-application-controller"),
        argocd_notifications=_role(folder, "argocd-notifications"),
        argocd_repo_server=_role(folder, "argocd-repo-server"),
        argocd_install=folder / MANIFESTS / "core-install.yaml",
        argocd_crds=tuple(each for each in _files(folder, MANIFESTS) if each.match("*-crd.yaml")),
        redis=folder / "redis",
        kustomize=folder / "kustomize",
        kubeconform=folder / "kubeconform",
        kube_score=folder / "kube-score",
    )


def api_server_folders() -> list[Path]:
    """Return the folders with API servers that may be run, each of another version.

    setup-envtest keeps them side by side; in our cache only the pinned one can be verified.
    """
    named = named_folder()
    if named is None:
        return [Cache.of_pins().folder]
    return [program.parent for program in sorted(named.parent.glob("*/kube-apiserver"))]


def _files(folder: Path, name: str) -> list[Path]:
    """Return the parts below a folder, and nothing else that may be there."""
    return sorted(folder / part.name for part in PARTS if part.name.startswith(f"{name}/"))


def _role(folder: Path, name: str) -> Path:
    """Return Argo CD's program under the name that has it play a role."""
    link = folder / name
    if not link.is_symlink() or link.readlink() != Path("argocd"):
        aside = folder / f".{name}-{os.getpid()}"
        aside.symlink_to("argocd")
        aside.replace(link)
    return link


def _with(parts: Iterable[Part]) -> Path:
    """Return the folder of the cache, which has the parts that it needs."""
    cache = Cache.of_pins()
    missing = [part.name for part in cache.lacking(needed(parts))]
    if missing:
        raise ControlPlaneError(
            f"{', '.join(missing)} not found in {cache.folder}, or not with the bytes of "
            f"tools/control-plane/{sums.NAME}: run `make control-plane`."
        )
    return cache.folder
