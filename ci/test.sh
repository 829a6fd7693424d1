#!/usr/bin/env bash
# The tests as everybody runs them (unit, integration, doctests; every feature is on in tests), and that the library
# also builds with fewer features. A test that hangs ends the script.
set -euo pipefail
cd "$(dirname "$0")/.."

# Without --workspace: together with the benchmarks cargo would turn on their features of the dependencies we share
# (parking_lot's deadlock detection among them), and what is tested would not be what is shipped.
timeout --kill-after=10 "${CI_SECONDS_LEFT:-1200}" cargo test

for features in "" serde signal tracing; do
    echo "-- cargo check --lib --no-default-features --features '$features'"
    cargo check -p bowline --lib --no-default-features --features "$features"
done
