"""The table of contents of what is rendered."""

from pathlib import Path

import pytest

import main
from fraud_detection.environments import ENVIRONMENTS
from fraud_detection.images import read_images
from fraud_detection.platform.settings import SettingsError
from fraud_detection.system import System
from repository import REPOSITORY


def test_settings_that_are_refused_leave_every_folder_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of dist would be new, and the other half of an earlier render."""

    def last_is_refused(app: object, **arguments: object) -> object:
        if arguments["environment"] is ENVIRONMENTS[-1]:
            raise SettingsError("refused")
        return System(app, **arguments)  # type: ignore[arg-type] # as they were given

    monkeypatch.setattr(main, "System", last_is_refused)
    names = [each.name for each in ENVIRONMENTS]
    releases = read_images(REPOSITORY / "images.yaml", environments=names)
    with pytest.raises(SettingsError):
        main.render(tmp_path, releases)
    assert list(tmp_path.iterdir()) == []
