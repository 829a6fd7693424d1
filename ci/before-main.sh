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
rm -rf "$work/program" "$work/profiles"
ln -sfn "$PWD" "$work/bowline"
cp -r tests/before_main "$work/program"

ci/copy-crate.sh "$work/copy"

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
