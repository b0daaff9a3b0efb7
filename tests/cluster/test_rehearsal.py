"""The rehearsal on a real API server: what it says of the corpus, and whether Argo CD agrees."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from delivery.clusters.argocd import API_VERSION, NAMESPACE, ArgoCd, argocd, refresh
from delivery.control_plane.build import ControlPlaneAssets
from delivery.control_plane.client import ApiError, Client, Reference
from delivery.control_plane.programs import StartError, wait_until
from delivery.manifests.applications import Environment
from delivery.manifests.manifest import Manifest
from delivery.manifests.tree import Desired, annotation, sync_options, tree
from delivery.rehearsal.rehearse import Rehearsal, rehearse
from delivery.rehearsal.verdicts import Verdict, waits
from remotes import run_git
from working_tree import commit_all

pytestmark = pytest.mark.xdist_group("rehearsal")

POLL_SECONDS = 1
WAIT_SECONDS = 1200
"""A minute or two, where nobody else uses the machine."""
NEIGHBOUR = "annex"
"""The other namespace of the shop."""
CORPUS = Path(__file__).parent.parent / "rehearsal"
CASES = sorted(path.stem for path in (CORPUS / "corpus").glob("*.yaml"))


@dataclass(frozen=True, kw_only=True)
class Case:
    """One file of the corpus.

    Attributes:
        why: Why the verdict is what it is.
        application: What Argo CD is told.
        project: What of the project is another one than before.
        before: What the cluster has.
        after: What the tree has.
        expect: The verdict of each object that is not unchanged, by `Kind/name`.
        says: What the reasons or changes of an object must say.
        old: The old name of what is renamed.
        consequences: How each consequence starts, in the order of the report.
        stops: Where the sync fails. None: the case does not say.
        argocd: What a real Argo CD makes of it: `synced`, `pruned`, `unchanged` or `sync-fails`.
            None: it cannot tell, or not without what only a real cluster has.
    """

    why: str
    application: Environment
    project: Manifest
    before: list[Manifest]
    after: list[Manifest]
    expect: dict[str, str]
    says: dict[str, str]
    old: dict[str, str]
    consequences: list[str]
    stops: str | None
    argocd: str | None


def merge(original: Any, patch: Any) -> Any:  # noqa: ANN401 - YAML
    """Change a document: null removes a key; items of a list are found by their name.

    The items that a patch names come first, in its order, without those that it calls removed; so
    it can also reorder a list.
    """
    if isinstance(original, dict) and isinstance(patch, dict):
        merged = {**original, **{k: merge(original.get(k), v) for k, v in patch.items()}}
        return {k: v for k, v in merged.items() if v is not None}
    if isinstance(original, list) and isinstance(patch, list):
        items = [*original, *patch]
        if all(isinstance(item, dict) and "name" in item for item in items):
            named = {item["name"]: item for item in original}
            changed = [
                merge(named.get(item["name"], {}), item)
                for item in patch
                if not item.get("removed")
            ]
            names = {item["name"] for item in patch}
            return [*changed, *(item for name, item in named.items() if name not in names)]
    return patch


@cache
def objects() -> Manifest:
    """What the cases start from."""
    loaded: Manifest = yaml.safe_load((CORPUS / "objects.yaml").read_bytes())
    return loaded


def changed(manifests: list[Manifest], changes: Manifest) -> list[Manifest]:
    """Some manifests after the changes, by `Kind/name`; one that becomes null is gone."""
    named = {f"{each['kind']}/{each['metadata']['name']}": each for each in manifests}
    assert changes.keys() <= named.keys()
    merged = [merge(each, changes.get(name, {})) for name, each in named.items()]
    return [
        each for name, each in zip(named, merged, strict=True) if changes.get(name, {}) is not None
    ]


def load(name: str) -> Case:
    """Read one file of the corpus."""
    case = yaml.safe_load((CORPUS / "corpus" / f"{name}.yaml").read_bytes())
    known = objects()["objects"]
    before = changed([known[each] for each in case["objects"]], case.get("base", {}))
    added = [known[each] if isinstance(each, str) else each for each in case.get("add", [])]
    after = changed(before, case.get("change", {})) + changed(added, case.get("start", {}))
    for new in case.get("replace", []):
        same = [each for each in after if each["metadata"] == new["metadata"]]
        [old] = [each for each in same if each["kind"] == new["kind"]]
        after[after.index(old)] = new
    application = Environment(
        application="shop",
        spec=merge(objects()["application"], case.get("application", {})),
        project=merge(objects()["project"], case.get("project", {})),
    )
    return Case(
        why=case["why"],
        application=application,
        project=case.get("project", {}),
        before=before,
        after=after,
        expect=case.get("expect", {}),
        says=case.get("says", {}),
        old=case.get("old", {}),
        consequences=case.get("consequences", []),
        stops=case.get("stops"),
        argocd=case.get("argocd"),
    )


def play(client: Client, case: Case) -> Rehearsal:
    """Rehearse a case."""
    before, after = (
        tree(Desired(manifest=deepcopy(each), file="shop.yaml") for each in manifests)
        for manifests in (case.before, case.after)
    )
    return rehearse(client, case.application, before, after, neighbours=["shop", NEIGHBOUR])


def verdicts(rehearsal: Rehearsal) -> dict[str, str]:
    """The verdicts that are not unchanged, by `Kind/name`, with the namespace if that decides."""
    loud = [each for each in rehearsal.findings if each.verdict is not Verdict.UNCHANGED]
    names = [str(each.key) for each in loud]
    return {
        f"{name}#{each.key.namespace}" if names.count(name) > 1 else name: each.verdict.value
        for name, each in zip(names, loud, strict=True)
    }


@pytest.mark.parametrize("name", CASES)
def test_a_case_has_its_verdicts(client: Client, name: str) -> None:
    """The sentence why is in the file."""
    case = load(name)
    rehearsal = play(client, case)
    assert verdicts(rehearsal) == case.expect, rehearsal
    findings = {str(each.key): each for each in rehearsal.findings}
    for key, text in case.says.items():
        assert any(text in line for line in (*findings[key].reasons, *findings[key].changes))
    old = {key: each.old.name for key, each in findings.items() if each.old}
    assert old == case.old
    told = [f"{each.key}: {each.text}" for each in rehearsal.consequences]
    assert len(told) == len(case.consequences), told
    for text, start in zip(told, case.consequences, strict=True):
        assert text.startswith(start)
    if case.stops is not None:
        assert rehearsal.stops == case.stops


class Confirmation:
    """A real Argo CD that syncs every case at once, each in a namespace of its own.

    Args:
        argo: Argo CD.
        client: Of its cluster's API server.
        folder: An empty one, for the repository.
    """

    def __init__(self, argo: ArgoCd, client: Client, folder: Path) -> None:
        self._argo = argo
        self._client = client
        self._clone = folder / "clone"
        self._bare = folder / "origin.git"
        self.cases = {name: case for name in CASES if (case := load(name)).argocd}
        self._clone.mkdir()
        run_git(self._clone, "init", "--quiet", "--initial-branch", "main")
        self._commit({name: case.before for name, case in self.cases.items()})
        run_git(self._clone, "clone", "--quiet", "--bare", ".", str(self._bare))
        for name, case in self.cases.items():
            self._tell(name, case)
        self._wait(lambda application: _phase(application) == ("Succeeded", self._head))
        for name, case in self.cases.items():
            if case.project:
                project = Reference(API_VERSION, "AppProject", name, NAMESPACE)
                client.merge(project, {"spec": case.project})
        # Argo CD hears of the projects while these are read.
        self.before = {name: self._objects(name) for name in self.cases}
        self._commit({name: case.after for name, case in self.cases.items()})
        run_git(self._clone, "push", "--quiet", str(self._bare), "main")
        for name in self.cases:
            refresh(client, name)
        self._ended = self._wait(self._is_done)
        self.after = {name: self._objects(name) for name in self.cases}

    def verdict(self, name: str) -> str:
        """What Argo CD made of a case, in the words of the corpus."""
        application = self._ended[name]
        phase, revision = _phase(application)
        conditions = application["status"].get("conditions", [])
        if {each["type"] for each in conditions} & {"ComparisonError"}:
            return "sync-fails"
        if (phase, revision) == ("Succeeded", self._head):
            gone = self.before[name].keys() - self.after[name].keys()
            return "pruned" if gone else "synced"
        return "unchanged" if phase == "Succeeded" else "sync-fails"

    def _is_done(self, application: Manifest) -> bool:
        """Whether Argo CD has looked at the newest commit and has nothing more to do."""
        phase, revision = _phase(application)
        status = application["status"]
        if "operation" in application or status["sync"].get("revision") != self._head:
            return False
        if revision != self._head:
            # It may be unable to compare, unwilling to delete everything, or told not to.
            return "conditions" in status or all(
                each.get("requiresPruning")
                for each in status.get("resources", [])
                if each.get("status") == "OutOfSync"
            )
        return phase in {"Succeeded", "Failed", "Error"}

    def _objects(self, name: str) -> dict[Reference, Manifest]:
        """All objects of a case that the cluster has and keeps."""
        found = {}
        for manifest in [*self.cases[name].before, *self.cases[name].after]:
            reference = Reference.of(_moved(manifest, name))
            if not reference.namespace:
                reference = reference._replace(namespace=name)
            with suppress(ApiError):
                live = self._client.get(reference)
                if "deletionTimestamp" not in live["metadata"]:
                    found[reference] = live
        return found

    def _tell(self, name: str, case: Case) -> None:
        """Make the project and the Application of a case."""
        namespaces = [name]
        if NEIGHBOUR in {each["metadata"].get("namespace") for each in case.before + case.after}:
            namespaces.append(f"{name}-{NEIGHBOUR}")
        destinations = [
            {**case.application.spec["destination"], "namespace": namespace}
            for namespace in namespaces
        ]
        source = {
            **case.application.spec["source"],
            "repoURL": self._bare.as_uri(),
            "path": name,
        }
        project = {**objects()["project"], "sourceRepos": [self._bare.as_uri()]}
        # It would sync again: what has failed, and what others have changed since.
        policy = {
            **case.application.spec["syncPolicy"],
            "automated": {**case.application.spec["syncPolicy"]["automated"], "selfHeal": False},
            "retry": {"limit": 0},
        }
        if not case.project:
            # It would apply each namespace in a wave of its own.
            policy["syncOptions"] = ["ServerSideApply=true"]
        for namespace in namespaces:
            metadata = {"name": namespace}
            self._client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        spec = {**case.application.spec, "project": name, "syncPolicy": policy}
        for kind, told in (
            ("AppProject", {**project, "destinations": destinations}),
            ("Application", {**spec, "destination": destinations[0], "source": source}),
        ):
            metadata = {"name": name, "namespace": NAMESPACE}
            self._client.create(
                {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": told}
            )

    def _commit(self, trees: dict[str, list[Manifest]]) -> None:
        for name, manifests in trees.items():
            (self._clone / name).mkdir(exist_ok=True)
            # Without it the first sync of a case that has hooks alone would never come.
            always = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "always"}}
            filled = [always, *(_moved(each, name) for each in manifests)] if manifests else []
            text = yaml.safe_dump_all(filled)
            (self._clone / name / "objects.yaml").write_text(text, encoding="utf-8")
        commit_all(self._clone, "All cases")
        self._head = run_git(self._clone, "rev-parse", "main")

    def _wait(self, condition: Callable[[Manifest], bool]) -> dict[str, Manifest]:
        """The Application of each case, as it is when the condition first holds of it."""
        ended: dict[str, Manifest] = {}

        def done() -> bool:
            # Asked all the time, the API server would have no time for Argo CD.
            time.sleep(POLL_SECONDS)
            for application in self._client.list(API_VERSION, "Application", namespace=NAMESPACE):
                name = application["metadata"]["name"]
                if name not in ended and condition(application):
                    ended[name] = application
            return len(ended) == len(self.cases)

        try:
            wait_until(done, programs=self._argo.programs, seconds=WAIT_SECONDS, what="no end")
        except StartError as error:
            left = sorted(self.cases.keys() - ended.keys())
            raise AssertionError(f"Argo CD does not end with {left}") from error
        return ended


def _moved(manifest: Manifest, case: str) -> Manifest:
    """An object of a case in the namespace that the case has in place of the one it names."""
    manifest = deepcopy(manifest)
    namespace = manifest["metadata"].get("namespace")
    if namespace:
        manifest["metadata"]["namespace"] = f"{case}-{namespace}"
    return manifest


@pytest.fixture(scope="module")
def confirmation(
    assets: ControlPlaneAssets, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Confirmation]:
    """Argo CD after both commits."""
    with (
        # It is told when to look: by itself it would look at all of them over and over.
        argocd(assets, resync_seconds=WAIT_SECONDS) as argo,
        closing(argo.cluster.server.client()) as client,
    ):
        yield Confirmation(argo, client, tmp_path_factory.mktemp("confirmation"))


@pytest.mark.confirmation
@pytest.mark.timeout(3 * WAIT_SECONDS)
@pytest.mark.parametrize("name", [name for name in CASES if load(name).argocd])
def test_argocd_confirms_a_case(confirmation: Confirmation, name: str) -> None:
    """The rehearsal only says what Argo CD would do; here it does it."""
    assert confirmation.verdict(name) == confirmation.cases[name].argocd


@pytest.mark.confirmation
@pytest.mark.timeout(3 * WAIT_SECONDS)
@pytest.mark.parametrize(
    "name", [name for name in CASES if load(name).argocd not in {None, "sync-fails"}]
)
def test_the_cluster_confirms_the_verdicts_of_a_case(confirmation: Confirmation, name: str) -> None:
    """What is said to be unchanged is not touched, and pods roll exactly where it is said.

    A sync that fails does not get to everything that is judged.
    """
    case = confirmation.cases[name]
    renamed = {f"{key.partition('/')[0]}/{old}" for key, old in case.old.items()}
    for reference, before in confirmation.before[name].items():
        key = f"{reference.kind}/{reference.name}"
        after = confirmation.after[name].get(reference)
        verdict = case.expect.get(key, "unchanged")
        if key in renamed:
            verdict = "left behind" if _stays(before) else "pruned"
        if verdict == "pruned":
            assert after is None, key
        elif verdict in {"unchanged", "left behind"}:
            assert after is not None, key
            assert _identity(after, case) == _identity(before, case), key
        if after is not None and before["kind"] in {"Deployment", "StatefulSet", "DaemonSet"}:
            changed = before["spec"]["template"] != after["spec"]["template"]
            rolls = changed and not waits(after) and after["spec"].get("replicas") != 0
            assert rolls == (verdict == "pods roll") or verdict == "data at risk", key


def _phase(application: Manifest) -> tuple[str, str]:
    """How the newest sync ended, and of which commit it was."""
    state = application.get("status", {}).get("operationState", {})
    revision = state.get("operation", {}).get("sync", {}).get("revision", "")
    return state.get("phase", ""), revision


def _stays(manifest: Manifest) -> bool:
    """Whether Argo CD never prunes it: a hook, or what it is told to leave."""
    return "Prune=false" in sync_options(manifest) or bool(annotation(manifest, "hook"))


def _identity(live: Manifest, case: Case) -> tuple[object, ...]:
    """What is another if the object is another one, or was changed by anybody but a controller."""
    theirs = {"volumeName"}
    if any(each["kind"] == "HorizontalPodAutoscaler" for each in case.before):
        theirs.add("replicas")
    spec = {name: value for name, value in live.get("spec", {}).items() if name not in theirs}
    return live["metadata"]["uid"], spec, live.get("data")
