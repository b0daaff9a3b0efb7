"""Keeps an API server for later rehearsals: `python -m delivery.rehearsal.keeper FOLDER RECORD`."""

import sys
from pathlib import Path

from delivery.control_plane.build import ApiServerAssets
from delivery.rehearsal.control_planes import keep_running

if __name__ == "__main__":
    folder, record = map(Path, sys.argv[1:])
    keep_running(
        ApiServerAssets(
            etcd=folder / "etcd",
            kube_apiserver=folder / "kube-apiserver",
            kubectl=folder / "kubectl",
        ),
        record,
    )
