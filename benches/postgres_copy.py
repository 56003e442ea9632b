"""A PostgreSQL source of 200 000 rows of 384 dimensions against psql COPY TO piped into psql COPY FROM.

From another server, over TCP with a password, into the same empty partition with its primary key and checks. Bar: at
least 0.7 times the rows per second. CVX_BENCH_ROWS sets another number of rows, CVX_BENCH_ROUNDS of rounds.
"""

import os
import statistics
import subprocess
import sys

import harness
from peers import OtherServer
from psycopg.types.json import Jsonb

ROWS = int(os.environ.get("CVX_BENCH_ROWS", 200_000))
ROUNDS = int(os.environ.get("CVX_BENCH_ROUNDS", 3))
POINTS_PER_ENTITY = 50
DIMS = 384
COLUMNS = "entity_id, ts, vec, source, model_version"
QUERY = "SELECT user_id, created_at, embedding, 'psql', model FROM public.embeddings"


def fill(other: OtherServer) -> None:
    with other.connect() as conn:
        conn.execute("CREATE EXTENSION vector")
        conn.execute(
            "CREATE TABLE public.embeddings (id bigint PRIMARY KEY, user_id text, created_at timestamptz,"
            f" embedding vector({DIMS}), model text, updated_at timestamptz)"
        )
        conn.execute(
            "INSERT INTO public.embeddings SELECT i, 'user-' || lpad((i / %(points)s)::text, 8, '0'),"
            " '2026-01-01'::timestamptz + i %% %(points)s * interval '1 day' + i * interval '1 millisecond',"
            " ARRAY(SELECT random()::real - 0.5 + 0 * i FROM generate_series(1, %(dims)s))::vector, 'bench-1',"
            " '2026-06-01'::timestamptz + i * interval '1 second' FROM generate_series(0, %(rows)s - 1) i",
            {"points": POINTS_PER_ENTITY, "dims": DIMS, "rows": ROWS},
        )
        conn.execute("CREATE INDEX ON public.embeddings (updated_at)")
        conn.execute(f"GRANT SELECT ON public.embeddings TO {other.user}")
        conn.execute("VACUUM ANALYZE public.embeddings")


def pipe(conn, other: OtherServer) -> None:
    """The two psql that one writes without cvx, the first over TCP as the source's login."""
    copy_out = ["psql", "-XqAt", other.dsn, "-c", f"COPY ({QUERY}) TO STDOUT (FORMAT binary)"]
    into = f"COPY cvx_space.bench ({COLUMNS}) FROM STDIN (FORMAT binary)"
    copy_in = ["psql", "-Xq", "-d", conn.info.dbname, "-c", into]
    with subprocess.Popen(copy_out, stdout=subprocess.PIPE) as source:
        subprocess.run(copy_in, stdin=source.stdout, check=True)
    assert source.returncode == 0


def main() -> bool:
    conn = harness.connect()
    conn.execute("SELECT cvx.create_space('bench', %s)", [DIMS])
    with OtherServer({"shared_buffers": "256MB", "max_wal_size": "4GB"}) as other:
        fill(other)
        conn.execute("SELECT cvx.create_secret('other', %s)", [other.password])
        config = other.config(
            "public.embeddings",
            entity_id_column="user_id",
            timestamp_column="created_at",
            vector_column="embedding",
            model_version_column="model",
            incremental_column="updated_at",
        )
        times = {"cvx": [], "psql": []}
        for number in range(ROUNDS + 1):
            name = f"other-{number}"
            conn.execute("SELECT cvx.create_source(%s, 'postgres', 'bench', %s)", [name, Jsonb(config)])
            for who, action in (("cvx", lambda: harness.sync(conn, name)), ("psql", lambda: pipe(conn, other))):
                conn.execute("TRUNCATE cvx.embedding")
                conn.execute("CHECKPOINT")
                times[who].append(harness.seconds(action))
                (rows,) = conn.execute("SELECT count(*) FROM cvx.embedding").fetchone()
                assert rows == ROWS, f"{rows} rows by {who}"
            conn.execute("SELECT cvx.drop_source(%s)", [name])
    # The first round warms up.
    medians = {who: statistics.median(each[1:]) for who, each in times.items()}
    for who, took in medians.items():
        print(f"  {who}: {took:.2f} s, {ROWS / took:.0f} rows/s, {ROWS * 4 * DIMS / took / 1e6:.0f} MB/s of vectors")
    ratio = medians["psql"] / medians["cvx"]
    return harness.report("rows per second over the pipe of two psql", ratio, 0.7, at_least=True)


if __name__ == "__main__":
    sys.exit(not main())
