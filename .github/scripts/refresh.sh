#!/usr/bin/env bash
# Refresh images.yaml on develop, in a job without secrets: write the commit as a bundle, and what
# Trivy finds in every image that is pinned then as Markdown.
#
#   refresh.sh BUNDLE REPORT >> "$GITHUB_OUTPUT"
#
# Prints `vulnerable=`, with the images that have findings of HIGH or CRITICAL severity.
set -euo pipefail

bundle=$1
report=$2
problems=0

# A service that cannot be refreshed stays as it is; the others are written all the same.
.venv/bin/delivery refresh >&2 || problems=1

images=$(grep -hoE '\bimage: [a-z0-9][a-zA-Z0-9.:/@_-]+' dist/*/*.yaml | cut -d ' ' -f 2 | sort -u)
vulnerable=()
{
    echo "\`delivery refresh\` fills in digests and takes newer patches of third parties."
    echo
    echo "| image | HIGH or CRITICAL |"
    echo "|---|---|"
    while read -r image; do
        # Trivy's own failures exit with 1.
        code=0
        trivy image --quiet --scanners=vuln --severity=HIGH,CRITICAL --exit-code=3 "$image" < /dev/null >&2 ||
            code=$?
        case $code in
            0) found=none ;;
            3)
                found='**found**'
                vulnerable+=("$image")
                ;;
            *)
                found='not scanned'
                problems=1
                ;;
        esac
        echo "| \`$image\` | $found |"
    done <<< "$images"
} > "$report"
echo "vulnerable=${vulnerable[*]}"

if ! git diff --quiet -- images.yaml dist; then
    git commit --quiet --message "Refresh the images" -- images.yaml dist
    git bundle create --quiet "$bundle" HEAD^..develop
fi
exit "$problems"
