#!/usr/bin/env bash
# The documentation builds without a warning (a broken link is one), with the features that a user has by default and with
# all of them; the front page and the README of the package lead nowhere that is not there.
set -euo pipefail
cd "$(dirname "$0")/.."

export RUSTDOCFLAGS="-D warnings"
pages="${CARGO_TARGET_DIR:-target}/doc/bowline"
failed=0

for features in "" "--all-features"; do
    echo "-- cargo doc $features"
    # shellcheck disable=SC2086
    cargo doc --no-deps -p bowline $features
    while read -r link; do
        if [[ ! -e $pages/${link%%#*} ]]; then
            echo "docs: the front page leads to $link, which is not there (features: ${features:-default})"
            failed=1
        fi
    done < <(grep -oE 'href="[^":#][^":$]*"' "$pages/index.html" | sed 's/^href="//; s/"$//' | sort -u)
done

echo "-- links of the README"
packaged=$(cargo package -p bowline --list --allow-dirty)
while read -r link; do
    if ! grep -qxF "$link" <<<"$packaged"; then
        echo "docs: README.md leads to $link, which is not in the package (Cargo.toml: exclude)"
        failed=1
    fi
done < <(grep -oE '\]\([^):#]+' README.md | sed 's/^](//' | sort -u)

exit "$failed"
