#!/usr/bin/env bash
# bowline beside parking_lot with its own deadlock detection, and without: three programs that take turns, the median of
# each workload over the rounds, and its ratio to plain parking_lot. Usage: benches/compare.sh [ROUNDS]
set -euo pipefail
cd "$(dirname "$0")/.."
rounds="${1:-21}"

# One package at a time: built together, both would get the detector.
cargo build --quiet --release -p bowline-benches --bin lines
cargo build --quiet --release -p bowline-benches-parking-lot-deadlock
bin="${CARGO_TARGET_DIR:-target}/release"

measured=$(mktemp)
trap 'rm -f "$measured"' EXIT
for ((round = 1; round <= rounds; round++)); do
    "$bin/lines" parking_lot | sed 's/^/parking_lot\t/' >>"$measured"
    "$bin/lines-parking-lot-deadlock" | sed 's/^/detector\t/' >>"$measured"
    "$bin/lines" bowline | sed 's/^/bowline\t/' >>"$measured"
    printf 'round %d of %d\r' "$round" "$rounds" >&2
done
printf '\n' >&2

# Sorted by number, the middle one of each group is its median.
sort -t $'\t' -k1,1 -k2,2 -k3,3n "$measured" | awk -F '\t' '
    { key = $1 "\t" $2; n[key]++; value[key, n[key]] = $3; workloads[$2] }
    function median(who, what,    key) { key = who "\t" what; return value[key, int((n[key] + 1) / 2)] }
    END {
        print "| workload | parking_lot, ns | parking_lot + its detector | bowline |"
        print "|---|---|---|---|"
        for (what in workloads) {
            base = median("parking_lot", what)
            printf "| %s | %.1f | %.2f | %.2f |\n", what, base, median("detector", what) / base, median("bowline", what) / base
        }
    }' | (
    IFS= read -r head && printf '%s\n' "$head"
    IFS= read -r rule && printf '%s\n' "$rule"
    sort
)
