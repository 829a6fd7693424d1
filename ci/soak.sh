#!/usr/bin/env bash
# Long runs, no part of .ci/run: the storm for BOWLINE_STORM_SECONDS, the soak test for BOWLINE_SOAK_SECONDS, then the test
# suite BOWLINE_SOAK_ROUNDS times, until the first failure. Less than two hours on an idle machine of two cores. Arguments
# choose other tests than all, as for `cargo test`: BOWLINE_SOAK_ROUNDS=50 ci/soak.sh --lib --test process_pool
set -euo pipefail
cd "$(dirname "$0")/.."

export BOWLINE_STORM_SECONDS="${BOWLINE_STORM_SECONDS:-3600}"
export BOWLINE_SOAK_SECONDS="${BOWLINE_SOAK_SECONDS:-600}"
rounds="${BOWLINE_SOAK_ROUNDS:-10}"

echo "-- storm, $BOWLINE_STORM_SECONDS s"
cargo test --release --test deadlock -- --nocapture storm::

echo "-- soak test, $BOWLINE_SOAK_SECONDS s"
cargo test --release --test deadlock -- --nocapture soak::

# In the rounds both are tests among the others, at their usual lengths.
unset BOWLINE_STORM_SECONDS BOWLINE_SOAK_SECONDS
for ((round = 1; round <= rounds; round++)); do
    echo "-- test suite, round $round of $rounds"
    if ! timeout --kill-after=10 1200 cargo test --release -q "$@"; then
        echo "failed in round $round of $rounds"
        exit 1
    fi
done
