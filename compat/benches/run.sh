#!/usr/bin/env bash
# parking_lot and the package that takes its place: one program, built with either, in turns. Prints the median of each workload and its
# ratio, and within how much two halves of the real one's rounds differ (A/A). Usage: compat/benches/run.sh [PROFILE] [ROUNDS] [WORKLOAD]...
set -euo pipefail
cd "$(dirname "$0")/../.."
profile="${1:-release}"
rounds="${2:-21}"
shift $(($# < 2 ? $# : 2))
builds="$(realpath -m "${CARGO_TARGET_DIR:-target}")/compat-benches"

for build in real ours; do
    mkdir -p "$builds/$build"
    cp -r compat/benches/src compat/benches/Cargo.toml "$builds/$build/"
done
cat >>"$builds/ours/Cargo.toml" <<EOF

[patch.crates-io]
parking_lot = { path = "$PWD/compat/parking_lot-0.12" }
EOF
for build in real ours; do
    cargo build --quiet --profile "$profile" --manifest-path "$builds/$build/Cargo.toml" --target-dir "$builds/target-$build"
    cargo tree --manifest-path "$builds/$build/Cargo.toml" --quiet -i parking_lot --depth 0
done

measured=$(mktemp)
trap 'rm -f "$measured"' EXIT
for ((round = 1; round <= rounds; round++)); do
    for build in real ours real; do
        "$builds/target-$build/$profile/bowline-compat-benches" "$@" | sed "s/^/$build\t/" >>"$measured"
    done
    printf 'round %d of %d\r' "$round" "$rounds" >&2
done
printf '\n' >&2

awk -F '\t' '
    !($2 in seen) { seen[$2]; order[++workloads] = $2 }
    { key = $1 "\t" $2; value[key, ++n[key]] = $3 }
    # The median of every step-th value from the first on.
    function median(key, first, step,    count, i, j, x, sorted) {
        count = 0
        for (i = first; i <= n[key]; i += step) {
            x = value[key, i]
            for (j = count++; j > 0 && sorted[j] > x; j--) sorted[j + 1] = sorted[j]
            sorted[j + 1] = x
        }
        return sorted[int((count + 1) / 2)]
    }
    END {
        print "| workload | parking_lot, ns | bowline | A/A |"
        print "|---|---|---|---|"
        for (w = 1; w <= workloads; w++) {
            what = order[w]
            real = median("real\t" what, 1, 1)
            printf "| %s | %.1f | %.2f | %.2f |\n", what, real, median("ours\t" what, 1, 1) / real,
                median("real\t" what, 1, 2) / median("real\t" what, 2, 2)
        }
    }' "$measured"
