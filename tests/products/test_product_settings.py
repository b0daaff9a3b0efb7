"""The settings of configuration files."""

import pytest

from delivery.products.settings import settings


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("appendonly yes\ndir /data\n", {"appendonly": "yes", "dir": "/data"}),
        ("state.backend.type: rocksdb", {"state.backend.type": "rocksdb"}),
        ("redpanda:\n  data_directory: /data", {"data_directory": "/data"}),
        ("uri: redis://redis:6379", {"uri": "redis://redis:6379"}),
    ],
    ids=["redis", "flink", "redpanda", "value-with-colons"],
)
def test_settings_are_read_in_each_format(text: str, found: dict[str, str]) -> None:
    """A setting that is not read is never compared, and a volume is lost without a word."""
    assert settings(text).items() >= found.items()


def test_comments_are_not_settings() -> None:
    """A reworded comment changes nothing."""
    assert settings("# free space\n  # dir: /\n\ndir /data\n") == {"dir": "/data"}
