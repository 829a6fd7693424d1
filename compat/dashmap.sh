#!/usr/bin/env bash
# Makes a copy of dashmap 6 whose shards are locked by the `parking_lot` of the dependency tree, and not by a lock of dashmap's own: one
# file of its source is exchanged. Usage: compat/dashmap.sh VERSION FOLDER; then, beside the patch of parking_lot,
# `dashmap = { path = "FOLDER" }` under [patch.crates-io].
set -euo pipefail
if (($# != 2)) || [[ ! $1 =~ ^6\.[0-9]+\.[0-9]+$ ]]; then
    echo "usage: compat/dashmap.sh VERSION FOLDER, with a version of dashmap 6 such as 6.1.0" >&2
    exit 2
fi
version=$1
folder=$(realpath -m "$2")
if [[ -e $folder ]]; then
    echo "compat/dashmap.sh: $folder exists" >&2
    exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
touch "$work/src/lib.rs"
printf '[package]\nname = "copy"\nedition = "2021"\n[workspace]\n[dependencies]\ndashmap = "=%s"\n' "$version" >"$work/Cargo.toml"
cargo fetch --quiet --manifest-path "$work/Cargo.toml"
manifest=$(cargo metadata --quiet --format-version 1 --manifest-path "$work/Cargo.toml" | grep -oE "\"[^\"]*/dashmap-$version/Cargo.toml\"" | head -1 | tr -d '"')
source=$(dirname "$manifest")

# What this relies on: a lock file that declares the three types over lock_api 0.4, and nothing else that parks.
for name in 'type RwLock<T> = lock_api::RwLock<RawRwLock, T>' 'type RwLockReadGuard<' 'type RwLockWriteGuard<'; do
    if ! grep -qF "$name" "$source/src/lock.rs"; then
        echo "compat/dashmap.sh: dashmap $version locks in another way (no '$name' in src/lock.rs)" >&2
        exit 1
    fi
done
if grep -rl parking_lot_core "$source/src" | grep -qv '/lock.rs$'; then
    echo "compat/dashmap.sh: dashmap $version parks in another file than src/lock.rs" >&2
    exit 1
fi

cp -r "$source" "$folder"
chmod -R u+w "$folder"
rm -f "$folder/Cargo.lock" "$folder/.cargo-ok"
cat >"$folder/src/lock.rs" <<'EOF'
//! The locks of the shards: those of the `parking_lot` in the dependency tree.

pub type RawRwLock = parking_lot::RawRwLock;
pub type RwLock<T> = lock_api::RwLock<RawRwLock, T>;
pub type RwLockReadGuard<'a, T> = lock_api::RwLockReadGuard<'a, RawRwLock, T>;
pub type RwLockWriteGuard<'a, T> = lock_api::RwLockWriteGuard<'a, RawRwLock, T>;
EOF
sed -i 's/^\[dependencies\.parking_lot_core\]$/[dependencies.parking_lot]/; /^\[dependencies\.parking_lot\]$/,/^$/s/^version = .*/version = "0.12"/' "$folder/Cargo.toml"
echo "dashmap $version, with the locks of parking_lot: $folder"
