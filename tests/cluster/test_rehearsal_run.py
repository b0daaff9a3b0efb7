"""The command on a real API server: what it prints, how it ends, and no false alarm."""

import json
import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pytest
from click.testing import CliRunner, Result

from delivery.cli import main
from delivery.control_plane.api_server import ApiServer, make_namespace
from delivery.control_plane.build import ApiServerAssets
from delivery.control_plane.client import Client
from delivery.manifests.applications import declared, select
from delivery.manifests.tree import Desired, Files, manifests, read_dist, tree
from delivery.rehearsal.control_planes import IDLE_SECONDS
from delivery.rehearsal.play import same
from delivery.rehearsal.rehearse import rehearse
from delivery.rehearsal.verdicts import Verdict
from repository import REPOSITORY

pytestmark = pytest.mark.xdist_group("rehearsal-run")

REPORTS = REPOSITORY / "docs" / "rehearsal"
COMMITS = 100


class Checkout:
    """A working tree with our dist and constructs, all committed.

    Args:
        folder: An empty one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("dist", "constructs"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(REPOSITORY / name, folder / name, ignore=ignored)
        shutil.copy(REPOSITORY / "cdk8s.yaml", folder)
        self.git("init", "--quiet", "--initial-branch", "develop")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "What the branches have")

    def commit(self, message: str) -> None:
        """Commit all there is."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)

    def git(self, *arguments: str) -> None:
        """Run Git."""
        identity = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.test")
        subprocess.run(
            ["git", *identity, *arguments],
            cwd=self.folder,
            env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"},
            check=True,
        )

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace a text everywhere in a file of dist."""
        path = self.folder / "dist" / file
        text = path.read_text(encoding="utf-8")
        assert re.search(old, text, flags=re.DOTALL)
        path.write_text(re.sub(old, new, text, flags=re.DOTALL), encoding="utf-8")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """The working tree in which the command is typed."""
    for variable in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_SHA"):
        monkeypatch.delenv(variable, raising=False)
    checkout = Checkout(tmp_path)
    monkeypatch.chdir(tmp_path)
    return checkout


@pytest.fixture
def type_in(server: ApiServer, checkout: Checkout) -> Callable[..., Result]:  # noqa: ARG001 - typed there
    """Types `delivery rehearse` with some arguments, for the API server that stands ready."""

    def type_in(*arguments: str) -> Result:
        command = ["rehearse", "--kubeconfig", str(server.kubeconfig), *arguments]
        return CliRunner().invoke(main, command)

    return type_in


def drop_selector(checkout: Checkout) -> None:
    """A new label for alert-monitor, everywhere."""
    checkout.edit(
        "staging/alert-monitor.yaml",
        "app.kubernetes.io/name: alert-monitor",
        "app.kubernetes.io/name: dashboard",
    )


def lose_volume(checkout: Checkout) -> None:
    """Checkpoints in the pod itself, and no claim any more."""
    claim = r"apiVersion: v1\nkind: PersistentVolumeClaim\n.*?---\n"
    checkout.edit("staging/flink.yaml", claim, "")
    mounted = r"persistentVolumeClaim:\s+claimName: flink-checkpoints"
    checkout.edit("staging/flink.yaml", mounted, "emptyDir: {}")


def loosen_pod(checkout: Checkout) -> None:
    """Let payment-api be root."""
    checkout.edit("staging/payment-api.yaml", "runAsNonRoot: true", "runAsNonRoot: false")
    checkout.edit("staging/payment-api.yaml", "runAsUser: 10001", "runAsUser: 0")


BAD = {
    "immutable-selector": drop_selector,
    "lost-volume": lose_volume,
    "refused-pod": loosen_pod,
}


@pytest.mark.parametrize("name", BAD)
def test_the_documented_report_is_what_is_printed(
    checkout: Checkout, type_in: Callable[..., Result], name: str
) -> None:
    """Rewrite them with REWRITE_REPORTS=1. Lines of the constructs and counts may move freely."""
    BAD[name](checkout)
    result = type_in("HEAD", "--environment", "staging", "--format", "markdown")
    assert result.exit_code == 1
    report = REPORTS / f"{name}.md"
    if os.environ.get("REWRITE_REPORTS"):
        report.write_text(result.stdout, encoding="utf-8")
    assert steady(report.read_text(encoding="utf-8")) == steady(result.stdout)


def steady(report: str) -> str:
    """A report without what changes with every edit of something else."""
    return re.sub(r"\.py:\d+|\d+ unchanged|v\d+\.\d+\.\d+", "", report)


def test_nothing_blocks_where_nothing_changes(type_in: Callable[..., Result]) -> None:
    """The most common of all pull requests for an environment: none of its business."""
    result = type_in("HEAD", "--format", "json")
    assert result.exit_code == 0
    for rehearsal in json.loads(result.stdout):
        assert {each["verdict"] for each in rehearsal["findings"]} == {"unchanged"}
        assert rehearsal["consequences"] == []


def test_the_same_trees_give_the_same_bytes(
    checkout: Checkout, type_in: Callable[..., Result]
) -> None:
    """A program compares them, and a comment that says the same is not posted twice."""
    drop_selector(checkout)
    lose_volume(checkout)
    loosen_pod(checkout)
    first, second = (type_in("HEAD", "--format", "json").stdout for _ in range(2))
    assert first == second
    assert "replace-needed" in first


def test_it_is_compared_with_what_each_environment_tracks(
    checkout: Checkout, type_in: Callable[..., Result]
) -> None:
    """Of the remote, as a local branch may be anywhere."""
    checkout.git("update-ref", "refs/remotes/origin/develop", "HEAD")
    checkout.edit("staging/alert-monitor.yaml", "cpu: 500m", "cpu: 600m")
    checkout.git("add", "--all")
    checkout.git("commit", "--quiet", "--message", "Only staging")
    checkout.git("update-ref", "refs/remotes/origin/main", "HEAD")
    result = type_in("--format", "json")
    found = {
        each["environment"]: (each["base"], {f["verdict"] for f in each["findings"]})
        for each in json.loads(result.stdout)
    }
    assert found == {
        "dev": ("origin/develop", {"unchanged"}),
        "staging": ("origin/main", {"unchanged"}),
    }


def test_an_unknown_base_cannot_be_rehearsed(type_in: Callable[..., Result]) -> None:
    """A clone of one branch does not have the other one."""
    result = type_in()
    assert result.exit_code == 2
    assert "There is no origin/develop here: fetch it, or name another BASE." in result.stderr


def test_an_unknown_environment_cannot_be_rehearsed(type_in: Callable[..., Result]) -> None:
    """The message names those that there are."""
    result = type_in("HEAD", "--environment", "production")
    assert result.exit_code == 2
    assert "There is no production in dist/argocd: dev, staging." in result.stderr


def test_an_allowed_verdict_does_not_block(
    checkout: Checkout, type_in: Callable[..., Result]
) -> None:
    """The reason is in the report, for whoever asks later."""
    checkout.edit("dev/flink.yaml", "storage: 2Gi", "storage: 1Gi")
    typed = ("HEAD", "--environment", "dev")
    assert type_in(*typed).exit_code == 1
    result = type_in(*typed, "--allow", CLAIM, "--reason", "dev starts empty")
    assert result.exit_code == 0
    assert "Allowed: dev starts empty" in result.stdout


CLAIM = "PersistentVolumeClaim/flink-checkpoints=data-at-risk"


def shrink(checkout: Checkout) -> None:
    """Make the volume of the checkpoints smaller, in both environments."""
    checkout.edit("dev/flink.yaml", "storage: 2Gi", "storage: 1Gi")
    checkout.edit("staging/flink.yaml", "storage: 5Gi", "storage: 1Gi")


def blocked(result: Result) -> dict[str, bool]:
    """Whether something blocks, by environment."""
    return {each["environment"]: each["blocks"] for each in json.loads(result.stdout)}


def test_a_commit_allows_a_verdict_in_one_environment(
    checkout: Checkout, type_in: Callable[..., Result]
) -> None:
    """Dev may lose what staging must not; and who allowed it is in the report."""
    shrink(checkout)
    checkout.commit(f"Shrink\n\nRehearsal-Allow: dev {CLAIM} it may start empty")
    result = type_in("HEAD^", "--format", "json")
    assert blocked(result) == {"dev": False, "staging": True}
    assert result.exit_code == 1
    assert re.search(r"it may start empty \(Somebody, [0-9a-f]{12}\)", result.stdout)


def test_a_commit_before_the_base_allows_nothing(
    checkout: Checkout, type_in: Callable[..., Result]
) -> None:
    """What was accepted once was another change."""
    checkout.commit(f"Shrink\n\nRehearsal-Allow: dev {CLAIM} it may start empty")
    shrink(checkout)
    checkout.commit("Shrink again")
    assert blocked(type_in("HEAD^", "--format", "json")) == {"dev": True, "staging": True}


def test_an_allowance_that_cannot_be_read_is_told(
    checkout: Checkout, type_in: Callable[..., Result]
) -> None:
    """It allows nothing, and must not stop the rehearsal: no history is rewritten for it."""
    shrink(checkout)
    checkout.commit(f"Shrink\n\nRehearsal-Allow: prod {CLAIM} it may start empty")
    result = type_in("HEAD^", "--environment", "dev")
    assert result.exit_code == 1
    assert re.search(r"Commit/[0-9a-f]{12}: allows nothing: .* \(dev, staging\)", result.stdout)


def test_the_pages_have_the_markdown(
    checkout: Checkout, type_in: Callable[..., Result], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One rehearsal is enough for the log, the comment and the page of the run."""
    drop_selector(checkout)
    folder = tmp_path_factory.mktemp("pages")
    pages = [f"--markdown={folder / name}" for name in ("a.md", "b.md")]
    result = type_in("HEAD", *pages)
    assert result.stdout.startswith("Rehearsal of dev: ")
    assert {page.read_text(encoding="utf-8") for page in folder.iterdir()} == {
        type_in("HEAD", "--format", "markdown").stdout
    }


