#!/usr/bin/env bash
# All loom models, the large ones (`full_*`) too, and the small ones of locks and the wait-for graph with one preemption more than
# ci/loom.sh. Takes more than half an hour, so it is no part of .ci/run.
set -euo pipefail
cd "$(dirname "$0")/.."

export RUSTFLAGS="--cfg loom ${RUSTFLAGS:-}"
export CARGO_TARGET_DIR=target/loom

# Built by itself first, so that a compile error is not taken for a crate without models.
cargo test --release --lib --no-run
program=$(cargo test --release --lib --no-run 2>&1 | sed -n 's/^ *Executable .* (\(.*\))$/\1/p')
mapfile -t all < <("$program" loom_tests --list | sed -n 's/: test$//p')
if ((${#all[@]} == 0)); then
    echo "no model was found: ci/loom-full.sh would pass without having checked anything"
    exit 1
fi

# Runs these models in processes of one thread each, for the reason that ci/loom.sh gives.
run() {
    echo "-- $# $what, at most $LOOM_MAX_PREEMPTIONS preemptions, or as many as each says"
    printf '%s\n' "$@" | xargs -P "$(nproc)" -n 1 "$program" --exact --quiet --test-threads=1
}

# With three preemptions a large model can run for an hour, and the executor's models have more threads and steps: two suffice
# for what they are about, or as many as each says.
executor='loom_tests::(future|thread_pool|executor_deadlock|executor_controls|process_pool|pool_rest)::'
mapfile -t small < <(printf '%s\n' "${all[@]}" | grep -vE "$executor|::full_")
mapfile -t large < <(printf '%s\n' "${all[@]}" | grep -E "$executor|::full_")
what="models of locks and the wait-for graph" LOOM_MAX_PREEMPTIONS=3 run "${small[@]}"
what="large models and models of the executor" LOOM_MAX_PREEMPTIONS=2 run "${large[@]}"
