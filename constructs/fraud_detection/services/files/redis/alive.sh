#!/usr/bin/env bash
# Liveness probe: succeeds when Redis answers at all. While it loads a large append-only file it
# serves nobody, but restarting it would only make it begin again.
set -euo pipefail

answer=$(redis-cli ping)
[[ $answer == PONG || $answer == LOADING* || $answer == MASTERDOWN* ]]
