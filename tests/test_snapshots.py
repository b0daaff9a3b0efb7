"""The manifests as a reviewer reads them: one YAML file per environment and chart.

They are rendered with fixed images, so that a release never touches them. After an intended change
`make snapshots` rewrites them, and their diff is the review.
"""

from operator import attrgetter
from pathlib import Path

import pytest
from cdk8s import Yaml
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from rendering import LIVE, Manifests, large

SYSTEMS = [*LIVE, large]
"""The live environments, and one with everything that they leave out, such as monitoring."""
FOLDER = Path(__file__).parent / "__snapshots__" / "test_snapshots"


class _YamlFile(SingleFileSnapshotExtension):
    file_extension = "yaml"
    _write_mode = WriteMode.TEXT


@pytest.mark.parametrize("system", SYSTEMS, ids=attrgetter("environment.name"))
def test_manifests(
    system: Manifests,
    snapshot: SnapshotAssertion,
    subtests: pytest.Subtests,
    request: pytest.FixtureRequest,
) -> None:
    """The review shows every change, field by field."""
    for chart, manifests in system.files.items():
        with subtests.test(chart):
            if not request.config.getoption("update_snapshots"):
                file = _file_name(system, chart)
                assert (FOLDER / file).exists(), f"{file} is missing: run `make snapshots`"
            text = "---\n".join(Yaml.stringify(manifest) for manifest in manifests)
            assert text == snapshot(name=chart, extension_class=_YamlFile)


def test_every_snapshot_is_of_a_chart(request: pytest.FixtureRequest) -> None:
    """A file that is left over from a removed service or environment would mislead a reviewer."""
    used = {FOLDER / _file_name(system, chart) for system in SYSTEMS for chart in system.files}
    unused = set(FOLDER.iterdir()) - used
    # syrupy itself removes them at the end of an update.
    if not request.config.getoption("update_snapshots"):
        assert unused == set(), "these snapshots are of no chart: run `make snapshots`"


def _file_name(system: Manifests, chart: str) -> str:
    """Return the name that syrupy gives to a snapshot of the test above."""
    return f"test_manifests[{system.environment.name}][{chart}].yaml"
