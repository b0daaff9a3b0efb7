"""The control plane's programs: built once from committed pins, completely or not at all.

Go is a stand-in that records how it is called.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from delivery.control_plane import build as module
from delivery.control_plane.build import ControlPlaneError, build, locate, locate_api_server, pinned
from delivery.control_plane.programs import wait_until
from delivery.errors import INTERRUPTED
from repository import REPOSITORY

PROGRAM = Path(sys.executable).with_name("delivery")

PARTS = sorted(folder.name for folder in module.PINS.iterdir())
PROGRAMS = {
    "argocd": "github.com/argoproj/argo-cd/v3/cmd",
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-score": "github.com/zegl/kube-score/cmd/kube-score",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "kustomize": "sigs.k8s.io/kustomize/kustomize/v5",
    "kwok": "sigs.k8s.io/kwok/cmd/kwok",
    "redis": ".",
}
MANIFESTS = [
    "manifests/core-install.yaml",
    "manifests/crds/application-crd.yaml",
    "manifests/crds/applicationset-crd.yaml",
    "manifests/crds/appproject-crd.yaml",
]
STAGES = [
    "kustomize/stage/node/fast/node-initialize.yaml",
    "kustomize/stage/node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
    "kustomize/stage/pod/fast/pod-complete.yaml",
    "kustomize/stage/pod/fast/pod-delete.yaml",
    "kustomize/stage/pod/fast/pod-ready.yaml",
]

# Prints the text of `environment`, builds programs that contain the name of their package, and
# finds every module in `modules`. The files `hang` and `fail` name a program whose build hangs or
# fails halfway.
GO = """\
#!/bin/sh
here=${0%/*}
echo "$CGO_ENABLED $GOWORK $*" >> "$here/calls"
case $1 in
env) read -r answer < "$here/environment"; echo "$answer" ;;
mod) echo "{\\"Dir\\": \\"$here/modules\\"}" ;;
build)
    while [ "$1" != -o ]; do shift; done
    printf 'half of ' > "$2"
    read -r name < "$here/hang"
    if [ "$name" = "${2##*/}" ]; then
        echo $$ > "$here/pid.new" && mv "$here/pid.new" "$here/pid"
        exec sleep 60
    fi
    read -r name < "$here/fail"
    if [ "$name" = "${2##*/}" ]; then
        echo "checksum mismatch" >&2
        exit 1
    fi
    echo "$3" > "$2"
esac
"""


class Go:
    """A stand-in for Go.

    Args:
        folder: Empty folder for it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules = folder / "modules"
        for name in [*MANIFESTS, *STAGES]:
            (self.modules / name).parent.mkdir(parents=True, exist_ok=True)
            (self.modules / name).write_text(f"{name}\n", encoding="utf-8")
        (folder / "go").write_text(GO, encoding="utf-8")
        (folder / "go").chmod(0o755)
        self.set("environment", "go1.26.8 linux amd64")
        self.set("hang", "")
        self.set("fail", "")

    def set(self, name: str, value: str) -> None:
        """Change its behaviour."""
        (self.folder / name).write_text(f"{value}\n", encoding="utf-8")

    def calls(self, command: str) -> list[str]:
        """Return its calls with a command, with the variables in front."""
        lines = (self.folder / "calls").read_text(encoding="utf-8").splitlines()
        return [line for line in lines if line.split()[2] == command]

    def pid(self) -> int:
        """Wait for the build that hangs, and return its process id."""
        deadline = time.monotonic() + 30
        file = self.folder / "pid"
        while not file.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return int(file.read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Go:
    """A machine with Go, an empty cache and no assets."""
    folder = tmp_path / "go"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.defpath}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return Go(folder)


@pytest.fixture
def no_go(go: Go, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without Go, whatever else it has."""
    programs = go.folder.with_name("bin")
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))


@pytest.fixture
def assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in KUBEBUILDER_ASSETS, with the programs that its convention promises."""
    folder = tmp_path / "assets"
    folder.mkdir()
    for name in ("etcd", "kube-apiserver", "kubectl"):
        (folder / name).touch()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(folder))
    return folder


