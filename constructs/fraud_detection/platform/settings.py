"""Mistakes in the settings of an environment."""


class SettingsError(ValueError):
    """Settings contradict each other; the message is one sentence with file, field and remedy."""
