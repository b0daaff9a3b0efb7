"""Programs in Python that stand in for others."""

import sys


def interpreted() -> str:
    """Return the first lines of a program that this Python runs.

    A shebang takes no path with a space in it. A shell runs the second line, Python ignores it.
    """
    return f'#!/bin/sh\n"exec" "{sys.executable}" "$0" "$@"\n'
