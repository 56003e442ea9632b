"""drift(trajectory_agg(...)) by entity over a million points of 384 dimensions, against sum(vector_norm(vec)).

Bar: at most 2 times the time, with the same number of parallel workers. Also the peak memory of a backend.
CVX_BENCH_POINTS sets another number of points.
"""

import os
import sys

import numpy as np

import harness

POINTS = int(os.environ.get("CVX_BENCH_POINTS", 1_000_000))
POINTS_PER_ENTITY = 50
DIMS = 384
CHUNK = 10_000
DRIFT = "SELECT entity_id, cvx.drift(cvx.trajectory_agg(ts, vec)) FROM {} GROUP BY 1"
NORM = "SELECT sum(vector_norm(vec)) FROM {}"
START = 1_577_836_800_000_000 - 946_684_800_000_000
DAY = 86_400_000_000


def load(conn) -> None:
    """Fills by_time (rows of all entities mixed, as they arrive day by day) with COPY in binary format, and by_entity
    (the same rows entity by entity, with the primary key of cvx.embedding) from it."""
    conn.execute("CREATE TABLE by_time (entity_id int, ts timestamptz, vec vector(384))")
    rng = np.random.default_rng(1)
    row = np.dtype(
        [("fields", ">i2"), ("l0", ">i4"), ("id", ">i4"), ("l1", ">i4"), ("ts", ">i8"), ("l2", ">i4")]
        + [("dim", ">i2"), ("unused", ">i2"), ("vec", ">f4", DIMS)]
    )
    entities = POINTS // POINTS_PER_ENTITY
    with conn.cursor().copy("COPY by_time FROM STDIN (FORMAT binary)") as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        for point in range(POINTS_PER_ENTITY):
            for first in range(0, entities, CHUNK):
                ids = np.arange(first, min(first + CHUNK, entities))
                rows = np.zeros(len(ids), row)
                rows["fields"], rows["l0"], rows["l1"], rows["l2"] = 3, 4, 8, 4 + 4 * DIMS
                rows["id"], rows["dim"] = ids, DIMS
                rows["ts"] = START + point * DAY + ids
                rows["vec"] = harness.random_walks(rng, len(ids), 1, DIMS)[:, 0]
                copy.write(rows.tobytes())
        copy.write(b"\xff\xff")
    conn.execute("CREATE TABLE by_entity AS SELECT * FROM by_time ORDER BY entity_id, ts")
    conn.execute("ALTER TABLE by_entity ADD PRIMARY KEY (entity_id, ts)")
    conn.execute("VACUUM (ANALYZE, FREEZE) by_time, by_entity")


def workers(conn, query: str) -> int:
    """Workers that the query's plan launches."""
    plan = conn.execute("EXPLAIN (ANALYZE, TIMING off, SUMMARY off) " + query).fetchall()
    return sum(int(line.split(":")[1]) for (line,) in plan if "Workers Launched" in line)


def plan_of(conn, query: str) -> str:
    plan = " ".join(line.strip() for (line,) in conn.execute("EXPLAIN (COSTS off) " + query).fetchall())
    return " ".join(node for node in ("HashAggregate", "GroupAggregate", "Index Scan", "Sort") if node in plan)


def compare(conn, table: str) -> bool:
    drift_query, norm_query = DRIFT.format(table), NORM.format(table)
    met = True
    for wanted in (0, 1, 2):
        conn.execute(f"SET max_parallel_workers_per_gather = {wanted}")
        used = workers(conn, drift_query), workers(conn, norm_query)
        drift, norm = harness.alternate(
            lambda: conn.execute(drift_query).fetchall(), lambda: conn.execute(norm_query).fetchall(), rounds=3
        )
        print(f"  {table}, {used[0]} and {used[1]} workers: drift {drift:.2f} s ({plan_of(conn, drift_query)}), norm {norm:.2f} s")
        met &= harness.report("drift over norm", drift / norm, 2, at_least=False)
    conn.execute("SET max_parallel_workers_per_gather = 0")
    with harness.peak_memory(conn.info.backend_pid) as peak:
        conn.execute(drift_query).fetchall()
    print(f"  {table}: peak private memory of the one backend {peak['mb']:.0f} MB")
    return met


def main() -> bool:
    conn = harness.connect()
    print(f"  loading {POINTS} points in {harness.seconds(lambda: load(conn)):.0f} s")
    conn.execute("SET jit = off")
    conn.execute("SET work_mem = '2GB'")
    conn.execute("SET parallel_setup_cost = 0")
    conn.execute("SET parallel_tuple_cost = 0")
    return compare(conn, "by_entity") & compare(conn, "by_time")


if __name__ == "__main__":
    sys.exit(not main())
