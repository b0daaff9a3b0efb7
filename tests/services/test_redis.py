"""Redis keeps the alerts on disk and within its memory, and never evicts one."""

from dataclasses import replace

from fraud_detection.platform.pods import Resources
from rendering import LIVE, Manifest, Manifests, container, large, small
from settings import SMALL


def _redis(system: Manifests) -> Manifest:
    return container(system.get("StatefulSet", "redis")["spec"]["template"], "redis")


def test_the_data_has_headroom_below_the_memory_limit() -> None:
    """A fork copies changing pages; without headroom the kernel kills Redis during a snapshot."""
    resources = Resources(cpu=50, cpu_limit=500, memory=1000)
    system = Manifests(replace(SMALL, redis=replace(SMALL.redis, resources=resources)))
    assert _redis(system)["command"][-2:] == ["--maxmemory", "600mb"]


def test_the_configuration_is_the_mounted_file() -> None:
    """Without it the image's defaults apply: no append-only file."""
    main = _redis(small)
    [mount] = [m for m in main["volumeMounts"] if m["name"] == "files"]
    folder = mount["mountPath"]
    assert main["command"][:3] == ["bash", f"{folder}/start.sh", f"{folder}/redis.conf"]
    assert "redis.conf" in small.get("ConfigMap", "redis-files")["data"]


def test_data_is_a_claim_that_nothing_deletes() -> None:
    """Neither a prune, nor a deleted Application, nor a deleted or smaller StatefulSet."""
    redis = large.get("StatefulSet", "redis")["spec"]
    [claim] = redis["volumeClaimTemplates"]
    assert claim["metadata"]["annotations"] == {
        "argocd.argoproj.io/sync-options": "Prune=false,Delete=false"
    }
    assert redis["persistentVolumeClaimRetentionPolicy"] == {
        "whenDeleted": "Retain",
        "whenScaled": "Retain",
    }


def test_claim_templates_name_their_type() -> None:
    """Without the type Argo CD sees a permanent difference under server-side apply."""
    [claim] = small.get("StatefulSet", "redis")["spec"]["volumeClaimTemplates"]
    assert (claim["apiVersion"], claim["kind"]) == ("v1", "PersistentVolumeClaim")


def test_data_is_written_to_the_claim() -> None:
    """With a mount elsewhere the append-only file would end with the pod."""
    main = _redis(small)
    assert {"mountPath": "/data", "name": "data"} in main["volumeMounts"]


def test_loading_does_not_kill_it() -> None:
    """While a large file loads it answers LOADING: not ready, but alive."""
    main = _redis(small)
    assert main["readinessProbe"]["exec"]["command"][-1].endswith("/ready.sh")
    assert main["livenessProbe"]["exec"]["command"][-1].endswith("/alive.sh")


def test_a_long_repair_is_not_interrupted() -> None:
    """A large log is read up to four times before Redis answers: killed, it would start over."""
    probe = _redis(small)["startupProbe"]
    assert probe["exec"]["command"][-1].endswith("/alive.sh")
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 300


def test_the_volume_holds_the_largest_log_and_what_is_put_aside() -> None:
    """A full volume refuses alerts: log twice, its rewrite, two snapshots, and a quarter aside."""
    for system in LIVE:
        settings = system.environment.redis
        data = settings.resources.memory * 0.6
        assert 5 * data <= settings.volume * 1024 * 3 / 4


def test_a_broken_release_can_be_replaced() -> None:
    """Ordered updates wait for the broken pod for ever, and the fix is never rolled out."""
    assert small.get("StatefulSet", "redis")["spec"]["podManagementPolicy"] == "Parallel"


def test_it_runs_as_the_image_s_own_user() -> None:
    """The group is that of the Debian image; the Alpine image has another one."""
    context = small.get("StatefulSet", "redis")["spec"]["template"]["spec"]["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (999, 999, 999)
