"""A real Kubernetes node on this machine, or several, without Docker.

There are kubelet, containerd, kube-proxy, CoreDNS, and kube-network-policies, which enforces
NetworkPolicies between pods; what is sent to the node itself, such as DNS, is not judged. Several
nodes have a kubelet and a containerd each, and share everything else: disks and network, too.

Everything lives in namespaces of its own, which end with their first process. Whoever uses the node
is in its network meanwhile: Services and pods answer by their addresses, and nothing else does.
"""

import ctypes
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

from delivery.clusters.simulated import is_ready, make_volumes
from delivery.control_plane.api_server import ApiServer, api_server
from delivery.control_plane.assets import ControlPlaneAssets
from delivery.control_plane.client import Reference
from delivery.control_plane.programs import Program, start, wait_until
from delivery.manifests.manifest import Manifest
from tests.runtime.node.build import PAUSE_IMAGE, NodeAssets

FILES = Path(__file__).parent / "files"
NAME = "node-1"
_ADDRESS = "10.250.0.{}"
ADDRESS = _ADDRESS.format(1)
PODS = "10.244.0.0/24"
_CLONE_NEWNET = 0x40000000
_READY_SECONDS = 120
_GONE_SECONDS = 10
_VOLUMES = 8
_SMALL_VOLUME = 64 << 20
_QUEUE = 100
_CGROUPS = Path("/sys/fs/cgroup")
_LOGS = "log-pods"
_NETWORK = {
    "cniVersion": "1.0.0",
    "name": "pods",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": PODS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}
_SYSCTLS = {
    "vm.overcommit_memory": 1,
    "vm.panic_on_oom": 0,
    "kernel.panic": 10,
    "kernel.panic_on_oops": 1,
    "kernel.keys.root_maxkeys": 1_000_000,
    "kernel.keys.root_maxbytes": 25_000_000,
}
"""Sysctls that kubelet sets for the whole machine."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A running node, or several.

    Attributes:
        names: Their names.
        server: Its API server.
        state: Folder with all that it stores; removed in the end.
        programs: Running programs.
        assets: The node's own programs.
        first_process: First process of its namespaces.
        cgroup: Parent cgroup of all pods, from the root of each hierarchy.
    """

    names: Sequence[str]
    server: ApiServer
    state: Path
    programs: tuple[Program, ...]
    assets: NodeAssets
    first_process: int
    cgroup: str

    def inside(self, *command: str | Path) -> list[str | Path]:
        """Return the command line that runs a command in the node's namespaces, as root."""
        return _inside(self.first_process, command)

    def containers(self, pod: str, *, namespace: str) -> dict[str, str]:
        """Return the running containers of a pod: id by name."""
        return {
            container["name"]: container["containerID"].removeprefix("containerd://")
            for container in self._pod(pod, namespace)["status"].get("containerStatuses", [])
            if "running" in container["state"]
        }

    def execute(
        self, pod: str, container: str, *command: str, namespace: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command in a container."""
        identity = self.containers(pod, namespace=namespace)[container]
        name = f"exec-{time.monotonic_ns()}"
        return subprocess.run(
            self._task(identity, "exec", "--exec-id", name, identity, *command),
            check=False,
            capture_output=True,
            text=True,
        )

    def reached(self, container: str, addresses: Iterable[str]) -> set[str]:
        """Return which addresses (HOST:PORT) a container, given by id, can reach over TCP."""
        listed = self._run(self._task(container, "list"))
        processes = dict(line.split()[:2] for line in listed.splitlines())
        command: Sequence[str | Path] = (sys.executable, FILES / "reach.py", *addresses)
        network = ("nsenter", f"--target={processes[container]}", "--net", "--")
        return set(self._run(self.inside(*network, *command)).split())

    def kill(self, container: str) -> None:
        """Send SIGKILL to the first process of a container, given by id."""
        self._run(self._task(container, "kill", "--signal", "SIGKILL", container))

    def memory_failures(self, container: str) -> int:
        """Return how often a container, given by id, or its pod hit the memory limit.

        A pod of one container has the container's limit, and meets it first: in it is what keeps
        the pod's namespaces, too.
        """
        if _is_unified():
            [group] = (_CGROUPS / self.cgroup).glob(f"**/{container}")
            # Those of the groups in a group are among its own.
            events = (group.parent / "memory.events").read_text(encoding="ascii")
            return int(dict(map(str.split, events.splitlines()))["max"])
        [group] = (_CGROUPS / "memory" / self.cgroup).glob(f"**/{container}")
        counts = [each / "memory.failcnt" for each in (group, group.parent)]
        return sum(int(each.read_text(encoding="ascii")) for each in counts)

    def volume(self, claim: str, *, namespace: str) -> Path:
        """Return the folder behind a PersistentVolumeClaim, with what is mounted there."""
        return self._on_the_node(self._folder(claim, namespace))

    @contextmanager
    def small_volume(self, claim: str, *, namespace: str) -> Iterator[Path]:
        """Keep what is behind a claim on a small file system of its own meanwhile.

        No pod may use the claim when the block begins and when it ends.

        Returns:
            The folder, as `volume` does.
        """
        folder = self._folder(claim, namespace)
        # Only the node sees what is mounted there.
        mounted = self._on_the_node(folder)
        disk = self.state / f"{claim}.ext4"
        with disk.open("wb") as file:
            file.truncate(_SMALL_VOLUME)
        # Without a reserve, which only root could fill.
        self._run(["mkfs.ext4", "-q", "-m", "0", disk])
        self._run(self.inside("mount", "-o", "loop", disk, folder))
        try:
            self._run(["cp", "--archive", f"{folder}/.", mounted])
            yield mounted
            self._run(["find", folder, "-mindepth", "1", "-delete"])
            self._run(["cp", "--archive", f"{mounted}/.", folder])
        finally:
            self._run(self.inside("umount", "--lazy", folder))
            disk.unlink()

    def shell(self, script: str) -> "subprocess.CompletedProcess[str]":
        """Run a script with kubectl, as an administrator of the cluster would."""
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.state,
            env=self._variables(),
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @contextmanager
    def background(self, script: str) -> Iterator[None]:
        """Run such a script meanwhile."""
        with subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.state,
            env=self._variables(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as running:
            try:
                yield
            finally:
                running.terminate()

    def _variables(self) -> dict[str, str]:
        return {
            "HOME": str(self.state),
            "KUBECONFIG": str(self.server.kubeconfig),
            "PATH": f"{self.server.kubectl.parent}:/usr/bin:/bin",
        }

    def log(self, pod: str, container: str, *, namespace: str) -> str:
        """Return the logs of all runs of a container that the node still has."""
        found = self._pod(pod, namespace)
        logs = self.state / found["spec"]["nodeName"] / _LOGS
        folder = logs / f"{namespace}_{pod}_{found['metadata']['uid']}" / container
        return "".join(
            file.read_text(encoding="utf-8", errors="replace")
            for file in sorted(folder.glob("*.log"))
        )

    def import_image(self, archive: Path) -> None:
        """Import the image of a docker-archive."""
        options = ("--local", "--discard-unpacked-layers")
        for name in self.names:
            self._run(self._ctr(name, "images", "import", *options, str(archive)))

    @staticmethod
    def _run(command: Sequence[str | Path]) -> str:
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    def _ctr(self, name: str, *arguments: str) -> list[str | Path]:
        options = (f"--address=/run/{name}.sock", "--namespace=k8s.io")
        return self.inside(self.assets.programs["ctr"], *options, *arguments)

    def _task(self, container: str, *arguments: str) -> list[str | Path]:
        """Return a command line about tasks, for the node that runs a container, given by id."""
        holders = (
            name for name in self.names if container in self._run(self._ctr(name, "task", "list"))
        )
        # If no node runs it, containerd reports that itself.
        return self._ctr(next(holders, NAME), "task", *arguments)

    def _on_the_node(self, path: Path) -> Path:
        """Return a path that shows this process the node's own mounts."""
        return Path(f"/proc/{self.first_process}/root") / path.relative_to("/")

    def _folder(self, claim: str, namespace: str) -> Path:
        with closing(self.server.client()) as client:
            found = client.get(Reference("v1", "PersistentVolumeClaim", claim, namespace))
            name = found["spec"]["volumeName"]
            volume = client.get(Reference("v1", "PersistentVolume", name))
        source = volume["spec"].get("local") or volume["spec"]["hostPath"]
        return Path(source["path"])

    def _pod(self, name: str, namespace: str) -> Manifest:
        with closing(self.server.client()) as client:
            return client.get(Reference("v1", "Pod", name, namespace))


@contextmanager
def node(
    control_plane: ControlPlaneAssets,
    assets: NodeAssets,
    state: Path,
    *,
    images: Sequence[Path] = (),
    names: Sequence[str] = (NAME,),
) -> Iterator[Node]:
    """Run a node, or several; the calling thread is in their network meanwhile.

    Needs root, and from Debian `runc`, `containernetworking-plugins`, `nftables`, `iptables`,
    `conntrack`, `iproute2`. Any number may run side by side, each in a process of its own.

    Args:
        control_plane: Its programs.
        assets: The node's own programs.
        state: An empty folder.
        images: Archives of images that pods may use from the start.
        names: Names of the nodes.

    Raises:
        StartError: If it does not start.
    """
    with ExitStack() as stack:
        # A process may run a second one meanwhile.
        cgroup = stack.enter_context(_cgroup(f"node-{os.getpid()}-{time.monotonic_ns()}"))
        first_process = _start_namespaces(stack, assets, state)
        stack.enter_context(_network_of(first_process))
        server = stack.enter_context(api_server(control_plane.api_server))
        running = Node(
            names=names,
            server=server,
            state=state,
            programs=server.programs,
            assets=assets,
            first_process=first_process,
            cgroup=cgroup,
        )
        (state / "cni").mkdir()
        (state / "cni" / "10-pods.conflist").write_text(json.dumps(_NETWORK), encoding="utf-8")
        programs = [_start_containerd(stack, running, name) for name in names]
        for archive in (assets.pause_image, *images):
            running.import_image(archive)
        for number, name in enumerate(names, 1):
            group = _add_group(f"{cgroup}/{name}")
            programs.append(_start_kubelet(stack, running, name, number, group))
        programs.extend(_start_the_rest(stack, running, control_plane))
        with closing(server.client()) as client:
            make_volumes(client, {NAME: _folders(state)})

            def are_ready() -> bool:
                return sum(map(is_ready, client.list("v1", "Node"))) == len(names)

            wait_until(
                are_ready,
                programs=[*running.programs, *programs],
                seconds=_READY_SECONDS,
                what="the nodes were not ready",
            )
        yield replace(running, programs=(*running.programs, *programs))


def _is_unified() -> bool:
    """Return whether the machine uses cgroups version 2, with one hierarchy for everything."""
    return (_CGROUPS / "cgroup.controllers").exists()


def _hierarchies() -> list[Path]:
    """Return the roots of all cgroups: one, or several with version 1."""
    if _is_unified():
        return [_CGROUPS]
    return [each for each in _CGROUPS.iterdir() if each.is_dir() and not each.is_symlink()]


@contextmanager
def _cgroup(name: str) -> Iterator[str]:
    """Provide a cgroup for all pods, in each hierarchy; remove it and those in it afterwards."""
    if _is_unified():
        controllers = (_CGROUPS / "cgroup.controllers").read_text(encoding="ascii").split()
        allowed = " ".join(f"+{each}" for each in controllers)
        (_CGROUPS / "cgroup.subtree_control").write_text(allowed, encoding="ascii")
    for hierarchy in _hierarchies():
        for left in hierarchy.glob("node-*"):
            # By a process that was killed.
            if not Path("/proc", left.name.split("-")[1]).exists():
                _remove_groups(left)
    try:
        yield _add_group(name)
    finally:
        for hierarchy in _hierarchies():
            _remove_groups(hierarchy / name)


def _add_group(name: str) -> str:
    """Create a cgroup in each hierarchy, and return its name."""
    for hierarchy in _hierarchies():
        (hierarchy / name).mkdir()
        for setting in ("cpuset.cpus", "cpuset.mems"):
            # In version 2 those of the parent count unasked.
            if (hierarchy / setting).exists():
                value = (hierarchy / setting).read_text(encoding="ascii")
                (hierarchy / name / setting).write_text(value, encoding="ascii")
    return name


def _remove_groups(top: Path) -> None:
    """Remove a cgroup and its children, each as soon as its last process is gone."""
    for folder, _, _ in os.walk(top, topdown=False):
        group = Path(folder)
        give_up_at = time.monotonic() + _GONE_SECONDS
        while group.exists() and time.monotonic() < give_up_at:
            with suppress(OSError):
                group.rmdir()
            time.sleep(0.05)


def _start_namespaces(stack: ExitStack, assets: NodeAssets, state: Path) -> int:
    """Start the first process of new namespaces; when it ends, the kernel kills all others."""
    for folder in ("run", "var-lib-cni", "var-lib-kubelet", "log-containers", "sysctl"):
        (state / folder).mkdir()
    for path in ("/var/lib/cni", "/var/lib/kubelet", "/var/log/containers"):
        Path(path).mkdir(parents=True, exist_ok=True)
    for name, value in _SYSCTLS.items():
        (state / "sysctl" / name).write_text(f"{value}\n", encoding="ascii")
    kinds = ("--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--mount-proc")
    program = start(
        stack,
        [
            "unshare",
            *kinds,
            "--kill-child",
            FILES / "inside.sh",
            state,
            ADDRESS,
            str(_QUEUE),
            assets.pause,
        ],
        logs=state,
    )
    wait_until((state / "prepared").exists, programs=[program], seconds=30, what="no namespaces")
    children = Path(f"/proc/{program.process.pid}/task/{program.process.pid}/children")
    [child] = children.read_text(encoding="ascii").split()
    return int(child)


@contextmanager
def _network_of(process: int) -> Iterator[None]:
    """Move the calling thread, and everything it starts, into the network of a process."""
    libc = ctypes.CDLL(None, use_errno=True)
    with (
        Path("/proc/self/ns/net").open("rb") as own,
        Path(f"/proc/{process}/ns/net").open("rb") as other,
    ):
        _set_network(libc, other.fileno())
        try:
            yield
        finally:
            _set_network(libc, own.fileno())


def _set_network(libc: ctypes.CDLL, namespace: int) -> None:
    if libc.setns(namespace, _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _inside(process: int, command: Sequence[str | Path]) -> list[str | Path]:
    kinds = ("--mount", "--net", "--pid", "--ipc", "--uts")
    return ["nsenter", f"--target={process}", *kinds, "--wd=/", "--", *command]


def _start_containerd(stack: ExitStack, running: Node, name: str) -> Program:
    state, assets = running.state, running.assets
    folder = state / name
    folder.mkdir()
    configuration = _filled(
        "containerd.toml",
        folder,
        folder=str(folder),
        name=name,
        pause_image=PAUSE_IMAGE,
        shim=str(assets.programs["containerd-shim-runc-v2"]),
        network=str(state / "cni"),
    )
    command = running.inside(assets.programs["containerd"], "--config", configuration)
    program = start(stack, command, logs=_logs(folder, "containerd"))
    socket_file = state / "run" / f"{name}.sock"

    def answers() -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(socket_file))
        return True

    wait_until(answers, programs=[program], seconds=30, what="containerd did not answer")
    return program


def _start_kubelet(stack: ExitStack, running: Node, name: str, number: int, cgroup: str) -> Program:
    folder, address = running.state / name, _ADDRESS.format(number)
    if address != ADDRESS:
        command = running.inside("ip", "address", "add", f"{address}/24", "dev", "eth0")
        subprocess.run(command, check=True)
    configuration = folder / "kubelet.json"
    configuration.write_text(json.dumps(_kubelet(folder, address, cgroup)), encoding="utf-8")
    command = running.inside(
        running.assets.programs["kubelet"],
        f"--kubeconfig={running.server.kubeconfig}",
        f"--config={configuration}",
        # The sockets below it need short paths: Linux allows 107 bytes.
        f"--root-dir=/run/{name}-kubelet",
        f"--cert-dir={folder}/kubelet-certificates",
        f"--node-ip={address}",
        f"--hostname-override={name}",
        f"--node-labels=topology.kubernetes.io/zone=zone-{number}",
    )
    return start(stack, command, logs=_logs(folder, "kubelet"))


def _start_the_rest(
    stack: ExitStack, running: Node, control_plane: ControlPlaneAssets
) -> list[Program]:
    state, assets = running.state, running.assets
    kubeconfig = f"--kubeconfig={running.server.kubeconfig}"
    corefile = _filled(
        "Corefile", state, address=ADDRESS, kubeconfig=str(running.server.kubeconfig)
    )
    commands: dict[str, list[str | Path]] = {
        "kube-controller-manager": [
            control_plane.kube_controller_manager,
            kubeconfig,
            f"--service-account-private-key-file={running.server.service_account_key}",
            f"--root-ca-file={running.server.certificate}",
            "--leader-elect=false",
            "--secure-port=0",
        ],
        "kube-scheduler": [
            control_plane.kube_scheduler,
            kubeconfig,
            "--leader-elect=false",
            "--secure-port=0",
        ],
        "kube-proxy": running.inside(
            assets.programs["kube-proxy"],
            kubeconfig,
            f"--hostname-override={NAME}",
            "--proxy-mode=nftables",
            f"--cluster-cidr={PODS}",
            "--conntrack-max-per-core=0",
        ),
        "coredns": running.inside(assets.programs["coredns"], "-conf", corefile),
        "kube-network-policies": running.inside(
            *("env", *_write_account(running)),
            assets.programs["kube-network-policies"],
            f"--hostname-override={NAME}",
            f"--nfqueue-id={_QUEUE}",
            "--metrics-bind-address=127.0.0.1:0",
        ),
    }
    return [start(stack, command, logs=_logs(state, name)) for name, command in commands.items()]


def _write_account(running: Node) -> Iterable[str]:
    """Write the service account of a pod to the node's /run, and return its variables."""
    folder = running.state / "run" / "secrets" / "kubernetes.io" / "serviceaccount"
    folder.mkdir(parents=True)
    (folder / "token").write_text(running.server.token, encoding="ascii")
    shutil.copy(running.server.certificate, folder / "ca.crt")
    address = urlsplit(running.server.url)
    return (
        f"KUBERNETES_SERVICE_HOST={address.hostname}",
        f"KUBERNETES_SERVICE_PORT={address.port}",
    )


def _logs(state: Path, name: str) -> Path:
    """Create a log folder for one program, because they are all called nsenter."""
    folder = state / "logs" / name
    folder.mkdir(parents=True)
    return folder


def _kubelet(folder: Path, address: str, cgroup: str) -> Manifest:
    """Return the configuration of a kubelet, mostly for a machine that is not its own."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": address,
        # For the API server, which has no certificate, so that `kubectl logs` and the like work.
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}",
        "clusterDNS": [ADDRESS],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix:///run/{folder.name}.sock",
        "enforceNodeAllocatable": ["pods"],
        "evictionHard": {
            "imagefs.available": "1%",
            "memory.available": "100Mi",
            "nodefs.available": "1%",
        },
        "failCgroupV1": False,
        "failSwapOn": False,
        "healthzPort": 0,
        # Never: an image that no pod uses just now would go, and there is nowhere to get it again.
        "imageGCHighThresholdPercent": 100,
        "podLogsDir": str(folder / _LOGS),
        # What this machine asks for names is out of reach.
        "resolvConf": "",
        "staticPodPath": "",
    }


def _filled(name: str, folder: Path, /, **values: str) -> Path:
    text = Template((FILES / name).read_text(encoding="utf-8")).substitute(values)
    target = folder / name
    target.write_text(text, encoding="utf-8")
    return target


def _folders(state: Path) -> list[Path]:
    """Create a folder for each volume."""
    folders = [state / "volumes" / str(number) for number in range(_VOLUMES)]
    for folder in folders:
        folder.mkdir(parents=True)
    return folders
