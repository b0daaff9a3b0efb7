"""Allowances in commit messages: which lines count, and what they allow."""

from pathlib import Path

import pytest

from delivery.manifests.tree import Desired
from delivery.rehearsal.allowances import Allowance, AllowanceError, Line, fingerprint, recorded
from remotes import run_git

ENVIRONMENTS = ("dev", "staging")
ALLOWED = "StatefulSet.apps/redis=data-at-risk:0123456789ab"
MOVED = f"staging {ALLOWED} it was moved"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit, tagged `base`."""
    run_git(tmp_path, "init", "--quiet")
    commit(tmp_path, "Base\n\nRehearsal-Allow: staging StatefulSet/redis=data-at-risk long ago")
    run_git(tmp_path, "tag", "base")
    return tmp_path


def commit(repository: Path, message: str) -> str:
    """Make an empty commit; return the first twelve digits of its hash."""
    run_git(repository, "commit", "--quiet", "--allow-empty", "--message", message)
    return run_git(repository, "rev-parse", "HEAD")[:12]


def texts(repository: Path) -> list[str]:
    """Return the texts of the lines since the base."""
    return [line.text.strip() for line in recorded(repository, "base")]


def test_commits_since_the_base_count(repository: Path) -> None:
    """An old allowance was for another change."""
    assert texts(repository) == []
    commit(repository, f"Move redis\n\nRehearsal-Allow: {MOVED}")
    assert texts(repository) == [MOVED]


def test_the_other_parent_of_a_merge_counts(repository: Path) -> None:
    """CI checks out a pull request as a merge whose first parent is the base."""
    run_git(repository, "switch", "--quiet", "--create", "change")
    commit(repository, f"Move redis\n\nRehearsal-Allow: {MOVED}")
    run_git(repository, "switch", "--quiet", "-")
    run_git(repository, "merge", "--quiet", "--no-ff", "--message", "Merge", "change")
    assert texts(repository) == [MOVED]


def test_a_squashed_message_counts(repository: Path) -> None:
    """GitHub joins the messages of all commits, so the line is not among the trailers."""
    commit(repository, f"All\n\n* Move redis\n\nRehearsal-Allow: {MOVED}\n\n* More\n\nA word.")
    assert texts(repository) == [MOVED]


def test_a_message_may_have_several(repository: Path) -> None:
    """A change may need one for each environment."""
    commit(repository, "Move\n\nRehearsal-Allow: dev a\nRehearsal-Allow: staging b")
    assert texts(repository) == ["dev a", "staging b"]


def test_a_mention_in_a_sentence_does_not_count(repository: Path) -> None:
    """Whoever explains the keyword allows nothing."""
    commit(repository, f"Explain\n\nWith Rehearsal-Allow: {MOVED} it would pass.")
    assert texts(repository) == []


@pytest.mark.parametrize(
    "trailer",
    ["Service: redis", "Release: redis 7.2.16", "Pin: staging redis 7.2.16", "Unpin: a b"],
)
def test_a_change_of_images_allows_nothing(repository: Path, trailer: str) -> None:
    """Its message quotes a reason that no reviewer took for an allowance."""
    commit(repository, f"Hold redis\n\nRehearsal-Allow: {MOVED}\n\n{trailer}")
    assert texts(repository) == []


def test_the_reason_names_author_and_commit(repository: Path) -> None:
    """A reviewer may want to ask the author."""
    made = commit(repository, f"Move redis\n\nRehearsal-Allow: {MOVED}")
    [line] = recorded(repository, "base")
    assert line.read(ENVIRONMENTS) == (
        "staging",
        Allowance(name=ALLOWED, reason=f"it was moved (A Person, unsigned, {made})", commit=made),
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "staging",
        f"staging {ALLOWED}",
        f"{ALLOWED} it was moved",
        f"production {ALLOWED} it was moved",
        "staging StatefulSet=data-at-risk:0123456789ab it was moved",
        "staging StatefulSet.apps/redis=pruned:0123456789ab it was moved",
        "staging StatefulSet.apps/redis=data-at-risk it was moved",
        "staging StatefulSet.apps/redis=data-at-risk:0123 it was moved",
    ],
)
def test_a_malformed_line_is_an_error(text: str) -> None:
    """Its author would otherwise wonder why the verdict still blocks."""
    with pytest.raises(AllowanceError, match="OBJECT=VERDICT:HASH"):
        Line("0123456789ab", "A Person", text).read(ENVIRONMENTS)


def test_a_signed_commit_is_named_as_one(repository: Path) -> None:
    """The name of an author is free to choose; the keys of this machine must not decide."""
    made = commit(repository, f"Move redis\n\nRehearsal-Allow: {MOVED}")
    raw = run_git(repository, "cat-file", "commit", made)
    header, _, message = raw.partition("\n\n")
    key = "gpgsig -----BEGIN SSH SIGNATURE-----\n U1NI\n -----END SSH SIGNATURE-----"
    file = repository / "signed"
    file.write_text(f"{header}\n{key}\n\n{message}\n", encoding="utf-8")
    signed = run_git(repository, "hash-object", "-t", "commit", "-w", str(file))
    run_git(repository, "reset", "--quiet", "--hard", signed.strip())
    [line] = recorded(repository, "base")
    assert line.author == "A Person, signed, not verified here"


def desired(kind: str = "Deployment", **fields: object) -> Desired:
    """Return an object with some fields."""
    return Desired(manifest={"kind": kind, "metadata": {"name": "some"}, **fields}, file="")


def test_the_hash_is_that_of_the_difference() -> None:
    """What both versions have in common may change while a branch waits for its review."""
    first = fingerprint(desired(a=1, b=1), desired(a=2, b=1))
    assert first == fingerprint(desired(a=1, b=5), desired(a=2, b=5))
    others = [
        fingerprint(desired(a=1), desired(a=3)),
        fingerprint(desired(a=0), desired(a=2)),
        fingerprint(desired(a=2), desired(a=1)),
        fingerprint(None, desired(a=2)),
        fingerprint(desired(a=1), None),
        fingerprint(desired(a=1), desired(a=2), ["from 3 to 1 pods"]),
    ]
    assert len({first, *others}) == 1 + len(others)


BUILD = "ghcr.test/api:" + "0123456789" * 4


@pytest.mark.parametrize(
    ("image", "counts"),
    [
        (BUILD.replace("0", "a"), False),
        (f"{BUILD}@sha256:{'a' * 64}", False),
        (BUILD.replace("ghcr", "evil"), True),
        ("ghcr.test/api:7.2", True),
    ],
)
def test_a_build_of_ours_is_no_other_change(image: str, *, counts: bool) -> None:
    """Builds are released several times a day; the version of a product may not fit its data."""
    before = desired(image=BUILD, a=1)
    first, second = (fingerprint(before, desired(image=each, a=2)) for each in (BUILD, image))
    assert (first != second) is counts


def test_the_hash_tells_nothing_about_a_secret() -> None:
    """Twelve digits are enough to try passwords."""
    before = desired(kind="Secret", data={"a": "b2xk"})
    first, second = (
        fingerprint(before, desired(kind="Secret", data={"a": each})) for each in ("bmV3", "Zm9v")
    )
    assert first == second != fingerprint(before, before)
