#!/usr/bin/env bash
# Starts the JobManager, and with it the one job, from the newest complete checkpoint.
#
#   jobmanager.sh [-Dkey=value]...
#
# It takes the newest checkpoint of any job, because every start is a new job: with a fixed id the
# TaskManagers that outlive a JobManager would refuse the next one. Flink never falls back by
# itself: a start that leads to no newer checkpoint counts as failed, and after STARTS failures the
# launcher tries the next older checkpoint. After all CANDIDATES it starts over with the newest one:
# by then the real cause, such as a broker, a volume or an image, may be fixed. The job starts empty
# only without any complete checkpoint; an empty start in place of a broken checkpoint would forget
# the history of every user and, reading from the latest offset, skip the transactions in between.
#
# It deletes the folders of jobs that hold none of these candidates. The restored job leaves the
# folder of its predecessor alone (NO_CLAIM in Flink), so nothing else would ever free that space.
#
# Its own files are aids: where it cannot write them, it starts Flink all the same. On a full volume
# the job then runs without new checkpoints, and without a folder of its own Flink refuses.
set -euo pipefail

readonly STARTS=3
readonly CANDIDATES=3
readonly LOCK_SECONDS=60

readonly checkpoints=${CHECKPOINTS_DIR:-/checkpoints}
readonly attempts=$checkpoints/.attempts

warn() {
  echo "jobmanager.sh: $*" >&2
}

fail() {
  warn "$@"
  exit 1
}

# Flink ignores options that it cannot parse, --fromSavepoint included, and the job would start
# empty.
check_options() {
  local option
  for option in "$@"; do
    [[ $option == -D?*=* ]] || fail "expected -Dkey=value, not '$option'"
  done
}

# A deleted or evicted pod is replaced while it is still stopping. The process of Flink inherits the
# open file, and with it the lock, which ends with that process. The folder itself cannot be locked
# on a network file system, but is all there is on a volume that cannot be written.
lock_volume() {
  [[ -d $checkpoints ]] || fail "no folder $checkpoints: is the volume mounted?"
  { exec {lock}>>"$checkpoints/.lock"; } 2>/dev/null || exec {lock}<"$checkpoints"
  local status=0
  flock --timeout "$LOCK_SECONDS" "$lock" || status=$?
  case $status in
    0) ;;
    1) fail "another JobManager still held $checkpoints after $LOCK_SECONDS s" ;;
    *) warn "cannot lock $checkpoints, starting without the lock" ;;
  esac
}

# The volume may hold more than jobs, such as the unreadable lost+found of a fresh file system.
list_jobs() {
  local id found
  id=$(printf '[0-9a-f]%.0s' {1..32})
  found=$(LC_ALL=C find "$checkpoints" -mindepth 1 -maxdepth 1 -type d -name "$id")
  jobs=()
  [[ -z $found ]] || mapfile -t jobs <<<"$found"
}

# Lists the newest complete checkpoints, newest first. Flink writes _metadata last and renames it
# into place; a crash of the node can leave it empty. The order is by time: numbers repeat after a
# fallback.
list_candidates() {
  local found=""
  if ((${#jobs[@]})); then
    found=$(
      find "${jobs[@]}" -mindepth 2 -maxdepth 2 -type f -size +0c \
        -regextype posix-extended -regex '.*/chk-[0-9]+/_metadata' -printf '%T@ %h\n' |
        LC_ALL=C sort -rn | cut -d' ' -f2-
    )
  fi
  candidates=()
  [[ -z $found ]] || mapfile -t -n "$CANDIDATES" candidates <<<"$found"
}

# A folder that cannot be deleted must not prevent the start.
delete_old_jobs() {
  local job
  for job in "${jobs[@]}"; do
    [[ "${candidates[*]}" == *"$job/"* ]] || rm -rf -- "$job" || true
  done
}

# The file holds the newest checkpoint and the number of starts since it appeared.
record_attempt() {
  rm -rf -- "$attempts.new" && echo "$*" >"$attempts.new" && mv -T -- "$attempts.new" "$attempts"
}

choose_restore_point() {
  local newest=${candidates[0]} starts=0
  if [[ -r $attempts && $(<"$attempts") =~ ^([1-9][0-9]?)' '(.*)$ ]] &&
    [[ ${BASH_REMATCH[2]} == "$newest" ]]; then
    starts=$((BASH_REMATCH[1] % (STARTS * ${#candidates[@]})))
  fi
  restore_point=${candidates[starts / STARTS]}
  record_attempt "$((starts + 1)) $newest" ||
    warn "cannot record this start in $attempts: free space on the volume, or fix its owner"
  echo "jobmanager.sh: resuming from $restore_point, start $((starts % STARTS + 1)) of $STARTS"
}

# A function, because after an arithmetic error bash continues with the next command of the file,
# which would be an empty start.
main() {
  check_options "$@"
  lock_volume
  list_jobs
  list_candidates
  delete_old_jobs
  local restore=()
  if ((${#candidates[@]})); then
    choose_restore_point
    restore=(--fromSavepoint "file://$restore_point")
  else
    echo "jobmanager.sh: no complete checkpoint in $checkpoints, starting empty"
  fi
  exec "${FLINK_HOME:-/opt/flink}/bin/standalone-job.sh" start-foreground \
    --job-classname org.apache.flink.client.python.PythonDriver \
    "${restore[@]}" "$@" -py "${JOB_SCRIPT:-/opt/flink/usrlib/fraud_detector.py}"
}

main "$@"
