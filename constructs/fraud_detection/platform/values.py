"""Values that the typed structs need as objects; cached, because each one costs a call to Node."""

from functools import cache

from cdk8s_plus_27 import k8s


@cache
def number(value: int) -> k8s.IntOrString:
    """Return a number for a field that also accepts a name or a percentage."""
    return k8s.IntOrString.from_number(value)


@cache
def quantity(text: str) -> k8s.Quantity:
    """Return a quantity in the notation of Kubernetes, such as `250m` or `64Mi`."""
    return k8s.Quantity.from_string(text)


def cores(millicores: int) -> k8s.Quantity:
    """Return CPU time as the API server normalizes it."""
    whole, rest = divmod(millicores, 1000)
    return quantity(f"{millicores}m" if rest else str(whole))


def mebibytes(amount: int) -> k8s.Quantity:
    """Return an amount of memory or storage in MiB as the API server normalizes it."""
    whole, rest = divmod(amount, 1024)
    return quantity(f"{amount}Mi" if rest else f"{whole}Gi")
