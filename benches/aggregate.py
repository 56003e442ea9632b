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
CHUNK = 500
DRIFT = "SELECT entity_id, cvx.drift(cvx.trajectory_agg(ts, vec)) FROM points GROUP BY 1"
NORM = "SELECT sum(vector_norm(vec)) FROM points"
START = 1_577_836_800_000_000 - 946_684_800_000_000
DAY = 86_400_000_000


def load(conn) -> None:
    """Fills `points` with COPY in binary format, rows of all entities mixed in time order as they would arrive."""
    conn.execute("CREATE TABLE points (entity_id int, ts timestamptz, vec vector(384))")
    rng = np.random.default_rng(1)
    row = np.dtype(
        [("fields", ">i2"), ("l0", ">i4"), ("id", ">i4"), ("l1", ">i4"), ("ts", ">i8"), ("l2", ">i4")]
        + [("dim", ">i2"), ("unused", ">i2"), ("vec", ">f4", DIMS)]
    )
    entities = POINTS // POINTS_PER_ENTITY
    with conn.cursor().copy("COPY points FROM STDIN (FORMAT binary)") as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        for point in range(POINTS_PER_ENTITY):
            for first in range(0, entities, CHUNK * POINTS_PER_ENTITY):
                ids = np.arange(first, min(first + CHUNK * POINTS_PER_ENTITY, entities))
                rows = np.zeros(len(ids), row)
                rows["fields"], rows["l0"], rows["l1"], rows["l2"] = 3, 4, 8, 4 + 4 * DIMS
                rows["id"], rows["dim"] = ids, DIMS
                rows["ts"] = START + point * DAY + ids
                rows["vec"] = harness.random_walks(rng, len(ids), 1, DIMS)[:, 0]
                copy.write(rows.tobytes())
        copy.write(b"\xff\xff")
    conn.execute("VACUUM (ANALYZE, FREEZE) points")


def workers(conn, query: str) -> int:
    """Workers that the query's plan launches."""
    plan = conn.execute("EXPLAIN (ANALYZE, TIMING off, SUMMARY off) " + query).fetchall()
    return sum(int(line.split(":")[1]) for (line,) in plan if "Workers Launched" in line)


def main() -> bool:
    conn = harness.connect()
    print(f"  loading {POINTS} points in {harness.seconds(lambda: load(conn)):.0f} s")
    conn.execute("SET jit = off")
    conn.execute("SET work_mem = '256MB'")
    met = True
    for wanted in (0, 1, 2):
        conn.execute(f"SET max_parallel_workers_per_gather = {wanted}")
        conn.execute("SET parallel_setup_cost = 0")
        conn.execute("SET parallel_tuple_cost = 0")
        used = workers(conn, DRIFT), workers(conn, NORM)
        drift, norm = harness.alternate(
            lambda: conn.execute(DRIFT).fetchall(), lambda: conn.execute(NORM).fetchall(), rounds=3
        )
        print(f"  workers {used[0]} and {used[1]}: drift {drift:.2f} s, norm {norm:.2f} s")
        met &= harness.report("drift over norm", drift / norm, 2, at_least=False)
    conn.execute("SET max_parallel_workers_per_gather = 0")
    with harness.peak_memory(conn.info.backend_pid) as peak:
        conn.execute(DRIFT).fetchall()
    print(f"  peak private memory of the one backend: {peak['mb']:.0f} MB")
    return met


if __name__ == "__main__":
    sys.exit(not main())
