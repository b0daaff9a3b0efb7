"""The sentences about a rollout: correct, and none too many."""

import pytest

from delivery.manifests.manifest import Manifest
from delivery.manifests.tree import Key
from delivery.rehearsal.rollout import describe

PACE = "4 pods, 2 at once"


def web(**pod: object) -> Manifest:
    """Return a Deployment that stops two of its four pods at once."""
    return {
        "kind": "Deployment",
        "spec": {
            "replicas": 4,
            "strategy": {"rollingUpdate": {"maxUnavailable": 2, "maxSurge": 0}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [], **pod}},
        },
    }


def sentences(workload: Manifest, *others: Manifest, namespace: str = "shop") -> list[str]:
    """Return the sentences about a workload, with other objects in a namespace."""
    key = Key(kind="Deployment", name="web", namespace="shop", group="apps")
    keys = [Key(each["kind"], "other", namespace, "") for each in others]
    return describe(key, {key: workload, **dict(zip(keys, others, strict=True))})


def budget(**spec: object) -> Manifest:
    """Return a PodDisruptionBudget for its pods."""
    return {
        "kind": "PodDisruptionBudget",
        "spec": {"selector": {"matchLabels": {"app": "web"}}, **spec},
    }


@pytest.mark.parametrize("spec", [{"minAvailable": 3}, {"maxUnavailable": 1}])
def test_an_exceeded_budget_is_reported(spec: dict[str, int]) -> None:
    """It shows how few pods the owner accepts."""
    warning = "only 2 of them stay ready, but PodDisruptionBudget/other requires 3: an outage"
    assert sentences(web(), budget(**spec)) == [PACE, warning]


@pytest.mark.parametrize("spec", [{"minAvailable": 2}, {"maxUnavailable": 2}])
def test_a_budget_that_holds_is_not_reported(spec: dict[str, int]) -> None:
    """It would be a false alarm."""
    assert sentences(web(), budget(**spec)) == [PACE]


def test_a_budget_of_another_namespace_does_not_count() -> None:
    """It selects other pods with the same labels."""
    assert sentences(web(), budget(minAvailable=4), namespace="annex") == [PACE]


@pytest.mark.parametrize(
    ("folder", "sentence"),
    [
        ("/state", "the job resumes from its newest checkpoint, on the claim state"),
        ("/state/checkpoints", "the job resumes from its newest checkpoint, on the claim state"),
        ("/states", "the job starts empty: no claim holds its checkpoints"),
    ],
)
def test_checkpoints_are_looked_for_below_the_mount(folder: str, sentence: str) -> None:
    """A folder whose name only starts alike is lost with the pod."""
    container = {
        "command": ["jobmanager.sh"],
        "envFrom": [{"configMapRef": {"name": "other"}}],
        "volumeMounts": [{"name": "volume", "mountPath": "/state"}],
    }
    volume = {"name": "volume", "persistentVolumeClaim": {"claimName": "state"}}
    text = f"# where\nstate.checkpoints.dir: file://{folder}\n"
    settings = {"kind": "ConfigMap", "data": {"flink-conf.yaml": text}}
    assert sentences(web(containers=[container], volumes=[volume]), settings) == [PACE, sentence]
