"""dist is replaced by a complete render or not at all, and proved to be current."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from delivery.manifests import dist
from delivery.manifests.dist import Finding, Flaw, RenderError, prove, rendered, synthesize
from repository import REPOSITORY

PROGRAMS = Path(sys.executable).parent

APPLICATION = """\
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata:
  name: system
spec:
  project: default
  source:
    repoURL: https://example.test/config.git
    path: dist/dev
    targetRevision: develop
  destination:
    namespace: dev
"""


def manifest(replicas: int) -> str:
    """Return a Deployment on one line, so that two changes of it conflict."""
    metadata = "{name: api}"
    return (
        f"{{apiVersion: apps/v1, kind: Deployment, metadata: {metadata}, "
        f"spec: {{replicas: {replicas}}}}}\n"
    )


COMMITTED = {"argocd/apps.yaml": APPLICATION, "dev/api.yaml": manifest(1)}


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write files with these texts."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def read(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def git(repository: Path, *arguments: str) -> None:
    """Run Git; it may end in a conflict."""
    subprocess.run(["git", *arguments], cwd=repository, check=False, capture_output=True)


def commit(repository: Path, files: Mapping[str, str]) -> None:
    """Commit files."""
    write(repository, files)
    git(repository, "add", ".")
    git(repository, "commit", "--message", "Change")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository with nothing but a committed dist, whatever Git is configured to do."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Tester")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "tester@example.test")
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--initial-branch", "develop")
    commit(folder, {f"dist/{name}": text for name, text in COMMITTED.items()})
    return folder


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """Return a fresh render that is the same as the committed dist."""
    folder = tmp_path / "fresh"
    write(folder, COMMITTED)
    return folder


def test_a_dist_that_is_what_the_sources_render_is_proved(repository: Path, fresh: Path) -> None:
    """A proof that always finds something would be switched off."""
    assert prove(repository, fresh) == []


def test_a_stale_file_is_found(repository: Path, fresh: Path) -> None:
    """Somebody changed either the sources or the manifest."""
    write(fresh, {"dev/api.yaml": manifest(2)})
    assert prove(repository, fresh) == [Finding(path="dist/dev/api.yaml", flaw=Flaw.STALE)]


def test_a_missing_file_is_found(repository: Path, fresh: Path) -> None:
    """Argo CD would prune its objects."""
    (repository / "dist/dev/api.yaml").unlink()
    assert prove(repository, fresh) == [Finding(path="dist/dev/api.yaml", flaw=Flaw.MISSING)]


def test_an_orphaned_file_is_found(repository: Path, fresh: Path) -> None:
    """A service that was removed from the sources would go on running."""
    commit(repository, {"dist/dev/old.yaml": manifest(1)})
    assert prove(repository, fresh) == [Finding(path="dist/dev/old.yaml", flaw=Flaw.ORPHANED)]


def test_without_git_nothing_is_proved(repository: Path, fresh: Path) -> None:
    """Whoever downloaded an archive should read the reason."""
    shutil.rmtree(repository / ".git")
    with pytest.raises(RenderError, match=r"Cannot list what Git tracks below dist: .*not a git"):
        prove(repository, fresh)


def test_an_untracked_file_is_found(repository: Path, fresh: Path) -> None:
    """It exists on this disk only: Argo CD will not see the new service."""
    for folder in (repository / "dist", fresh):
        write(folder, {"dev/new.yaml": manifest(1)})
    assert prove(repository, fresh) == [Finding(path="dist/dev/new.yaml", flaw=Flaw.UNTRACKED)]


def test_a_file_that_git_ignores_is_found(repository: Path, fresh: Path) -> None:
    """`uv build` leaves a dist/.gitignore that hides new manifests from `git status`, too."""
    write(repository, {"dist/.gitignore": "*\n"})
    for folder in (repository / "dist", fresh):
        write(folder, {"dev/new.yaml": manifest(1)})
    assert prove(repository, fresh) == [
        Finding(path="dist/.gitignore", flaw=Flaw.ORPHANED),
        Finding(path="dist/.gitignore", flaw=Flaw.UNTRACKED),
        Finding(path="dist/dev/new.yaml", flaw=Flaw.UNTRACKED),
    ]


@pytest.fixture
def conflict(repository: Path) -> Path:
    """Return a repository in a merge of two branches that changed the same line of dist."""
    git(repository, "switch", "--create", "main")
    commit(repository, {"dist/dev/api.yaml": manifest(2)})
    git(repository, "switch", "develop")
    commit(repository, {"dist/dev/api.yaml": manifest(3)})
    git(repository, "merge", "main")
    return repository


def test_conflict_markers_are_found(conflict: Path, fresh: Path) -> None:
    """Committed as they are, they are not valid manifests."""
    assert "<<<<<<<" in (conflict / "dist/dev/api.yaml").read_text()
    assert prove(conflict, fresh) == [
        Finding(path="dist/dev/api.yaml", flaw=Flaw.STALE),
        Finding(path="dist/dev/api.yaml", flaw=Flaw.UNMERGED),
    ]


def test_an_unmerged_file_is_found_whatever_its_content(conflict: Path, fresh: Path) -> None:
    """Rendered again but never added, it is not in the merge."""
    write(conflict / "dist", COMMITTED)
    assert prove(conflict, fresh) == [Finding(path="dist/dev/api.yaml", flaw=Flaw.UNMERGED)]


def test_a_merge_that_kept_one_side_is_found(repository: Path, fresh: Path) -> None:
    """The sources hold both changes; a dist of one side has no markers and looks healthy."""
    git(repository, "switch", "--create", "main")
    commit(repository, {"dist/dev/api.yaml": manifest(2), "dist/dev/new.yaml": "new: 1\n"})
    git(repository, "switch", "develop")
    commit(repository, {"dist/dev/monitor.yaml": manifest(1)})
    git(repository, "merge", "--strategy", "ours", "main")
    write(
        fresh,
        {
            "dev/api.yaml": manifest(2),
            "dev/new.yaml": "new: 1\n",
            "dev/monitor.yaml": manifest(1),
        },
    )
    assert prove(repository, fresh) == [
        Finding(path="dist/dev/api.yaml", flaw=Flaw.STALE),
        Finding(path="dist/dev/new.yaml", flaw=Flaw.MISSING),
    ]


def test_this_repository_s_dist_is_proved() -> None:
    """Argo CD applies what the reviewed sources render, and nothing else."""
    with rendered(REPOSITORY) as fresh:
        assert [str(finding) for finding in prove(REPOSITORY, fresh)] == []


@pytest.fixture
def cdk8s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that replaces `cdk8s` by a shell script; its output folder is `$5`."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setattr(sys, "executable", str(programs / "python"))

    def replace(script: str) -> None:
        program = programs / "cdk8s"
        program.write_text(f"#!/bin/sh -e\n{script}\n", encoding="utf-8")
        program.chmod(0o755)

    return replace


@pytest.fixture
def working_render(cdk8s: Callable[[str], None], fresh: Path) -> None:
    """Make `cdk8s` render the content of `fresh`."""
    cdk8s(f'cp -R "{fresh}" "$5"')


@pytest.fixture
def untouched(repository: Path) -> Callable[[], bool]:
    """Return a function that tells whether the repository is byte for byte as it was."""
    before = read(repository)
    return lambda: read(repository) == before and not list(repository.glob(".synth-*"))


@pytest.mark.usefixtures("working_render")
def test_a_render_replaces_dist(repository: Path, fresh: Path) -> None:
    """Files that are not rendered any more are gone, too."""
    write(repository / "dist", {"dev/old.yaml": manifest(1)})
    write(fresh, {"dev/new.yaml": manifest(1)})
    assert synthesize(repository) == [
        "dist/argocd/apps.yaml",
        "dist/dev/api.yaml",
        "dist/dev/new.yaml",
    ]
    assert read(repository / "dist") == read(fresh)
    assert {path.name for path in repository.iterdir()} == {".git", "dist"}


@pytest.mark.usefixtures("working_render")
def test_the_first_render_makes_dist(repository: Path, fresh: Path) -> None:
    """A checkout may have none."""
    shutil.rmtree(repository / "dist")
    synthesize(repository)
    assert read(repository / "dist") == read(fresh)


def test_a_failed_render_leaves_dist(
    repository: Path,
    cdk8s: Callable[[str], None],
    untouched: Callable[[], bool],
) -> None:
    """However far it came; its own message is the error."""
    cdk8s('mkdir -p "$5/dev"; echo "replicas: 9" > "$5/dev/api.yaml"; echo Why. >&2; exit 3')
    with pytest.raises(RenderError, match=r"^Why\.$"):
        synthesize(repository)
    assert untouched()


def test_a_render_of_nothing_leaves_dist(
    repository: Path,
    cdk8s: Callable[[str], None],
    untouched: Callable[[], bool],
) -> None:
    """cdk8s accepts an app that renders nothing."""
    cdk8s('mkdir "$5"')
    with pytest.raises(RenderError, match="nothing into dist/argocd"):
        synthesize(repository)
    assert untouched()


@pytest.mark.parametrize(
    "damage",
    ["rm -r $5/dev", "rm $5/dev/*", ": > $5/dev/api.yaml"],
    ids=["missing folder", "empty folder", "empty file"],
)
def test_a_render_without_an_applied_folder_leaves_dist(
    repository: Path,
    fresh: Path,
    cdk8s: Callable[[str], None],
    untouched: Callable[[], bool],
    damage: str,
) -> None:
    """Argo CD would prune the whole environment."""
    cdk8s(f'cp -R "{fresh}" "$5"; {damage}')
    with pytest.raises(RenderError, match="nothing into dist/dev"):
        synthesize(repository)
    assert untouched()


@pytest.mark.usefixtures("working_render")
@pytest.mark.parametrize(
    "interruption",
    [OSError(errno.EIO, "broken"), OSError(errno.ENOSPC, "full"), KeyboardInterrupt()],
)
def test_dist_is_put_back_when_its_successor_cannot_take_its_place(
    repository: Path,
    fresh: Path,
    untouched: Callable[[], bool],
    monkeypatch: pytest.MonkeyPatch,
    interruption: BaseException,
) -> None:
    """Between the two renames there is no dist."""
    write(fresh, {"dev/api.yaml": manifest(2)})
    rename = Path.rename

    def fail_once(path: Path, target: Path) -> Path:
        if path.name == "dist" and path.parent != repository:
            assert not (repository / "dist").exists()
            raise interruption
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_once)
    with pytest.raises(type(interruption)):
        synthesize(repository)
    assert untouched()


@pytest.mark.parametrize(
    ("errors", "cause"),
    [
        ("RuntimeError: Error: ENOSPC: no space left on device, write", "no space left on device"),
        ("OSError: [Errno 28] No space left on device", "no space left on device"),
        ("OSError: [Errno 122] Disk quota exceeded", "disk quota exceeded"),
        ("Error: EIO: i/o error, write", "i/o error"),
        ("OSError: [Errno 5] Input/output error: 'dist/dev'", "input/output error"),
    ],
    ids=["full in Node", "full in Python", "quota", "broken in Node", "broken in Python"],
)
def test_a_disk_that_fails_leaves_dist(
    repository: Path,
    cdk8s: Callable[[str], None],
    untouched: Callable[[], bool],
    errors: str,
    cause: str,
) -> None:
    """The cause was one line of forty, somewhere in a stack trace of jsii."""
    cdk8s(f'mkdir "$5"; printf "Traceback:\\n  %s\\nAborted\\n" "{errors}" >&2; exit 1')
    with pytest.raises(RenderError) as caught:
        synthesize(repository)
    assert str(caught.value) == (f"Cannot render in {repository}: {cause}; free or fix the disk.")
    assert untouched()


def test_a_render_that_never_ends_leaves_dist(
    repository: Path,
    cdk8s: Callable[[str], None],
    untouched: Callable[[], bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A branch may wait for something that exists on its author's machine only."""
    monkeypatch.setattr(dist, "_SECONDS", 0.5)
    cdk8s("sleep 60")
    with pytest.raises(RenderError, match=r"did not end within 0\.5 seconds"):
        synthesize(repository)
    assert untouched()


