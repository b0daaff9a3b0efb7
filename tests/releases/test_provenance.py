"""Only images that our workflow built from main are releases: asked of the real gh, offline."""

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import registry
import remotes
from attestations import Run, Sigstore
from delivery.commands import CommandError
from delivery.git import GitError
from delivery.releases.history import HistoryError
from delivery.releases.provenance import (
    Builder,
    Evidence,
    ProvenanceError,
    require_merged,
    verify,
)
from fraud_detection.platform.image import Image
from registry import StandIn

COMMIT, OTHER_COMMIT = "a" * 40, "b" * 40
BUILDER = Builder(
    source="Owner/application", workflow="Owner/config/.github/workflows/deliver-service.yml"
)
RUN = Run(workflow=BUILDER.workflow, source=BUILDER.source, commit=COMMIT)

pytestmark = pytest.mark.usefixtures("git_environment")


@dataclass(frozen=True, kw_only=True)
class Built:
    """A registry with one image, and who attests what about it."""

    stand_in: StandIn
    image: Image
    sigstore: Sigstore
    folder: Path

    @property
    def evidence(self) -> Evidence:
        """The files that gh reads."""
        return Evidence(
            bundle=self.folder / "bundle.jsonl", trusted_root=self.folder / "trusted_root.jsonl"
        )

    def attest(self, *runs: Run, subject: str | None = None, digest: str | None = None) -> None:
        """Have runs attest that they built the image, or another one."""
        bundles = [
            self.sigstore.attest(
                run,
                subject=subject or self.image.repository,
                digest=digest or str(self.image.digest),
            )
            for run in runs
        ]
        self.evidence.bundle.write_text("\n".join(bundles), encoding="utf-8")

    def refusal(self, image: Image | None = None) -> str:
        """Return why the image is refused."""
        with pytest.raises(ProvenanceError) as caught:
            verify(image or self.image, BUILDER, evidence=self.evidence)
        return str(caught.value)


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Built]:
    """An image in a registry and a trusted root, without the user's own logins."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for name in ("GH_CONFIG_DIR", "DOCKER_CONFIG"):
        monkeypatch.setenv(name, str(tmp_path / "nobody"))
    for name in ("GH_TOKEN", "GITHUB_TOKEN", "GH_HOST"):
        monkeypatch.delenv(name, raising=False)
    sigstore = Sigstore()
    (tmp_path / "trusted_root.jsonl").write_text(sigstore.trusted_root(), encoding="utf-8")
    with registry.serve() as stand_in:
        digest = stand_in.push("owner/payment-api", COMMIT)
        repository = f"{stand_in.address}/owner/payment-api"
        image = Image(repository=repository, tag=COMMIT, digest=digest)
        yield Built(stand_in=stand_in, image=image, sigstore=sigstore, folder=tmp_path)


def test_a_genuine_build_is_accepted(built: Built) -> None:
    """Every refusal below differs from this one in a single thing."""
    built.attest(RUN)
    verify(built.image, BUILDER, evidence=built.evidence)


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (
            replace(RUN, workflow="Owner/application/.github/workflows/deliver-service.yml"),
            r"its signer is https://github\.com/Owner/application/.*, not .*/Owner/config/",
        ),
        (
            replace(RUN, workflow=f"{BUILDER.workflow}.evil.yml"),
            r"its signer is .*/deliver-service\.yml\.evil\.yml@refs/heads/main, not ",
        ),
        (
            replace(RUN, workflow_ref="refs/heads/feature"),
            r"its signer is .*/deliver-service\.yml@refs/heads/feature, not .*@refs/heads/main",
        ),
        (replace(RUN, ref="refs/heads/feature"), "its branch is refs/heads/feature, not "),
        (replace(RUN, ref="refs/tags/main"), "its branch is refs/tags/main, not "),
        (replace(RUN, commit=OTHER_COMMIT), f"its commit is {OTHER_COMMIT}, not {COMMIT}"),
        (replace(RUN, runner="self-hosted"), "its runner is self-hosted, not github-hosted"),
        (
            replace(RUN, source="Owner/other"),
            r"expected SourceRepositoryURI to be .*/Owner/application, got .*/Owner/other",
        ),
        (
            replace(RUN, source="Other/application"),
            r"expected SourceRepositoryOwnerURI to be .*/Owner, got .*/Other",
        ),
    ],
)
def test_another_way_to_build_is_refused(built: Built, run: Run, reason: str) -> None:
    """Whoever can run any workflow anywhere can make an honest attestation of that run."""
    built.attest(run)
    assert re.search(f"is not a verified build of ours: .*{reason}", built.refusal())


def test_all_that_differs_is_named(built: Built) -> None:
    """Whoever repairs one thing at a time needs a build for each."""
    built.attest(replace(RUN, ref="refs/heads/feature", runner="self-hosted"))
    refusal = built.refusal()
    assert "its branch is refs/heads/feature" in refusal
    assert "and its runner is self-hosted" in refusal


def test_a_genuine_attestation_among_others_is_enough(built: Built) -> None:
    """Anybody who may write to the application repository can attest an image a second time."""
    built.attest(replace(RUN, ref="refs/heads/feature"), RUN)
    verify(built.image, BUILDER, evidence=built.evidence)


def test_another_digest_is_refused(built: Built) -> None:
    """An honest tag with somebody else's digest: a runtime follows the digest."""
    digest = built.stand_in.push("owner/payment-api", COMMIT, content='{"other": true}')
    built.attest(RUN)
    refusal = built.refusal(replace(built.image, digest=digest))
    assert f"{digest} is not a verified build of ours: no attestation of it" in refusal


