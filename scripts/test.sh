#!/usr/bin/env bash
# Runs the parts of the tests named as arguments: unit sql isolation py security. Ends with one line that sums up.
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"

PASSED=0 FAILED=0 BROKEN=() LEFT_OUT=()
RESULTS=$BUILD/test

# count PART PASSED FAILED STATUS: a part that failed without counting anything counts as one failure.
count() {
    local failed=$3
    if [ "$4" != 0 ] && [ "$failed" = 0 ]; then failed=1; fi
    PASSED=$((PASSED + $2)) FAILED=$((FAILED + failed))
    note "$1: $2 passed, $failed failed"
    if [ "$failed" != 0 ]; then BROKEN+=("$1 ($LOGS/$1.log)"); fi
}

# More threads than processors, since tests of connectors wait for their peers; few arenas of malloc, since tests of damaged
# files bound the address space.
cargo_unit_tests() {
    export RUST_TEST_THREADS=6 MALLOC_ARENA_MAX=2
    cd "$ROOT" && CVX_PYTHON=$VENV/bin/python CVX_PG_BIN=$PRIVATE_BIN cargo --config "$PGRX_FLAGS" test --release \
        --workspace --exclude cvx --features "$CONNECTORS" --no-fail-fast
}

part_unit() {
    local rc=0
    step unit "Testing the packages without PostgreSQL: config, math, plot, sources, webhooks (cargo test)" cargo_unit_tests || rc=$?
    count unit "$(sum_of 'test result:.* \([0-9]*\) passed.*' unit)" "$(sum_of 'test result:.* \([0-9]*\) failed.*' unit)" $rc
}

sum_of() { # SED_PATTERN LOGNAME
    sed -n "s/$1/\1/p" "$LOGS/$2.log" | awk '{ n += $1 } END { print n + 0 }'
}

