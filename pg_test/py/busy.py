"""Databases with all of their workers at work, for tests of what ends them."""

import psycopg
from cluster import until
from sources import create_source, data_folder, files_config, kafka_config, write_parquet

# What a worker may take to end: the promise is 2 s, beside whatever else the machine does.
SOON = 2.0
BACK = 15


def make_busy(cluster, peer, name):
    files = cluster.folder / "files" / "many"
    if not files.exists():
        for number in range(20):
            write_parquet(
                data_folder(cluster, "many") if not number else files, f"{number:03}.parquet", number * 500, 500
            )
    cluster.create_database(name)
    with cluster.connect(name) as conn:
        conn.execute("SELECT cvx.create_space('s', 4)")
        create_source(conn, "stream", "kafka", "s", kafka_config(f"127.0.0.1:{peer.port}", "t"))
        create_source(conn, "files", "s3_parquet", "s", files_config(files, batch_rows=100))
        silent = {"endpoint": f"http://127.0.0.1:{peer.port}", "bucket": "b", "allow_http": True, "anonymous": True}
        create_source(conn, "silent-s3", "s3_parquet", "s", silent)
        conn.execute("SELECT cvx.create_secret('p', 'x')")
        silent = {
            "host": "127.0.0.1",
            "port": peer.port,
            "dbname": "d",
            "user": "u",
            "table": "t",
            "sslmode": "disable",
        }
        create_source(conn, "silent-postgres", "postgres", "s", {**silent, "password": {"secret": "p"}})
        conn.execute("SELECT cvx.sync_source('silent-s3'), cvx.sync_source('silent-postgres')")
    all_workers(cluster, name)


def drop_database(cluster, name) -> bool:
    try:
        with cluster.connect() as conn:
            conn.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    except psycopg.errors.ObjectInUse:
        return False
    return True


def all_workers(cluster, name, seconds=BACK) -> dict:
    """Waits until launcher, scheduler and ingest worker are there: their pids by role."""

    def look():
        found = {
            "launcher": cluster.workers("launcher"),
            "scheduler": cluster.workers("scheduler", name),
            "ingest": cluster.workers("ingest", name),
        }
        return {role: pids[0] for role, pids in found.items()} if all(len(p) == 1 for p in found.values()) else None

    return until(look, seconds, f"the workers of {name}")


def no_workers(cluster, name, seconds=5):
    until(lambda: not cluster.workers("%", name), seconds, f"no worker in {name}")
