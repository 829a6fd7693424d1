#!/usr/bin/env bash
# What can be said of the sources without running them: which names and layers a file may use, which tests share a
# process, file length, formatting, clippy, licenses of the dependencies.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0

# complain WHAT WHAT-TO-DO FINDINGS: one broken rule.
complain() {
    printf '\nlint: %s\n%s\n  what to do: %s\n' "$1" "$3" "$2"
    failed=1
}

# paths FILE...: the code of Rust files as `file:line:code`, made for grep. Comments and the unit tests at a file's end are left out, every path imported
# by a `use` stands alone (`use a::{b, c::d};` becomes `use a::b` and `use a::c::d`), and `thread::` is written
# `std::thread::` in a file that imports that module.
paths() {
    awk '
        function trim(s) { sub(/^[ \t]+/, "", s); sub(/[ \t]+$/, "", s); return s }
        function emit(code) { print FILENAME ":" line ":" code }
        function expand(prefix, tree,    i, c, depth, part) {
            tree = tree ","
            for (i = 1; i <= length(tree); i++) {
                c = substr(tree, i, 1)
                if (c == "{") depth++
                if (c == "}") depth--
                if (c != "," || depth > 0) { part = part c; continue }
                part = trim(part)
                if (part ~ /[{]/) expand(prefix substr(part, 1, index(part, "{") - 1), inside(part))
                else if (part != "") emit("use " prefix part)
                if ((prefix part) ~ /^std::thread(::self)?$/) imports_thread = 1
                part = ""
            }
        }
        function inside(group) { sub(/^[^{]*[{]/, "", group); sub(/[}][ \t]*$/, "", group); return group }
        FNR == 1 { import = ""; imports_thread = 0; in_tests = FILENAME ~ /\/tests(\/.*)?[.]rs$/ }
        # Unit tests are built without loom, and may use what they like.
        /^mod tests [{]/ { in_tests = 1 }
        in_tests { next }
        { sub(/^[ \t]*\/\/.*/, ""); sub(/[ \t]\/\/ .*/, "") }
        import == "" && sub(/^[ \t]*(pub(\([^)]*\))?[ \t]+)?use[ \t]+(::)?/, "") { import = " "; line = FNR }
        import != "" {
            import = import " " $0
            if ($0 !~ /;/) next
            sub(/;.*/, "", import)
            expand("", import)
            import = ""
            next
        }
        /[^ \t]/ {
            line = FNR
            code = " " $0
            while (imports_thread && match(code, /[^:A-Za-z0-9_]thread::/))
                code = substr(code, 1, RSTART) "std::" substr(code, RSTART + 1)
            emit(code)
        }
    ' "$@"
}

# sources NAME: the Rust files of the module src/NAME, whether one file or a folder.
sources() {
    find "src/$1" "src/$1.rs" -type f -name '*.rs' 2>/dev/null | sort || true
}

# layer NAME FORBIDDEN [PATTERN]: module src/NAME must not name a module of the crate that is among FORBIDDEN, nor PATTERN.
layer() {
    local files found
    mapfile -t files < <(sources "$1")
    if ((${#files[@]} == 0)); then
        complain "the layer src/$1 was not found" "correct the names of the layers in ci/lint.sh" "  src/$1"
        return
    fi
    found=$(paths "${files[@]}" | grep -E \
        -e ":.*\<(crate|super::super)::($2)\>" \
        -e "^src/$1(/mod)?\.rs:[0-9]+:.*\<super::($2)\>" \
        -e "${3:-^$}" || true)
    if [[ -n $found ]]; then
        complain "src/$1 names a layer above itself (imports go one way: primitive <- deadlock <- sync <- std_sync and facade, and deadlock <- task <- thread_pool <- process_pool)" \
            "move the code up, or let the layer above pass in what is needed here" "$found"
    fi
}

printf -- '-- names that belong in src/primitive\n'
mapfile -t outside < <(find src -type f -name '*.rs' -not -path 'src/primitive/*' -not -path 'src/primitive.rs' | sort)
if ((${#outside[@]} == 0)); then
    complain "no sources found under src" "correct the paths in ci/lint.sh" "  src/**/*.rs"
else
    found=$(paths "${outside[@]}" | grep -E \
        -e '\<(std|core)::sync::(Mutex|MappedMutex|RwLock|MappedRwLock|ReentrantLock|Condvar|Barrier|mpsc|mpmc|Once(State)?\>|atomic)' \
        -e ':use (std|core)::sync(::(self|\*))?( as .*)?$' \
        -e '\<std::thread::(spawn|scope|Builder)\>' \
        -e '\<(parking_lot|parking_lot_core)\>' \
        -e '\<crossbeam' \
        -e '\<loom::|:use loom$|extern crate loom' |
        # What has no lock is re-exported there; and the name is a word of what is printed.
        grep -vE -e '^src/facade/mod[.]rs:[0-9]+:.*(send_guard|-i parking_lot`)' -e '^src/std_sync/mod[.]rs:[0-9]+:use std::sync::(atomic|mpsc)$' -e '^src/deadlock/report/render/names[.]rs:[0-9]+:.*"made[{]GLUE[}]by[{]GLUE[}]parking_lot"' || true)
    if [[ -n $found ]]; then
        complain "these names may be used in src/primitive only: loom replaces what stands there, and nothing else" \
            "use the name from crate::primitive, or add it there for both std and loom (std::sync::{Arc, Weak, OnceLock} and thread names are free)" \
            "$found"
    fi
fi

printf -- '-- direction of imports\n'
# The crate root names the public types of every layer.
root_reexport='\<crate::[A-Z]'
layer primitive 'deadlock|sync|std_sync|facade|task|thread|thread_pool|process_pool' "$root_reexport"
layer deadlock 'sync|std_sync|facade|task|thread|thread_pool|process_pool' "$root_reexport"
layer thread 'sync|std_sync|facade|task|thread_pool|process_pool'
layer sync 'std_sync|facade|task|thread_pool|process_pool'
layer std_sync 'facade|task|thread|thread_pool|process_pool' "$root_reexport"
layer facade 'std_sync|task|thread|thread_pool|process_pool' "$root_reexport"
layer task 'sync|std_sync|facade|thread_pool|process_pool'
layer thread_pool 'std_sync|facade|process_pool'
layer process_pool 'std_sync|facade'
interface='process_pool::(builder|current_task|limits|map|pool|submit|task)'
layer process_pool/wire "process_pool::(error|parent|worker)|$interface"
layer process_pool/error "process_pool::(parent|worker)|$interface"
layer process_pool/worker "process_pool::(error|parent)|$interface"
layer process_pool/parent "process_pool::worker|$interface"

# shared FILE...: the tests which set something of their process, or count what it does, though they share it with others,
# as `file: test: word`. What a test calls in its own file is looked at, too.
shared() {
    awk '
        function finish(    at) {
            if (body == "") return
            at = ++items
            text[at] = body; is_test[at] = in_test; file[at] = path
            name[at] = ""
            if (match(body, /(^|\n)[^\n]*(fn|struct|enum|static|const|trait|type|macro_rules!) [A-Za-z_]+/)) {
                name[at] = substr(body, RSTART, RLENGTH)
                sub(/.* /, "", name[at])
            }
            body = ""; in_test = 0
        }
        # What is reached from this item, once each.
        function reach(at,    other) {
            if (at in seen) return
            seen[at]
            all = all text[at]
            for (other = 1; other <= items; other++)
                if (file[other] == file[at] && !is_test[other] && name[other] != "" && text[at] ~ ("[^A-Za-z_]" name[other] "[^A-Za-z_]"))
                    reach(other)
        }
        FNR == 1 { finish(); path = FILENAME }
        { sub(/^[ \t]*\/\/.*/, ""); sub(/[ \t]\/\/ .*/, "") }
        /^#\[test\]/ { in_test = 1 }
        { body = body $0 "\n" }
        /^[}]/ || /^[^ #}].*[;}]$/ { finish() }
        END {
            finish()
            for (at = 1; at <= items; at++) {
                if (!is_test[at]) continue
                all = ""; delete seen
                reach(at)
                if (all ~ isolated) continue
                if (match(all, words)) print "  " file[at] ": " name[at] ": " substr(all, RSTART, RLENGTH)
            }
        }
    ' isolated='[^A-Za-z_](alone|alone_within|in_fresh_process|run_self)[(]|Program::' \
        words='[^A-Za-z_.](set_policy|set_grace|set_hazard_policy|on_deadlock|on_hazard|warn_after|dump_on_signal|set_hook|take_hook|set_global_default|set_var|remove_var|set_current_dir|setrlimit|live_bytes|allocations_anywhere|open_descriptors|processes)[(]|[^A-Za-z_]children[(][)]|Reports::|/proc/self/(fd|task)"' \
        "$@"
}

printf -- '-- tests that share a process\n'
mapfile -t tests < <(find tests -mindepth 2 -type f -name '*.rs' -not -path 'tests/support/*' -not -path 'tests/*/src/*' | sort)
found=$(shared "${tests[@]}")
if [[ -n $found ]]; then
    complain "a test sets something of its process, or counts what it does, and shares the process with other tests" \
        "run its body by support::alone, or by support::in_fresh_process where the end of the process is looked at" "$found"
fi
found=$(grep -n '^#\[global_allocator\]' "${tests[@]}" | grep -v '^tests/allocations/counting.rs:' || true)
if [[ -n $found ]]; then
    complain "an allocator is a whole binary's" "count with tests/allocations/counting.rs, in that binary" "$found"
fi
found=$(grep -n '^ *#\[unsafe(no_mangle)\]' "${tests[@]}" | grep -vE '^tests/(system/calls|process_library/lib|second_copy/lib).rs:' || true)
if [[ -n $found ]]; then
    complain "a call of the system is replaced for a whole binary" "replace it in tests/system/calls.rs, for as long as a test says so" "$found"
fi
found=$(grep -lE '^#\[ctor|init_array' "${tests[@]}" | xargs -r grep -L 'env::var_os' || true)
if [[ -n $found ]]; then
    complain "what runs before main runs in every process of the binary" "do nothing unless an environment variable asks for it" "$found"
fi

printf -- '-- circles of imports\n'
tools=$(mktemp -d)
rustc --edition 2024 ci/circles.rs -o "$tools/circles"
if ! circles=$("$tools/circles"); then
    complain "more than three files of src import each other" \
        "find the concept that is missing: put what they share below them, or let the upper one pass in what the lower one needs" "$circles"
fi
rm -r "$tools"

printf -- '-- length of files\n'
folders=()
for folder in src tests loom-tests benches examples; do
    if [[ -d $folder ]]; then folders+=("$folder"); fi
done
found=$(find "${folders[@]}" -name target -prune -o -type f -exec awk 'END { if (NR > 600) print "  " FILENAME ": " NR " lines" }' {} \;)
if [[ -n $found ]]; then
    complain "a file has at most 600 lines" "split it: a file is one noun" "$found"
fi

if ((failed)); then exit 1; fi

printf -- '-- formatting\n'
cargo fmt --all --check || {
    complain "the sources are not formatted" "run: cargo fmt --all" "  (the differences are above)"
    exit 1
}

printf -- '-- clippy, every target and feature\n'
cargo clippy --workspace --all-targets --all-features -- -D warnings

printf -- '-- clippy, the library without features, and with process pools alone\n'
cargo clippy -p bowline -- -D warnings
cargo clippy -p bowline --features process -- -D warnings

# What systems other than Linux get, as far as it can be told here. Parts of the executor serve process pools alone.
printf -- '-- the library for other systems, without features and with all\n'
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/portable"
RUSTFLAGS="--cfg bowline_portable -D warnings" cargo check -p bowline --lib
RUSTFLAGS="--cfg bowline_portable -D warnings -A dead_code" cargo check -p bowline --lib --all-features

printf -- '-- licenses and bans\n'
if command -v cargo-deny >/dev/null; then
    cargo deny check licenses bans
else
    echo "skipped: cargo-deny is not installed"
fi
