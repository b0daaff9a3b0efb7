#!/usr/bin/env bash
# postStart hook: ends the maintenance mode that drain.sh started and that outlives the restart;
# until then this broker leads no partition and no other broker may drain. It never fails: a failed
# hook restarts the broker.
#
# ADMIN_API: host:port of the admin API of this broker.
# UNDRAIN_SECONDS: time limit; the probes start only after the hook.
set -euo pipefail

give_up_at=$((SECONDS + UNDRAIN_SECONDS))

admin() {
  curl --silent --max-time 5 "$@"
}

leave_maintenance() {
  local status
  [[ $(admin "http://$ADMIN_API/v1/node_config") =~ \"node_id\":\ *([0-9]+) ]] || return 1
  status=$(admin --request DELETE --output /dev/null --write-out '%{http_code}' \
    "http://$ADMIN_API/v1/brokers/${BASH_REMATCH[1]}/maintenance")
  # 400: it was not in maintenance mode.
  [[ $status == 200 || $status == 400 ]]
}

until leave_maintenance; do
  if ((SECONDS >= give_up_at)); then
    echo "Still in maintenance mode after $UNDRAIN_SECONDS s: the broker has not joined its cluster."
    exit 0
  fi
  sleep 0.5
done
