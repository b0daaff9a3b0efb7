#!/usr/bin/env bash
# Push the one commit of a bundle, with the token of the App, as the last job of a release.
#
#   land.sh BUNDLE BRANCH [DESTINATION]
#
# The commit was made for BRANCH, by code that may be hostile, so it is data here: nothing of it is
# checked out or run. DESTINATION is BRANCH itself, or the branch of a pull request to it.
#
# Exit codes: 0 pushed, 1 refused, 3 BRANCH has moved since: make the commit again.
set -euo pipefail

bundle=$1
branch=$2
destination=${3:-$branch}

refuse() {
    echo "land: $1" >&2
    exit 1
}

remote_commit() {
    git ls-remote origin "refs/heads/$1" | cut -f 1
}

moved() {
    echo "land: $branch has moved since the commit was made" >&2
    exit 3
}

git fetch --quiet --no-tags --no-recurse-submodules origin "+refs/heads/$branch:refs/land/branch"
head=$(git rev-parse refs/land/branch)

commit=$(git bundle list-heads "$bundle" | cut -d ' ' -f 1)
[[ $(git bundle list-heads "$bundle") == "$commit refs/heads/$branch" ]] ||
    refuse "the bundle must hold refs/heads/$branch and nothing else"
git -c fetch.fsckObjects=true fetch --quiet --no-tags --no-recurse-submodules \
    "$bundle" "+refs/heads/$branch:refs/land/commit" || refuse "the bundle cannot be read"

read -r -a parents <<< "$(git rev-list --parents --max-count=1 "$commit")"
[[ ${#parents[@]} -eq 2 ]] || refuse "the commit must have one parent"
if [[ ${parents[1]} != "$head" ]]; then
    if git merge-base --is-ancestor "${parents[1]}" "$head"; then
        moved
    fi
    refuse "the bundle must hold one commit, made on top of $branch"
fi

# A file, as a loop would not notice that the command before it failed.
changes=$(mktemp)
trap 'rm -f "$changes"' EXIT
git diff-tree -r -z --raw --no-renames "$head" "$commit" > "$changes"
[[ -s $changes ]] || refuse "the commit changes nothing"
while IFS= read -r -d '' change && IFS= read -r -d '' path; do
    # Anything else than a regular file that is there already: a new one, a link, a submodule.
    [[ $change == ":100644 100644 "*" M" ]] ||
        refuse "a release only changes files that exist, but $(printf %q "$path") is: $change"
    # What the root Application applies is never part of a release.
    [[ $path == images.yaml || ($path == dist/*.yaml && $path != dist/argocd/*) ]] ||
        refuse "a release does not change $(printf %q "$path")"
done < "$changes"

repositories() {
    git cat-file blob "$1:images.yaml" | grep -E "^[[:space:]]*[\"']?repository"
}
[[ $(repositories "$head") == "$(repositories "$commit")" ]] ||
    refuse "a release does not change a repository in images.yaml"

expected=$head
[[ $destination == "$branch" ]] || expected=$(remote_commit "$destination")
if ! git push --quiet --force-with-lease="refs/heads/$destination:$expected" \
    origin "$commit:refs/heads/$destination"; then
    [[ $(remote_commit "$branch") == "$head" ]] || moved
    refuse "the push was refused; the cause is above"
fi
echo "Pushed ${commit:0:12} to $destination"
