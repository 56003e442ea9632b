"""One entity of a view of a million, looked up by a prepared statement.

Bar: under 0.1 ms in the server. Measured twice: a PL/pgSQL loop over random entities, whose statement is prepared and
which no protocol slows down, and pgbench -M prepared less an empty statement over the same connection. Both with a log
that is empty and with one that holds 100 000 entries that no refresh has seen. CVX_BENCH_ENTITIES sets another number.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import harness

ENTITIES = int(os.environ.get("CVX_BENCH_ENTITIES", 1_000_000))
LOOKUPS = 50_000
MARKED = min(100_000, ENTITIES // 10)

LOOP = """
DO $$
DECLARE
    id text;
    found record;
BEGIN
    FOR i IN 1..%s LOOP
        id := 'e' || lpad((random() * %s)::int::text, 7, '0');
        SELECT * INTO STRICT found FROM cvx_view.features WHERE entity_id = id;
    END LOOP;
END $$"""
# What the loop costs without the lookup: the random id and a statement that looks at nothing.
EMPTY_LOOP = LOOP.replace("* INTO STRICT found FROM cvx_view.features WHERE entity_id = id", "id INTO STRICT found")


def load(conn) -> None:
    conn.execute("CREATE TABLE points (entity_id text, ts timestamptz, vec vector(4))")
    with conn.cursor().copy("COPY points FROM STDIN (FORMAT binary)") as copy:
        harness.copy_points(copy.write, ENTITIES, 2, 4)
    conn.execute("CREATE INDEX ON points (entity_id, ts)")
    conn.execute("VACUUM ANALYZE points")
    conn.execute(
        "SELECT cvx.create_view('features', 'temporal_features', source_table => 'points', entity_column => 'entity_id',"
        " ts_column => 'ts', vector_column => 'vec', refresh_policy => 'manual')"
    )
    took = harness.seconds(lambda: conn.execute("SELECT cvx.refresh_view('features')"))
    conn.execute("VACUUM ANALYZE cvx_view_data.features")
    (rows,) = conn.execute("SELECT count(*) FROM cvx_view.features").fetchone()
    assert rows == ENTITIES
    print(f"  {rows} entities; the view was computed in {took:.1f} s")


def by_loop(conn) -> float:
    """Milliseconds."""
    loop, empty = harness.alternate(
        lambda: conn.execute(LOOP % (LOOKUPS, ENTITIES - 1)),
        lambda: conn.execute(EMPTY_LOOP % (LOOKUPS, ENTITIES - 1)),
        3,
    )
    return (loop - empty) / LOOKUPS * 1e3


def by_pgbench(conn) -> float:
    """Milliseconds."""

    def latency(statement: str) -> float:
        script = harness.files() / "lookup.sql"
        script.write_text(f"\\set i random(1, {ENTITIES - 1})\n{statement}\n")
        pgbench = Path(os.environ["CVX_PG_BIN"]) / "pgbench"
        command = [pgbench, "-n", "-M", "prepared", "-c", "1", "-t", str(LOOKUPS), "-f", script, conn.info.dbname]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return float(re.search(r"latency average = ([\d.]+) ms", output)[1])

    whole = "SELECT * FROM cvx_view.features WHERE entity_id = 'e' || lpad((:i)::text, 7, '0');"
    return min(latency(whole) for _ in range(3)) - min(latency("SELECT 'e' || lpad((:i)::text, 7, '0');") for _ in range(3))


def main() -> bool:
    conn = harness.connect()
    load(conn)
    holds = True
    for state in ("empty", f"of {MARKED} entries"):
        if state != "empty":
            conn.execute("UPDATE points SET vec = vec WHERE entity_id IN (SELECT entity_id FROM points LIMIT %s)", [MARKED])
            (entries,) = conn.execute("SELECT sum(entries) FROM cvx.invalidation_log").fetchone()
            assert entries >= MARKED / 2, entries
        loop, pgbench = by_loop(conn), by_pgbench(conn)
        print(f"  log {state}: {loop * 1e3:.1f} us in a loop of the server's, {pgbench * 1e3:.1f} us by pgbench")
        holds &= harness.report(f"ms of a lookup, log {state}", max(loop, pgbench), 0.1, at_least=False)
    harness.drop_database(conn)
    return holds


if __name__ == "__main__":
    sys.exit(not main())
