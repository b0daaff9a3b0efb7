#!/usr/bin/env bash
# preStop hook: hands the leadership of the partitions to the other brokers before this one stops,
# so that clients do not wait for elections. It never fails: a broker that cannot drain in time must
# stop anyway.
#
# ADMIN_API: host:port of the admin API of this broker.
# DRAIN_SECONDS: time limit; the rest of the grace period of the pod is for the stop itself.
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
  # Right after the request it does not drain yet, which looks like a drain that was cancelled.
  [[ $state =~ \"draining\":\ *true ]] && seen_draining=true
  [[ $seen_draining == true && $state =~ \"draining\":\ *false ]]
}

if ! [[ $(admin "http://$ADMIN_API/v1/node_config") =~ \"node_id\":\ *([0-9]+) ]]; then
  echo "The broker does not answer: there is no leadership to hand over."
  exit 0
fi
broker=${BASH_REMATCH[1]}

# Only one broker may drain at a time; the others get status 400 until it is their turn.
until start_draining; do
  wait_or_give_up "maintenance mode of broker $broker was refused with status $status"
done
until drained; do
  wait_or_give_up "broker $broker is still handing over its partitions"
done
echo "Broker $broker has handed over all its partitions."
