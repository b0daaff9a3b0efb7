"""Redis."""

from delivery.products.product import Product

REDIS = Product(
    name="Redis",
    secrets=frozenset({"requirepass", "masterauth"}),
    durable_settings={
        "redis.conf": {
            "appendonly": "at the next start only the append-only file is read, or not at all",
            "dir": "Redis looks for its data elsewhere and starts empty",
        },
    },
)
