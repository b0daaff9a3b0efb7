"""The family of errors that a user can cause, and the exit codes that workflows rely on."""

from typing import ClassVar


class DeliveryError(Exception):
    """A command cannot do what it was asked; the message is one sentence with the remedy.

    Attributes:
        exit_code: Exit status of the command. Default: 2, as for a wrong option. 1 is the answer
            "no" of a command that proves something, and never an error.
    """

    exit_code: ClassVar[int] = 2


BUG = 70
"""Exit status after a traceback: an internal error, as sysexits.h calls it."""
INTERRUPTED = 130
"""Exit status after Ctrl-C or SIGTERM, as shells report it."""


def describe(error: Exception) -> str:
    """Return an error's message; for one of the operating system, with the file it is about."""
    if not isinstance(error, OSError):
        return str(error)
    return ": ".join(str(part) for part in (error.strerror, error.filename) if part) or str(error)
