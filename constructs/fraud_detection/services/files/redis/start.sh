#!/usr/bin/env bash
# Starts Redis, whatever a crash or a failing disk left of its files.
#
#   start.sh REDIS_CONF [OPTION]...
#
# Redis itself judges its files. It loses no alert to a log that it can read; when it refuses to
# start because of one, the launcher takes the step that loses least and starts it again:
#
#   1. a damaged manifest is written again, from the names of the files that it lists;
#   2. the damaged end of the log is cut off with `redis-check-aof --fix`;
#   3. with a damaged base, the newest snapshot (dump.rdb) takes the place of the log;
#   4. with a damaged snapshot, Redis starts empty.
#
# What was cut off or replaced is in /data/damaged until the next damage, unless it would fill the
# volume. Files of a newer Redis are not damaged: then it stops and changes nothing.
set -euo pipefail

readonly data=${DATA_DIR:-/data}
readonly log=$data/appendonlydir manifest=$data/appendonlydir/appendonly.aof.manifest
readonly snapshot=$data/dump.rdb
readonly aside=$data/damaged
readonly ASIDE_SHARE=4

say() {
  echo "start.sh: $*" >&2
}

fail() {
  say "$*"
  exit 1
}

# Runs Redis to its end and sets `status`, and `refusal` to the reason if it cannot read its files.
# The first reason that it logs is the most exact one.
serve() {
  local line served='' denied=''
  refusal=
  exec {output}< <(exec redis-server "$@" 2>&1)
  server=$!
  while IFS= read -r line <&"$output"; do
    printf '%s\n' "$line"
    case $line in
      *"eady to accept connections"*) served=yes ;;
      # That is not damage.
      *"Permission denied"* | *"Input/output error"* | *"No space left"*) denied=yes ;;
      *" # "*AOF* | *" # "*RDB* | *" # "*"append only file"* | "*** FATAL AOF MANIFEST"*)
        refusal=${refusal:-${line#* # }}
        ;;
    esac
  done
  exec {output}<&-
  status=0
  wait "$server" || status=$?
  server=
  [[ -z $served$denied && $status -eq 1 ]] || refusal=
}

# Makes room for what is put aside; the copies of an earlier start go.
clear_aside() {
  [[ -z $cleared ]] || return 0
  cleared=yes
  rm -rf -- "$aside"
  mkdir -p -- "$aside" || true
}

# Copies that fill the volume would stop Redis from writing.
limit_aside() {
  local used size
  [[ -d $aside ]] || return 0
  used=$(du -sk -- "$aside" | cut -f1)
  size=$(df -Pk -- "$data" | awk 'NR == 2 { print $2 }')
  if ((used * ASIDE_SHARE > size)); then
    rm -rf -- "$aside"
    say "deleted $aside: it took more than 1/$ASIDE_SHARE of the volume"
  fi
}

# Succeeds if the end of at least one file of the log was damaged and is now cut off.
cut_damaged_end() {
  local file name found cut=1
  for file in "$log"/*.incr.aof; do
    name=${file##*/}
    # An empty file is whole; the checker refuses it.
    if [[ ! -s $file ]] || found=$(redis-check-aof "$file" 2>&1) ||
      ! [[ $found =~ ok_up_to=([0-9]+) ]]; then
      continue
    fi
    clear_aside
    tail -c "+$((BASH_REMATCH[1] + 1))" -- "$file" >"$aside/$name" ||
      say "could not copy the damaged end of $name to $aside"
    redis-check-aof --fix "$file" <<<y >/dev/null 2>&1 || continue
    say "cut off the damaged end of $name, from byte ${BASH_REMATCH[1]}; it is in $aside"
    cut=0
  done
  return "$cut"
}

# Succeeds if there is a base and what follows it. A second base is left from before the last
# rewrite, which has replaced all but the newest file.
write_manifest() {
  local bases logs name
  mapfile -t bases < <(find "$log" -name '*.base.*' -printf '%f\n' | sort --version-sort)
  mapfile -t logs < <(find "$log" -name '*.incr.aof' -printf '%f\n' | sort --version-sort)
  ((${#bases[@]} && ${#logs[@]})) || return 1
  ((${#bases[@]} == 1)) || logs=("${logs[-1]}")
  for name in "${bases[-1]}" "${logs[@]}"; do
    # appendonly.aof.SEQUENCE.TYPE.FORMAT
    [[ $name =~ \.([0-9]+)\.([bi]) ]] || return 1
    echo "file $name seq ${BASH_REMATCH[1]} type ${BASH_REMATCH[2]}"
  done >"$manifest.new"
  mv -- "$manifest.new" "$manifest"
  say "wrote the manifest again: ${bases[-1]} ${logs[*]}"
}

# Redis starts empty, silently, with an empty base or without a manifest.
check_completeness() {
  [[ -d $log ]] || return 0
  if [[ -n $(find "$log" -maxdepth 1 -name '*.base.*' -size 0) ]]; then
    put_aside "$log" "the base of the log is empty"
  elif [[ ! -e $manifest ]]; then
    write_manifest || put_aside "$log" "the log is incomplete"
  fi
}

put_aside() {
  clear_aside
  mv -- "$1" "$aside/"
  say "$2: moved $1 to $aside"
}

# A log begins with a snapshot, so the snapshot alone is a log. Without one Redis would ignore it.
start_from_snapshot() {
  [[ ! -e $log && -e $snapshot ]] || return 0
  local new=$log.new
  rm -rf -- "$new"
  mkdir -- "$new"
  # A link takes no space; Redis replaces both names, and never writes to the file.
  ln -- "$snapshot" "$new/appendonly.aof.1.base.rdb"
  echo "file appendonly.aof.1.base.rdb seq 1 type b" >"$new/${manifest##*/}"
  mv -- "$new" "$log"
  from_snapshot=yes
  say "starting from the snapshot of $(date -u -r "$snapshot" +%Y-%m-%dT%H:%M:%SZ)"
}

repair() {
  [[ $refusal != "Can't handle RDB format version"* ]] || fail \
    "$data was written by a newer Redis ($refusal): release that version again, or restore a backup"
  if [[ -n $from_snapshot ]]; then
    put_aside "$snapshot" "the snapshot is damaged, too ($refusal)"
    rm -rf -- "$log"
  elif [[ $refusal == *MANIFEST* && -z $is_rewritten ]] && write_manifest; then
    is_rewritten=yes
  elif ! cut_damaged_end; then
    put_aside "$log" "the log is damaged ($refusal)"
  fi
}

main() {
  server='' stopping='' cleared='' from_snapshot='' is_rewritten=''
  # As the first process of its container, bash ignores the signal otherwise.
  trap 'stopping=yes; [[ -z $server ]] || kill -TERM "$server" 2>/dev/null || true' TERM INT
  check_completeness
  while [[ -z $stopping ]]; do
    start_from_snapshot
    [[ -z $cleared ]] || limit_aside
    serve "$@"
    [[ -n $refusal ]] || break
    repair
  done
  exit "${status:-0}"
}

main "$@"
