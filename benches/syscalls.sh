#!/usr/bin/env bash
# The system calls of round trips to other processes, those of the parent and those of its workers apart, counted by
# strace after a warm-up: a table of calls per task. Who is traced is slow: a wait that would have ended while it spun
# sleeps here, so that these are the most calls that there can be. Usage: benches/syscalls.sh [TASKS] [POOL...]
set -euo pipefail
cd "$(dirname "$0")/.."
tasks="${1:-1000}"
pools=("${@:2}")
if ((${#pools[@]} == 0)); then pools=(bowline procspawn 'bare socketpair'); fi

if ! command -v strace >/dev/null; then
    echo "skipped: the system calls of round trips, since strace is not installed"
    exit 0
fi

cargo build --quiet --release -p bowline-benches --bin process_ratios
bin="${CARGO_TARGET_DIR:-target}/release/process_ratios"
counts=$(mktemp -d)
trap 'rm -rf "$counts"' EXIT

# per_task FILE...: the sum of strace's summaries, divided by the tasks.
per_task() {
    awk -v tasks="$tasks" '
        /^-/ { inside = !inside; next }
        inside && $4 ~ /^[0-9]+$/ { calls[$NF] += $4; total += $4 }
        END {
            printf "%.2f |", total / tasks
            for (name in calls) if (calls[name] / tasks >= 0.01) printf " %s %.2f", name, calls[name] / tasks | "sort -k2,2nr"
        }' "$@" | tr -d '\n'
}

# trace POOL: runs it once, with a tracer for each of its processes while the tasks are under way.
trace() {
    local pool="$1" parent process line
    coproc subject { exec "$bin" once "$tasks" "$pool"; }
    local in="${subject[0]}" out="${subject[1]}" id="$subject_PID" tracers=()
    if ! read -r parent <&"$in"; then
        wait "$id" || true
        echo "| $pool | skipped | – | |"
        return
    fi
    mapfile -t workers < <(ps -o pid= --ppid "$parent" | tr -d ' ')
    for process in "$parent" "${workers[@]}"; do
        strace -c -f -o "$counts/$process" -p "$process" 2>"$counts/$process.attached" &
        tracers+=($!)
    done
    for process in "$parent" "${workers[@]}"; do
        for ((attempt = 0; attempt < 500; attempt++)); do
            if grep -q attached "$counts/$process.attached"; then break; fi
            sleep 0.01
        done
        if ((attempt == 500)); then
            echo "strace did not attach: $(cat "$counts/$process.attached")" >&2
            exit 1
        fi
    done
    echo >&"$out"
    read -r line <&"$in"
    # Before the pool ends, which is not counted.
    kill -TERM "${tracers[@]}"
    wait "${tracers[@]}" || true
    echo >&"$out"
    wait "$id"
    echo "| $pool | parent | $(per_task "$counts/$parent") |"
    echo "| $pool | workers | $(per_task "${workers[@]/#/"$counts/"}") |"
}

echo "| $tasks round trips | process | calls per task | of which |"
echo "|---|---|---|---|"
for pool in "${pools[@]}"; do trace "$pool"; done
