#!/usr/bin/env bash
# Readiness probe: succeeds when Redis serves clients. redis-cli exits with 0 for any answer, even
# an error such as LOADING, so the probe reads the answer.
set -euo pipefail

answer=$(redis-cli ping)
[[ $answer == PONG ]]
