#!/usr/bin/env bash
# Starts the JobManager, and with it the one job, from the newest complete checkpoint.
#
#   jobmanager.sh [-Dkey=value]...
#
# Which checkpoint: the newest of any job, because every start makes a job of its own (with a fixed
# id the TaskManagers that outlive a JobManager refuse the new one). Flink never falls back by
# itself: a start that leads to no newer checkpoint counts as failed, and after STARTS of them the
# next older one is tried. When all CANDIDATES have had their turn, the newest has its turn again: a
# broker, a volume or an image that was the true cause may be mended by then. The job starts empty
# only where there is no complete checkpoint at all; starting empty in place of a broken one would
# forget every user's history and, reading from the latest offset, skip what had arrived meanwhile.
#
# What is deleted: the folders of jobs that hold none of these candidates. The restored job leaves
# its predecessor's folder alone (Flink's NO_CLAIM), so nothing else would ever bound the volume.
set -euo pipefail

readonly STARTS=3
readonly CANDIDATES=3
readonly LOCK_SECONDS=60

readonly checkpoints=${CHECKPOINTS_DIR:-/checkpoints}
readonly attempts=$checkpoints/.attempts

fail() {
  echo "jobmanager.sh: $*" >&2
  exit 1
}

# Flink drops what it cannot parse, --fromSavepoint included, and the job would start empty.
check_options() {
  local option
  for option in "$@"; do
    [[ $option == -D?*=* ]] || fail "expected -Dkey=value, not '$option'"
  done
}

# A deleted or evicted pod is replaced while it is still stopping. The open file, and with it the
# lock, passes on to Flink's own process and ends with it.
be_the_only_one() {
  [[ -d $checkpoints ]] || fail "no folder $checkpoints: is the volume mounted?"
  exec {lock}>"$checkpoints/.lock"
  flock --timeout "$LOCK_SECONDS" "$lock" ||
    fail "another JobManager still held $checkpoints after $LOCK_SECONDS s"
}

# The volume may hold more than jobs, such as the unreadable lost+found of a fresh file system.
list_jobs() {
  local id found
  id=$(printf '[0-9a-f]%.0s' {1..32})
  found=$(LC_ALL=C find "$checkpoints" -mindepth 1 -maxdepth 1 -type d -name "$id")
  jobs=()
  [[ -z $found ]] || mapfile -t jobs <<<"$found"
}

# The newest complete checkpoints, newest first. Flink renames _metadata into place after all else
# is written; a crash of the node can leave it empty. By time: numbers repeat after a fallback.
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

# A folder that cannot be deleted is no reason not to start.
delete_old_jobs() {
  local job
  for job in "${jobs[@]}"; do
    [[ "${candidates[*]}" == *"$job/"* ]] || rm -rf -- "$job" || true
  done
}

# The file holds the number of starts since a checkpoint became the newest, and its path.
choose_restore_point() {
  local newest=${candidates[0]} starts=0
  if [[ -f $attempts && $(<"$attempts") =~ ^([1-9][0-9]?)' '(.*)$ ]] &&
    [[ ${BASH_REMATCH[2]} == "$newest" ]]; then
    starts=$((BASH_REMATCH[1] % (STARTS * ${#candidates[@]})))
  fi
  restore_point=${candidates[starts / STARTS]}
  echo "$((starts + 1)) $newest" >"$attempts.new"
  mv "$attempts.new" "$attempts"
  echo "jobmanager.sh: resuming from $restore_point, start $((starts % STARTS + 1)) of $STARTS"
}

# A function, because after an error in arithmetic bash goes on with the next command of the file:
# that would be an empty start.
main() {
  check_options "$@"
  be_the_only_one
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
