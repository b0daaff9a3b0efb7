#!/usr/bin/env bash
# Find the commit that a run compares with, in a checkout with the whole history.
#
#   compare.sh FILE >> "$GITHUB_OUTPUT"
#
# Prints `base=COMMIT`, and writes to FILE, as Markdown, which commits are compared.
#
# BEFORE is what a pushed branch was before, HEAD_SHA the commit that a person knows: a pull request
# is checked out as a merge that nobody keeps, whose first parent is the tip of its base.
set -euo pipefail

zeros=0000000000000000000000000000000000000000
if [[ -z ${BEFORE:-} ]]; then
    base=$(git rev-parse HEAD^1)
elif [[ $BEFORE != "$zeros" ]] && {
    # After a forced push no branch has it.
    git cat-file -e "$BEFORE^{commit}" 2> /dev/null || git fetch --quiet origin "$BEFORE" 2> /dev/null
}; then
    base=$BEFORE
else
    # A new branch, or the first commit of all.
    base=$(git rev-parse --verify --quiet HEAD^1 || git rev-parse HEAD)
fi
echo "base=$base"
address="$GITHUB_SERVER_URL/$GITHUB_REPOSITORY/compare/$base...$HEAD_SHA"
printf '[%s → %s](%s)\n\n' "${base:0:12}" "${HEAD_SHA:0:12}" "$address" > "$1"
