"""An images.yaml that uses everything that is allowed, with services of its own."""

from pathlib import Path

from fraud_detection.images import COMMIT, VERSION, Releases, read_images

ENVIRONMENTS = ("dev", "staging")
SERVICES = {
    "payment-api": COMMIT,
    "alert-monitor": COMMIT,
    "flink-app": COMMIT,
    "redpanda": VERSION,
    "redis": VERSION,
}
"""The services of the file, each with the rule for its tags."""
DIGEST = "sha256:" + "0123456789abcdef" * 4
VALID = f"""\
# What runs.
payment-api:
  repository: ghcr.io/mordris/payment-api
  tag: "{"a" * 40}"  # built on a Friday
  digest: {DIGEST}
  hold: "the audit: until May"

  # Two environments wait.
  pins:
    dev:
      tag: "{"d" * 40}"
      reason: a try
    # Ask before you touch this.
    staging:
      reason: 'hotfix #7'
      tag: "{"e" * 40}"
      digest: {DIGEST}

# Exactly one runs.
alert-monitor:
  repository: ghcr.io/mordris/alert-monitor
  tag: '{"b" * 40}'
flink-app:
  repository: ghcr.io/mordris/flink-app
  tag: {"c" * 40}
redpanda:
  repository: docker.io/redpandadata/redpanda
  tag: v25.3.15
redis:
  repository: docker.io/library/redis
  tag: 7.2.16-bookworm
"""


def read(path: Path) -> Releases:
    """Read a file with these services and environments."""
    return read_images(path, environments=ENVIRONMENTS, services=SERVICES)


def edited(old: str, new: str) -> str:
    """Return the valid file with one difference."""
    assert VALID.count(old) == 1
    return VALID.replace(old, new)
