#!/usr/bin/env bash
# A program that aborts on panics: what the library contains elsewhere must not happen there. Built without features, and
# linked by hand: the tests' harness needs panics that unwind.
set -euo pipefail
cd "$(dirname "$0")/.."

export CARGO_TARGET_DIR=target/abort
RUSTFLAGS="-C panic=abort ${RUSTFLAGS:-}" cargo build -p bowline --lib
rustc --edition 2024 -C panic=abort tests/late_key/program.rs -o "$CARGO_TARGET_DIR/late_key" \
    -L "dependency=$CARGO_TARGET_DIR/debug/deps" --extern "bowline=$CARGO_TARGET_DIR/debug/libbowline.rlib"
timeout --kill-after=10 60 "$CARGO_TARGET_DIR/late_key"
