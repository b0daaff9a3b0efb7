"""payment-api starts late enough, stops late enough, and scales as configured."""

from dataclasses import replace

from rendering import Manifest, Manifests, container, large, small
from settings import LARGE, SMALL


def _deployment(system: Manifests) -> Manifest:
    return system.get("Deployment", "payment-api")


def _main(system: Manifests) -> Manifest:
    return container(_deployment(system)["spec"]["template"], "payment-api")


def test_it_waits_for_the_topic_at_every_start() -> None:
    """Started before the broker answers, it gives up for ever and still reports itself healthy.

    An init container would not run again when the container is restarted.
    """
    assert _main(small)["command"] == [
        "python",
        "/files/wait_for_topic.py",
        *("python", "-m", "uvicorn", "main:app", "--host", "0.0.0.0", "--port", "8000"),  # noqa: S104 - of the pod
    ]


def test_the_waiting_script_is_in_the_mounted_files() -> None:
    """The command names a file that the ConfigMap must hold."""
    assert "wait_for_topic.py" in small.get("ConfigMap", "payment-api-files")["data"]


def test_it_may_wait_long_for_the_broker() -> None:
    """Each restart of a waiting container would delay the next one more."""
    startup = _main(small)["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 3600


def test_a_broker_outage_does_not_kill_it() -> None:
    """`/health` waits in the same thread pool as the transactions that wait for the broker."""
    assert _main(small)["livenessProbe"]["httpGet"] == {"path": "/openapi.json", "port": 8000}


def test_readiness_does_not_look_at_the_broker_status() -> None:
    """`kafka_status` is `disconnected` for a healthy producer; only the status code is right."""
    assert _main(small)["readinessProbe"]["httpGet"] == {"path": "/health", "port": 8000}


def test_a_rollout_never_has_less_than_the_full_number_ready() -> None:
    """The new pod is ready before an old one goes: no request meets a missing pod."""
    assert _deployment(large)["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }


def test_a_stopping_pod_serves_until_it_has_left_the_service() -> None:
    """Kubernetes removes the endpoint when it sends the stop signal, not before."""
    template = _deployment(large)["spec"]["template"]
    main = container(template, "payment-api")
    [program, seconds] = main["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    assert 0 < int(seconds) < template["spec"]["terminationGracePeriodSeconds"]


def test_the_autoscaler_scales_between_the_configured_bounds() -> None:
    """It scales this Deployment and no other."""
    autoscaler = large.get("HorizontalPodAutoscaler", "payment-api")["spec"]
    settings = LARGE.payment_api
    assert autoscaler["minReplicas"] == settings.min_replicas
    assert autoscaler["maxReplicas"] == settings.max_replicas
    assert autoscaler["scaleTargetRef"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": "payment-api",
    }


def test_an_autoscaled_deployment_states_no_replicas() -> None:
    """Each sync would reset a number in the manifest, against the autoscaler."""
    assert "replicas" not in _deployment(large)["spec"]


def test_without_an_autoscaler_the_deployment_states_its_replicas() -> None:
    """If the manifest left it out, a number changed by hand would stay."""
    assert _deployment(small)["spec"]["replicas"] == 1


def test_equal_bounds_need_no_autoscaler() -> None:
    """Without metrics an autoscaler would be Degraded in Argo CD, for nothing."""
    assert small.kind("HorizontalPodAutoscaler") == []


def test_a_drain_takes_one_of_several_pods_at_a_time() -> None:
    """A node drain must neither take all pods nor wait for ever."""
    budget = large.get("PodDisruptionBudget", "payment-api")["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == _deployment(large)["spec"]["selector"]


def test_a_single_pod_has_no_disruption_budget() -> None:
    """It would either block every drain or allow every one."""
    assert "payment-api" not in {b["metadata"]["name"] for b in small.kind("PodDisruptionBudget")}


def test_pods_spread_over_zones_and_hosts() -> None:
    """One lost host or zone must not take all pods; a small cluster must still run them all."""
    constraints = _deployment(large)["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert {c["topologyKey"] for c in constraints} == {
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    }
    assert {c["whenUnsatisfiable"] for c in constraints} == {"ScheduleAnyway"}


def test_a_changed_number_of_replicas_changes_nothing_else() -> None:
    """The pod template stays the same, so no pod rolls."""
    settings = replace(SMALL.payment_api, min_replicas=2, max_replicas=2)
    scaled = Manifests(replace(SMALL, payment_api=settings)).get("Deployment", "payment-api")
    template = scaled["spec"]["template"]
    assert scaled["spec"]["replicas"] == 2
    assert template == _deployment(small)["spec"]["template"]
