#!/usr/bin/env bash
# The tests as everybody runs them (unit, integration, doctests; every feature is on in tests), and that the library
# also builds with fewer features. A test that hangs ends the script. ci/fresh.sh runs this in a fresh clone.
set -euo pipefail
cd "$(dirname "$0")/.."

# What tests of processes could leave behind: processes of these test programs, files in the folders for temporary ones,
# shared memory.
left() {
    local target
    target=$(realpath "${CARGO_TARGET_DIR:-target}")
    ps -eo pid=,args= | grep -F "$target/debug/deps/" | grep -vF grep || true
    find "${TMPDIR:-/tmp}" /dev/shm "$target/tmp" -maxdepth 1 -user "$(id -un)" \( -name 'bowline*' -o -name 'memfd*' \) 2>/dev/null || true
}
before=$(left)
# Without --workspace: together with the benchmarks cargo would turn on their features of the dependencies we share
# (parking_lot's deadlock detection among them), and what is tested would not be what is shipped.
timeout --kill-after=10 "${CI_SECONDS_LEFT:-1200}" cargo test
after=$(left)
if [[ $after != "$before" ]]; then
    printf 'the tests left something behind; before:\n%s\nafter:\n%s\n' "$before" "$after"
    exit 1
fi

# With `process` each other feature changes what is compiled; among themselves the others do not meet.
for features in "" serde signal tracing process "process serde" "process signal" "process tracing"; do
    echo "-- cargo check --lib --no-default-features --features '$features'"
    cargo check -p bowline --lib --no-default-features --features "$features"
done

# What other systems get in the place of process pools.
echo "-- cargo test --lib process_pool::tests, for other systems"
RUSTFLAGS="--cfg bowline_portable" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/portable" \
    cargo test --lib process_pool::tests
