"""The physical limit: our manifests written by PyYAML alone. `python bench/bare.py JSON FOLDER`."""

import json
import sys
from pathlib import Path

import yaml

for name, manifests in json.loads(Path(sys.argv[1]).read_bytes()).items():
    file = Path(sys.argv[2], name)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as stream:
        yaml.dump_all(manifests, stream, Dumper=yaml.CSafeDumper)
