#!/usr/bin/env bash
# Write the one commit of an operation as a bundle, in a job without secrets.
#
#   prepare.sh >> "$GITHUB_OUTPUT"
#
# Prints `refusal=`, with the reason, if `delivery` fails.
#
# operate.yml runs it from a checkout of BRANCH: the workflow is that of the default branch, so
# these variables are all that it may rely on. An operation that changes nothing writes no bundle.
set -euo pipefail

# Nothing after `--` is an option, whatever a variable contains.
case $ACTION in
    bump)
        arguments=(
            --history="$HISTORY" --source-run="$SOURCE_RUN" ${DIGEST:+--digest="$DIGEST"}
            ${ALLOW_OLDER:+--allow-older} -- "$SERVICE" "$TAG"
        )
        ;;
    hold | unhold)
        arguments=(${REASON:+--reason="$REASON"} -- "$SERVICE")
        ;;
    pin)
        arguments=(
            ${REASON:+--reason="$REASON"} ${DIGEST:+--digest="$DIGEST"}
            -- "$SERVICE" "$ENVIRONMENT" "$TAG"
        )
        ;;
    unpin | rollback)
        arguments=(${REASON:+--reason="$REASON"} -- "$SERVICE" "$ENVIRONMENT")
        ;;
    *)
        echo "prepare: unknown action $(printf %q "$ACTION")" >&2
        exit 2
        ;;
esac
code=0
said=$(.venv/bin/delivery "$ACTION" --branch="$BRANCH" --bundle="$BUNDLE" "${arguments[@]}" 2>&1 |
    tee /dev/stderr) || code=$?
if ((code)); then
    reason=${said##*$'\n'}
    echo "refusal=${reason#Error: }"
fi
exit "$code"
