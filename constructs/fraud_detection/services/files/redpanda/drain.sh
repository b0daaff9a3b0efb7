#!/usr/bin/env bash
# preStop hook: hands the leadership of this broker's partitions to the others before it stops, so
# that clients do not wait for elections. It never fails: a broker that cannot be drained in time
# must stop all the same.
#
# ADMIN_API: host:port of this broker's admin API.
# DRAIN_SECONDS: the most it may take; the rest of the pod's grace period is for the stop itself.
set -euo pipefail

give_up_at=$((SECONDS + DRAIN_SECONDS))
seen_draining=false

admin() {
  curl --silent --max-time 5 "$@"
}

wait_or_give_up() {
  if ((SECONDS >= give_up_at)); then
    echo "Not drained within $DRAIN_SECONDS s: $1."
    exit 0
  fi
  sleep 0.5
}

start_draining() {
  status=$(admin --request PUT --output /dev/null --write-out '%{http_code}' \
    "http://$ADMIN_API/v1/brokers/$broker/maintenance")
  if [[ $status == 404 ]]; then
    echo "Broker $broker is no longer a member of the cluster: nothing to drain."
    exit 0
  fi
  [[ $status == 200 ]]
}

drained() {
  local state
  state=$(admin --fail "http://$ADMIN_API/v1/maintenance") || return 1
  if [[ $state =~ \"finished\":\ *true ]]; then
    return 0
  fi
  # Just after the request it does not drain yet, which looks the same as not any more.
  [[ $state =~ \"draining\":\ *true ]] && seen_draining=true
  [[ $seen_draining == true && $state =~ \"draining\":\ *false ]]
}

if ! [[ $(admin "http://$ADMIN_API/v1/node_config") =~ \"node_id\":\ *([0-9]+) ]]; then
  echo "The broker does not answer: it leads nothing that could be handed over."
  exit 0
fi
broker=${BASH_REMATCH[1]}

# Only one broker may drain at a time; the others are refused with 400, and so wait for their turn.
until start_draining; do
  wait_or_give_up "broker $broker is refused maintenance mode with status $status"
done
until drained; do
  wait_or_give_up "broker $broker still hands over its partitions"
done
echo "Broker $broker leads nothing any more."
