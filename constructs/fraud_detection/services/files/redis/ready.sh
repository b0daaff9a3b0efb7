#!/usr/bin/env bash
# Readiness probe: succeeds when Redis serves clients. redis-cli exits with 0 whatever the answer
# is, also when it is an error such as LOADING, so the answer itself must be read.
set -euo pipefail

answer=$(redis-cli ping)
[[ $answer == PONG ]]
