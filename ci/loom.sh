#!/usr/bin/env bash
# The loom models that explore every interleaving of the lock word, the contexts and the wait-for graph, in the time a
# change can wait for. Those named `full_*` are for ci/loom-full.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

export RUSTFLAGS="--cfg loom ${RUSTFLAGS:-}"
export LOOM_MAX_PREEMPTIONS="${LOOM_MAX_PREEMPTIONS:-2}"
export CARGO_TARGET_DIR=target/loom
# Half of the models' time goes into the kernel: a faster program does not pay for what it takes to compile.
export CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_DEBUG=false

# Built by itself first, so that a compile error is not taken for a crate without models.
cargo test --release --lib --no-run
program=$(cargo test --release --lib --no-run 2>&1 | sed -n 's/^ *Executable .* (\(.*\))$/\1/p')
models=$("$program" loom_tests --list --skip full_ | sed -n 's/: test$//p')
if [[ -z $models ]]; then
    echo "no model was found: ci/loom.sh would pass without having checked anything"
    exit 1
fi
echo "-- $(wc -l <<<"$models") models, at most $LOOM_MAX_PREEMPTIONS preemptions"
# In processes of one thread each: for each execution loom maps a stack for each thread of the model, and two threads that do so in
# one process spend more time waiting for each other in the kernel than in the models.
timeout --kill-after=10 "${CI_SECONDS_LEFT:-1500}" \
    xargs -P "$(nproc)" -n 5 "$program" --exact --quiet --test-threads=1 <<<"$models"