def test_the_pages_say_why_there_is_no_report(
    type_in: Callable[..., Result], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """An old one would else be taken for the newest."""
    page = tmp_path_factory.mktemp("pages") / "page.md"
    assert type_in("nonsense", f"--markdown={page}").exit_code == 2
    assert page.read_text(encoding="utf-8").splitlines() == [
        "### It could not be rehearsed",
        "",
        "There is no nonsense here: fetch it, or name another BASE.",
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--allow", "Deployment/web=replace-needed"),
        ("--allow", "Deployment/web=pruned", "--reason", "why"),
        ("--allow", "Deployment", "--reason", "why"),
    ],
    ids=["no reason", "never blocks", "no name"],
)
def test_an_allowance_says_what_and_why(
    type_in: Callable[..., Result], arguments: tuple[str, ...]
) -> None:
    """One that allows nothing would be found out too late."""
    assert type_in("HEAD", *arguments).exit_code == 2


@pytest.mark.parametrize("option", ["--keep", "--kubernetes=1.37"])
def test_a_given_api_server_is_neither_kept_nor_chosen(
    type_in: Callable[..., Result], option: str
) -> None:
    """It is whatever it is, and whoever started it ends it."""
    result = type_in("HEAD", option)
    assert result.exit_code == 2
    assert "goes with neither" in result.stderr


