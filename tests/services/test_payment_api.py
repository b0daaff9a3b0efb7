"""payment-api starts late enough, stops late enough, and scales where it is told to."""

from dataclasses import replace

from fraud_detection.environments import DEV
from rendering import Manifest, container, dev, render, staging


def _deployment(environment: str) -> Manifest:
    system = dev() if environment == "dev" else staging()
    return system.get("Deployment", "payment-api")


def test_it_waits_for_the_topic_before_it_starts() -> None:
    """Started before the broker answers, it gives up for ever and still says it is healthy."""
    template = dev().get("Deployment", "payment-api")["spec"]["template"]
    [first] = template["spec"]["initContainers"]
    assert first["command"] == ["python", "/files/wait_for_topic.py"]


def test_the_waiting_script_is_in_the_mounted_files() -> None:
    """The command names a file that the ConfigMap must hold."""
    assert "wait_for_topic.py" in dev().get("ConfigMap", "payment-api-files")["data"]


def test_it_may_take_as_long_to_start_as_its_own_retries() -> None:
    """It tries the broker 10 times, 6 s apart, before it listens; killed earlier, it never does."""
    main = container(_deployment("dev")["spec"]["template"], "payment-api")
    startup = main["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 120


def test_readiness_does_not_look_at_the_broker_status() -> None:
    """`kafka_status` says disconnected for a healthy producer; the status code is the truth."""
    main = container(_deployment("dev")["spec"]["template"], "payment-api")
    assert main["readinessProbe"]["httpGet"] == {"path": "/health", "port": 8000}


def test_a_rollout_never_has_less_than_the_full_number_ready() -> None:
    """Surge first, take away afterwards: no request meets a missing pod."""
    assert _deployment("staging")["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }


def test_a_stopping_pod_serves_until_the_service_has_forgotten_it() -> None:
    """Endpoints are removed at the same time as the stop signal is sent, not before."""
    template = _deployment("staging")["spec"]["template"]
    main = container(template, "payment-api")
    [program, seconds] = main["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    assert 0 < int(seconds) < template["spec"]["terminationGracePeriodSeconds"]


def test_staging_scales_between_two_and_four() -> None:
    """The autoscaler of staging, and its target."""
    autoscaler = staging().get("HorizontalPodAutoscaler", "payment-api")["spec"]
    assert (autoscaler["minReplicas"], autoscaler["maxReplicas"]) == (2, 4)
    assert autoscaler["scaleTargetRef"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": "payment-api",
    }


def test_an_autoscaled_deployment_states_no_replicas() -> None:
    """A stated number would be put back at every sync, against the autoscaler."""
    assert "replicas" not in _deployment("staging")["spec"]


def test_without_an_autoscaler_the_deployment_states_its_replicas() -> None:
    """Left out, a number changed by hand would stay."""
    assert _deployment("dev")["spec"]["replicas"] == 1


def test_dev_has_no_autoscaler() -> None:
    """One pod needs none, and without metrics it would be Degraded in Argo CD."""
    assert dev().kind("HorizontalPodAutoscaler") == []


def test_staging_lets_a_drain_take_one_pod_at_a_time() -> None:
    """A node drain must neither take all pods nor wait for ever."""
    budget = staging().get("PodDisruptionBudget", "payment-api")["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == _deployment("staging")["spec"]["selector"]


def test_a_single_pod_has_no_disruption_budget() -> None:
    """It could only block every drain or allow every one."""
    assert "payment-api" not in {b["metadata"]["name"] for b in dev().kind("PodDisruptionBudget")}


def test_staging_spreads_over_zones_and_hosts() -> None:
    """One lost host or zone must not take all pods; a small cluster must still run them all."""
    constraints = _deployment("staging")["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert {c["topologyKey"] for c in constraints} == {
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    }
    assert {c["whenUnsatisfiable"] for c in constraints} == {"ScheduleAnyway"}


def test_a_changed_number_of_replicas_changes_nothing_else() -> None:
    """Scaling by settings is a small diff: the pod template stays, so nothing rolls."""
    settings = replace(DEV.payment_api, min_replicas=2, max_replicas=2)
    scaled = render(replace(DEV, payment_api=settings)).get("Deployment", "payment-api")
    template = scaled["spec"]["template"]
    assert scaled["spec"]["replicas"] == 2
    assert template == _deployment("dev")["spec"]["template"]
