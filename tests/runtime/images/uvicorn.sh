#!/bin/sh
# The command of the applications' images. The script that pip writes names the Python that ran pip.
exec python -m uvicorn "$@"
