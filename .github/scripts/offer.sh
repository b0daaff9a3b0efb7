#!/usr/bin/env bash
# Make the commit of a promotion and the text that argues its case, in a job without secrets.
#
#   offer.sh ENVIRONMENT BUNDLE BODY TEXT >> "$GITHUB_OUTPUT"
#
# promote.yml runs it from a checkout of the branch that is promoted. Without anything to promote it
# writes no file, and prints `nothing=true`.
set -euo pipefail

environment=$1 bundle=$2 body=$3 text=$4

promote() {
    .venv/bin/delivery promote --environment="$environment" --bundle="$bundle" "$@"
}

offered() {
    git bundle list-heads "$bundle" | cut -d ' ' -f 1
}

said=$(promote)
echo "$said" >&2
if [[ ! -e $bundle ]]; then
    # It may also have refused: an open pull request stays then.
    [[ $said != "nothing to promote from "* ]] || echo "nothing=true"
    exit
fi
commit=$(offered)
# The very tree that would land.
git checkout --quiet --detach "$commit"
# A blocking verdict must be read in the pull request, whose own check it fails.
.venv/bin/delivery rehearse "$commit^1" --environment="$environment" --markdown=rehearsal.md >&2 || true
promote --verdict=rehearsal.md --body="$body" --output="$text" >&2
if [[ $(offered) != "$commit" ]]; then
    echo "offer: a branch has moved meanwhile; its own run offers the newer commit" >&2
    rm "$bundle"
fi
