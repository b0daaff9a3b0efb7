#!/usr/bin/env bash
# Creates the topic, or adjusts it to the configured layout; safe to repeat. Each round reads the
# state of the topic and takes the next step, until nothing is left to do: a broker that is not up
# yet, or a client that creates the topic at the same moment, only costs one more round. It waits
# for the partitions without end: a container that gives up would be started again, each time later.
# For replicas and settings, without which the job runs as well, it waits for some rounds only.
#
# RPK_BROKERS: host:port of the brokers, also read by rpk.
# TOPIC, PARTITIONS, REPLICAS: the topic and its layout. Surplus partitions stay.
# TOPIC_CONFIG: settings of the topic with numeric values, as "key=value key=value".
set -euo pipefail

# The first process of a container otherwise ignores the signal, and its pod ends only when killed.
trap 'exit 1' TERM

rpk_topic() {
  answer=$(timeout --verbose 20 rpk topic "$@" 2>&1)
}

# A step is only a request: the next round shows its effect.
step() {
  rpk_topic "$@"
  state="it $found, and rpk topic $1 answered: ${answer##*$'\n'}"
}

alter() {
  local no_confirm=()
  # Newer versions of rpk ask for confirmation; older ones do not know the flag.
  rpk_topic alter-config --help
  [[ $answer == *--no-confirm* ]] && no_confirm=(--no-confirm)
  step alter-config "$TOPIC" --set "$1" "${no_confirm[@]}"
}

is_as_configured() {
  local replica_count=0 setting described
  partition_count=0
  if ! rpk_topic describe "$TOPIC" --print-summary --print-configs; then
    state="the brokers at $RPK_BROKERS do not answer: ${answer##*$'\n'}"
    return 1
  fi
  described=$answer
  # The summary of a missing topic has neither line.
  [[ $answer =~ PARTITIONS[[:space:]]+([0-9]+) ]] && partition_count=${BASH_REMATCH[1]}
  [[ $answer =~ REPLICAS[[:space:]]+([0-9]+) ]] && replica_count=${BASH_REMATCH[1]}
  found="has $partition_count partitions with $replica_count replicas each"

  if ((partition_count == 0)); then
    found="does not exist"
    step create "$TOPIC" --partitions "$PARTITIONS" --replicas "$REPLICAS"
  elif ((partition_count < PARTITIONS)); then
    step add-partitions "$TOPIC" --num $((PARTITIONS - partition_count))
  elif ((replica_count != REPLICAS)); then
    alter "replication.factor=$REPLICAS"
  else
    for setting in $TOPIC_CONFIG; do
      if ! [[ $described =~ $'\n'"${setting%=*}"[[:space:]]+"${setting#*=}"[[:space:]] ]]; then
        found="lacks $setting"
        alter "$setting"
        return 1
      fi
    done
    state="it $found"
    if ((partition_count > PARTITIONS)); then
      state+="; $PARTITIONS are configured, but Kafka cannot remove partitions"
    fi
    return 0
  fi
  return 1
}

reported=
rounds=15
until is_as_configured; do
  if [[ $state != "$reported" ]]; then
    echo "Topic $TOPIC: $state"
    reported=$state
  fi
  if ((partition_count >= PARTITIONS && --rounds == 0)); then
    echo "Topic $TOPIC can be read, but is not as configured: $state" >&2
    exit
  fi
  sleep 2
done
echo "Topic $TOPIC is as configured: $state"
