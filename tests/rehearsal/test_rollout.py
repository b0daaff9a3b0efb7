"""What is said of a rollout: sentences that a reviewer trusts, and none too many."""

import pytest

from delivery.manifests.manifest import Manifest
from delivery.manifests.tree import Key
from delivery.rehearsal.rollout import describe

PACE = "4 pods, 2 at once"


def web(**pod: object) -> Manifest:
    """A Deployment that takes two of its four pods away at once."""
    return {
        "kind": "Deployment",
        "spec": {
            "replicas": 4,
            "strategy": {"rollingUpdate": {"maxUnavailable": 2, "maxSurge": 0}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [], **pod}},
        },
    }


def said(workload: Manifest, *others: Manifest, namespace: str = "shop") -> list[str]:
    """What is said of a workload, with others in a namespace."""
    key = Key(kind="Deployment", name="web", namespace="shop", group="apps")
    keys = [Key(each["kind"], "other", namespace, "") for each in others]
    return describe(key, {key: workload, **dict(zip(keys, others, strict=True))})


def budget(**spec: object) -> Manifest:
    """A PodDisruptionBudget of the pods."""
    return {
        "kind": "PodDisruptionBudget",
        "spec": {"selector": {"matchLabels": {"app": "web"}}, **spec},
    }


@pytest.mark.parametrize("spec", [{"minAvailable": 3}, {"maxUnavailable": 1}])
def test_a_budget_that_does_not_hold_is_told(spec: dict[str, int]) -> None:
    """The owner has said how much is too little."""
    told = "for a while 2 of them are left, and PodDisruptionBudget/other asks for 3: an outage"
    assert said(web(), budget(**spec)) == [PACE, told]


@pytest.mark.parametrize("spec", [{"minAvailable": 2}, {"maxUnavailable": 2}])
def test_a_budget_that_holds_is_not_told(spec: dict[str, int]) -> None:
    """It would be a false alarm."""
    assert said(web(), budget(**spec)) == [PACE]


def test_a_budget_of_another_namespace_does_not_count() -> None:
    """It selects other pods with the same labels."""
    assert said(web(), budget(minAvailable=4), namespace="annex") == [PACE]


@pytest.mark.parametrize(
    ("folder", "told"),
    [
        ("/state", "the job resumes from its newest checkpoint, on the claim state"),
        ("/state/checkpoints", "the job resumes from its newest checkpoint, on the claim state"),
        ("/states", "the job starts empty: no claim holds its checkpoints"),
    ],
)
def test_checkpoints_are_looked_for_below_the_mount(folder: str, told: str) -> None:
    """A name that only begins alike is another folder, which no pod finds again."""
    container = {
        "command": ["jobmanager.sh"],
        "envFrom": [{"configMapRef": {"name": "other"}}],
        "volumeMounts": [{"name": "volume", "mountPath": "/state"}],
    }
    volume = {"name": "volume", "persistentVolumeClaim": {"claimName": "state"}}
    text = f"# where\nstate.checkpoints.dir: file://{folder}\n"
    settings = {"kind": "ConfigMap", "data": {"flink-conf.yaml": text}}
    assert said(web(containers=[container], volumes=[volume]), settings) == [PACE, told]
