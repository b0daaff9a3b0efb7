"""A remote that answers pushes as GitHub does with our rulesets."""

from collections.abc import Iterator
from contextlib import contextmanager

from remotes import Remote

_RULES = """\
#!/bin/sh
test -e open && exit 0
case "$1 $APP" in
"refs/heads/develop yes") exit 0 ;;
refs/heads/develop* | refs/heads/main*) ;;
*) exit 0 ;;
esac
echo "error: GH013: Repository rule violations found for $1." >&2
exit 1
"""
"""The App, whose pushes have APP=yes, may push to develop, and nobody to main."""


def protect(remote: Remote) -> None:
    """Apply the rulesets."""
    hook = remote.bare / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(_RULES, encoding="utf-8")
    hook.chmod(0o755)


@contextmanager
def opened(remote: Remote) -> Iterator[None]:
    """Let pushes pass, as GitHub does to merge a pull request."""
    (remote.bare / "open").touch()
    yield
    (remote.bare / "open").unlink()
