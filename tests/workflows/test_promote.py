"""The workflow that opens promotions."""

from workflows import GITHUB, steps, using, words, workflow

PROMOTE = GITHUB / "workflows" / "promote.yml"


def test_the_promotion_contains_the_rehearsal() -> None:
    """Reviewers must read a blocking verdict there, so it must not stop the promotion."""
    rehearsed, promoted = (
        next(step for step in steps(PROMOTE) if f"delivery {name} " in step.get("run", ""))
        for name in ("rehearse", "promote")
    )
    options = words(rehearsed["run"])
    # Without a base and an environment: every one against its own branch.
    assert options[2] == "--markdown"
    verdict = words(promoted["run"])
    assert options[options.index("--markdown") + 1] == verdict[verdict.index("--verdict") + 1]
    assert rehearsed["continue-on-error"] is True
    assert "continue-on-error" not in promoted
    assert steps(PROMOTE).index(rehearsed) < steps(PROMOTE).index(promoted)


def test_the_newest_promotion_counts() -> None:
    """One at a time, so that two runs cannot open two pull requests; a running one finishes."""
    concurrency = workflow("promote")["concurrency"]
    assert concurrency == {"group": "promote", "cancel-in-progress": False}


def test_a_promotion_is_made_from_develop() -> None:
    """A push would check out its own commit, although there may be newer ones."""
    checkout, *_ = using(PROMOTE, "actions/checkout")
    assert checkout["with"]["ref"] == "develop"


def test_only_protected_branches_have_the_key() -> None:
    """A workflow on any branch could read a secret of the repository."""
    holders = [job for job in workflow("promote")["jobs"].values() if "secrets." in str(job)]
    assert [job.get("environment") for job in holders] == ["release"]
