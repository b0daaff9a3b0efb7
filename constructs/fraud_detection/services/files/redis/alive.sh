#!/usr/bin/env bash
# Liveness probe: succeeds when Redis answers at all. A restart would only make it start over while
# it loads a large log (LOADING), and cannot help while its volume is full (MISCONF).
set -euo pipefail

answer=$(redis-cli ping)
[[ $answer == PONG || $answer == @(LOADING|MASTERDOWN|MISCONF)* ]]
