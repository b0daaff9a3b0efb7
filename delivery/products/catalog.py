"""The products that we run."""

from delivery.products.flink import FLINK
from delivery.products.own_images import OWN_IMAGES
from delivery.products.redis import REDIS
from delivery.products.redpanda import REDPANDA

PRODUCTS = (FLINK, REDPANDA, REDIS, OWN_IMAGES)


def version_risks(repository: str, before: str, after: str) -> list[str]:
    """Return why a store must not go from one tag of its image to another; empty if it may."""
    name = repository.rpartition("/")[2]
    return [
        risk
        for product in PRODUCTS
        if name in product.versions and before != after
        for risk in product.versions[name](before, after)
    ]
