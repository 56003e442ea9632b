"""Change points of all trajectories of a file: one SQL statement against ruptures over arrays in memory.

Bar: at least 5 times faster, same penalty, one core each. CVX_BENCH_DATA names a folder with changelog_v1.parquet; the
default is the demo's data.
"""

import os
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import ruptures

import harness

PENALTY = 1.5
SQL = """
    SELECT e.entity_id, ARRAY(SELECT index FROM cvx.changepoints(e.t, penalty => %s))
    FROM (SELECT entity_id, cvx.trajectory_agg(ts, vec) AS t FROM cvx.embedding
          WHERE space_id = cvx.space_id('bench') GROUP BY entity_id) AS e
"""


def main() -> bool:
    folder = Path(os.environ.get("CVX_BENCH_DATA") or os.environ["CVX_TEST_DATA"])
    table = pq.read_table(folder / "changelog_v1.parquet", columns=["package", "uploaded_at", "embedding"])
    # The server may not be able to read the folder itself.
    copy = harness.files() / "changelog.parquet"
    pq.write_table(table, copy)

    conn = harness.connect()
    conn.execute("SELECT cvx.create_space('bench', 384)")
    conn.execute(
        "SELECT cvx.ingest_parquet(%s, 'bench', 'package', 'uploaded_at', 'embedding')", [str(copy)]
    )
    conn.execute("VACUUM ANALYZE cvx.embedding")
    conn.execute("SET max_parallel_workers_per_gather = 0")
    conn.execute("SET jit = off")

    table = table.sort_by([("package", "ascending"), ("uploaded_at", "ascending")])
    names = np.array(table["package"].to_pylist())
    vectors = table["embedding"].combine_chunks().flatten().to_numpy().reshape(len(names), -1)
    arrays = {name: vectors[names == name].astype(np.float64) for name in np.unique(names)}

    def by_ruptures():
        return {
            name: ruptures.KernelCPD(kernel="linear", min_size=2).fit(x).predict(pen=PENALTY)[:-1]
            for name, x in arrays.items()
        }

    def by_sql():
        return dict(conn.execute(SQL, [PENALTY]).fetchall())

    theirs, ours = by_ruptures(), by_sql()
    differing = [name for name in arrays if list(theirs[name]) != ours[name]]
    slow, fast = harness.alternate(by_ruptures, by_sql, rounds=5)
    breaks = sum(map(len, ours.values()))
    print(f"  {len(arrays)} trajectories, {len(names)} points, {breaks} breaks; different from ruptures: {differing}")
    print(f"  ruptures {slow * 1000:.0f} ms, SQL {fast * 1000:.0f} ms")
    return harness.report("times faster than ruptures", slow / fast, 5, at_least=True) and not differing


if __name__ == "__main__":
    sys.exit(not main())
