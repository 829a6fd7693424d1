#!/usr/bin/env bash
# copy-crate.sh FOLDER: another copy of the crate, for programs that link two.
set -euo pipefail
cd "$(dirname "$0")/.."
copy=$1

# Another copy of the crate, which takes itself for the same version: cargo would not have two of one version by path.
rm -rf "$copy"
mkdir -p "$copy"
cp -r src "$copy/"
awk '
    /^\[/ { skip = /^\[\[|dev-dependencies\]$|^\[profile/ }
    /^(members|exclude) = / || skip { next }
    { print }
' Cargo.toml >"$copy/Cargo.toml"
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
sed -i "s/^version = \"$version\"$/version = \"$version-copy\"/" "$copy/Cargo.toml"
grep -rl 'env!("CARGO_PKG_VERSION")' "$copy/src" | xargs sed -i "s/env!(\"CARGO_PKG_VERSION\")/\"$version\"/g"
