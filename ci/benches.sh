#!/usr/bin/env bash
# The benchmarks compile (to run them is for people: a busy machine measures nothing), and the instruction counts hold.
set -euo pipefail
cd "$(dirname "$0")/.."

# One package at a time, as they are run: cargo unifies the features of packages that are built together, and
# parking_lot with its deadlock detection is not the parking_lot to compare with.
built=0
for manifest in benches/Cargo.toml benches/*/Cargo.toml; do
    if [[ ! -f $manifest ]]; then continue; fi
    echo "-- cargo bench --no-run --manifest-path $manifest"
    cargo bench --no-run --manifest-path "$manifest"
    built=$((built + 1))
done
if ((built == 0)); then
    echo "no benchmark package was found under benches/: correct the paths in ci/benches.sh"
    exit 1
fi

if [[ -f ci/instructions.sh ]]; then
    echo "-- ci/instructions.sh"
    bash ci/instructions.sh
else
    echo "skipped: there is no ci/instructions.sh"
fi
