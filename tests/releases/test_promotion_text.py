"""The text of a promotion: what a reviewer reads."""

import json
import re
from pathlib import Path

import pytest

import remotes
from delivery.releases import changes
from fraud_detection.repositories import APPLICATION
from hostile import MARKUP, structure
from promoting import bump, land, pin, prepare, promote, write
from remotes import STAGING, Remote, run_git

OLD, NEW = "a" * 40, "b" * 40


pytestmark = pytest.mark.usefixtures("git_environment")


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """Create a remote whose branches develop and main are equal."""
    return Remote.create(tmp_path)


def test_it_lists_the_releases(remote: Remote) -> None:
    """With the old and the new tag, the number of bumps and a link to the commits."""
    bump(remote, OLD)
    promote(remote)
    bump(remote, "c" * 40)
    bump(remote, NEW)
    link = f"[compare]({APPLICATION}/compare/{OLD}...{NEW})"
    assert f"| payment-api | {OLD[:12]} → {NEW[:12]} | 2 | {link} |" in prepare(remote).body


def test_a_third_party_image_has_no_link_to_commits(remote: Remote) -> None:
    """Its tag is a version."""
    bump(remote, "7.2.17", service="redis")
    assert "→ 7.2.17 | 1 |  |" in prepare(remote).body


def test_a_new_digest_is_a_release(remote: Remote) -> None:
    """The same tag twice would look like no change."""
    digest = f"sha256:{'d' * 64}"
    bump(remote, "7.2.17", service="redis")
    promote(remote)
    bump(remote, "7.2.17", service="redis", digest=digest)
    assert f"| redis | 7.2.17 → 7.2.17@&#8203;sha256:{'d' * 12} | 1 |" in prepare(remote).body


def test_the_digest_is_shown_beside_a_new_tag(remote: Remote) -> None:
    """The digest decides what runs, whatever the tag says."""
    bump(remote, "7.2.17", service="redis", digest=f"sha256:{'d' * 64}")
    assert f"| redis | 7.2.16 → 7.2.17@&#8203;sha256:{'d' * 12} | 1 |" in prepare(remote).body


@pytest.mark.parametrize("how", ["--no-ff", "--squash", "--rebase"])
def test_only_bumps_since_the_last_promotion_are_counted(remote: Remote, how: str) -> None:
    """However it was merged: a squashed one has none of their commits."""
    for letter in "cd":
        bump(remote, letter * 40)
    promote(remote, how=how)
    bump(remote, NEW)
    assert f"→ {NEW[:12]} | 1 |" in prepare(remote).body


def test_it_shows_the_changes_of_staging(remote: Remote) -> None:
    """And none of dev."""
    bump(remote, NEW)
    body = prepare(remote).body
    assert "<details><summary>staging/payment-api</summary>" in body
    assert "dev/payment-api" not in body


def test_a_hold_that_begins_stays_or_ends_is_shown(remote: Remote) -> None:
    """The reviewer should know what does not move, since when, and why."""
    land(remote, changes.hold("redis", reason="slow *always*"))
    assert "- redis is held from now on: slow \\*always\\*\n" in prepare(remote).body
    promote(remote)
    bump(remote, OLD)
    assert "- redis is held: slow \\*always\\*\n" in prepare(remote).body
    land(remote, changes.unhold("redis", reason=None))
    assert "- redis is not held any more (slow \\*always\\*)\n" in prepare(remote).body


def test_what_differs_afterwards_is_shown_with_its_reason(remote: Remote) -> None:
    """A pin of either branch: nobody else can say why staging does not run what dev runs."""
    pin(remote)
    pin(remote, "d" * 40, service="alert-monitor", environment="dev", branch="develop", reason="x")
    body = prepare(remote).body
    assert "- redis is pinned in staging to 7.2.17: leaks\n" in body
    heading = "## What differs from dev afterwards\n\n"
    assert body.partition(heading)[2].partition("\n\n")[0].splitlines() == [
        f"- alert-monitor: dev runs {'d' * 12} and staging {'2' * 12}, because dev is pinned: x",
        "- redis: dev runs 7.2.16 and staging 7.2.17, because staging is pinned: leaks",
    ]


def test_a_pinned_service_does_not_change(remote: Remote) -> None:
    """All of the text is about the commit, which has the pin."""
    pin(remote)
    bump(remote, NEW)
    bump(remote, "7.2.18", service="redis")
    body = prepare(remote).body
    assert "| payment-api | " in body
    assert "| redis |" not in body
    assert "staging/redis" not in body


def test_its_commits_are_named(remote: Remote) -> None:
    """A reader can tell whether the text is about what they see."""
    bump(remote, NEW)
    found = prepare(remote)
    for commit in (found.commit, remote.head(), remote.head("main")):
        assert commit in found.body.splitlines()[0]


def test_what_is_overruled_is_a_warning(remote: Remote) -> None:
    """With the reason; but nobody reads a warning that fills a page."""
    for number in range(7):
        write(remote, "main", "code.py", f"number = {number}\n", f"Hotfix {number}")
    bump(remote, NEW)
    body = prepare(remote, overrule="done better").body
    assert "## Warnings\n\n- It undoes what only main has (done better): " in body
    assert "Hotfix 2; and 2 more, in code.py\n" in body
    assert "Hotfix 1" not in body


