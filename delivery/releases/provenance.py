"""Proof that an image of our own was built by our workflow, from the application's main branch."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from delivery.commands import CommandError, gh
from delivery.errors import DeliveryError
from delivery.git import resolve
from delivery.releases.history import Order, order
from fraud_detection.images import COMMIT
from fraud_detection.platform.image import Image

_MAIN = "refs/heads/main"


class ProvenanceError(DeliveryError):
    """An image is not a verified build of ours; the message says what differs."""


@dataclass(frozen=True, kw_only=True)
class Builder:
    """The one way in which our images are built.

    Attributes:
        source: OWNER/NAME of the application repository, whose main branch is built.
        workflow: OWNER/NAME/PATH of the reusable workflow that builds and signs, as it is on the
            main branch of its own repository.
    """

    source: str
    workflow: str

    @property
    def identity(self) -> str:
        """The name in the certificate of whoever signs."""
        return f"https://github.com/{self.workflow}@{_MAIN}"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Files that replace the network: the attestations and the keys to trust.

    Attributes:
        bundle: Sigstore bundles, as `gh attestation download` writes them.
        trusted_root: The certificates to trust, as `gh attestation trusted-root` prints them.
    """

    bundle: Path
    trusted_root: Path

    def options(self) -> list[str]:
        """Return the options of gh that name the files."""
        return [f"--bundle={self.bundle}", f"--custom-trusted-root={self.trusted_root}"]


def is_ours(image: Image) -> bool:
    """Whether an image is our own: its tag is the commit that was built, and no version."""
    return bool(COMMIT.accepts(image.tag))


def verify(image: Image, builder: Builder, *, evidence: Evidence | None = None) -> None:
    """Refuse an image unless our workflow attests that it built it from the commit of its tag.

    Args:
        image: An image of ours; its tag is the full SHA of a commit.
        builder: Who must have built it.
        evidence: What to believe. Default: GitHub's attestations and its trusted root.

    Raises:
        ProvenanceError: If the image has no digest, its repository does not have that digest, or
            no attestation matches.
    """
    if image.digest is None:
        raise ProvenanceError(f"{image.reference} has no digest: give the one that was built.")
    policy = [
        f"--cert-identity={builder.identity}",
        f"--source-ref={_MAIN}",
        f"--source-digest={image.tag}",
        "--deny-self-hosted-runners",
    ]
    try:
        attestations = _attestations(image, builder, evidence, policy)
    except CommandError as error:
        differences = _differences(image, builder, evidence)
        reason = " ".join(error.reason.removeprefix("Error: ").rstrip(".").split())
        raise _refusal(
            image, differences or f"no attestation of it can be verified ({reason})"
        ) from error
    # gh compares digests only: an image of ours can be pushed again under another name of ours.
    names = {
        subject["name"]
        for attestation in attestations
        for subject in attestation["statement"]["subject"]
    }
    if image.repository not in names:
        raise _refusal(image, f"it was built as {', '.join(sorted(names))}")


def require_merged(commit: str, history: str) -> None:
    """Refuse a commit that the application's main branch does not contain.

    Args:
        commit: Full SHA. GitHub knows those of every fork, so it is not enough that it exists.
        history: A local clone of the application repository, whose `origin/main` counts, or
            OWNER/NAME of one on GitHub.

    Raises:
        ProvenanceError: If main does not contain the commit.
        HistoryError: If the history does not have the commit.
        GitError: If the clone has no `origin/main`.
        CommandError: If GitHub does not answer.
    """
    folder = Path(history)
    if folder.is_dir():
        main = resolve(folder, "refs/remotes/origin/main")
    else:
        # The branch, even if there is also a tag of that name.
        main = gh("api", f"repos/{history}/branches/main", "--jq", ".commit.sha")
    if order(history, released=main, build=commit) not in {Order.SAME, Order.OLDER}:
        raise ProvenanceError(
            f"Commit {commit} is not on the main branch of {history}: merge it there first."
        )


def _attestations(
    image: Image, builder: Builder, evidence: Evidence | None, policy: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the verification results of the attestations that satisfy a policy.

    Raises:
        CommandError: If there are none.
    """
    offline = [] if evidence is None else evidence.options()
    answer = gh(
        *("attestation", "verify", f"oci://{image.repository}@{image.digest}"),
        *(f"--repo={builder.source}", *policy, *offline),
        *("--format=json", "--jq=[.[].verificationResult]"),
    )
    results: list[dict[str, Any]] = json.loads(answer)
    return results


def _differences(image: Image, builder: Builder, evidence: Evidence | None) -> str:
    """Return how the attestations of an image differ from what we ask; gh names only some parts."""
    expected = {
        "subjectAlternativeName": ("signer", builder.identity),
        "sourceRepositoryRef": ("branch", _MAIN),
        "sourceRepositoryDigest": ("commit", image.tag),
        "runnerEnvironment": ("runner", "github-hosted"),
    }
    attestations = []
    with suppress(CommandError):
        anybody = "--cert-identity-regex=^https://"
        attestations = _attestations(image, builder, evidence, [anybody])
    return " and ".join(
        f"its {name} is {found}, not {wanted}"
        for attestation in attestations
        for key, (name, wanted) in expected.items()
        if (found := attestation["signature"]["certificate"].get(key)) != wanted
    )


def _refusal(image: Image, reason: str) -> ProvenanceError:
    return ProvenanceError(f"{image.reference} is not a verified build of ours: {reason}.")
