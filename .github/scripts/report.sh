#!/usr/bin/env bash
# Set commit statuses in the application repository, with the token of the App.
#
#   report.sh OWNER/NAME <<< STATUSES
#
# STATUSES is a JSON list, as `delivery report` prints it. It may come from code that is hostile, so
# it is data here. Versions of third parties, which are no commits, are passed over; one status that
# GitHub refuses does not keep it from getting the others.
set -euo pipefail

read -r -a pauses <<< "${PAUSES:-0 15 60}"
failed=0

statuses=$(jq --compact-output '.[] | select(.commit | tostring | test("\\A[0-9a-f]{40}\\z"))')
[[ -n $statuses ]] || exit 0
while read -r status; do
    commit=$(jq --raw-output .commit <<< "$status")
    for pause in "${pauses[@]}"; do
        sleep "$pause"
        answer="not a status"
        # No pipe: where gh ends before it has read, jq would fail as well, whatever gh found.
        if body=$(jq 'del(.commit) | .description |= .[:140]' <<< "$status") &&
            answer=$(gh api --method=POST "repos/$1/statuses/$commit" --input=- --jq=.context \
                <<< "$body" 2>&1); then
            echo "report: $commit: $answer" >&2
            continue 2
        fi
        # GitHub has too much to do, or counts requests.
        [[ $answer =~ HTTP\ (429|5[0-9][0-9])|rate\ limit ]] || break
    done
    echo "report: $commit: $answer" >&2
    failed=1
done <<< "$statuses"
exit "$failed"
