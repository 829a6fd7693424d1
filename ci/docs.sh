#!/usr/bin/env bash
# The documentation builds with every feature and without a warning (a broken link is one).
set -euo pipefail
cd "$(dirname "$0")/.."

RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --all-features -p bowline
