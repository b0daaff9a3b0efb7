"""The stand-ins of the runtime tests: every image of dist/dev has one."""

import pytest

from repository import REPOSITORY
from tests.runtime.images.build import FOLDER, RECIPES, read_references

_BUILD = (FOLDER / "build.py").relative_to(REPOSITORY)


@pytest.mark.parametrize("service", sorted(read_references()))
def test_every_image_has_a_stand_in(service: str) -> None:
    """Without one no runtime test runs, and only `make test-runtime` would notice."""
    assert service in RECIPES, (
        f"{_BUILD}: RECIPES has no stand-in for {service}, which dist/dev runs: add one."
    )


@pytest.mark.parametrize("service", RECIPES)
def test_every_stand_in_is_used(service: str) -> None:
    """The stand-in of a removed service would still be built."""
    assert service in read_references(), (
        f"{_BUILD}: dist/dev no longer runs {service}: remove its stand-in from RECIPES."
    )


@pytest.mark.parametrize("service", RECIPES)
def test_the_sources_of_a_stand_in_exist(service: str) -> None:
    """A typing mistake would cost the minutes that the image takes to build."""
    recipe = RECIPES[service]
    assert [
        source
        for source in recipe.programs.values()
        if not (FOLDER / recipe.folder / source).exists()
    ] == []
