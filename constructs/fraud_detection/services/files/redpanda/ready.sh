#!/usr/bin/env bash
# Startup and readiness probe: succeeds when the broker of this pod reports that it is ready. The
# status code alone is not enough: a broker that still boots answers 200 with the status "booting".
#
# ADMIN_API: host:port of the admin API of this broker.
set -euo pipefail

answer=$(curl --silent --show-error --fail --max-time 3 "http://$ADMIN_API/v1/status/ready")
[[ $answer =~ \"status\":\ *\"ready\" ]]
