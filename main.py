"""Everything that `cdk8s synth` renders: the environments and the Applications that apply them."""

import gc

if __name__ == "__main__":
    # A render keeps nearly all that it makes, what it imports above all: nothing is worth a search.
    gc.disable()

import os
import shutil
import sys
from pathlib import Path

from cdk8s import App, YamlOutputType

from fraud_detection.argocd import ArgoCd, rendered_kinds
from fraud_detection.environments import ENVIRONMENTS
from fraud_detection.images import ImagesError, Releases, read_images
from fraud_detection.platform.settings import SettingsError
from fraud_detection.system import System

_IMAGES = Path(__file__).parent / "images.yaml"


def render(output: Path, releases: Releases) -> None:
    """Render every manifest that Argo CD needs.

    Args:
        output: The folder that gets `argocd/` and one folder per environment, in place of those
            from an earlier render.
        releases: The images of the containers.
    """
    apps: dict[str, App] = {}
    for environment in ENVIRONMENTS:
        app = apps[environment.name] = _app(output / environment.name)
        System(app, environment=environment, images=releases.for_environment(environment.name))
    # Nothing is written before every environment has accepted its settings.
    kinds = {}
    for name, app in apps.items():
        _synth(app, output / name)
        kinds[name] = rendered_kinds(output / name)
    folder = output / "argocd"
    app = _app(folder)
    ArgoCd(app, environments=ENVIRONMENTS, kinds=kinds)
    _synth(app, folder)


def _app(folder: Path) -> App:
    return App(
        outdir=str(folder),
        output_file_extension=".yaml",
        yaml_output_type=YamlOutputType.FILE_PER_CHART,
    )


def _synth(app: App, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    app.synth()


if __name__ == "__main__":
    try:
        releases = read_images(
            _IMAGES, environments=[environment.name for environment in ENVIRONMENTS]
        )
        # Set by the cdk8s command line, which looks for the result there.
        render(Path(os.environ.get("CDK8S_OUTDIR", "dist")), releases)
    except (ImagesError, SettingsError) as error:
        sys.exit(str(error))
