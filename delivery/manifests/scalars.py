"""Plain scalars of YAML as go-yaml v2 decodes them, the reader behind sigs.k8s.io/yaml.

It follows YAML 1.1 with Go's rules for numbers: `on` and `y` are booleans, `0o17` and `017` are 15,
`1:30` (base 60), `=` and dates are strings.
"""

import math
import re
from decimal import Decimal

Scalar = str | float | None
"""A value without parts; `bool` and `int` count as numbers, as in Python."""

_CONSTANTS: dict[str, Scalar] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "off", "Off", "OFF"), False),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_INTEGERS = (
    (8, re.compile(r"[-+]?0[oO]?[0-7]+")),
    (16, re.compile(r"[-+]?0[xX][0-9a-fA-F]+")),
    (2, re.compile(r"[-+]?0[bB][01]+")),
    # More digits than 64 bits have are a float.
    (10, re.compile(r"[-+]?(0|[1-9][0-9]{0,19})")),
)
_SIGN_AFTER_PREFIX = re.compile(r"^0b([-+])")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_FRACTION = re.compile(r"\.[0-9](_?[0-9])*([eE][-+]?[0-9](_?[0-9])*)?")
_INT64 = range(-(2**63), 2**63)
_UINT64 = range(2**64)


def resolve(text: str) -> Scalar:
    """Return the value of a plain scalar.

    Args:
        text: The scalar, as it is written.
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] not in "+-.0123456789":
        return text
    if text[0] == ".":
        # Only here underscores have to stand between digits.
        plain = text.replace("_", "") if _FRACTION.fullmatch(text) else ""
    else:
        # go-yaml also takes a sign after the prefix of a binary number.
        plain = _SIGN_AFTER_PREFIX.sub(r"\g<1>0b", text.replace("_", ""))
    for base, pattern in _INTEGERS:
        if pattern.fullmatch(plain):
            integer = int(plain, base)
            if integer in _INT64 or (integer in _UINT64 and plain[0] != "+"):
                return integer
    # A number beyond the range of a float is a string.
    if _FLOAT.fullmatch(plain) and math.isfinite(number := float(plain)):
        return number
    return text


def as_json(value: Scalar) -> Scalar:
    """Return a scalar as Kubernetes has it after its way through JSON.

    Args:
        value: The scalar; infinity and NaN have no JSON.

    Returns:
        An integer for every whole number of 64 bits, a float for all others.
    """
    if isinstance(value, float) and value.is_integer():
        # The shortest decimal is what JSON gets: above 2**53 it is another number.
        whole = int(Decimal(repr(value)))
        return whole if whole in _INT64 else value
    if isinstance(value, int) and value not in _INT64:
        return float(value)
    return value


def as_key(value: Scalar) -> str | None:
    """Return the key of a JSON object that a scalar becomes, None if it cannot be one.

    Args:
        value: The scalar. A float is refused: `1.10` would become the key `1.1`.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value) if value in _INT64 else None
    return value if isinstance(value, str) else None
