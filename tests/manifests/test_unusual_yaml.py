"""The commands that read dist end with an answer or a sentence, whatever YAML a commit has."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

import remotes
from delivery.cli import main
from repository import REPOSITORY

COMMANDS = (["diff", "HEAD"], ["connections"], ["graph", "dev"])
CONFIG_MAP = """\
apiVersion: v1
kind: ConfigMap
metadata: {{name: unusual, namespace: fraud-detection}}
data: {{key: {value}}}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file to write in a working tree, beside the rendered files of dev."""
    for name, value in remotes.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "cdk8s.yaml").touch()
    shutil.copytree(REPOSITORY / "dist", tmp_path / "dist")
    remotes.run_git(tmp_path, "init", "--quiet")
    remotes.commit(tmp_path, "dist")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "dist" / "dev" / "unusual.yaml"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_equals_sign_is_a_string(file: Path, command: list[str]) -> None:
    """PyYAML refuses it, so that one in the arguments of a probe ended all of these commands."""
    file.write_text(CONFIG_MAP.format(value="="), encoding="utf-8")
    result = CliRunner().invoke(main, command)
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_difference_is_shown_as_it_is_applied(file: Path) -> None:
    """PyYAML reads 1:30 as 90, and Argo CD applies the string."""
    file.write_text(CONFIG_MAP.format(value="a"), encoding="utf-8")
    remotes.commit(file.parents[2], "a")
    file.write_text(CONFIG_MAP.format(value="1:30"), encoding="utf-8")
    result = CliRunner().invoke(main, ["diff", "HEAD"])
    assert "1:30" in result.stdout


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    "value",
    [
        pytest.param("a, key: b", id="duplicate key"),
        pytest.param("*unknown", id="unknown alias"),
        pytest.param("[" * 100_000, id="deep nesting"),
        pytest.param("'\x1b'", id="control character"),
    ],
)
def test_a_misleading_file_is_one_sentence(file: Path, command: list[str], value: str) -> None:
    """It names the file and the line, which a traceback or a segmentation fault does not."""
    file.write_text(CONFIG_MAP.format(value=value), encoding="utf-8")
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: dist/dev/unusual.yaml:4: ")
    assert len(result.stderr.splitlines()) == 1
