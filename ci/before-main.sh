#!/usr/bin/env bash
# A program with all kinds of code before `main` (C++, C, registries), with two copies of the crate, and with coverage
# counted: its workers find everything done, and each runs the functions of its own copy.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v g++ >/dev/null; then
    echo "installing g++"
    (apt-get install -y g++ || { apt-get update && apt-get install -y g++; }) >/dev/null 2>&1 || true
fi
if ! command -v g++ >/dev/null; then
    echo "skipped: there is no g++"
    exit 0
fi

work=$(realpath -m "${CARGO_TARGET_DIR:-target}")/before-main
mkdir -p "$work"
rm -rf "$work/program" "$work/copy" "$work/profiles"
ln -sfn "$PWD" "$work/bowline"
cp -r tests/before_main "$work/program"

# Another copy of the crate, which takes itself for the same version: cargo would not have two of one version by path.
mkdir "$work/copy"
cp -r src "$work/copy/"
awk '
    /^\[/ { skip = /^\[\[|dev-dependencies\]$|^\[profile/ }
    /^(members|exclude) = / || skip { next }
    { print }
' Cargo.toml >"$work/copy/Cargo.toml"
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
sed -i "s/^version = \"$version\"$/version = \"$version-copy\"/" "$work/copy/Cargo.toml"
grep -rl 'env!("CARGO_PKG_VERSION")' "$work/copy/src" | xargs sed -i "s/env!(\"CARGO_PKG_VERSION\")/\"$version\"/g"

# Of a debugger's data nobody has need here.
export CARGO_TARGET_DIR="$work/target" CARGO_PROFILE_DEV_DEBUG=false
cd "$work/program"
run() { timeout --kill-after=10 60 "$CARGO_TARGET_DIR/debug/before_main" </dev/null; }

echo "-- every kind of code before main, and two copies of the crate"
cargo build --quiet
run

echo "-- with coverage"
cargo rustc --quiet -- -C instrument-coverage
LLVM_PROFILE_FILE="$work/profiles/%p.profraw" run
# The program, and a worker of each copy.
profiles=("$work"/profiles/*.profraw)
if ((${#profiles[@]} != 3)); then
    echo "of three processes these wrote what they ran: ${profiles[*]}"
    exit 1
fi
for profile in "${profiles[@]}"; do
    if [[ ! -s $profile ]]; then
        echo "$profile is empty"
        exit 1
    fi
done
tools=$(rustc --print sysroot)/lib/rustlib/$(rustc --print host-tuple)/bin
profdata=$(PATH="$tools:$PATH" command -v llvm-profdata || true)
if [[ -z $profdata ]] || ! "$profdata" merge -o "$work/merged.profdata" "${profiles[@]}" 2>/dev/null; then
    echo "skipped: what the profiles count (there is no llvm-profdata of this compiler's version)"
    exit 0
fi
# Once in the program, once in each worker.
counts=$("$profdata" show --function=a_task_that_is_counted --counts "$work/merged.profdata")
if ! grep -q 'Function count: 3$' <<<"$counts"; then
    printf 'the task ran three times, and the profiles say:\n%s\n' "$counts"
    exit 1
fi