@pytest.mark.usefixtures("cdk8s")
def test_a_missing_installation_is_named(repository: Path, untouched: Callable[[], bool]) -> None:
    """The message names the command that installs it."""
    with pytest.raises(RenderError, match="make setup"):
        synthesize(repository)
    assert untouched()


def test_a_working_tree_is_rendered_by_its_own_code(
    repository: Path, cdk8s: Callable[[str], None], fresh: Path
) -> None:
    """The installed package belongs to one checkout; that of another branch differs."""
    package = repository / "constructs" / "fraud_detection"
    write(package, {"__init__.py": ""})
    code = "import fraud_detection; print(fraud_detection.__file__)"
    cdk8s(f'cp -R "{fresh}" "$5"; python3 -c "{code}" > "$5/package.txt"')
    with rendered(repository) as folder:
        assert (folder / "package.txt").read_text().strip() == str(package / "__init__.py")


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_render_leaves_dist(
    tmp_path: Path,
    repository: Path,
    number: signal.Signals,
) -> None:
    """After Ctrl-C or a cancelled job, nothing half-done stays, and nothing goes on running."""
    life = tmp_path / "life"
    os.mkfifo(life)
    commit(
        repository,
        {
            "cdk8s.yaml": "app: python main.py\n",
            "main.py": "import signal, sys\n"
            f"with open({str(life)!r}, 'w') as life:\n"
            "    print('rendering', file=life, flush=True)\n"
            "    signal.pause()\n",
        },
    )
    before = read(repository)
    with (
        subprocess.Popen([PROGRAMS / "delivery", "synth"], cwd=repository) as process,
        life.open() as rendering,
    ):
        assert rendering.readline() == "rendering\n"
        process.send_signal(number)
        # The end of the file comes once the render, three processes further down, is gone.
        assert rendering.read() == ""
        assert process.wait() == 130
    assert read(repository) == before
    assert not list(repository.glob(".synth-*"))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of the sources, with a dist of its own."""
    folder = tmp_path / "checkout"
    shutil.copytree(
        REPOSITORY / "constructs",
        folder / "constructs",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shutil.copytree(REPOSITORY / "imports", folder / "imports")
    for name in ("main.py", "cdk8s.yaml", "images.yaml"):
        shutil.copy(REPOSITORY / name, folder)
    write(folder / "dist", COMMITTED)
    return folder


@pytest.mark.slow
def test_bad_input_ends_with_one_sentence_and_leaves_dist(checkout: Path) -> None:
    """The user reads what to do, not where cdk8s noticed it.

    Whether or not the environment is activated.
    """
    images = checkout / "images.yaml"
    lines = images.read_text().splitlines()
    line = next(number for number, text in enumerate(lines) if text.startswith("  tag: "))
    lines[line] = "  tag: latest"
    images.write_text("\n".join(lines))
    result = subprocess.run(
        [PROGRAMS / "delivery", "synth"],
        cwd=checkout,
        env={**os.environ, "PATH": os.defpath},
        check=False,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == (
        f"Error: images.yaml:{line + 1}: payment-api.tag: 'latest' is not a full Git commit SHA "
        "(40 hexadecimal digits); give the commit that was built.\n"
    )
    assert read(checkout / "dist") == {name: text.encode() for name, text in COMMITTED.items()}
    assert not list(checkout.glob(".synth-*"))


@pytest.mark.slow
def test_a_plain_cdk8s_synth_renders_the_same(checkout: Path) -> None:
    """A render by hand in the activated environment must not differ from the proved dist."""
    subprocess.run(
        ["cdk8s", "synth", "--check-upgrade", "false"],
        cwd=checkout,
        env={**os.environ, "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"},
        check=True,
        capture_output=True,
    )
    assert read(checkout / "dist") == read(REPOSITORY / "dist")