def test_what_is_applied_by_hand_is_named(
    checkout: Checkout, type_in: Callable[..., Result]
) -> None:
    """No sync applies dist/argocd."""
    checkout.edit("argocd/fraud-detection.yaml", "selfHeal: true", "selfHeal: false")
    [rehearsal] = json.loads(type_in("HEAD", "--environment", "dev", "--format", "json").stdout)
    assert [each["name"] for each in rehearsal["consequences"]] == [
        "fraud-detection-system",
        "fraud-detection-system-staging",
    ]


def test_what_is_gone_has_its_source_in_the_base(
    checkout: Checkout, type_in: Callable[..., Result]
) -> None:
    """Its construct may be gone, too."""
    (checkout.folder / "dist/dev/alert-monitor.yaml").unlink()
    system = checkout.folder / "constructs/fraud_detection/system.py"
    text = system.read_text(encoding="utf-8")
    system.write_text(text.replace('chart("alert-monitor")', 'chart("other")'), encoding="utf-8")
    [rehearsal] = json.loads(type_in("HEAD", "--environment", "dev", "--format", "json").stdout)
    [gone] = [
        each
        for each in rehearsal["findings"]
        if (each["kind"], each["verdict"]) == ("Deployment", "pruned")
    ]
    assert gone["source"].startswith("constructs/fraud_detection/alert_monitor.py:")


