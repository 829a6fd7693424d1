#!/usr/bin/env bash
# The instructions of the fast paths, counted by callgrind, against what they may take.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v valgrind >/dev/null; then
    echo "skipped: valgrind is not installed"
    exit 0
fi
# Without --workspace: the peers with the features that they have by default.
cargo run --quiet --release -p bowline-benches --bin instructions