def test_git_needs_no_identity(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    """A workflow has none."""
    write(remote, "main", "code.py", "x = 1\n")
    bump(remote, NEW)
    for name in remotes.ENVIRONMENT:
        if name.startswith(("GIT_AUTHOR", "GIT_COMMITTER")):
            monkeypatch.delenv(name)
    # Otherwise Git derives an identity from the name of the machine.
    run_git(remote.clone, "config", "user.useConfigOnly", "true")
    assert "| payment-api | " in prepare(remote, overrule="done better").body


def test_a_service_that_main_does_not_know_is_promoted(remote: Remote) -> None:
    """Every new service is unknown to main at first."""
    remotes.add_service(remote, "ledger", NEW)
    body = prepare(remote).body
    assert f"| ledger | none → r.test/ledger:{NEW} | 1 |  |" in body
    assert "added Pod/ledger" in body


def test_no_text_of_others_is_markup(remote: Remote) -> None:
    """A link, a mention, a cell or a heading of somebody else would speak with our voice."""
    hostile = "x " + " ".join(text for text in MARKUP if text.isprintable())
    bodies = []
    for number, text in enumerate(["text", hostile]):
        write(remote, "main", "code.py", f"x = {number}\n", text)
        land(remote, changes.hold("redis", reason=text))
        pin(remote, reason=text)
        body = prepare(remote, overrule=text).body
        bodies.append(structure(body[: body.index("## Rehearsal")]))
    assert bodies[0] == bodies[1]


def test_it_warns_of_changed_applications(remote: Remote) -> None:
    """The root Application applies them without a further question."""
    file = remote.clone / "dist" / "argocd" / "system.yaml"
    file.write_text(file.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
    remotes.commit(remote.clone, "Change the Applications")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")
    assert "`dist/argocd` changes: the root Application applies it" in prepare(remote).body


def test_it_warns_of_data(remote: Remote) -> None:
    """Without its StatefulSet nothing uses the data, and its pods are gone."""
    file = remote.clone / "dist" / "staging" / "store.yaml"
    store = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "store", "namespace": STAGING.namespace},
        "spec": {"template": {"metadata": {}, "spec": {"containers": []}}},
    }
    file.write_text(json.dumps(store), encoding="utf-8")
    remotes.commit(remote.clone, "Store")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop", "HEAD:main")
    file.unlink()
    remotes.commit(remote.clone, "No store")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")
    body = prepare(remote).body
    assert "removed StatefulSet/store: it holds data" in body
    # The diagram marks it as removed.
    assert re.search(r"class n_removed_since_the_base,.*\bn_store\b.* removed\n", body)


def test_it_draws_the_changes_of_staging(remote: Remote) -> None:
    """GitHub draws the fence; dev is not in it."""
    bump(remote, NEW)
    body = prepare(remote).body
    assert "<details><summary>Diagram of staging</summary>\n\n```mermaid\nflowchart TB\n" in body
    assert "Diagram of dev" not in body


def test_without_a_change_in_the_cluster_nothing_is_drawn(remote: Remote) -> None:
    """A change of code only can be promoted, too."""
    remotes.commit(remote.clone, "Only words")
    (remote.clone / "README.md").write_text("words", encoding="utf-8")
    remotes.commit(remote.clone, "Words")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")
    body = prepare(remote).body
    assert "Nothing changes in the cluster." in body
    assert "mermaid" not in body


def test_it_quotes_the_rehearsal(remote: Remote) -> None:
    """The reviewer needs the verdict for the decision."""
    bump(remote, NEW)
    body = prepare(remote, verdict="Nothing blocks.\n").body
    assert "## Rehearsal\n\n> Nothing blocks.\n" in body
    assert "## Rehearsal\n\n> No rehearsal was run.\n" in prepare(remote).body


@pytest.mark.parametrize(
    "hostile",
    [
        "```\nnever closed",
        "<!-- never closed",
        "</blockquote></details>",
        "<details>\n\nx",
        "<div>",
    ],
)
def test_a_verdict_cannot_break_out(remote: Remote, hostile: str) -> None:
    """Code of develop wrote it: it must not hide or fake what follows."""
    bump(remote, NEW)
    body = prepare(remote, verdict=f"x\n\n{hostile}\n\n## Releases").body
    quote = body.partition("## Rehearsal\n\n")[2].partition("\n\n## Changes in")[0]
    assert all(line.startswith(">") for line in quote.splitlines())
    assert not re.search(r"<(!|/?blockquote|div)", body)


def test_the_details_of_the_rehearsal_come_last(remote: Remote) -> None:
    """However long they are, they must not displace its table and the difference."""
    bump(remote, NEW)
    folds = "<details>\n" + "x" * 70_000 + "\n</details>"
    found = prepare(remote, verdict=f"| blocked |\n\n{folds}")
    assert "## Rehearsal\n\n> | blocked |\n\n## Changes" in found.body
    assert "<details><summary>staging/payment-api</summary>" in found.body
    heading = "## Rehearsal in detail\n\n> <details>\n> x"
    assert heading in found.text
    assert heading not in found.body


def test_a_long_one_is_shortened_and_kept(remote: Remote) -> None:
    """GitHub accepts 65,536 characters; the artifact has the rest."""
    bump(remote, NEW)
    found = prepare(remote, verdict="x" * 70_000)
    assert len(found.body) < 65_536
    assert len(found.text) > 70_000
    assert "1 section omitted for length. The workflow run" in found.body
    # The others are not omitted with it.
    assert "<details><summary>staging/payment-api</summary>" in found.body
