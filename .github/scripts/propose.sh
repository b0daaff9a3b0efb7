#!/usr/bin/env bash
# Open a pull request, or give the open one of the same branch a new title and text.
#
#   propose.sh BASE HEAD TITLE TEXT_FILE >> "$GITHUB_STEP_SUMMARY"
set -euo pipefail

# A link could name a file of this job, such as its environment, which would be published.
[[ -f $4 && ! -L $4 ]] || {
    echo "propose: there is no text" >&2
    exit 1
}
pulls=repos/$GITHUB_REPOSITORY/pulls
# A fork may have a branch of the same name, which `gh pr list --head` finds as well.
number=$(gh api "$pulls?state=open&base=$1&head=${GITHUB_REPOSITORY%%/*}:$2" \
    --jq '.[0].number // empty')
if [[ -z $number ]]; then
    url=$(gh api --method=POST "$pulls" --raw-field=title="$3" --raw-field=head="$2" \
        --raw-field=base="$1" --field=body="@$4" --jq=.html_url)
    echo "Opened $url"
else
    # `gh pr edit` of older versions fails without permission to read classic projects.
    url=$(gh api --method=PATCH "$pulls/$number" --raw-field=title="$3" --field=body="@$4" \
        --jq=.html_url)
    echo "Refreshed $url"
fi
