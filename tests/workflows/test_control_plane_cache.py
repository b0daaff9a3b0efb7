"""The control plane that the workflows build and keep."""

import re

from repository import REPOSITORY
from workflows import WORKFLOWS, load, steps, using


def test_the_control_plane_is_built_with_the_go_that_it_asks_for() -> None:
    """An older Go refuses to build it, and the cache is for exactly one version."""
    asked = [
        re.findall(r"^go (\d+)\.(\d+)\.(\d+)$", path.read_text(), flags=re.MULTILINE)[0]
        for path in (REPOSITORY / "tools" / "control-plane").glob("*/go.mod")
    ]
    newest = max(tuple(map(int, version)) for version in asked)
    building = [
        load(path)
        for path in WORKFLOWS
        if "make control-plane" in [step.get("run") for step in steps(path)]
    ]
    toolchains = {
        (job.get("env") or {}).get("GOTOOLCHAIN") or each.get("env", {}).get("GOTOOLCHAIN")
        for each in building
        for job in each["jobs"].values()
        if "make control-plane" in [step.get("run") for step in job["steps"]]
    }
    assert toolchains == {f"go{'.'.join(map(str, newest))}"}


def test_a_control_plane_is_built_once() -> None:
    """It takes twenty minutes; a job with another key would not find it."""
    keys = {
        step["with"]["key"]
        for path in WORKFLOWS
        for step in [*using(path, "actions/cache"), *using(path, "actions/cache/restore")]
        if step["with"]["key"].startswith("control-plane-")
    }
    assert len(keys) == 1


def test_what_is_built_is_saved_at_once() -> None:
    """A later step that fails would otherwise cost the next run the same twenty minutes."""
    for path in WORKFLOWS:
        for job in load(path)["jobs"].values():
            runs = [
                step.get("run", step.get("uses", "").partition("@")[0]) for step in job["steps"]
            ]
            if "actions/cache/save" in runs and "make control-plane" in runs:
                saved = runs.index("actions/cache/save")
                assert runs[saved - 1] in {"make control-plane", "make node"}
