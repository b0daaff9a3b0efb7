"""The products that we run."""

from delivery.products.flink import FLINK
from delivery.products.own_images import OWN_IMAGES
from delivery.products.redis import REDIS
from delivery.products.redpanda import REDPANDA

PRODUCTS = (FLINK, REDPANDA, REDIS, OWN_IMAGES)
