#!/usr/bin/env bash
# postStart hook: takes this broker out of the maintenance mode that drain.sh put it into and that
# outlives the restart; until then it leads no partition and no other broker may drain. It never
# fails: that would restart the broker.
#
# ADMIN_API: host:port of this broker's admin API.
# UNDRAIN_SECONDS: the most it may take; the probes start only when the hook has ended.
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