@pytest.fixture
def pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pins of another clone."""
    folder = tmp_path / "pins"
    shutil.copytree(module.PINS, folder)
    monkeypatch.setattr(module, "PINS", folder)
    return folder


@pytest.fixture
def start() -> Iterator[Callable[[], "subprocess.Popen[str]"]]:
    """Starts `delivery control-plane`."""
    with ExitStack() as stack:

        def begin() -> "subprocess.Popen[str]":
            process = subprocess.Popen(
                [PROGRAM, "control-plane"],
                cwd=REPOSITORY,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield begin


def output(*, terminal: bool = False) -> tuple[Console, StringIO]:
    """Return a console and its output."""
    text = StringIO()
    console = Console(file=text, force_terminal=terminal, soft_wrap=True, highlight=False)
    return console, text


def quietly() -> Path:
    """Build without showing the output."""
    return build(output()[0])


def contents(folder: Path) -> set[str]:
    """Return the names in a folder, except for the lock."""
    return {path.name for path in folder.iterdir()} - {".lock"}


def test_every_program_is_built_from_its_package(go: Go) -> None:
    """Each program has its usual name."""
    folder = quietly()
    built = {name: (folder / name).read_text(encoding="utf-8").strip() for name in PROGRAMS}
    assert built == PROGRAMS
    assert len(go.calls("build")) == len(PROGRAMS)


def test_go_is_not_allowed_to_change_a_pin(go: Go) -> None:
    """The build is of what is committed, whatever workspace or C compiler the machine has."""
    quietly()
    for call in go.calls("build"):
        assert call.startswith("0 off build -mod=readonly -trimpath -ldflags=-s -w")


def test_the_api_server_reports_its_version(go: Go) -> None:
    """Clients and Argo CD depend on it; without the flag it would report v0.0.0."""
    quietly()
    [call] = [call for call in go.calls("build") if call.endswith("cmd/kube-apiserver")]
    version = pinned("kubernetes").version
    assert f" -X k8s.io/component-base/version.gitVersion={version} " in call


def test_what_was_built_is_found() -> None:
    """The tests and the rehearsal use these functions only."""
    folder = quietly()
    assets = locate()
    assert assets.api_server == locate_api_server()
    programs = {*vars(assets).values(), *vars(assets.api_server).values()}
    assert programs >= {folder / name for name in PROGRAMS if name != "argocd"}


def test_argo_cd_is_called_by_its_roles() -> None:
    """It is one program that depends on its own name."""
    quietly()
    assets = locate()
    for role in (assets.argocd_application_controller, assets.argocd_repo_server):
        assert role.read_text(encoding="utf-8").strip() == PROGRAMS["argocd"]


def test_go_s_module_cache_may_be_deleted(go: Go) -> None:
    """It is large, and `go clean -modcache` is a common command."""
    quietly()
    shutil.rmtree(go.modules)
    assets = locate()
    kept = [assets.argocd_install, *assets.argocd_crds, *assets.kwok_stages]
    texts = sorted(path.read_text(encoding="utf-8").strip() for path in kept)
    assert texts == sorted([*MANIFESTS, *STAGES])


def test_the_second_run_builds_nothing(go: Go) -> None:
    """It runs before every test run."""
    folder = quietly()
    calls = go.calls("build") + go.calls("mod")
    console, text = output()
    assert build(console) == folder
    assert text.getvalue() == f"already built: {folder}\n"
    assert go.calls("build") + go.calls("mod") == calls


def test_a_fresh_clone_uses_what_another_built(
    go: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build takes a quarter of an hour."""
    here = quietly()
    built = go.calls("build")
    clone = tmp_path / "clone"
    shutil.copytree(module.PINS, clone)
    monkeypatch.setattr(module, "PINS", clone)
    assert quietly() == here
    assert go.calls("build") == built


@pytest.mark.parametrize("file", ["etcd/go.mod", "argo-cd/go.sum", "redis/main.go"])
def test_a_changed_pin_is_built_elsewhere(pins: Path, file: str) -> None:
    """No branch of a version bump may run the other's programs."""
    before = quietly()
    with (pins / file).open("a", encoding="utf-8") as stream:
        stream.write("\n")
    assert quietly() != before


