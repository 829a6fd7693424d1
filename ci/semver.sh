#!/usr/bin/env bash
# That the public surface changes as the version says, against the last release. Needs cargo-semver-checks
# (`cargo install cargo-semver-checks --locked`) and a tag `v…`; where one of them lacks this is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v cargo-semver-checks >/dev/null; then
    echo "skipped: cargo-semver-checks is not installed"
elif ! release=$(git describe --tags --match 'v*' --abbrev=0 2>/dev/null); then
    echo "skipped: nothing was released yet, there is no tag v…"
else
    for features in --default-features --all-features; do
        cargo semver-checks -p bowline --baseline-rev "$release" "$features"
    done
fi
