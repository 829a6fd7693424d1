#!/usr/bin/env bash
# Every example runs to its end, by itself and within a minute, and succeeds.
set -euo pipefail
cd "$(dirname "$0")/.."
shopt -s nullglob

examples=(examples/*.rs)
if ((${#examples[@]} == 0)); then
    echo "skipped: there are no examples"
    exit 0
fi

cargo build --examples
for file in "${examples[@]}"; do
    name=$(basename "$file" .rs)
    echo "-- example $name"
    status=0
    timeout --kill-after=10 60 cargo run --quiet --example "$name" </dev/null || status=$?
    if ((status != 0)); then
        reason="exit status $status"
        if ((status == 124)); then reason="still running after 60 s"; fi
        echo "example $name failed: $reason"
        exit 1
    fi
done
