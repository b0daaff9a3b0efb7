"""Horizontal autoscaling by CPU usage."""

from cdk8s_plus_27 import k8s

from constructs import Construct

_TARGET_PERCENT = 70
"""CPU usage that the autoscaler aims at, in percent of the request."""


def scale_on_cpu(
    scope: Construct,
    *,
    deployment: str,
    min_replicas: int,
    max_replicas: int,
    busy_seconds: int,
    calm_seconds: int,
) -> None:
    """Scale a Deployment by the CPU usage of its pods; needs metrics-server.

    Args:
        scope: The construct that owns the Deployment, which must not set `replicas`.
        deployment: Name of the Deployment.
        min_replicas: The minimum number of pods.
        max_replicas: The maximum number of pods.
        busy_seconds: Stabilization window before a scale-up: a shorter load, such as that of a
            start, scales nothing.
        calm_seconds: Stabilization window before a scale-down.
    """
    k8s.KubeHorizontalPodAutoscalerV2(
        scope,
        f"{deployment}-autoscaler",
        metadata=k8s.ObjectMeta(name=deployment),
        spec=k8s.HorizontalPodAutoscalerSpecV2(
            scale_target_ref=k8s.CrossVersionObjectReferenceV2(
                api_version="apps/v1", kind="Deployment", name=deployment
            ),
            min_replicas=min_replicas,
            max_replicas=max_replicas,
            metrics=[
                k8s.MetricSpecV2(
                    type="Resource",
                    resource=k8s.ResourceMetricSourceV2(
                        name="cpu",
                        target=k8s.MetricTargetV2(
                            type="Utilization", average_utilization=_TARGET_PERCENT
                        ),
                    ),
                )
            ],
            behavior=k8s.HorizontalPodAutoscalerBehaviorV2(
                scale_up=k8s.HpaScalingRulesV2(stabilization_window_seconds=busy_seconds),
                scale_down=k8s.HpaScalingRulesV2(stabilization_window_seconds=calm_seconds),
            ),
        ),
    )
