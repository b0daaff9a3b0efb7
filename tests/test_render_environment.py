"""The environment of a render: nothing that whoever runs it keeps secret.

A line in main.py of any branch once read the token of a bump. It can still read the files of the
user who runs it: a job that has secrets renders in another one.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from delivery.manifests.dist import RenderError, rendered
from delivery.releases import changes, landing
from remotes import ENVIRONMENT, Remote, commit, run_git

pytestmark = pytest.mark.slow

SECRETS = (
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "ACTIONS_RUNTIME_TOKEN",
    "APP_PRIVATE_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "DOCKER_CONFIG",
    "GH_TOKEN",
    "GITHUB_ENV",
    "GITHUB_TOKEN",
    "GIT_ASKPASS",
    "GIT_CONFIG_VALUE_0",
    "KUBECONFIG",
    "NODE_AUTH_TOKEN",
    "SOME_SECRET",
    "SSH_AUTH_SOCK",
    "UV_PUBLISH_TOKEN",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "npm_config__auth",
)
VALUE = "known to somebody"
MAIN = """\
import json, os, pathlib
pathlib.Path({file!r}).write_text(json.dumps(dict(os.environ)))
"""


@pytest.fixture
def main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Path]:
    """Gives a repository a main.py that writes its environment into a file, and returns the file.

    Whoever renders has secrets.
    """
    for name in SECRETS:
        monkeypatch.setenv(name, VALUE)
    # It is read by Git.
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "http.extraHeader")
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)

    def write(repository: Path) -> Path:
        file = tmp_path / "environment.json"
        (repository / "cdk8s.yaml").write_text("app: python main.py\n", encoding="utf-8")
        (repository / "main.py").write_text(MAIN.format(file=str(file)), encoding="utf-8")
        return file

    return write


def assert_without_secrets(file: Path) -> None:
    """Assert that there is no secret, also under another name."""
    found = file.read_text(encoding="utf-8")
    assert "PATH" in found
    assert [name for name in SECRETS if name in found] == []
    assert VALUE not in found


def test_a_render_has_no_secrets(main: Callable[[Path], Path], tmp_path: Path) -> None:
    """Neither on a laptop, where a shell has most of them."""
    repository = tmp_path / "repository"
    repository.mkdir()
    file = main(repository)
    with pytest.raises(RenderError), rendered(repository):
        pass
    assert_without_secrets(file)


@pytest.mark.usefixtures("services")
def test_the_render_of_a_landing_has_no_secrets(
    main: Callable[[Path], Path], tmp_path: Path
) -> None:
    """The branch decides what runs there, beside the token that pushes."""
    remote = Remote.create(tmp_path)
    file = main(remote.clone)
    commit(remote.clone, "Read everything")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")
    change = changes.hold("redis", reason="slow")
    with pytest.raises(RenderError):
        landing.land(remote.clone, change, remote="origin", branch="develop")
    assert_without_secrets(file)


def test_a_render_keeps_the_language_and_the_caches_of_its_user(
    main: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another encoding changes what is read, and without its cache jsii unpacks cdk8s each time."""
    kept = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "HOME": str(tmp_path)}
    for name, value in kept.items():
        monkeypatch.setenv(name, value)
    file = main(tmp_path)
    with pytest.raises(RenderError), rendered(tmp_path):
        pass
    found = json.loads(file.read_text(encoding="utf-8"))
    assert {name: found[name] for name in kept} == kept
