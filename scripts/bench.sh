#!/usr/bin/env bash
# Runs the benches named as arguments (default: all that are listed here) against a throwaway server.
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"

main() {
    local name missed=()
    [ "$#" -gt 0 ] || set -- changepoints aggregate ingest align kafka s3 postgres_copy footprint view_lookup view_marking view_refresh point_in_time \
        monitor_evaluate monitor_latency monitor_cost webhooks
    for name in "$@"; do [ -f "$ROOT/benches/$name.py" ] || die "there is no bench '$name' in benches/."; done
    ensure_setup test
    build_extension
    build_peers
    trap cluster_stop EXIT
    cluster_start bench
    CVX_TEST_DATA=$(readable_by_server "$ROOT/demo/data")
    CVX_TEST_FILES=$STAGE/bench-files
    rm -rf "$CVX_TEST_FILES"
    mkdir -p "$CVX_TEST_FILES"
    export CVX_PG_BIN=$PRIVATE_BIN CVX_TEST_DATA CVX_TEST_FILES OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1
    for name in "$@"; do
        say "$(sed -n '1s/^"""//p' "$ROOT/benches/$name.py")"
        "$VENV/bin/python" "$ROOT/benches/$name.py" || missed+=("$name")
    done
    rm -rf "$CVX_TEST_FILES"
    [ "${#missed[@]}" = 0 ] || die "not met: ${missed[*]}"
    say "All bars are met."
}

main "$@"
