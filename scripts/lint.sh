#!/usr/bin/env bash
# Formatting and clippy for every package, warnings as errors; shellcheck for these scripts where it is installed.
source "$(dirname "${BASH_SOURCE[0]}")/build.sh"
ensure_setup
cd "$ROOT"
failed=0
step lint-fmt "Checking the formatting" cargo fmt --all --check ||
    { note "cargo fmt --all puts it right"; failed=1; }
step lint-pure "Clippy on the packages without PostgreSQL" \
    cargo clippy --release --workspace --exclude cvx --features "$CONNECTORS" --all-targets -- -D warnings || failed=1
step lint-cvx "Clippy on the extension, for PostgreSQL $PG_MAJOR" \
    cargo clippy --release -p cvx --no-default-features --features "pg$PG_MAJOR" -- -D warnings || failed=1
if command -v shellcheck >/dev/null; then
    step lint-shell "shellcheck on scripts/" shellcheck -x -S warning scripts/*.sh .ci/run || failed=1
fi
[ "$failed" = 0 ] || die "lint found something: see above."
