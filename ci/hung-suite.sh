#!/usr/bin/env bash
# A suite whose tests hang in five ways, killed by the time-out of cargo-nextest: each says who holds what, on which line, and
# what its holder is blocked in, without a line of code for that. And a debugger asks a program that never names `dump`.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! cargo nextest --version >/dev/null 2>&1; then
    echo "installing cargo-nextest"
    cargo install --locked cargo-nextest >/dev/null 2>&1 || true
fi
if ! cargo nextest --version >/dev/null 2>&1; then
    echo "skipped: there is no cargo-nextest"
    exit 0
fi

work=$(realpath -m "${CARGO_TARGET_DIR:-target}")/hung-suite
mkdir -p "$work"
rm -rf "$work/suite"
ci/copy-crate.sh "$work/copy"
ln -sfn "$PWD" "$work/bowline"
cp -r tests/hung_suite "$work/suite"
export CARGO_TARGET_DIR="$work/target" CARGO_PROFILE_DEV_DEBUG=line-tables-only
cd "$work/suite"
cargo nextest run --no-run --cargo-quiet

echo "-- five tests that hang"
BOWLINE_DUMP=sigterm timeout --kill-after=10 120 cargo nextest run >"$work/output" 2>&1 && {
    echo "the tests did not hang"
    exit 1
}

failed=0
# expect TEST TEXT...: what the output of a test has to contain. Each line of it begins with four blanks.
expect() {
    local test=$1 text
    shift
    awk -v test="tests::$test" '
        / TIMEOUT | TERMINATING / { here = $NF == test && !seen[$0]++ }
        here { print }
    ' "$work/output" | tr '\n' ' ' | tr -s ' ' >"$work/of-test"
    for text in "$@"; do
        if ! grep -qF -- "$text" "$work/of-test"; then
            printf '%s does not say %q, but\n' "$test" "$text"
            cat "$work/of-test"
            echo
            failed=1
        fi
    done
}
futex="is blocked outside of bowline: it waits on a futex: a join, a channel, a condition variable or another lock"
holds="holds A 'ledger' (thread 'auditor' (os id "
waits=") waits for A 'ledger' at src/lib.rs:"
expect two_locks "with a time-out" "holds B 'audit' (thread " "holds A 'ledger' (thread " "waits for it), taken at src/lib.rs:" "2 threads, 2 wait, no deadlock"
for test in a_condition_that_nobody_notifies a_join a_lock_of_std a_channel; do
    expect "$test" "2 threads, 1 waits, no deadlock" "thread 'tests::$test' (os id " ") $futex" "thread 'auditor' (os id " "$holds" "$waits"
done
if ((failed)); then
    cat "$work/output"
    exit 1
fi

echo "-- a program with two copies of the crate is terminated"
cargo build --release --quiet
program="$CARGO_TARGET_DIR/release/hung_suite"
# start: the program, until it hangs. Its number is in $pid.
start() {
    : >"$work/said"
    "$program" >"$work/said" 2>"$work/told" &
    pid=$!
    trap 'kill -KILL $pid 2>/dev/null || true' EXIT
    until grep -q hangs "$work/said"; do
        kill -0 $pid
        sleep 0.1
    done
}
# told: each copy has told of its lock.
told() {
    local name
    for name in "of the one" "of the other"; do
        if ! grep -qF "holds A '$name' (unnamed thread (os id " "$work/told"; then
            printf 'nothing was told of %q, but\n' "$name"
            cat "$work/told"
            exit 1
        fi
    done
}
BOWLINE_DUMP=sigterm start
kill -TERM $pid
status=0
wait $pid || status=$?
if ((status != 128 + 15)); then
    echo "it ended with $status, and not by SIGTERM"
    exit 1
fi
told

echo "-- a debugger asks it, though it names no dump"
if ! command -v gdb >/dev/null; then
    (apt-get install -y gdb || { apt-get update && apt-get install -y gdb; }) >/dev/null 2>&1 || true
fi
if ! command -v gdb >/dev/null; then
    echo "skipped: there is no gdb"
    exit 0
fi
start
mapfile -t dumps < <(nm "$program" | sed -n 's/.* [tT] \(.*deadlock6report4dump4dump.*\)/\1/p')
if ((${#dumps[@]} != 2)); then
    printf 'two functions were expected: %s\n' "${dumps[*]}"
    exit 1
fi
for dump in "${dumps[@]}"; do
    timeout --kill-after=10 60 gdb -p $pid -batch -ex "call ((void (*)())$dump)()" >"$work/gdb" 2>&1 || true
done
if grep -q 'ptrace: Operation not permitted' "$work/gdb"; then
    echo "skipped: a debugger may not attach here"
    exit 0
fi
told
