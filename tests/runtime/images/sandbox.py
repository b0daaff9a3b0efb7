"""Containers of dist/dev, run from the images' root folders without a node.

They share one network without a way out, on which every name is this machine. Each has its mounts,
user, variables and command line from dist/dev, and a root that it cannot write to.
"""

import itertools
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.runtime.images.build import DIST, RECIPES, Image

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENTER = """
set -eu
root=$1 hosts=$2 mounts=$3 user=$4
shift 4
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o "lowerdir=$root,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
mount -t proc proc /mnt/root/proc
mount --rbind /dev /mnt/root/dev
cp "$hosts" /mnt/root/etc/hosts
while read -r source target; do
  mkdir -p "/mnt/root$target"
  mount --bind "$source" "/mnt/root$target"
done <"$mounts"
mount -o remount,ro /mnt/root
# In this order: who changes its user outlives its parent again.
exec chroot /mnt/root setpriv --reuid "$user" --regid "$user" --clear-groups \\
  --pdeathsig KILL "$@"
"""


class Sandbox:
    """Containers of dist/dev on one network."""

    def __init__(self, images: Mapping[str, Image], folder: Path) -> None:
        """Create an empty sandbox.

        Args:
            images: Images that are built.
            folder: For volumes and logs.
        """
        self._folder = folder
        self._images = {image.reference: (name, image) for name, image in images.items()}
        self._running: list[tuple[str, str, subprocess.Popen[bytes]]] = []
        self._numbers = itertools.count()
        manifests = [
            manifest
            for file in sorted(DIST.glob("*.yaml"))
            for manifest in yaml.safe_load_all(file.read_text(encoding="utf-8"))
        ]
        self._files = {
            manifest["metadata"]["name"]: manifest["data"]
            for manifest in manifests
            if manifest["kind"] == "ConfigMap"
        }
        self._pods = {
            manifest["metadata"]["name"]: manifest["spec"]["template"]["spec"]
            for manifest in manifests
            if "template" in manifest.get("spec", {})
        }
        services = [m["metadata"]["name"] for m in manifests if m["kind"] == "Service"]
        pods = [
            f"{m['metadata']['name']}-0.{m['spec']['serviceName']}"
            for m in manifests
            if m["kind"] == "StatefulSet"
        ]
        self._hosts = folder / "hosts"
        names = ("127.0.0.1", os.uname().nodename, "localhost", *services, *pods)
        self._hosts.write_text(f"{' '.join(names)}\n")
        self._network = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sh", "-c"),
                "ip link set lo up && echo up && exec sleep infinity",
            ],
            stdout=subprocess.PIPE,
        )
        assert self._network.stdout is not None
        with self._network.stdout as up:
            assert up.readline() == b"up\n"

    def start(
        self, workload: str, *further: str, container: str = "", instead: tuple[str, ...] = ()
    ) -> "subprocess.Popen[bytes]":
        """Start a container as dist/dev defines it.

        Args:
            workload: Name of the Deployment, StatefulSet or Job.
            further: Arguments after those of dist/dev.
            container: Its name; without, the first that is no init container.
            instead: A command line in place of that of dist/dev.
        """
        pod, spec = self._pods[workload], self._container(workload, container)
        name, image = self._images[spec["image"]]
        recipe = RECIPES[name]
        variables = {
            "POD_IP": "127.0.0.1",
            "POD_NAME": f"{workload}-0",
            **{each["name"]: each["value"] for each in spec.get("env", []) if "value" in each},
        }
        command = [*(instead or spec.get("command", recipe.command)), *further]
        for variable, value in variables.items():
            command = [argument.replace(f"$({variable})", value) for argument in command]
        environment = {"PATH": _PATH, **recipe.environment, **variables}
        user = pod["securityContext"]["runAsUser"]
        with self.log(workload, container=container).open("ab") as log:
            process = subprocess.Popen(
                [
                    # As in a container, all processes end with the first one.
                    *self.inside("unshare", "--pid", "--fork", "--kill-child", "--mount"),
                    *("--propagation", "private"),
                    *("bash", "-c", _ENTER, "bash", str(image.root), str(self._hosts)),
                    *(str(self._mounts(workload, pod, spec)), str(user)),
                    *("env", "-i", "-C", recipe.working_directory),
                    *(f"{variable}={value}" for variable, value in environment.items()),
                    *command,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._running.append((workload, spec["name"], process))
        return process

    def run(self, workload: str, *command: str, container: str = "", seconds: float = 90) -> str:
        """Run a container to its end, as dist/dev defines it or with another command line.

        Returns:
            What it printed, in all its runs.

        Raises:
            AssertionError: If it fails.
        """
        status = self.start(workload, container=container, instead=command).wait(seconds)
        printed = self.log(workload, container=container).read_text()
        assert status == 0, printed
        return printed

    def succeeds(self, workload: str, *command: str) -> bool:
        """Return whether a command line succeeds in a container like the workload's."""
        return self.start(workload, instead=command).wait(60) == 0

    def kill(self, workload: str, *, container: str = "") -> None:
        """End a container with SIGKILL; without a name, the first that is no init container."""
        name = self._container(workload, container)["name"]
        for *started, process in self._running:
            if started == [workload, name]:
                process.kill()
                process.wait()

    def inside(self, *command: str) -> list[str]:
        """Return the command line that runs a command on the network."""
        return ["nsenter", f"--net=/proc/{self._network.pid}/ns/net", *command]

    def log(self, workload: str, *, container: str = "") -> Path:
        """Return the file with the output of a container, named as for `start`."""
        return self._folder / f"{workload}-{self._container(workload, container)['name']}.log"

    def end(self) -> None:
        """Kill every container, and the network."""
        for process in [*(process for *_, process in self._running), self._network]:
            process.kill()
            process.wait()

    def _container(self, workload: str, name: str) -> dict[str, Any]:
        pod = self._pods[workload]
        containers: list[dict[str, Any]] = [*pod["containers"], *pod.get("initContainers", [])]
        return next(each for each in containers if name in ("", each["name"]))

    def _mounts(self, workload: str, pod: dict[str, Any], spec: dict[str, Any]) -> Path:
        """Create a container's mounts; emptyDirs and claims outlive it, under their names."""
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        lines = []
        for mount in spec["volumeMounts"]:
            volume = volumes.get(mount["name"], {})
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            source = self._folder / (claim or f"{workload}-{mount['name']}")
            source.mkdir(exist_ok=True)
            for name, text in self._files.get(volume.get("configMap", {}).get("name"), {}).items():
                (source / name).write_text(text)
            os.chown(source, *[pod["securityContext"]["runAsUser"]] * 2)
            lines.append(f"{source} {mount['mountPath']}\n")
        mounts = self._folder / f"mounts-{next(self._numbers)}"
        mounts.write_text("".join(lines))
        return mounts


@contextmanager
def sandbox(images: Mapping[str, Image], folder: Path) -> Iterator[Sandbox]:
    """Provide a sandbox until the block ends."""
    made = Sandbox(images, folder)
    try:
        yield made
    finally:
        made.end()
