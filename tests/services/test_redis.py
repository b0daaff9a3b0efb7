"""Redis keeps the alerts: on disk, within its memory, never evicted."""

from dataclasses import replace

from fraud_detection.environments import DEV
from fraud_detection.platform.pods import Resources
from rendering import Manifest, container, dev, render, staging


def _pod(system_redis: Manifest) -> Manifest:
    return container(system_redis["spec"]["template"], "redis")


def test_the_data_has_headroom_below_the_memory_limit() -> None:
    """A fork copies changing pages; without headroom the kernel kills Redis during a snapshot."""
    resources = Resources(cpu=50, cpu_limit=500, memory=1000)
    system = render(replace(DEV, redis=replace(DEV.redis, resources=resources)))
    assert _pod(system.get("StatefulSet", "redis"))["command"][-2:] == ["--maxmemory", "600mb"]


def test_the_configuration_is_the_mounted_file() -> None:
    """Without it the image's defaults apply: no append-only file."""
    main = _pod(dev().get("StatefulSet", "redis"))
    [mount] = [m for m in main["volumeMounts"] if m["name"] == "files"]
    assert main["command"][:2] == ["redis-server", f"{mount['mountPath']}/redis.conf"]
    assert "redis.conf" in dev().get("ConfigMap", "redis-files")["data"]


def test_data_is_a_claim_that_nothing_deletes() -> None:
    """Neither a prune, nor a deleted Application, nor a deleted or smaller StatefulSet."""
    redis = staging().get("StatefulSet", "redis")["spec"]
    [claim] = redis["volumeClaimTemplates"]
    assert claim["metadata"]["annotations"] == {
        "argocd.argoproj.io/sync-options": "Prune=false,Delete=false"
    }
    assert redis["persistentVolumeClaimRetentionPolicy"] == {
        "whenDeleted": "Retain",
        "whenScaled": "Retain",
    }


def test_claim_templates_name_their_type() -> None:
    """Left out, Argo CD sees a difference for ever under server-side apply."""
    [claim] = dev().get("StatefulSet", "redis")["spec"]["volumeClaimTemplates"]
    assert (claim["apiVersion"], claim["kind"]) == ("v1", "PersistentVolumeClaim")


def test_data_is_written_to_the_claim() -> None:
    """A mount elsewhere would keep the append-only file on the pod's own disk."""
    main = _pod(dev().get("StatefulSet", "redis"))
    assert {"mountPath": "/data", "name": "data"} in main["volumeMounts"]


def test_loading_does_not_get_it_killed() -> None:
    """While a large file loads it answers LOADING: not ready, but alive."""
    main = _pod(dev().get("StatefulSet", "redis"))
    assert main["readinessProbe"]["exec"]["command"][-1].endswith("/ready.sh")
    assert main["livenessProbe"]["exec"]["command"][-1].endswith("/alive.sh")


def test_it_runs_as_the_image_s_own_user() -> None:
    """The Debian image's group; the Alpine image's would not own the volume."""
    context = dev().get("StatefulSet", "redis")["spec"]["template"]["spec"]["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (999, 999, 999)
