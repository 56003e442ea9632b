#!/usr/bin/env bash
# The long proofs: rounds of faults (default 60) while sources are read, minutes (default 30) of everything at once that can
# happen to views, kills (default 50) of processes and the server while monitors look, and the long form of the tests of
# workers.
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"

main() {
    ensure_setup test
    build_extension
    build_peers
    trap cluster_stop EXIT
    cluster_start soak
    export CVX_PG_BIN=$PRIVATE_BIN CVX_TEST_DATA CVX_TEST_FILES=$STAGE/soak-files PYTHONDONTWRITEBYTECODE=1
    CVX_TEST_DATA=$(readable_by_server "$ROOT/demo/data")
    rm -rf "$CVX_TEST_FILES"
    mkdir -p "$CVX_TEST_FILES"
    say "Exactly once: ${1:-60} rounds of faults while 500 000 Kafka records and 200 Parquet files are ingested"
    "$VENV/bin/python" "$ROOT/pg_test/py/soak.py" "${1:-60}" || die "not exactly once: see above."
    say "Never wrong: ${2:-30} minutes of writes, refreshes and faults under views of all types"
    "$VENV/bin/python" "$ROOT/pg_test/py/soak_views.py" "${2:-30}" || die "a view was wrong: see above."
    say "No alert lost, none with two ids: ${3:-50} kills while monitors look and webhooks are sent"
    "$VENV/bin/python" "$ROOT/pg_test/py/soak_monitors.py" "${3:-50}" || die "alerts were wrong: see above."
    say "The life of workers, 100 times each"
    CVX_TEST_ROUNDS=100 "$VENV/bin/python" -m pytest "$ROOT/pg_test/py/test_workers.py" -q -p no:cacheprovider --durations=10 ||
        die "a worker did not live or end as it should: see above."
    rm -rf "$CVX_TEST_FILES"
}

main "$@"