# regress PART PROGRAM FOLDER EXTENSION: one of pg_regress and pg_isolation_regress over all of its files.
regress() {
    local part=$1 program=$2 folder=$3 extension=$4 rc=0 tests=() file
    for file in "$ROOT/pg_test/$folder"/*."$extension"; do
        if [ -f "$file" ]; then tests+=("$(basename "$file" ".$extension")"); fi
    done
    if [ "${#tests[@]}" = 0 ]; then
        LEFT_OUT+=("$part: no file in pg_test/$folder")
        return
    fi
    mkdir -p "$RESULTS/$part"
    # Where the demo's files are, for specs: isolationtester knows no variables.
    local PGOPTIONS="-c cvx_test.data=${CVX_TEST_DATA// /\\ }"
    export PGOPTIONS
    step "$part" "Running ${#tests[@]} files of pg_test/$folder against the server" \
        "$program" --inputdir="$ROOT/pg_test" --outputdir="$RESULTS/$part" --bindir="$PRIVATE_BIN" \
        --host="$PGHOST" --port="$PGPORT" --user="$PGUSER" --dbname="cvx_$part" \
        --load-extension=vector --load-extension=cvx "${tests[@]}" || rc=$?
    # "test x ... ok 12 ms" up to PostgreSQL 15, TAP after it.
    count "$part" "$(grep -cE '^(test .*\.\.\. ok|ok [0-9]+)' "$LOGS/$part.log" || true)" \
        "$(grep -cE '^(test .*\.\.\. FAILED|not ok [0-9]+)' "$LOGS/$part.log" || true)" $rc
    if [ "$rc" != 0 ]; then
        note "what differs from pg_test/expected: $RESULTS/$part/regression.diffs"
        head -n 60 "$RESULTS/$part/regression.diffs" 2>/dev/null | sed 's/^/    | /' || true
    fi
}

pgxs_test() { printf '%s\n' "$("$PRIVATE_PG_CONFIG" --pkglibdir)/pgxs/src/test/$1"; }

part_sql() { regress sql "$(pgxs_test regress/pg_regress)" sql sql; }

part_isolation() { regress isolation "$(pgxs_test isolation/pg_isolation_regress)" specs spec; }

part_py() {
    local rc=0
    step py "Running the pytest suite of pg_test/py against the server" \
        env OPENBLAS_NUM_THREADS=1 "$VENV/bin/python" -m pytest "$ROOT/pg_test/py" -q -ra -p no:cacheprovider --durations=10 \
        --junitxml="$RESULTS/py.xml" || rc=$?
    count py "$(py_count passed)" "$(py_count failed)" $rc
    local skipped
    skipped=$(py_count skipped)
    if [ "$skipped" != 0 ]; then LEFT_OUT+=("py: $skipped tests, for the reasons in $LOGS/py.log"); fi
}

py_count() { # passed|failed|skipped
    "$VENV/bin/python" - "$1" "$RESULTS/py.xml" <<'PYTHON' || echo 0
import sys, xml.etree.ElementTree as ET
n = {k: sum(int(s.get(k, 0)) for s in ET.parse(sys.argv[2]).iter("testsuite"))
     for k in ("tests", "failures", "errors", "skipped")}
failed = n["failures"] + n["errors"]
print({"passed": n["tests"] - failed - n["skipped"], "failed": failed, "skipped": n["skipped"]}[sys.argv[1]])
PYTHON
}

part_security() {
    local rc=0
    step security-pgspot "Looking for unsafe SQL in the install script (pgspot)" run_pgspot || rc=$?
    count security-pgspot $((rc == 0)) $((rc != 0)) $rc
    if ! command -v sqlsmith >/dev/null; then
        LEFT_OUT+=("sqlsmith: no such package here")
        return
    fi
    rc=0
    step security-sqlsmith "10 000 random queries by an unprivileged role (sqlsmith)" run_sqlsmith || rc=$?
    count security-sqlsmith $((rc == 0)) $((rc != 0)) $rc
}

run_pgspot() {
    local script
    script=$("$PRIVATE_PG_CONFIG" --sharedir)/extension/cvx--$(extension_version).sql
    # It knows no body in the SQL standard's form, whose names were resolved once and for all; and of what it cannot read
    # it says nothing but by its status.
    sed '/^BEGIN ATOMIC$/,/^END;$/c\SET search_path = pg_catalog, pg_temp AS $$SELECT NULL$$;' "$script" >"$RESULTS/install.sql"
    "$VENV/bin/pgspot" "$RESULTS/install.sql" | tee "$RESULTS/pgspot.txt"
    [ "${PIPESTATUS[0]}" = 0 ] && grep -q 'Errors: 0 Warnings: 0 Unknown: 0' "$RESULTS/pgspot.txt"
}

extension_version() { psql -XAtc "SELECT default_version FROM pg_available_extensions WHERE name = 'cvx'"; }

# Internal errors of PostgreSQL itself that sqlsmith is known to find, one a line.
readonly CORE_XX000='failed to find conversion function from unknown to text
invalid INTERVAL typmod'

# Random queries over cvx's tables and functions. Whatever they answer, the server must not fall, no Rust code panic,
# and no internal error (XX000) come out of cvx.
run_sqlsmith() {
    local mark=$RESULTS/sqlsmith-server.log start
    start=$(stat -c %s "$CVX_SERVER_LOG")
    dropdb --if-exists smith && createdb smith || return
    psql -d smith -qv ON_ERROR_STOP=1 -v data="$(readable_by_server "$ROOT/demo/data")" -f "$ROOT/demo/10_load.sql" &&
        psql -d smith -qv ON_ERROR_STOP=1 -f "$ROOT/pg_test/sqlsmith.sql" || return
    local rc=0
    sqlsmith --target="host=$PGHOST port=$PGPORT dbname=smith user=smith" --exclude-catalog \
        --max-queries=10000 --seed=1 || rc=$?
    tail -c "+$((start + 1))" "$CVX_SERVER_LOG" >"$mark"
    [ "$rc" = 0 ] || echo "sqlsmith itself ended with status $rc"
    psql -d smith -XAtc 'SELECT 1' >/dev/null || { echo "the server does not answer"; return 1; }
    if grep -nE 'was terminated by signal|PANIC:|panicked at| XX000 (ERROR|FATAL)' "$mark" | grep -vF "$CORE_XX000"; then
        echo "the lines above are from $mark"
        return 1
    fi
    return "$rc"
}

main() {
    local part
    [ "$#" -gt 0 ] || set -- unit sql isolation py security
    ensure_setup test
    mkdir -p "$RESULTS"
    if [ "$*" != unit ]; then
        build_extension
        trap cluster_stop EXIT
        cluster_start test
        CVX_TEST_DATA=$(readable_by_server "$ROOT/demo/data")
        CVX_TEST_FILES=$STAGE/test-files
        rm -rf "$CVX_TEST_FILES"
        mkdir -p "$CVX_TEST_FILES"
        export CVX_TEST_DATA CVX_TEST_FILES CVX_PG_BIN=$PRIVATE_BIN
        build_peers
    fi
    for part in "$@"; do "part_$part"; done
    if [ -n "${CVX_SERVER_LOG:-}" ] && grep -qE 'was terminated by signal|PANIC:' "$CVX_SERVER_LOG"; then
        cp "$CVX_SERVER_LOG" "$LOGS/server.log"
        count server 0 1 1
    fi
    summary
}

summary() {
    printf '\n'
    local line
    for line in "${LEFT_OUT[@]}"; do note "left out: $line"; done
    for line in "${BROKEN[@]}"; do note "failed: $line"; done
    note "tests took $SECONDS s"
    printf '%s\n' "$PASSED passed, $FAILED failed"
    [ "$FAILED" = 0 ]
}

main "$@"
