"""The floor: an empty cdk8s-plus app. `python bench/floor.py FOLDER`."""

import sys

from cdk8s import App, Chart
from cdk8s_plus_27 import k8s  # noqa: F401 - loading it is most of what an empty app pays for

app = App(outdir=sys.argv[1])
Chart(app, "empty")
app.synth()
