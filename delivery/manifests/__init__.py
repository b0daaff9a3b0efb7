"""Rendered manifests: reading, proving and comparing dist."""
