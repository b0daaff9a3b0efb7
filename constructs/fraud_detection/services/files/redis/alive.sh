#!/usr/bin/env bash
# Liveness probe: succeeds when Redis answers at all. While it loads a large append-only file it
# serves no client, but a restart would only make it start over.
set -euo pipefail

answer=$(redis-cli ping)
[[ $answer == PONG || $answer == LOADING* || $answer == MASTERDOWN* ]]
