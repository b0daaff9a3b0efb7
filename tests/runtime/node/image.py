"""Container images without a registry: a folder of files as an archive that containerd imports."""

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def write_image(
    root: Path,
    *,
    reference: str,
    target: Path,
    entrypoint: Sequence[str] = (),
    command: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    user: str = "",
    working_directory: str = "/",
) -> None:
    """Write a docker-archive with one layer; the same files make the same image, byte for byte.

    Args:
        root: All files; their owners' numbers and modes are kept, their times are not.
        reference: Repository and tag by which pods ask for it.
        target: The archive.
        entrypoint: Command that the image always runs.
        command: Default command, or default arguments of the entrypoint.
        environment: Variables beside PATH. Default: none.
        user: Default user. Default: root.
        working_directory: Where it runs.
    """
    with tempfile.TemporaryFile(dir=target.parent) as layer:
        with tarfile.open(fileobj=layer, mode="w") as files:
            files.add(root, arcname=".", filter=_anonymous)
        digest = _sha256(layer)
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "Entrypoint": list(entrypoint),
                "Cmd": list(command),
                "Env": [f"{k}={v}" for k, v in {"PATH": _PATH, **(environment or {})}.items()],
                "User": user,
                "WorkingDir": working_directory,
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
        manifest = [
            {"Config": "config.json", "RepoTags": [reference], "Layers": [f"{digest}/layer.tar"]}
        ]
        with tarfile.open(target, "w") as archive:
            _add(archive, "config.json", _json(config))
            _add(archive, f"{digest}/layer.tar", layer)
            _add(archive, "manifest.json", _json(manifest))


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Remove owners' names and times, which differ between machines."""
    member.uname = member.gname = ""
    member.mtime = 0
    return member


def _sha256(file: BinaryIO) -> str:
    found = hashlib.sha256()
    file.seek(0)
    while block := file.read(1 << 20):
        found.update(block)
    return found.hexdigest()


def _json(value: Any) -> io.BytesIO:  # noqa: ANN401 - whatever JSON can say
    return io.BytesIO(json.dumps(value).encode())


def _add(archive: tarfile.TarFile, name: str, content: BinaryIO) -> None:
    member = tarfile.TarInfo(name)
    member.size = content.seek(0, io.SEEK_END)
    content.seek(0)
    archive.addfile(member, content)
