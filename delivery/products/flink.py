"""Flink, in standalone application mode."""

from collections.abc import Iterator

from delivery.manifests import workloads
from delivery.manifests.manifest import Manifest
from delivery.manifests.workloads import Objects
from delivery.products.product import Discovery, Product
from delivery.products.settings import settings

_FILE = "flink-conf.yaml"


def _resumption(workload: Manifest, objects: Objects) -> Iterator[str]:
    """Return where a JobManager finds the checkpoint from which the job resumes."""
    containers = workloads.template(workload)["spec"]["containers"]
    if not any("jobmanager" in " ".join(each.get("command", [])) for each in containers):
        return
    configured = [
        settings(manifest["data"][_FILE]).get("state.checkpoints.dir", "")
        for key, manifest in workloads.select(objects, "ConfigMap")
        if ("ConfigMap", key.name) in workloads.read(workload)
        and _FILE in (manifest.get("data") or {})
    ]
    if not configured:
        return
    folder = configured[0].removeprefix("file://")
    claims = [
        use.claim for use in workloads.uses(workload) if f"{folder}/".startswith(f"{use.path}/")
    ]
    if claims:
        yield f"the job resumes from its newest checkpoint, on the claim {claims[0]}"
    else:
        yield "the job starts empty: no claim holds its checkpoints"


FLINK = Product(
    name="Flink",
    # Measured in standalone application mode: a TaskManager finds the JobManager by name, all other
    # connections go to pod IPs.
    discovery=Discovery(
        leader="jobmanager.rpc.address",
        served=("rest.port", 8081),
        own_host="taskmanager.host",
        leader_ports=("jobmanager.rpc.port", "blob.server.port"),
        follower_ports=("taskmanager.rpc.port", "metrics.internal.query-service.port"),
        shared_ports=("taskmanager.data.port",),
    ),
    durable_settings={
        _FILE: {
            "pipeline.max-parallelism": "a job with another number cannot read the checkpoints",
            "state.backend.type": "one state backend cannot read the checkpoints of another",
            "state.checkpoints.dir": "the job looks for its checkpoints elsewhere and starts empty",
            "execution.checkpointing.externalized-checkpoint-retention": (
                "Flink deletes the checkpoints from which the next JobManager would resume"
            ),
        },
    },
    rollout_remarks=_resumption,
)