def test_a_digest_that_the_registry_lacks_is_refused(built: Built) -> None:
    """No pod could start with it."""
    built.attest(RUN, digest=f"sha256:{'0' * 64}")
    refusal = built.refusal(replace(built.image, digest=f"sha256:{'0' * 64}"))
    assert "no attestation of it can be verified (failed to fetch remote image: " in refusal


def test_a_build_of_another_service_is_refused(built: Built) -> None:
    """One workflow builds them all from one commit: only the attested name tells them apart."""
    built.attest(RUN, subject="ghcr.io/owner/alert-monitor")
    assert "it was built as ghcr.io/owner/alert-monitor." in built.refusal()


def test_the_name_in_a_foreign_attestation_does_not_count(built: Built) -> None:
    """A second attestation by anybody could lend an image of ours another name of ours."""
    digest = str(built.image.digest)
    named = {"subject": built.image.repository, "digest": digest}
    foreign = built.sigstore.attest(replace(RUN, ref="refs/heads/feature"), **named)
    genuine = built.sigstore.attest(RUN, subject="ghcr.io/owner/alert-monitor", digest=digest)
    built.evidence.bundle.write_text(f"{foreign}\n{genuine}", encoding="utf-8")
    assert "it was built as ghcr.io/owner/alert-monitor." in built.refusal()


@pytest.mark.parametrize("organization", ["Test", "Other"])
def test_another_root_is_refused(built: Built, organization: str) -> None:
    """Anybody can sign anything with a certificate authority of their own, of any name."""
    replace(built, sigstore=Sigstore(organization)).attest(RUN)
    assert f'issuer "{organization}")' in built.refusal()


def test_an_image_without_a_digest_is_refused(built: Built) -> None:
    """A tag can be moved after it was verified."""
    built.attest(RUN)
    refusal = built.refusal(replace(built.image, digest=None))
    assert refusal.endswith("has no digest: give the one that was built.")


def test_a_registry_that_does_not_answer_is_named(built: Built) -> None:
    """Nothing is wrong with the image: trying again may help."""
    built.attest(RUN)
    elsewhere = replace(built.image, repository="127.0.0.1:1/owner/payment-api")
    assert "connection refused" in built.refusal(elsewhere)