@pytest.mark.parametrize(
    "environment", ["go1.26.9 linux amd64", "go1.26.8 darwin amd64", "go1.26.8 linux arm64"]
)
def test_another_go_or_platform_builds_elsewhere(go: Go, environment: str) -> None:
    """Machines may share a home folder."""
    before = quietly()
    go.set("environment", environment)
    assert quietly() != before


@pytest.mark.parametrize("ingredient", ["_FLAGS", "_LINKER_FLAGS", "_ENVIRONMENT", "_PRODUCTS"])
def test_another_recipe_builds_elsewhere(monkeypatch: pytest.MonkeyPatch, ingredient: str) -> None:
    """Another version of this code may build something else."""
    before = quietly()
    monkeypatch.setattr(module, ingredient, type(getattr(module, ingredient))())
    assert quietly() != before


def test_pins_are_complete() -> None:
    """go.sum verifies the build; without a source file `go mod tidy` would empty both."""
    for part in PARTS:
        names = {path.name for path in (module.PINS / part).iterdir()}
        assert names == {"go.mod", "go.sum", "main.go" if part == "redis" else "tools.go"}


def test_exactly_the_built_packages_are_pinned() -> None:
    """A package that tools.go lacks has no checksums, and a surplus one is never built."""
    imported = [
        package
        for part in PARTS
        for source in (module.PINS / part).glob("tools.go")
        for package in re.findall(r'_ "(.+)"', source.read_text(encoding="utf-8"))
    ]
    assert sorted([*imported, PROGRAMS["redis"]]) == sorted(PROGRAMS.values())


@pytest.mark.parametrize("part", PARTS)
def test_the_pinned_version_is_read_from_go_mod(part: str) -> None:
    """No other file repeats it."""
    text = (module.PINS / part / "go.mod").read_text(encoding="utf-8")
    requirement = pinned(part)
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


@pytest.mark.usefixtures("no_go")
def test_named_assets_need_no_go(assets: Path) -> None:
    """setup-envtest downloads them to any machine."""
    console, text = output()
    assert build(console) == assets
    assert text.getvalue() == f"nothing to build: KUBEBUILDER_ASSETS is {assets}\n"
    assert locate_api_server().etcd == assets / "etcd"


def test_named_assets_take_precedence(assets: Path, go: Go) -> None:
    """Whoever sets KUBEBUILDER_ASSETS wants those."""
    assert quietly() == assets
    assert not (go.folder / "calls").exists()
    assert locate_api_server().kube_apiserver == assets / "kube-apiserver"


def test_assets_without_an_api_server_are_not_honoured(assets: Path) -> None:
    """Half of it from elsewhere would be another version."""
    (assets / "kube-apiserver").unlink()
    folder = quietly()
    assert folder != assets
    assert locate_api_server().etcd == folder / "etcd"


@pytest.mark.usefixtures("assets")
def test_what_named_assets_lack_is_said() -> None:
    """The reason of a skipped test must say what to do."""
    with pytest.raises(
        ControlPlaneError,
        match=r"kube-controller-manager, .*kube-score not found in .*"
        r": run `make control-plane` without KUBEBUILDER_ASSETS\.$",
    ):
        locate()


