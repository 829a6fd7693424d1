#!/usr/bin/env bash
# All loom models, the large ones (`full_*`) too, those of locks and the wait-for graph with one
# preemption more than ci/loom.sh. Takes a quarter of an hour or more, so it is no part of .ci/run.
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
# The executor's models have more threads and steps: the large ones run for minutes as they are.
executor='loom_tests::(future|thread_pool|executor_deadlock|executor_controls|process_pool)::'
mapfile -t others < <(cargo test --release --lib loom_tests -- --list | sed -n 's/: test$//p' | grep -vE "$executor")
echo "-- ${#others[@]} models of locks and the wait-for graph, at most $LOOM_MAX_PREEMPTIONS preemptions"
cargo test --release --lib -- --exact --test-threads=2 "${others[@]}"

mapfile -t large < <(cargo test --release --lib loom_tests -- --list | sed -n 's/: test$//p' | grep -E "$executor")
export LOOM_MAX_PREEMPTIONS=2
echo "-- ${#large[@]} models of the executor, at most $LOOM_MAX_PREEMPTIONS preemptions, or as many as each says"
cargo test --release --lib -- --exact --test-threads=2 "${large[@]}"