def test_without_evidence_github_is_asked(built: Built) -> None:
    """The offline files are for tests and disconnected machines; here, gh has no login."""
    with pytest.raises(ProvenanceError, match=r"gh auth login|GH_TOKEN"):
        verify(built.image, BUILDER)


def application(folder: Path) -> tuple[Path, str, str]:
    """Return a clone of an application, its merged commit and one that is on a branch only."""
    origin = folder / "origin"
    merged, _ = remotes.application(origin, 2)
    remotes.run_git(folder, "clone", "--quiet", str(origin), "clone")
    clone = folder / "clone"
    return clone, merged, remotes.commit(clone, "Not merged")


def test_a_commit_of_main_is_merged(tmp_path: Path) -> None:
    """Also one that main has left behind: a rollback is a release, too."""
    clone, merged, _ = application(tmp_path)
    require_merged(merged, str(clone))
    require_merged(remotes.run_git(clone, "rev-parse", "origin/main"), str(clone))


def test_a_commit_of_a_branch_is_not_merged(tmp_path: Path) -> None:
    """The local main counts for nothing: only the remote's was reviewed."""
    clone, _, unmerged = application(tmp_path)
    with pytest.raises(ProvenanceError, match=f"{unmerged} is not on the main branch of .*clone"):
        require_merged(unmerged, str(clone))


def test_an_unknown_commit_is_not_merged(tmp_path: Path) -> None:
    """The clone may be stale."""
    clone, _, _ = application(tmp_path)
    with pytest.raises(HistoryError, match=f"no commit '{OTHER_COMMIT}' here; fetch it"):
        require_merged(OTHER_COMMIT, str(clone))


def test_a_clone_without_the_remote_branch_is_refused(tmp_path: Path) -> None:
    """Its own main is whatever its user made of it."""
    [commit] = remotes.application(tmp_path / "application", 1)
    with pytest.raises(GitError, match="refs/remotes/origin/main"):
        require_merged(commit, str(tmp_path / "application"))


@pytest.fixture
def github(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for gh; the file holds how the commit relates to the tip of main."""
    status = tmp_path / "status"
    gh = tmp_path / "bin" / "gh"
    gh.parent.mkdir()
    gh.write_text(
        "#!/bin/sh\n"
        'case "$2" in\n'
        f"repos/Owner/app/branches/main) echo {OTHER_COMMIT} ;;\n"
        f"repos/Owner/app/compare/{OTHER_COMMIT}...{COMMIT}) cat {str(status)!r} ;;\n"
        '*) echo "not found: $2" >&2; exit 1 ;;\n'
        "esac\n",
        encoding="utf-8",
    )
    gh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{gh.parent}{os.pathsep}{os.defpath}")
    return status


@pytest.mark.parametrize("status", ["identical", "behind"])
def test_github_finds_a_commit_in_main(github: Path, status: str) -> None:
    """Seen from main, what it contains is behind it."""
    github.write_text(status, encoding="utf-8")
    require_merged(COMMIT, "Owner/app")


@pytest.mark.parametrize("status", ["ahead", "diverged"])
def test_github_knows_commits_that_main_lacks(github: Path, status: str) -> None:
    """It compares those of branches and of anybody's fork, too."""
    github.write_text(status, encoding="utf-8")
    with pytest.raises(ProvenanceError, match=f"{COMMIT} is not on the main branch of Owner/app"):
        require_merged(COMMIT, "Owner/app")


@pytest.mark.usefixtures("github")
def test_a_repository_that_github_does_not_know_is_refused() -> None:
    """A misspelt name must not pass for a main without commits."""
    with pytest.raises(CommandError, match="not found: repos/Owner/aap/branches/main"):
        require_merged(COMMIT, "Owner/aap")
