"""ingest_parquet of 200 000 rows of 384 dimensions against COPY FROM a binary file of the same rows.

Both into the same empty partition with its primary key and checks. Bar: at least 0.8 times the rows per second.
CVX_BENCH_ROWS sets another number of rows.
"""

import os
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import harness

ROWS = int(os.environ.get("CVX_BENCH_ROWS", 200_000))
POINTS_PER_ENTITY = 50
DIMS = 384
COLUMNS = "entity_id, ts, vec, source, model_version, input_hash"


def write_parquet(path) -> None:
    rng = np.random.default_rng(2)
    entities = ROWS // POINTS_PER_ENTITY
    vectors = harness.random_walks(rng, entities, POINTS_PER_ENTITY, DIMS).reshape(-1)
    rows = entities * POINTS_PER_ENTITY
    times = np.tile(np.arange(POINTS_PER_ENTITY) * 86_400_000_000, entities) + 1_577_836_800_000_000
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * DIMS)
    table = pa.table(
        {
            "entity_id": pa.array([f"entity-{i // POINTS_PER_ENTITY:08}" for i in range(rows)]),
            "ts": pa.array(times, pa.timestamp("us", tz="UTC")),
            "vec": pa.ListArray.from_arrays(offsets, pa.array(vectors)),
            "model": pa.array(["bench-1"] * rows),
            "hash": pa.array([f"{i:064x}" for i in range(rows)]),
        }
    )
    pq.write_table(table, path, compression="zstd")


def main() -> bool:
    parquet, binary = harness.files() / "bench.parquet", harness.files() / "bench.copy"
    write_parquet(parquet)
    conn = harness.connect()
    conn.execute("SELECT cvx.create_space('bench', %s)", [DIMS])

    def empty():
        conn.execute("TRUNCATE cvx.embedding")
        conn.execute("CHECKPOINT")

    def by_ingest():
        return conn.execute(
            "SELECT written, rejected FROM cvx.ingest_parquet(%s, 'bench',"
            " model_version_column => 'model', input_hash_column => 'hash')",
            [str(parquet)],
        ).fetchone()

    written, rejected = by_ingest()
    # Written by this process, since the server's account may not write into the folder.
    with binary.open("wb") as out:
        with conn.cursor().copy(f"COPY cvx_space.bench ({COLUMNS}) TO STDOUT (FORMAT binary)") as copy:
            for data in copy:
                out.write(data)

    def by_copy():
        conn.execute(f"COPY cvx_space.bench ({COLUMNS}) FROM '{binary}' (FORMAT binary)")

    ingest, copy = [], []
    for _ in range(3):
        empty()
        ingest.append(harness.seconds(by_ingest))
        empty()
        copy.append(harness.seconds(by_copy))
    ingest, copy = sorted(ingest)[1], sorted(copy)[1]
    print(f"  {written} rows, {rejected} rejected; ingest_parquet {ingest:.2f} s ({written / ingest:.0f} rows/s),"
          f" COPY {copy:.2f} s ({written / copy:.0f} rows/s)")
    empty()
    with harness.peak_memory(conn.info.backend_pid) as peak:
        by_ingest()
    print(f"  peak private memory of the ingesting backend: {peak['mb']:.0f} MB")
    return harness.report("rows per second over COPY's", copy / ingest, 0.8, at_least=True)


if __name__ == "__main__":
    sys.exit(not main())
