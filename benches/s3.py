"""An incremental S3 sync that finds 10 000 new 768-dimensional records among 1 000 000 old, against DuckDB.

DuckDB (httpfs and its postgres extension) is told the new file and inserts its records into the same partition, in
the faster of two ways: as text, or as real[] into a staging table from which the server casts them. Bars: at most 1.5
times DuckDB's time; at most 1.2 times the bytes that the needed columns of the new file take. Both read moto's S3
server through a proxy that counts. CVX_BENCH_OLD sets another number of old records, CVX_BENCH_ROUNDS of rounds.
"""

import importlib
import os
import statistics
import sys
from datetime import date, timedelta
from pathlib import Path

import duckdb
import harness
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from faults import Proxy
from peers import Moto
from psycopg.types.json import Jsonb

OLD = int(os.environ.get("CVX_BENCH_OLD", 1_000_000))
ROUNDS = int(os.environ.get("CVX_BENCH_ROUNDS", 3))
PER_FILE = 10_000
DIMS = 768
BUCKET = "cvx-bench"
FIRST_DAY = date(2025, 1, 1)
COLUMNS = ("user_id", "produced_at", "embedding", "model")


def day(number: int) -> date:
    return FIRST_DAY + timedelta(days=number)


def key(number: int) -> str:
    return f"embeddings/dt={day(number)}/part-0.parquet"


class Bucket:
    """A file a day: as many users each day, one vector each. And a text that nobody asks for."""

    def __init__(self, moto: Moto):
        self.client = moto.client()
        self.client.create_bucket(Bucket=BUCKET)
        self.path = harness.files() / "part.parquet"

    def put(self, number: int) -> int:
        """Uploads a day's file; bytes of its needed columns."""
        rng = np.random.default_rng(number)
        vectors = harness.random_walks(rng, PER_FILE, 1, DIMS).reshape(-1)
        midnight = (day(number) - date(1970, 1, 1)).days * 86_400_000_000
        users = np.arange(PER_FILE)
        table = pa.table(
            {
                "user_id": [f"user-{user:08}" for user in users],
                "produced_at": pa.array(midnight + users * 1_000_000, pa.timestamp("us", tz="UTC")),
                "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors), DIMS).cast(pa.list_(pa.float32())),
                "model": ["bench-1"] * PER_FILE,
                "text": [rng.bytes(200).hex() for _ in users],
            }
        )
        pq.write_table(table, self.path, compression="zstd", row_group_size=2_500)
        self.client.upload_file(str(self.path), BUCKET, key(number))
        file = pq.ParquetFile(self.path).metadata
        groups = (file.row_group(number) for number in range(file.num_row_groups))
        chunks = (group.column(number) for group in groups for number in range(group.num_columns))
        return sum(chunk.total_compressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] in COLUMNS)


class Duck:
    """DuckDB with what it needs loaded and attached beforehand."""

    def __init__(self, conn, moto: Moto, endpoint: str):
        self.db = duckdb.connect()
        # Else the second way would find in memory what the first one fetched.
        self.db.execute("SET enable_external_file_cache = false")
        for extension in ("httpfs", "postgres_scanner"):
            package = Path(importlib.import_module(f"duckdb_extension_{extension}").__file__).parent
            self.db.execute(f"LOAD '{next(package.rglob('*.duckdb_extension'))}'")
        self.db.execute(
            f"CREATE SECRET (TYPE s3, KEY_ID '{moto.access_key}', SECRET '{moto.secret_key}', REGION 'us-east-1',"
            f" ENDPOINT '{endpoint}', URL_STYLE 'path', USE_SSL false)"
        )
        conn.execute("CREATE UNLOGGED TABLE public.stage (entity_id text, ts timestamptz, vec real[], model text)")
        info = conn.info
        server = f"host={info.host} port={info.port} user={info.user} dbname={info.dbname}"
        self.db.execute(f"ATTACH '{server}' AS pg (TYPE postgres)")

    def as_text(self, number: int):
        self.db.execute(
            "INSERT INTO pg.cvx_space.bench (entity_id, ts, vec, source, model_version) SELECT user_id, produced_at,"
            " '[' || array_to_string(embedding, ',') || ']', 'duckdb', model"
            f" FROM read_parquet('s3://{BUCKET}/{key(number)}')"
        )

    def staged(self, number: int):
        self.db.execute(
            "INSERT INTO pg.public.stage SELECT user_id, produced_at, embedding::FLOAT[], model"
            f" FROM read_parquet('s3://{BUCKET}/{key(number)}')"
        )
        self.db.execute(
            "CALL postgres_execute('pg', 'INSERT INTO cvx_space.bench (entity_id, ts, vec, source, model_version)"
            " SELECT entity_id, ts, vec::vector, ''duckdb'', model FROM stage; TRUNCATE stage')"
        )


