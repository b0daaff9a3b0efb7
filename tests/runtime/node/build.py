"""The programs of a node, built from the modules that `tools/node/` pins."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from repository import REPOSITORY
from tests.runtime.cache import Cache
from tests.runtime.node.image import write_image

PAUSE_IMAGE = "registry.local/pause:1"

_PINS = REPOSITORY / "tools" / "node"
_PAUSE = Path(__file__).parent / "files" / "pause.c"
_DEBIAN = ("conntrack", "gcc", "ip", "iptables", "nft", "runc", "/usr/lib/cni/bridge")
"""Programs that a node needs, from Debian's packages."""
_PACKAGES = {
    "containerd": ("containerd", "cmd/containerd"),
    "containerd-shim-runc-v2": ("containerd", "cmd/containerd-shim-runc-v2"),
    "ctr": ("containerd", "cmd/ctr"),
    "coredns": ("coredns", "."),
    "kube-network-policies": ("kube-network-policies", "cmd"),
    "kube-proxy": ("kubernetes", "cmd/kube-proxy"),
    "kubelet": ("kubernetes", "cmd/kubelet"),
}
"""By program: the folder that pins its module, and its package there."""
_VERSION_VARIABLES = {
    "containerd": "github.com/containerd/containerd/v2/version.Version",
    "kubernetes": "k8s.io/component-base/version.gitVersion",
}
_TAGS = "no_btrfs,no_devmapper,no_zfs"


class NodeError(Exception):
    """A node cannot run here; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class NodeAssets:
    """The programs that a node needs beside a control plane.

    Attributes:
        programs: By their names; containerd finds its shim by its path.
        pause: Holds namespaces open.
        pause_image: Archive of an image of it, `PAUSE_IMAGE`.
    """

    programs: dict[str, Path]
    pause: Path
    pause_image: Path


def build(log: TextIO) -> NodeAssets:
    """Build everything that is missing; may be interrupted, and run twice at the same time.

    Args:
        log: Gets a line for each program that is built.

    Raises:
        NodeError: If this is not Linux and root, a package of Debian or Go is missing, or something
            does not compile.
    """
    _require_packages()
    with Cache("node", log).locked() as cache:
        pause = cache.get("pause", _PAUSE.read_text(encoding="utf-8"), _compile_pause)
        return NodeAssets(
            programs={
                name: _program(cache, name, pin, package)
                for name, (pin, package) in _PACKAGES.items()
            },
            pause=pause,
            pause_image=cache.get("pause.tar", pause, lambda made: _write_pause(pause, made)),
        )


def build_kube_state_metrics(log: TextIO) -> Path:
    """Build what only the tests of monitoring need.

    Args:
        log: Gets a line if it is built.

    Raises:
        NodeError: If it does not compile.
    """
    with Cache("node", log).locked() as cache:
        return _program(cache, "kube-state-metrics", "kube-state-metrics", ".")


def _require_packages() -> None:
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or not Path("/proc/self/ns").exists():
        raise NodeError("A node needs Linux and root: run it as root, or on such a machine.")
    missing = [name for name in _DEBIAN if shutil.which(name) is None]
    if missing:
        raise NodeError(f"A node needs {', '.join(missing)}: run `make node-packages`.")
    if shutil.which("go") is None:
        raise NodeError("There is no Go to build a node with: install Go.")


def _program(cache: Cache, name: str, pin: str, package: str) -> Path:
    pins = [file.read_text(encoding="utf-8") for file in sorted((_PINS / pin).iterdir())]
    linker_flags = "-s -w"
    [(module, version)] = re.findall(r"^require (\S+) (\S+)$", "\n".join(pins), re.MULTILINE)
    if pin in _VERSION_VARIABLES:
        linker_flags += f" -X {_VERSION_VARIABLES[pin]}={version}"
    command = (
        *("go", "build", "-mod=readonly", "-trimpath", f"-tags={_TAGS}"),
        f"-ldflags={linker_flags}",
        f"{module}/{package}".removesuffix("/."),
    )
    return cache.get(
        name,
        (pins, command, _run(_PINS / pin, "go", "env", "GOVERSION", "GOOS", "GOARCH")),
        lambda made: _run(_PINS / pin, *command[:2], "-o", str(made), *command[2:]),
    )


def _compile_pause(made: Path) -> None:
    # Its image holds no libraries.
    _run(_PAUSE.parent, "gcc", "-Os", "-static", "-s", "-o", str(made), str(_PAUSE))


def _write_pause(pause: Path, made: Path) -> None:
    with tempfile.TemporaryDirectory() as root:
        shutil.copy2(pause, Path(root) / "pause")
        write_image(
            Path(root),
            reference=PAUSE_IMAGE,
            target=made,
            entrypoint=["/pause"],
            user="65535:65535",
        )


def _run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        last_lines = "\n".join(done.stdout.splitlines()[-15:])
        raise NodeError(f"`{' '.join(command[:2])}` failed in {folder}:\n{last_lines}")
    return done.stdout


if __name__ == "__main__":
    build(sys.stderr)
