"""The manifests as a reviewer reads them: one YAML file per service and environment.

They are rendered with fixed images, so that a release never touches them. After a change that is
meant, `make snapshots` writes them anew, and their diff is the review.
"""

import pytest
from cdk8s import Yaml
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from rendering import Manifests, dev, staging


class _YamlFile(SingleFileSnapshotExtension):
    file_extension = "yaml"
    _write_mode = WriteMode.TEXT


SERVICES = [
    "alert-monitor",
    "flink",
    "namespace",
    "payment-api",
    "redis",
    "redpanda",
    "transactions-topic",
]


def _yaml(system: Manifests, service: str) -> str:
    return "---\n".join(Yaml.stringify(manifest) for manifest in system.files[service])


@pytest.mark.parametrize("service", [*SERVICES, "smoke-test"])
def test_dev(service: str, snapshot: SnapshotAssertion) -> None:
    """Whatever changes in dev is seen in the review, field by field."""
    assert _yaml(dev(), service) == snapshot(extension_class=_YamlFile)


@pytest.mark.parametrize("service", SERVICES)
def test_staging(service: str, snapshot: SnapshotAssertion) -> None:
    """Whatever changes in staging is seen in the review, field by field."""
    assert _yaml(staging(), service) == snapshot(extension_class=_YamlFile)


def test_every_file_has_a_snapshot() -> None:
    """A new service must be added above, or nobody would review it."""
    assert set(dev().files) == {*SERVICES, "smoke-test"}
    assert set(staging().files) == set(SERVICES)