def create_source(conn, moto: Moto, endpoint: str) -> None:
    conn.execute("SELECT cvx.create_secret('s3-key', %s)", [moto.secret_key])
    config = {
        "bucket": BUCKET,
        "prefix": "embeddings/",
        "partition_format": "dt=%Y-%m-%d",
        "endpoint": f"http://{endpoint}",
        "path_style": True,
        "allow_http": True,
        "access_key_id": moto.access_key,
        "secret_access_key": {"secret": "s3-key"},
        "entity_id_column": "user_id",
        "timestamp_column": "produced_at",
        "vector_column": "embedding",
        "model_version_column": "model",
    }
    conn.execute("SELECT cvx.create_source('daily', 's3_parquet', 'bench', %s)", [Jsonb(config)])


def main() -> bool:
    conn = harness.connect()
    conn.execute("SELECT cvx.create_space('bench', %s)", [DIMS])
    old_files = OLD // PER_FILE
    with Moto() as moto, Proxy(moto.port) as proxy:
        endpoint = f"127.0.0.1:{proxy.port}"
        bucket = Bucket(moto)
        for number in range(old_files):
            bucket.put(number)
        create_source(conn, moto, endpoint)
        took = harness.seconds(lambda: harness.sync(conn, "daily"))
        old = old_files * PER_FILE
        print(f"  first sync of {old} records: {took:.1f} s, {old / took:.0f} records/s")
        conn.execute("VACUUM ANALYZE cvx_space.bench")
        duck = Duck(conn, moto, endpoint)

        def timed(action, number: int) -> tuple[float, int]:
            """Seconds and bytes; the day's records are there afterwards, and taken away again."""
            conn.execute("CHECKPOINT")
            before = proxy.bytes_down
            took = harness.seconds(action)
            rows = conn.execute("DELETE FROM cvx_space.bench WHERE ts >= %s", [day(number)]).rowcount
            assert rows == PER_FILE, f"{rows} new rows"
            return took, proxy.bytes_down - before

        times = {"cvx": [], "DuckDB, text": [], "DuckDB, staged": []}
        fetched, reported = [], []
        for number in range(old_files, old_files + ROUNDS + 1):
            needed = bucket.put(number)
            runs = []
            took, bytes_down = timed(lambda: runs.append(harness.sync(conn, "daily")), number)
            times["cvx"].append(took)
            fetched.append(bytes_down / needed)
            reported.append(runs[0]["bytes"] / needed)
            times["DuckDB, text"].append(timed(lambda: duck.as_text(number), number)[0])
            times["DuckDB, staged"].append(timed(lambda: duck.staged(number), number)[0])
            conn.execute("VACUUM cvx_space.bench")
    # The first round warms up.
    medians = {name: statistics.median(each[1:]) for name, each in times.items()}
    for name, took in medians.items():
        print(f"  {name}: {took:.2f} s for {PER_FILE} new records among {old}")
    print(f"  bytes that the run reports over the new records' own: {statistics.median(reported):.3f}")
    cvx, *others = medians.values()
    holds = harness.report("time over DuckDB's", cvx / min(others), 1.5, at_least=False)
    return harness.report("bytes fetched over the new records' own", max(fetched), 1.2, at_least=False) and holds


if __name__ == "__main__":
    sys.exit(not main())
