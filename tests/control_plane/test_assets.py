"""Finding the control plane: verified, in the cache or in KUBEBUILDER_ASSETS."""

from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from delivery.control_plane import assets as module
from delivery.control_plane.assets import locate, locate_api_server, needed
from delivery.control_plane.cache import Cache, ControlPlaneError
from delivery.control_plane.parts import API_SERVER, PARTS
from delivery.control_plane.provide import provide
from mirrors import Mirror, part_named


@pytest.fixture
def complete(served: Mirror, console: Console) -> Path:
    """The folder of a complete cache."""
    del served
    provide(PARTS, console)
    return Cache.of_pins().folder


@pytest.fixture
def envtest(machine: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in KUBEBUILDER_ASSETS, with the programs that its convention promises."""
    folder = machine / "envtest" / "1.37.2"
    folder.mkdir(parents=True)
    for part in API_SERVER:
        (folder / part.name).touch()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(folder))
    return folder


def test_everything_is_found(complete: Path) -> None:
    """The tests, the demo and the rehearsal use these functions only."""
    assets = locate()
    assert assets.api_server == locate_api_server()
    single = [each for each in vars(assets).values() if isinstance(each, Path)]
    found = {*single, *vars(assets.api_server).values(), *assets.argocd_crds, *assets.kwok_stages}
    wanted = {complete / part.name for part in PARTS if part.name != "argocd"}
    assert {path for path in found if not path.is_symlink()} == wanted


def test_argo_cd_is_called_by_its_roles(complete: Path) -> None:
    """It is one program that depends on its own name."""
    assets = locate()
    for role in (assets.argocd_application_controller, assets.argocd_repo_server):
        assert role.resolve() == (complete / "argocd").resolve()


def test_a_role_that_leads_elsewhere_is_replaced(complete: Path) -> None:
    """A link in the cache has no sum."""
    (complete / "argocd-repo-server").symlink_to("/bin/true")
    assert locate().argocd_repo_server.resolve() == (complete / "argocd").resolve()


def test_only_verified_files_configure_kwok(complete: Path) -> None:
    """A file that something else left there would be a further life cycle."""
    (complete / "kwok-stages" / "other.yaml").touch()
    assert "other.yaml" not in {path.name for path in locate().kwok_stages}


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("find", [locate, locate_api_server])
def test_a_missing_part_is_an_error(find: Callable[[], object]) -> None:
    """A skipped test shows the command to run."""
    with pytest.raises(ControlPlaneError, match=r"etcd, .*: run `make control-plane`\.$"):
        find()


@pytest.mark.parametrize("data", [b"evil", b""])
def test_a_changed_program_is_never_found(complete: Path, data: bytes) -> None:
    """A cache of CI may have been written by a run that nobody reviewed."""
    (complete / "kubectl").write_bytes(data)
    with pytest.raises(ControlPlaneError, match=r"^kubectl not found in .*, or not with the bytes"):
        locate_api_server()


def test_named_assets_take_precedence(complete: Path, envtest: Path) -> None:
    """Whoever sets KUBEBUILDER_ASSETS wants those; the rest comes from the cache."""
    assets = locate()
    assert assets.api_server.kube_apiserver == envtest / "kube-apiserver"
    assert assets.kwok == complete / "kwok"


@pytest.mark.usefixtures("envtest")
def test_named_assets_need_nothing_else_for_a_rehearsal() -> None:
    """setup-envtest brings them to any machine."""
    assert needed(API_SERVER) == []
    assert part_named("kwok") in needed(PARTS)


def test_assets_without_an_api_server_are_not_honoured(complete: Path, envtest: Path) -> None:
    """Half of it from elsewhere would be another version."""
    (envtest / "kube-apiserver").unlink()
    assert needed(API_SERVER) == list(API_SERVER)
    assert locate_api_server().etcd == complete / "etcd"


def test_setup_envtest_offers_several_versions(envtest: Path) -> None:
    """It keeps a folder for each side by side."""
    older = envtest.with_name("1.36.0")
    older.mkdir()
    (older / "kube-apiserver").touch()
    assert module.api_server_folders() == [older, envtest]


def test_the_cache_offers_only_what_is_verified(complete: Path) -> None:
    """The folder of other pins beside it may contain anything."""
    other = complete.with_name("other")
    other.mkdir()
    (other / "kube-apiserver").touch()
    assert module.api_server_folders() == [complete]
