#!/usr/bin/env bash
# Open a pull request, or give the open one of the same branch a new title and text.
#
#   propose.sh BASE HEAD TITLE TEXT_FILE
set -euo pipefail

# A link could name a file of this job, such as its environment, which would be published.
[[ -f $4 && ! -L $4 ]] || {
    echo "propose: there is no text" >&2
    exit 1
}
number=$(gh pr list --repo="$GITHUB_REPOSITORY" --base="$1" --head="$2" --state=open \
    --json=number --jq='.[].number')
if [[ -z $number ]]; then
    gh pr create --repo="$GITHUB_REPOSITORY" --base="$1" --head="$2" --title="$3" --body-file="$4"
else
    # `gh pr edit` of older versions fails without permission to read classic projects.
    gh api --method=PATCH "repos/$GITHUB_REPOSITORY/pulls/$number" \
        --raw-field=title="$3" --field=body="@$4" --jq=.html_url
fi
