"""Values that the typed structs want as objects; cached, because each one costs a call to Node."""

from functools import cache

from cdk8s_plus_27 import k8s


@cache
def number(value: int) -> k8s.IntOrString:
    """A port or a count where a name or a percentage could stand."""
    return k8s.IntOrString.from_number(value)


@cache
def quantity(text: str) -> k8s.Quantity:
    """An amount as Kubernetes writes it, such as `250m` or `64Mi`."""
    return k8s.Quantity.from_string(text)


def cores(thousandths: int) -> k8s.Quantity:
    """Processor time, from thousandths of a core, in the form in which the API server keeps it."""
    whole, rest = divmod(thousandths, 1000)
    return quantity(f"{thousandths}m" if rest else str(whole))


def mebibytes(amount: int) -> k8s.Quantity:
    """Memory or storage, from MiB, in the form in which the API server keeps it."""
    whole, rest = divmod(amount, 1024)
    return quantity(f"{amount}Mi" if rest else f"{whole}Gi")
