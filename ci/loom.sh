#!/usr/bin/env bash
# The loom models that explore every interleaving of the lock word, the contexts and the wait-for graph, in the time a
# change can wait for. Those named `full_*` are for ci/loom-full.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

export RUSTFLAGS="--cfg loom ${RUSTFLAGS:-}"
export LOOM_MAX_PREEMPTIONS="${LOOM_MAX_PREEMPTIONS:-2}"
export CARGO_TARGET_DIR=target/loom

# Built by itself first, so that a compile error is not taken for a crate without models.
cargo test --release --lib --no-run
count=$(cargo test --release --lib loom_tests -- --list --skip full_ | grep -c ': test$' || true)
if ((count == 0)); then
    echo "no model was found: ci/loom.sh would pass without having checked anything"
    exit 1
fi
echo "-- $count models, at most $LOOM_MAX_PREEMPTIONS preemptions"
timeout --kill-after=10 "${CI_SECONDS_LEFT:-1500}" \
    cargo test --release --lib loom_tests -- --test-threads=2 --skip full_
