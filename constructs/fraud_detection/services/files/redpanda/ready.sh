#!/usr/bin/env bash
# Startup and readiness probe: succeeds when this pod's own broker says that it is ready. The status
# code alone says nothing: a broker that still boots answers 200 with the status "booting".
#
# ADMIN_API: host:port of this broker's admin API.
set -euo pipefail

answer=$(curl --silent --show-error --fail --max-time 3 "http://$ADMIN_API/v1/status/ready")
[[ $answer =~ \"status\":\ *\"ready\" ]]
