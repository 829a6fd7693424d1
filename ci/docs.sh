#!/usr/bin/env bash
# The documentation builds without a warning (a broken link is one), with the features that a user has by default and with
# all of them; neither the front page nor a page of Markdown leads to what is not there, and the code in the pages is compiled.
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

echo "-- links between the pages"
packaged=$(cargo package -p bowline --list --allow-dirty)

# prose PAGE: a page of Markdown without its blocks of code.
prose() { awk '/^[ \t]*```/ { in_code = !in_code; next } !in_code' "$1"; }

# anchors PAGE: what `#` may lead to in a page: its headings, as GitHub calls them.
anchors() { prose "$1" | sed -n 's/^##* //p' | tr '[:upper:]' '[:lower:]' | sed 's/[^a-z0-9 _-]//g; s/ /-/g'; }

while read -r page; do
    while read -r link; do
        target=$page
        if [[ -n ${link%%#*} ]]; then target=$(realpath -m --relative-to=. "$(dirname "$page")/${link%%#*}"); fi
        if [[ ! -e $target ]]; then
            echo "docs: $page leads to $link, which is not there"
            failed=1
        elif grep -qxF "$page" <<<"$packaged" && ! grep -qxF "$target" <<<"$packaged"; then
            echo "docs: $page leads to $link, which is not in the package (Cargo.toml: exclude)"
            failed=1
        elif [[ $link == *#* ]] && ! grep -qxF "${link#*#}" <<<"$(anchors "$target")"; then
            echo "docs: $page leads to $link, and there is no such heading"
            failed=1
        fi
    done < <(prose "$page" | grep -oE '\]\([^): ]+\)' | sed 's/^](//; s/)$//' | sort -u)
done < <(git ls-files --cached --others --exclude-standard '*.md')

# A page whose code is not compiled may be wrong.
for page in README.md docs/*.md; do
    if ! grep -qF "include_str!(\"../$page\")" src/lib.rs; then
        echo "docs: the code in $page is not compiled: include it in src/lib.rs, as the others are"
        failed=1
    fi
done

exit "$failed"
