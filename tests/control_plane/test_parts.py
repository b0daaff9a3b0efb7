"""The parts of the control plane: complete pins, and names that change with whatever is built."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from delivery.control_plane import parts as module
from delivery.control_plane.parts import PARTS, PLATFORMS, pinned, release
from mirrors import part_named

PINNED = sorted({part.pin for part in PARTS})


@pytest.fixture
def pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pins of another clone."""
    folder = tmp_path / "clone"
    shutil.copytree(module.PINS, folder)
    monkeypatch.setattr(module, "PINS", folder)
    return folder


def names() -> dict[str, str]:
    """Return the name that each part has for its bytes."""
    return {part.name: part.file() for part in PARTS}


def changed(before: dict[str, str]) -> set[str]:
    """Return the parts that have other names than before."""
    return {name for name, file in names().items() if file != before[name]}


def test_pins_are_complete() -> None:
    """go.sum verifies the build; without a source file `go mod tidy` would empty both."""
    assert sorted(path.name for path in module.PINS.iterdir() if path.is_dir()) == PINNED
    for pin in PINNED:
        found = {path.name for path in (module.PINS / pin).iterdir()}
        assert found == {"go.mod", "go.sum", "main.go" if pin == "redis" else "tools.go"}


def test_exactly_the_built_packages_are_pinned() -> None:
    """A package that tools.go lacks has no checksums, and a surplus one is never built."""
    imported = [
        package
        for source in module.PINS.glob("*/tools.go")
        for package in re.findall(r'_ "(.+)"', source.read_text(encoding="utf-8"))
    ]
    built = [part.build[-1] for part in PARTS if part.is_program]
    assert sorted([*imported, "."]) == sorted(built)


@pytest.mark.parametrize("pin", PINNED)
def test_the_pinned_version_is_read_from_go_mod(pin: str) -> None:
    """No other file repeats it."""
    text = (module.PINS / pin / "go.mod").read_text(encoding="utf-8")
    requirement = pinned(pin)
    assert re.fullmatch(r"v\d+\.\d+\.\d+", requirement.version)
    assert f"\nrequire {requirement.path} {requirement.version}\n" in text


def test_kubernetes_has_one_version() -> None:
    """It requires its own libraries at v0.0.0, so a bump must replace each of them."""
    text = (module.PINS / "kubernetes" / "go.mod").read_text(encoding="utf-8")
    replaced = re.findall(r"^\t(\S+) => (\S+) (\S+)$", text, flags=re.MULTILINE)
    assert replaced
    libraries = pinned("kubernetes").version.replace("v1.", "v0.", 1)
    assert {(new, version) for _, new, version in replaced} == {
        (old, libraries) for old, _, _ in replaced
    }


def test_the_toolchain_is_as_new_as_every_pin_asks() -> None:
    """An older one refuses to build it."""
    asked = [
        tuple(map(int, version.split(".")))
        for path in module.PINS.glob("*/go.mod")
        for version in re.findall(r"^go (\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert tuple(map(int, module.toolchain().removeprefix("go").split("."))) >= max(asked)


def test_the_api_server_reports_its_version() -> None:
    """Clients and Argo CD depend on it; without the flag it would report v0.0.0."""
    flags, _ = part_named("kube-apiserver").build
    version = pinned("kubernetes").version
    assert flags.endswith(f" -X k8s.io/component-base/version.gitVersion={version}")


def test_a_clone_has_the_same_names(pins: Path) -> None:
    """All clones share one cache and one mirror."""
    here = names()
    assert pins != module.PINS.parent
    assert changed(here) == set()


@pytest.mark.parametrize("file", ["etcd/go.mod", "etcd/go.sum", "redis/main.go"])
def test_a_changed_pin_renames_what_is_made_of_it(pins: Path, file: str) -> None:
    """Its sum no longer counts, and that of everything else still does."""
    before, whole = names(), release()
    with (pins / file).open("a", encoding="utf-8") as stream:
        stream.write("\n")
    assert changed(before) == {file.partition("/")[0]}
    assert release() != whole


def test_another_toolchain_renames_every_program(pins: Path) -> None:
    """It compiles other bytes; files are only copied."""
    before = names()
    (pins / ".go-version").write_text("1.99.0\n", encoding="utf-8")
    assert changed(before) == {part.name for part in PARTS if part.is_program}


def test_another_environment_renames_every_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """So does a change of how this code builds."""
    before = names()
    monkeypatch.setattr(module, "_ENVIRONMENT", {})
    assert changed(before) == {part.name for part in PARTS if part.is_program}


def test_another_package_renames_the_program() -> None:
    """One module has several."""
    etcd = part_named("etcd")
    assert replace(etcd, source="other").file() != etcd.file()


def test_every_platform_has_its_own_programs() -> None:
    """Machines may share a home folder, or a mirror."""
    etcd, manifest = part_named("etcd"), part_named("argocd-manifests/core-install.yaml")
    assert len({etcd.file(on) for on in PLATFORMS}) == len(PLATFORMS)
    assert len({manifest.file(on) for on in PLATFORMS}) == 1


@pytest.mark.parametrize(
    ("system", "machine", "name"),
    [
        ("Linux", "x86_64", "linux-amd64"),
        ("Linux", "aarch64", "linux-arm64"),
        ("Darwin", "arm64", "darwin-arm64"),
    ],
)
def test_platforms_are_named_as_go_names_them(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, name: str
) -> None:
    """Without asking Go, which may be missing."""
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert module.this_platform() == name
