"""The control plane that the workflows build and keep."""

import pytest

from repository import REPOSITORY
from workflows import WORKFLOWS, load, using, workflow


def test_a_node_is_built_with_the_go_of_the_control_plane() -> None:
    """Its cache is for exactly one version, which the runner's own Go is not for long."""
    pinned = (REPOSITORY / "tools" / "control-plane" / ".go-version").read_text(encoding="utf-8")
    assert workflow("runtime")["env"]["GOTOOLCHAIN"] == f"go{pinned.strip()}"


@pytest.mark.parametrize(("name", "job"), [("ci", "rehearse"), ("promote", "prepare")])
def test_rehearsals_get_no_more_than_an_api_server(name: str, job: str) -> None:
    """It is a third of the control plane."""
    called = [step.get("run") for step in workflow(name)["jobs"][job]["steps"]]
    assert "make api-server" in called
    assert "make control-plane" not in called


def test_a_control_plane_is_built_once() -> None:
    """It takes up to twenty minutes; a job with another key would not find it."""
    keys = {
        step["with"]["key"]
        for path in WORKFLOWS
        for step in [*using(path, "actions/cache"), *using(path, "actions/cache/restore")]
        if step["with"]["key"].startswith(("api-server-", "control-plane-"))
    }
    # A cache is never replaced: the smaller one has a name of its own.
    assert len(keys) == 2


def test_what_is_built_is_saved_at_once() -> None:
    """A later step that fails would otherwise cost the next run the same twenty minutes."""
    for path in WORKFLOWS:
        for job in load(path)["jobs"].values():
            runs = [
                step.get("run", step.get("uses", "").partition("@")[0]) for step in job["steps"]
            ]
            if "actions/cache/save" in runs and {"make api-server", "make control-plane"} & {*runs}:
                saved = runs.index("actions/cache/save")
                assert runs[saved - 1] in {"make api-server", "make control-plane", "make node"}
