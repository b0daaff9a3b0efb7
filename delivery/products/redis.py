"""Redis."""

from delivery.products.product import Product
from delivery.products.versions import version_rule

REDIS = Product(
    name="Redis",
    secrets=frozenset({"requirepass", "masterauth"}),
    # Any release reads the files of any older one.
    versions={"redis": version_rule(lambda _was, _now: ())},
    durable_settings={
        "redis.conf": {
            "appendonly": "at the next start only the append-only file is read, or not at all",
            "dir": "Redis looks for its data elsewhere and starts empty",
        },
    },
)