def test_a_real_cluster_is_refused(
    client: Client, type_in: Callable[..., Result], request: pytest.FixtureRequest
) -> None:
    """Whoever names the wrong kubeconfig would have pods run there."""
    node = client.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "real"}}).body
    path = "/api/v1/nodes/real"
    request.addfinalizer(lambda: client.request("DELETE", path))
    assert node["metadata"]["name"] == "real"
    result = type_in("HEAD")
    assert result.exit_code == 2
    assert "leads to a cluster with nodes" in result.stderr


def test_a_version_that_is_not_here_is_named(
    checkout: Checkout, api_server_assets: ApiServerAssets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says which are."""
    del checkout
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(api_server_assets.etcd.parent))
    result = CliRunner().invoke(main, ["rehearse", "HEAD", "--kubernetes", "1.2"])
    assert result.exit_code == 2
    assert re.search(r"There is no Kubernetes 1\.2 here, only v1\.\d+", result.stderr)


@pytest.fixture
def keep(
    checkout: Checkout,  # noqa: ARG001 - typed there
    api_server_assets: ApiServerAssets,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[], Path]]:
    """Types `delivery rehearse --keep`, and gives what tells how to reach what is kept."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(api_server_assets.etcd.parent))

    def keep() -> Path:
        typed = ["rehearse", "HEAD", "--environment", "dev", "--keep"]
        assert CliRunner().invoke(main, typed).exit_code == 0
        [record] = (cache / "fraud-detection-config" / "rehearsal").glob("*.json")
        return record

    yield keep
    CliRunner().invoke(main, ["rehearse", "--stop"])


def data_of(record: Path) -> Path:
    """Where the API server that a record tells of has its data."""
    told = json.loads(record.read_text(encoding="utf-8"))
    return Path(told["certificate"]).parent.parent


def test_a_kept_api_server_is_used_again_and_ends(keep: Callable[[], Path]) -> None:
    """The second call has no start to wait for, and nothing stays on the machine for ever."""
    data = data_of(keep())
    assert data_of(keep()) == data
    assert CliRunner().invoke(main, ["rehearse", "--stop"]).stdout == "stopped\n"
    wait_until_gone(data)
    assert CliRunner().invoke(main, ["rehearse", "--stop"]).stdout == "nothing was kept\n"


def test_a_kept_api_server_that_nobody_uses_ends(keep: Callable[[], Path]) -> None:
    """Its record is as old as its last use; the next rehearsal starts another one."""
    record = keep()
    data = data_of(record)
    long_ago = time.time() - IDLE_SECONDS - 1
    os.utime(record, (long_ago, long_ago))
    wait_until_gone(data)
    assert data_of(keep()) != data


def test_each_version_plays_everything(
    checkout: Checkout,
    api_server_assets: ApiServerAssets,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A cluster that is about to be upgraded may refuse what it takes today."""
    folder = tmp_path_factory.mktemp("versions")
    for version in ("1.36.1", "1.37.2"):
        programs = folder / version
        programs.mkdir()
        for program in ("etcd", "kubectl"):
            (programs / program).symlink_to(api_server_assets.etcd.with_name(program))
        kube_apiserver = programs / "kube-apiserver"
        kube_apiserver.write_text(
            "#!/bin/sh\n"
            f'test "$1" != --version || {{ echo Kubernetes v{version}; exit; }}\n'
            f"echo {version} >> {folder}/started\n"
            f'exec {api_server_assets.kube_apiserver} "$@"\n',
            encoding="utf-8",
        )
        kube_apiserver.chmod(0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(folder / "1.37.2"))
    versions = ["--kubernetes=1.36", "--kubernetes=v1.37.2"]
    typed = ["rehearse", "HEAD", "--environment=dev", "--format=json", *versions]
    result = CliRunner().invoke(main, typed)
    assert [each["environment"] for each in json.loads(result.stdout)] == ["dev", "dev"]
    started = (folder / "started").read_text(encoding="utf-8")
    assert started.splitlines() == ["1.36.1", "1.37.2"]
    del checkout


def test_environments_are_not_in_each_others_way(
    checkout: Checkout, type_in: Callable[..., Result]
) -> None:
    """They are played at the same time, and what is not in a namespace is there only once."""
    for name, namespace in (("dev", "fraud-detection"), ("staging", "fraud-detection-staging")):
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "fixed", "namespace": namespace},
            "spec": {"clusterIP": "10.96.7.7", "ports": [{"port": 80}]},
        }
        path = checkout.folder / "dist" / name / "fixed.yaml"
        path.write_text(json.dumps(service), encoding="utf-8")
    for _ in range(3):
        found = json.loads(type_in("HEAD", "--format", "json").stdout)
        verdicts = [
            (each["name"], each["verdict"])
            for rehearsal in found
            for each in rehearsal["findings"]
            if each["verdict"] != "unchanged"
        ]
        assert verdicts == [("fixed", "created")] * 2


def test_what_is_applied_again_as_it_was_does_not_change(client: Client) -> None:
    """So an object that reads the same in both trees is not played twice."""
    namespace = "applied-twice"
    make_namespace(client, namespace)
    for each in manifests(read_dist(REPOSITORY), PurePosixPath("dist/staging")):
        metadata = {**each.manifest["metadata"], "namespace": namespace}
        manifest = {**each.manifest, "metadata": metadata}
        first, second = (client.apply(manifest, field_manager="somebody").body for _ in range(2))
        assert same(first, second)


class Commit(NamedTuple):
    """A change that somebody makes any day.

    Attributes:
        file: Of the environment.
        old: A pattern in it.
        new: What replaces each match; `{}` is a number that no earlier commit had.
        expect: The verdict of each object that is not unchanged.
    """

    file: str
    old: str
    new: str
    expect: dict[str, str]


ROLLS = Verdict.PODS_ROLL.value
PLACE = Verdict.IN_PLACE.value
AGAIN = Verdict.RECREATED.value
IMAGE = r"(image: ghcr.io/mordris/{}):[0-9a-f]+"
COMMIT = r"\1:" + "{:040x}"
EVERYDAY = [
    Commit(
        "payment-api.yaml",
        IMAGE.format("payment-api"),
        COMMIT,
        {"Deployment/payment-api": ROLLS},
    ),
    Commit(
        "alert-monitor.yaml",
        IMAGE.format("alert-monitor"),
        COMMIT,
        {"Deployment/alert-monitor": ROLLS},
    ),
    Commit(
        "flink.yaml",
        IMAGE.format("[a-z-]+"),
        COMMIT,
        {"Deployment/flink-jobmanager": ROLLS, "Deployment/flink-taskmanager": ROLLS},
    ),
    Commit("redis.yaml", r"(image: \S+/redis):\S+", r"\1:7.2.{}", {"StatefulSet/redis": ROLLS}),
    Commit(
        "redpanda.yaml",
        r"(image: \S+/redpanda):\S+",
        r"\1:v25.3.{}",
        {"StatefulSet/redpanda": ROLLS},
    ),
    Commit(
        "alert-monitor.yaml",
        r"cpu: [1-9]\d\dm\b",
        "cpu: {}m",
        {"Deployment/alert-monitor": ROLLS},
    ),
    Commit(
        "payment-api.yaml",
        r"(stabilizationWindowSeconds: )\d+",
        r"\g<1>{}",
        {"HorizontalPodAutoscaler/payment-api": PLACE},
    ),
    Commit(
        "payment-api.yaml",
        r"(averageUtilization: )\d+",
        r"\g<1>{}",
        {"HorizontalPodAutoscaler/payment-api": PLACE},
    ),
    Commit(
        "redis.yaml",
        r"(tcp-keepalive )\d+(.*?checksum/files: )\w+",
        r"\g<1>{0}\g<2>{0:064x}",
        {"ConfigMap/redis-files": PLACE, "StatefulSet/redis": ROLLS},
    ),
    Commit(
        "transactions-topic.yaml",
        r"(activeDeadlineSeconds: )\d+",
        r"\g<1>{}",
        {"Job/transactions-topic": AGAIN},
    ),
    Commit(
        "flink.yaml",
        r"(storage: )\d+\w+",
        r"\g<1>20{}Mi",
        {"PersistentVolumeClaim/flink-checkpoints": PLACE},
    ),
    Commit("namespace.yaml", r'(pods: )"\d+"', r'\g<1>"{}"', {"ResourceQuota/quota": PLACE}),
    Commit(
        "redpanda.yaml",
        r"(DRAIN_SECONDS\n +value: )\"\d+\"",
        r'\g<1>"{}"',
        {"StatefulSet/redpanda": ROLLS},
    ),
    Commit("redis.yaml", "$", "\n# A remark.\n", {}),
]


def test_a_history_of_everyday_changes_has_exactly_its_verdicts(client: Client) -> None:
    """An alarm that is often false is not listened to."""
    files = dict(read_dist(REPOSITORY))
    [application] = select(declared(files), "staging")
    chance = random.Random(6)  # noqa: S311 - the same history every time
    wrong = {}
    for number in range(1, COMMITS + 1):
        commit = chance.choice(EVERYDAY)
        path = application.folder / commit.file
        text = files[path].decode()
        # Three digits, as what is replaced has.
        new = re.sub(commit.old, commit.new.format(100 + number), text, flags=re.DOTALL)
        changed: Files = {**files, path: new.encode()}
        before, after = (_near(commit, each, application.folder) for each in (files, changed))
        rehearsal = rehearse(client, application, tree(before), tree(after))
        found = {
            str(each.key): each.verdict.value
            for each in rehearsal.findings
            if each.verdict is not Verdict.UNCHANGED
        }
        if found != commit.expect or rehearsal.blocks:
            wrong[f"{number}: {commit.old}"] = rehearsal.findings
        files = dict(changed)
    assert wrong == {}


def _near(commit: Commit, files: Files, folder: PurePosixPath) -> list[Desired]:
    """What a commit can affect: its own file and the rules of the namespace."""
    near = {folder / commit.file, folder / "namespace.yaml"}
    return manifests({path: files[path] for path in near}, folder)


def wait_until_gone(folder: Path) -> None:
    """Wait for the end of the programs whose data were there."""
    deadline = time.monotonic() + 30
    while folder.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
