#!/usr/bin/env bash
# All loom models, the large ones (`full_*`) too, with one preemption more than ci/loom.sh. Takes minutes, so it is no part of .ci/run.
set -euo pipefail
cd "$(dirname "$0")/.."

export RUSTFLAGS="--cfg loom ${RUSTFLAGS:-}"
export LOOM_MAX_PREEMPTIONS="${LOOM_MAX_PREEMPTIONS:-3}"
export CARGO_TARGET_DIR=target/loom

# Built by itself first, so that a compile error is not taken for a crate without models.
cargo test --release --lib --no-run
count=$(cargo test --release --lib loom_tests -- --list | grep -c ': test$' || true)
if ((count == 0)); then
    echo "no model was found: ci/loom-full.sh would pass without having checked anything"
    exit 1
fi
echo "-- $count models, at most $LOOM_MAX_PREEMPTIONS preemptions"
cargo test --release --lib loom_tests -- --test-threads=2
