"""Settings in the configuration files of products."""


def settings(text: str) -> dict[str, str]:
    """Return the settings of a file with one per line, with or without a colon after the name."""
    lines = (line for each in text.splitlines() if (line := each.strip()) and line[0] != "#")
    pairs = (line.replace(": ", " ", 1).partition(" ") for line in lines)
    return {name: value.strip() for name, _, value in pairs}
