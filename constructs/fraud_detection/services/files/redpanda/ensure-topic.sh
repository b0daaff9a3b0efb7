#!/usr/bin/env bash
# Makes the topic what the platform wants, however often it runs. Each round looks at the topic and
# takes the next step towards the wanted layout, until a look finds nothing left to do: so a broker
# that is not up yet, or a client that creates the topic at the same moment, only costs a round.
#
# RPK_BROKERS: host:port of the brokers, also read by rpk.
# TOPIC, PARTITIONS, REPLICAS: the topic and its layout. Partitions beyond the wanted number stay.
# DEADLINE_SECONDS: if it takes longer, the script fails and says what stood in the way.
set -euo pipefail

give_up_at=$((SECONDS + DEADLINE_SECONDS))

rpk_topic() {
  answer=$(timeout --verbose 20 rpk topic "$@" 2>&1)
}

# A step only asks: the next look shows what came of it.
step() {
  rpk_topic "$@"
  state="it $found, and rpk topic $1 answered: ${answer##*$'\n'}"
}

as_wanted() {
  local partition_count=0 replica_count=0 unasked=()
  if ! rpk_topic describe "$TOPIC" --print-summary; then
    state="the brokers at $RPK_BROKERS do not answer: ${answer##*$'\n'}"
    return 1
  fi
  # A topic that does not exist has neither line.
  [[ $answer =~ PARTITIONS[[:space:]]+([0-9]+) ]] && partition_count=${BASH_REMATCH[1]}
  [[ $answer =~ REPLICAS[[:space:]]+([0-9]+) ]] && replica_count=${BASH_REMATCH[1]}
  found="has $partition_count partitions with $replica_count replicas each"

  if ((partition_count == 0)); then
    found="does not exist"
    step create "$TOPIC" --partitions "$PARTITIONS" --replicas "$REPLICAS"
  elif ((partition_count < PARTITIONS)); then
    step add-partitions "$TOPIC" --num $((PARTITIONS - partition_count))
  elif ((replica_count != REPLICAS)); then
    # Newer versions of rpk ask before they alter a topic; older ones do not know the flag.
    rpk_topic alter-config --help
    [[ $answer == *--no-confirm* ]] && unasked=(--no-confirm)
    step alter-config "$TOPIC" --set "replication.factor=$REPLICAS" "${unasked[@]}"
  else
    state="it $found"
    if ((partition_count > PARTITIONS)); then
      state+="; $PARTITIONS were wanted, but Kafka cannot take partitions away"
    fi
    return 0
  fi
  return 1
}

reported=
until as_wanted; do
  if ((SECONDS >= give_up_at)); then
    echo "Topic $TOPIC is not as wanted after $DEADLINE_SECONDS s: $state" >&2
    exit 1
  fi
  if [[ $state != "$reported" ]]; then
    echo "Topic $TOPIC: $state"
    reported=$state
  fi
  sleep 2
done
echo "Topic $TOPIC is as wanted: $state"
