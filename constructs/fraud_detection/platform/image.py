"""Container images."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Image:
    """A container image.

    Attributes:
        repository: Registry and path.
        tag: Full Git SHA of our own images, exact version of all others.
        digest: `sha256:` and 64 hexadecimal digits. Default: whatever the tag resolves to.
    """

    repository: str
    tag: str
    digest: str | None = None

    @property
    def build(self) -> str:
        """The tag, with `@digest` if there is one."""
        return self.tag + (f"@{self.digest}" if self.digest else "")

    @property
    def reference(self) -> str:
        """Image reference for a pod: `repository:tag`, with `@digest` if there is one."""
        return f"{self.repository}:{self.build}"
