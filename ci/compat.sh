#!/usr/bin/env bash
# The packages in compat build with each set of features that matters, are formatted, have no warnings and pass their tests, and
# pass those tests that the packages whose names they have were published with. Those are taken from the published sources each
# time.
set -euo pipefail
cd "$(dirname "$0")/.."

CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}")/compat
export CARGO_TARGET_DIR
# Of a debugger's data nobody has need here.
export CARGO_PROFILE_DEV_DEBUG=line-tables-only
# A test that hangs says why, when it is ended.
export BOWLINE_DUMP=sigterm
# Seconds for one binary of published tests.
limit=$((${CI_SECONDS_LEFT:-300} < 300 ? ${CI_SECONDS_LEFT:-300} : 300))

# The features that go together, and those that exclude each other.
together=arc_lock,owning_ref,serde
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for manifest in compat/parking_lot-*/Cargo.toml; do
    echo "-- $manifest"
    cargo fmt --check --manifest-path "$manifest"
    mapfile -t alone < <(sed -n '/^\[features\]/,/^\[dep/s/^\([a-z][a-z_-]*\) = .*/\1/p' "$manifest")
    if ((${#alone[@]} == 0)); then
        echo "no features were found: correct the pattern in ci/compat.sh"
        exit 1
    fi
    for features in "${alone[@]}" "$together,deadlock_detection" "$together,send_guard"; do
        cargo clippy --quiet --locked --manifest-path "$manifest" --all-targets --features "$features" -- -D warnings
    done
    for features in "" "$together,deadlock_detection" "$together,send_guard"; do
        cargo test --quiet --locked --manifest-path "$manifest" --features "$features" </dev/null
    done
done

# extract FILE: the tests at the end of a source file, as a file that depends on the package. What they use that is private to their
# crate has a stand-in: the wait-for graph tells whether somebody waits, and public methods wait with a limit or without.
extract() {
    echo '#![allow(warnings)]'
    case $1 in
        */lib.rs) echo 'use parking_lot::*;' ;;
        */deadlock.rs) echo '#![cfg(feature = "deadlock_detection")]' ;;
    esac
    awk '/^#\[cfg\((all\()?test/ { inside = 1 } inside { print } /^}/ { inside = 0 }' "$1" |
        sed -E 's/\bcrate::/parking_lot::/g
            /^ *use super::PARKED_BIT;$/d
            s/unsafe \{ \w+\.raw\(\) \}\.has_parked_threads\(\)/crate::somebody_waits()/
            s/\w+\.0\.load\(Ordering::Relaxed\) & PARKED_BIT == 0/!crate::somebody_waits()/
            s/\bparking_lot_core::deadlock\b/parking_lot::deadlock/
            s/(\w+)\.wait_while_until_internal\(/crate::wait_while_until(\&\1, /'
    cat <<'EOF'
fn somebody_waits() -> bool {
    use bowline::deadlock::{snapshot, Edge};
    snapshot().graph().edge_weights().any(|edge| matches!(edge, Edge::Waits { .. }))
}
struct Ended(bool);
impl Ended {
    fn timed_out(&self) -> bool {
        self.0
    }
}
fn wait_while_until<T: ?Sized>(
    condvar: &parking_lot::Condvar,
    guard: &mut parking_lot::MutexGuard<'_, T>,
    condition: impl FnMut(&mut T) -> bool,
    limit: Option<std::time::Instant>,
) -> Ended {
    match limit {
        Some(limit) => Ended(condvar.wait_while_until(guard, condition, limit).timed_out()),
        None => {
            condvar.wait_while(guard, condition);
            Ended(false)
        }
    }
}
EOF
}

# fetch: fetches what the package in this folder depends on, or ends the script.
fetch() {
    # Where packages come from is nobody's business.
    if cargo fetch --quiet 2>/dev/null; then return; fi
    echo "skipped: the published tests of parking_lot $version, and all that follows (what they need could not be fetched)"
    exit 0
}

# run NAME OPTION…: runs tests of one file, and says what they print only if they fail or hang.
run() {
    local status=0
    timeout --kill-after=10 "$limit" cargo test --quiet --features "$features" --test "$@" </dev/null >"$work/output" 2>&1 || status=$?
    if ((status == 0)); then return; fi
    cat "$work/output"
    if ((status == 124)); then echo "no end after $limit s"; fi
    echo "failed: tests of parking_lot $version in $1.rs, with $features"
    exit 1
}

for version in 0.12.5 0.13.0; do
    echo "-- the tests of parking_lot $version"
    its=$work/$version
    mkdir -p "$its/published/src" "$its/tests/src" "$its/tests/tests"
    touch "$its/published/src/lib.rs" "$its/tests/src/lib.rs"
    cat >"$its/published/Cargo.toml" <<EOF
[package]
name = "published"
edition = "2024"
[workspace]
[dependencies]
parking_lot = "=$version"
EOF
    cd "$its/published"
    fetch
    source=$(dirname "$(cargo metadata --quiet --format-version 1 | grep -oE "\"[^\"]*/parking_lot-$version/Cargo.toml\"" | tr -d '"')")
    cd "$OLDPWD"

    cat >"$its/tests/Cargo.toml" <<EOF
[package]
name = "tests"
$(grep '^edition = ' "$source/Cargo.toml")
[workspace]
[features]
arc_lock = ["parking_lot/arc_lock"]
owning_ref = ["parking_lot/owning_ref"]
serde = ["parking_lot/serde"]
send_guard = ["parking_lot/send_guard"]
deadlock_detection = ["parking_lot/deadlock_detection"]
[dependencies]
bowline = { path = "$PWD" }
parking_lot = { path = "$PWD/compat/parking_lot-${version%.*}" }
$(awk '/^\[/ { inside = /^\[dev-dependencies/ } inside' "$source/Cargo.toml")
EOF
    for file in "$source"/src/*.rs "$source"/tests/*.rs; do
        name=$(basename "$file" .rs)
        if ! grep -q '#\[test\]' "$file"; then continue; fi
        if [[ $file == */tests/* ]]; then
            cp "$file" "$its/tests/tests/"
        else
            extract "$file" >"$its/tests/tests/$name.rs"
            # A busy machine needs longer than this for threads that wait for each other.
            if [[ $name == deadlock ]]; then sed -i 's/from_millis(50)/from_millis(1000)/' "$its/tests/tests/$name.rs"; fi
        fi
    done

    cd "$its/tests"
    fetch
    : >"$its/names"
    for features in "$together,deadlock_detection" "$together,send_guard"; do
        cargo test --quiet --no-run --features "$features"
        for file in tests/*.rs; do
            name=$(basename "$file" .rs)
            # Those that look at the graph of their process are alone in it.
            mapfile -t looking < <(awk '/ fn / { sub(/.* fn /, ""); sub(/[(<].*/, ""); its = $0 } /crate::somebody_waits/ { print its }' "$file")
            skips=()
            for test in "${looking[@]}"; do
                run "$name" -- --exact "tests::$test"
                skips+=(--skip "tests::$test")
            done
            # These take most of the time, and are about the same queues with both.
            if [[ $features == *send_guard* ]]; then skips+=(--skip webkit_queue_test); fi
            run "$name" -- "${skips[@]}"
            cargo test --quiet --test "$name" --features "$features" -- --list 2>/dev/null | sed -n "s/: test$/ of $name.rs/p" >>"$its/names"
        done
    done
    cd "$OLDPWD"
    ran=$(sort -u "$its/names" | wc -l)
    echo "$ran of $ran published tests pass (of those that are compiled for this platform)"
done

# depend FOLDER DEPENDENCIES PATCH: a program with these dependencies, in a tree with this patch.
depend() {
    mkdir -p "$1/src"
    printf '[package]\nname = "dependant"\nedition = "2024"\n[workspace]\n[dependencies]\n%s\n[patch.crates-io]\n%s\n' "$2" "$3" >"$1/Cargo.toml"
}

echo "-- a newer version in the registry does not slip past"
older=$work/older
cp -r compat/parking_lot-0.12 "$older"
rm -r "$older/tests" "$older/Cargo.lock"
sed -i -e 's/^version = "0.12.5"$/version = "0.12.1"/' -e "s|path = \"../..\"|path = \"$PWD\"|" -e '/^\[\[test\]\]/,$d' "$older/Cargo.toml"
depend "$work/tree" 'parking_lot = "0.12"' "parking_lot = { path = \"$older\" }"
echo 'fn main() {}' >"$work/tree/src/main.rs"
tree=$(cargo tree --quiet --manifest-path "$work/tree/Cargo.toml" --invert parking_lot --depth 0)
if [[ $tree != "parking_lot v0.12.1 ($older)" ]]; then
    echo "failed: the tree has '$tree', and not the package of the patch alone"
    exit 1
fi

echo "-- a lock file that has the parking_lot_core of before needs no change"
cargo update --quiet --manifest-path "$work/tree/Cargo.toml" parking_lot_core --precise 0.9.12
cargo check --quiet --manifest-path "$work/tree/Cargo.toml"

echo "-- a copy of dashmap whose shards are in the graph"
bash compat/dashmap.sh 6.1.0 "$work/dashmap" >/dev/null
depend "$work/shards" 'dashmap = "6"
parking_lot = "0.12"' "dashmap = { path = \"$work/dashmap\" }
parking_lot = { path = \"$PWD/compat/parking_lot-0.12\" }"
cat >"$work/shards/src/main.rs" <<'EOF'
fn main() {
    let map = dashmap::DashMap::new();
    map.insert(1, "one");
    let _kept = map.get(&1);
    map.insert(1, "another");
}
EOF
status=0
BOWLINE_DEADLOCK=abort timeout 60 cargo run --quiet --manifest-path "$work/shards/Cargo.toml" >"$work/output" 2>&1 || status=$?
if ((status == 0 || status == 124)) || ! grep -q '^deadlock: ' "$work/output"; then
    cat "$work/output"
    echo "failed: a shard that is written while it is read was not told"
    exit 1
fi

echo "-- a deadlock across two crates that know nothing of each other"
manifest=compat/examples/Cargo.toml
cargo fmt --check --manifest-path "$manifest"
cargo clippy --quiet --locked --manifest-path "$manifest" -- -D warnings
BOWLINE_DEADLOCK=panic timeout 60 cargo run --quiet --locked --manifest-path "$manifest" --bin two_crates >"$work/output" 2>&1 || true
for crate in moka prometheus; do
    if ! grep -q "^deadlock: 2 threads" "$work/output" || ! grep -qE "$crate-[0-9.]+/src/[a-z_/]+[.]rs:[0-9]+" "$work/output"; then
        cat "$work/output"
        echo "failed: no deadlock was told, or not with lines in $crate"
        exit 1
    fi
done
