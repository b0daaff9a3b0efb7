"""The instructions of the demo: how a release reaches each environment of the chain."""

import re
from pathlib import Path

import pytest

from delivery.clusters.demo import instructions
from delivery.manifests.applications import Environment


@pytest.mark.parametrize("number", [1, 2, 3])
def test_commits_reach_the_first_environment_and_pushes_the_others(number: int) -> None:
    """A chain of any length can be tried."""
    chain = [
        Environment(
            application=f"application-of-{name}",
            spec={"source": {"path": f"dist/{name}", "targetRevision": f"branch-of-{name}"}},
            project={},
        )
        for name in ("trial", "test", "live")[:number]
    ]
    text = instructions(chain, origin=Path("o.git"), kubeconfig=Path("c"), kubectl=Path("k"))
    assert re.findall(r"To deliver to (\S+):", text) == ["trial"]
    assert re.findall(r"To promote to (\S+):\n  git push o\.git HEAD:(\S+)", text) == [
        (name, f"branch-of-{name}") for name in ("test", "live")[: number - 1]
    ]
