#!/usr/bin/env bash
# The packages in compat have the whole public surface of the packages whose names and versions they have: items, signatures,
# implementations of traits, features. Taken from rustdoc's JSON, and compared by the program in ci/surface.
set -euo pipefail
cd "$(dirname "$0")/.."

# What is missing on purpose, as beginnings of the lines that the program prints, each with the reason: nothing.
missing=()

if ! rustdoc +nightly --version >/dev/null 2>&1; then
    echo "skipped: there is no nightly toolchain, whose rustdoc prints JSON"
    exit 0
fi

CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}")/compat
export CARGO_TARGET_DIR
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cargo build --quiet --locked --manifest-path ci/surface/Cargo.toml

# print FOLDER MANIFEST OPTION...: puts into the folder what rustdoc and cargo print of the package parking_lot.
print() {
    local folder=$1 manifest=$2
    shift 2
    mkdir -p "$folder"
    cargo +nightly rustdoc --quiet --lib --manifest-path "$manifest" "$@" -- -Z unstable-options --output-format json --cap-lints allow
    mv "$CARGO_TARGET_DIR/doc/parking_lot.json" "$folder/doc.json"
    cargo metadata --quiet --format-version 1 --manifest-path "$manifest" >"$folder/metadata.json"
}

for version in 0.12.5 0.13.0; do
    # Each set has the features that go together.
    for features in arc_lock,owning_ref,serde,deadlock_detection arc_lock,owning_ref,serde,send_guard; do
        echo "-- parking_lot $version with $features"
        its=$work/$version-${features##*,}
        mkdir -p "$its/package/src"
        touch "$its/package/src/lib.rs"
        cat >"$its/package/Cargo.toml" <<EOF
[package]
name = "depends"
edition = "2024"
[workspace]
[dependencies]
parking_lot = { version = "=$version", features = ["${features//,/\", \"}"] }
EOF
        # Where packages come from is nobody's business.
        if ! cargo fetch --quiet --manifest-path "$its/package/Cargo.toml" 2>/dev/null; then
            echo "skipped: parking_lot $version could not be fetched"
            exit 0
        fi
        print "$its/theirs" "$its/package/Cargo.toml" -p parking_lot
        print "$its/ours" "compat/parking_lot-${version%.*}/Cargo.toml" --locked --features "$features"
        "$CARGO_TARGET_DIR/debug/surface" "$version" "$its/theirs" "$its/ours" "${missing[@]}"
    done
done
