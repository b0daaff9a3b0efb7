"""Which versions of a store may follow which: its data decides."""

import pytest

from delivery.products.catalog import version_risks

REDIS, REDPANDA = "docker.io/library/redis", "docker.io/redpandadata/redpanda"


@pytest.mark.parametrize(
    ("repository", "before", "after"),
    [
        (REDIS, "7.2.16-bookworm", "7.2.16-bookworm"),
        (REDIS, "7.2.16-bookworm", "7.2.15-bookworm"),
        (REDIS, "7.2.16-bookworm", "7.4.11-trixie"),
        (REDIS, "7.2.16", "8.2.1"),
        (REDIS, "7.2.16-alpine", "7.2.17-alpine"),
        (REDPANDA, "v25.3.15", "v25.3.9"),
        (REDPANDA, "v25.2.4", "v25.3.15"),
        (REDPANDA, "v25.3.15", "v26.1.14"),
        ("registry.test/store", "2.0.0", "1.0.0"),
    ],
)
def test_ordinary_changes_are_accepted(repository: str, before: str, after: str) -> None:
    """A false alarm teaches people to ignore the true ones."""
    assert version_risks(repository, before, after) == []


@pytest.mark.parametrize(
    ("repository", "before", "after", "risk"),
    [
        (REDIS, "7.4.11", "7.2.16", "the older release cannot read"),
        (REDIS, "10.0.1", "9.0.1", "the older release cannot read"),
        (REDIS, "7.2.16-bookworm", "7.2.16-alpine", "no bash"),
        (REDPANDA, "v26.1.14", "v25.3.15", "the older release cannot read"),
        (REDPANDA, "v25.3.15", "v26.2.1", "v26.1 must run first"),
        (REDPANDA, "v25.1.1", "v25.3.1", "v25.2 must run first"),
        (REDPANDA, "v25.3.15", "v27.1.1", "v26.1 must run first"),
        (REDPANDA, "v25.3.15", "v25.3.15-distroless", "no bash"),
        (REDIS, "7.2.16", "latest", "is unknown"),
    ],
)
def test_what_the_data_or_the_scripts_forbid_is_refused(
    repository: str, before: str, after: str, risk: str
) -> None:
    """Each of these ends in a crash loop on whole files, or in a pod that never gets ready."""
    [found] = version_risks(repository, before, after)
    assert risk in found