def test_named_assets_may_have_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that was built on another machine can be used, too."""
    folder = quietly()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "elsewhere"))
    assert locate().kwok == folder / "kwok"


@pytest.mark.parametrize("find", [locate, locate_api_server])
def test_a_missing_build_is_an_error(find: Callable[[], object]) -> None:
    """A skipped test shows the command to run."""
    with pytest.raises(ControlPlaneError, match=r"run `make control-plane`\.$"):
        find()


@pytest.mark.usefixtures("no_go")
@pytest.mark.parametrize("find", [locate, locate_api_server, quietly])
def test_without_go_and_assets_one_sentence_says_how_to_get_either(
    find: Callable[[], object],
) -> None:
    """This may be the first message that a newcomer sees."""
    with pytest.raises(
        ControlPlaneError, match=r"^There is no Go[^.\n]* KUBEBUILDER_ASSETS to their folder\.$"
    ):
        find()


@pytest.mark.usefixtures("no_go")
def test_the_command_fails_without_go(start: Callable[[], "subprocess.Popen[str]"]) -> None:
    """A script must stop there."""
    process = start()
    output, _ = process.communicate()
    assert process.returncode == 2
    assert output.count("\n") == 1


def test_a_failed_build_shows_the_output_of_go(go: Go) -> None:
    """Go knows best about a wrong checksum, a missing network or a full disk."""
    go.set("fail", "kwok")
    with pytest.raises(ControlPlaneError, match="checksum mismatch"):
        quietly()


def test_a_failed_build_keeps_what_was_built_before_it(go: Go) -> None:
    """The next run continues from there."""
    go.set("fail", "kwok")
    with pytest.raises(ControlPlaneError):
        quietly()
    go.set("fail", "")
    quietly()
    assert len(go.calls("build")) == len(PROGRAMS) + 1
    assert locate()


def test_a_manifest_that_is_gone_leaves_no_half_folder(go: Go) -> None:
    """A newer Argo CD may have moved one, and the folder would count as built."""
    (go.modules / MANIFESTS[-1]).unlink()
    with pytest.raises(FileNotFoundError, match=MANIFESTS[-1]):
        quietly()
    with pytest.raises(ControlPlaneError, match="argocd-manifests"):
        locate()


def test_a_killed_build_leaves_no_half_program(
    go: Go, start: Callable[[], "subprocess.Popen[str]"]
) -> None:
    """The next run would take it for a complete one."""
    go.set("hang", "kubectl")
    process = start()
    hanging = go.pid()
    process.kill()
    process.communicate()
    os.kill(hanging, signal.SIGKILL)
    go.set("hang", "")
    with pytest.raises(ControlPlaneError, match="kubectl not found"):
        locate_api_server()
    folder = quietly()
    assert (folder / "kubectl").read_text(encoding="utf-8").strip() == PROGRAMS["kubectl"]
    assert not [name for name in contents(folder) if name.startswith(".")]


def has_ended(pid: int) -> bool:
    """Return whether a process is gone."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT], ids=lambda n: n.name
)
def test_a_stopped_build_stops_go(
    go: Go, start: Callable[[], "subprocess.Popen[str]"], number: signal.Signals
) -> None:
    """Its compilers would otherwise run on for minutes."""
    go.set("hang", "kubectl")
    process = start()
    hanging = go.pid()
    process.send_signal(number)
    output, _ = process.communicate()
    assert process.returncode == INTERRUPTED
    assert output.splitlines()[-1] == "Interrupted."
    # Orphaned by now, it counts as running until the machine's init process reaps it.
    wait_until(lambda: has_ended(hanging), programs=[], seconds=30, what="Go still runs")


def test_two_builds_at_once_build_everything_once(
    go: Go, start: Callable[[], "subprocess.Popen[str]"]
) -> None:
    """Two clones may build at the same time."""
    go.set("hang", "etcd")
    first = start()
    hanging = go.pid()
    second = start()
    assert second.stdout is not None
    assert "another build is running" in second.stdout.readline()
    go.set("hang", "")
    os.kill(hanging, signal.SIGKILL)
    assert "etcd" in first.communicate()[0]
    assert second.wait() == 0
    assert locate()
    assert len(go.calls("build")) == len(PROGRAMS) + 1


def test_every_product_has_a_line() -> None:
    """A quarter of an hour is long without any output."""
    console, text = output()
    folder = build(console)
    lines = text.getvalue().splitlines()
    count = len(contents(folder))
    assert lines[0] == f"1/{count} etcd …"
    assert re.fullmatch(rf"1/{count} etcd \d:\d\d:\d\d", lines[1])
    assert lines[2:-1][-1].startswith(f"{count}/{count} ")
    assert lines[-1] == f"built: {folder}"


def test_a_log_has_no_control_characters() -> None:
    """CI stores the output as it is."""
    console, text = output()
    build(console)
    assert "\x1b" not in text.getvalue()


def test_a_terminal_shows_how_long_it_takes_while_it_does() -> None:
    """Somebody is waiting for it."""
    console, text = output(terminal=True)
    build(console)
    assert re.search(r"kubectl.*\d:\d\d:\d\d.*\x1b", text.getvalue())
