"""The images that the application repository builds."""

from delivery.products.product import Product

OWN_IMAGES = Product(
    name="the application repository",
    # Source: the application repository. Without them the programs use defaults of their own, which
    # do not exist here.
    image_addresses={
        "payment-api": ("KAFKA_BROKER",),
        "alert-monitor": ("REDIS_HOST", "REDIS_PORT"),
    },
)
