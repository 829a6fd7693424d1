#!/usr/bin/env bash
# The tests, as a new user meets them: a clone of the last commit, an empty cargo home (but for its config.toml), and the
# two commands of the README. What is not committed is not tested; ci/test.sh alone tests the working tree.
set -euo pipefail
cd "$(dirname "$0")/.."

limit=${CI_SECONDS_LEFT:-1200}
config="${CARGO_HOME:-$HOME/.cargo}/config.toml"
# Rustup may know its toolchains by the home folder alone.
export RUSTUP_HOME="${RUSTUP_HOME:-$HOME/.rustup}"

place=$(mktemp -d "${TMPDIR:-/tmp}/fresh-clone.XXXXXX")
trap 'rm -rf "$place"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [[ -n $(git status --porcelain) ]]; then
    echo "note: the working tree has changes that are not committed, and are not tested here"
fi
git clone --quiet --no-local . "$place/bowline"

mkdir "$place/cargo"
if [[ -f $config ]]; then cp "$config" "$place/cargo/config.toml"; fi
export CARGO_HOME="$place/cargo"
unset CARGO_TARGET_DIR CARGO_NET_OFFLINE
cd "$place/bowline"

# Where packages come from is nobody's business.
output() { sed -uE 's#https?://[^/ `]+#https://…#g' | tee -a "$place/output"; }

echo "-- cargo run --example dining_philosophers"
timeout --kill-after=10 "$limit" cargo run --example dining_philosophers </dev/null 2>&1 | output

# Its `cargo test` is the other command.
echo "-- cargo test"
CI_SECONDS_LEFT=$((limit > SECONDS ? limit - SECONDS : 1)) bash ci/test.sh </dev/null 2>&1 | output

if skipped=$(grep -o 'skipped: .*' "$place/output" | sort -u); then
    printf -- '-- what could not be tested here\n%s\n' "$skipped"
fi
