#!/usr/bin/env bash
# The instructions of the fast paths, counted by callgrind, against what they may take: in the plain release build and as an
# application with link-time optimisation is built.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v valgrind >/dev/null; then
    echo "skipped: valgrind is not installed"
    exit 0
fi
# Without --workspace: the peers with the features that they have by default.
for profile in release thin-lto; do
    echo "-- profile $profile"
    cargo run --quiet --profile "$profile" -p bowline-benches --bin instructions
done
