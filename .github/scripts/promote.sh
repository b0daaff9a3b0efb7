#!/usr/bin/env bash
# Push the commit of a promotion, and open or refresh its pull request, with the token of the App.
#
#   promote.sh ENVIRONMENT SOURCE TARGET BUNDLE BODY >> "$GITHUB_STEP_SUMMARY"
#
# The commit and the text were made by code of SOURCE, which may be hostile, so they are data here:
# nothing of them is checked out or run. A pull request that somebody has approved stays as it is
# until TARGET moves, unless REFRESH is true. If NOTHING is true, there is no bundle: nothing is
# left to promote, and an open pull request is closed.
set -euo pipefail

source=$2 target=$3 bundle=$4 body=$5
branch=promote/$1
pulls=repos/$GITHUB_REPOSITORY/pulls

refuse() {
    echo "promote: $1" >&2
    exit 1
}

remote_commit() {
    git ls-remote origin "refs/heads/$1" | cut -f 1
}

query="state=open&base=$target&head=${GITHUB_REPOSITORY%%/*}:$branch"
number=$(gh api "$pulls?$query" --jq '.[0].number // empty')
# shellcheck disable=SC2016 # the variables are jq's
in_force='[.[] | select(.state != "COMMENTED")
    | select(.author_association | IN("OWNER", "MEMBER", "COLLABORATOR"))]
    | group_by(.user.login) | any(last.state == "APPROVED")'

is_approved() {
    [[ -n $number && ${REFRESH:-false} != true &&
        $(gh api "$pulls/$number/reviews?per_page=100" --jq "$in_force") == true ]]
}

if [[ ${NOTHING:-false} == true ]]; then
    if [[ -z $number ]]; then
        echo "Nothing of $source is left to promote to $target."
    elif is_approved; then
        echo "#$number is approved and stays as it is; nothing of $source is left to promote."
    else
        gh api --method=PATCH "$pulls/$number" --raw-field=state=closed --jq=empty
        echo "Closed #$number: nothing of $source is left to promote to $target."
    fi
    exit
fi

# A link could name a file of this job, such as its environment, which would be published.
for each in "$bundle" "$body"; do
    [[ -f $each && ! -L $each ]] || refuse "$each is not there"
done

git fetch --quiet --no-tags --no-recurse-submodules origin \
    "+refs/heads/$source:refs/promote/source" "+refs/heads/$target:refs/promote/target"
head=$(git rev-parse refs/promote/target)

commit=$(git bundle list-heads "$bundle" | cut -d ' ' -f 1)
[[ $(git bundle list-heads "$bundle") == "$commit refs/heads/$branch" ]] ||
    refuse "the bundle must hold refs/heads/$branch and nothing else"
git -c fetch.fsckObjects=true fetch --quiet --no-tags --no-recurse-submodules \
    "$bundle" "+refs/heads/$branch:refs/promote/commit" || refuse "the bundle cannot be read"
read -r -a parents <<< "$(git rev-list --parents --max-count=1 "$commit")"
[[ ${#parents[@]} -eq 3 ]] || refuse "the commit must have two parents"
git merge-base --is-ancestor "${parents[2]}" refs/promote/source ||
    refuse "its second parent must be a commit of $source"
if [[ ${parents[1]} != "$head" ]]; then
    git merge-base --is-ancestor "${parents[1]}" "$head" ||
        refuse "its first parent must be a commit of $target"
    echo "$target has moved since the commit was made; its own run promotes again."
    exit
fi

# A file, as a loop would not notice that the command before it failed.
changes=$(mktemp)
trap 'rm -f "$changes"' EXIT
git diff-tree -r -z --raw --no-renames "${parents[2]}" "$commit" > "$changes"
while IFS= read -r -d '' change && IFS= read -r -d '' path; do
    [[ ($path == images.yaml || $path == dist/*) && $change == ":100644 100644 "*" M" ]] ||
        refuse "only images.yaml and dist may differ from $source, but $(printf %q "$path") does"
done < "$changes"

pushed=$(remote_commit "$branch")
if is_approved; then
    git fetch --quiet --no-tags --no-recurse-submodules origin "refs/heads/$branch"
    if [[ $(git rev-parse "$pushed^1") == "$head" ]]; then
        waiting=$(git rev-list --count "$pushed^2..${parents[2]}")
        echo "#$number is approved and stays as it is; newer commits of $source that wait: $waiting."
        exit
    fi
fi

git push --quiet --force-with-lease="refs/heads/$branch:$pushed" \
    origin "$commit:refs/heads/$branch" || refuse "the push was refused; the cause is above"
proposed=$("$(dirname "$0")/propose.sh" "$target" "$branch" "Promote $source to $target" "$body")
echo "$proposed with $commit."
