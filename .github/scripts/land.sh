#!/usr/bin/env bash
# Push the one commit of a bundle, with the token of the App, as the last job of a release.
#
#   land.sh BUNDLE BRANCH [DESTINATION] >> "$GITHUB_OUTPUT"
#
# The commit was made for BRANCH, by code that may be hostile, so it is data here: nothing of it is
# checked out or run. DESTINATION is BRANCH itself, or the branch of a pull request to it.
#
# Prints `landed=COMMIT`; or `again=NUMBER`, the number of the next ATTEMPT, if BRANCH has moved
# since the commit was made.
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
    local attempt=${ATTEMPT:-1}
    [[ $attempt =~ ^[1-9][0-9]?$ ]] || refuse "ATTEMPT must be a number"
    [[ $attempt -lt 20 ]] || refuse "others landed on $branch first, $attempt times: start again"
    echo "land: $branch has moved since the commit was made" >&2
    echo "again=$((attempt + 1))"
    exit
}

git fetch --quiet --no-tags --no-recurse-submodules origin "+refs/heads/$branch:refs/land/branch"
head=$(git rev-parse refs/land/branch)

# A link could name a file of this job, such as its environment.
[[ -f $bundle && ! -L $bundle ]] || refuse "there is no bundle"
commit=$(git bundle list-heads "$bundle" | cut -d ' ' -f 1)
[[ $(git bundle list-heads "$bundle") == "$commit refs/heads/$branch" ]] ||
    refuse "the bundle must hold refs/heads/$branch and nothing else"
git -c fetch.fsckObjects=true fetch --quiet --no-tags --no-recurse-submodules \
    "$bundle" "+refs/heads/$branch:refs/land/commit" || refuse "the bundle cannot be read"

read -r -a parents <<< "$(git rev-list --parents --max-count=1 "$commit")"
[[ ${#parents[@]} -eq 2 ]] || refuse "the commit must have one parent"
base=${parents[1]}
git merge-base --is-ancestor "$base" "$head" ||
    refuse "the bundle must hold one commit, made on top of $branch"
# A pull request may lag behind.
[[ $base == "$head" || $destination != "$branch" ]] || moved

# A file, as a loop would not notice that the command before it failed.
changes=$(mktemp)
trap 'rm -f "$changes"' EXIT
git diff-tree -r -z --raw --no-renames "$base" "$commit" > "$changes"
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
[[ $(repositories "$base") == "$(repositories "$commit")" ]] ||
    refuse "a release does not change a repository in images.yaml"

expected=$head
[[ $destination == "$branch" ]] || expected=$(remote_commit "$destination")
if ! git push --quiet --force-with-lease="refs/heads/$destination:$expected" \
    origin "$commit:refs/heads/$destination"; then
    [[ $destination != "$branch" || $(remote_commit "$branch") == "$head" ]] || moved
    refuse "the push was refused; the cause is above"
fi
echo "landed=$commit"
