"""What tests of sources share: small Parquet files, configurations, and waiting for what cvx.sources shows."""

import time

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cluster import until
from psycopg.rows import dict_row

DIMS = 4
# 2026-01-01 in microseconds since 1970: a point of a trajectory each second from there on.
EPOCH = 1_767_225_600_000_000


def parquet_table(first: int, count: int, dims: int = DIMS, entities: int = 50) -> pa.Table:
    """Rows first .. first + count - 1 of an endless, made-up table: row i is of entity i mod entities, at second i."""
    rows = np.arange(first, first + count)
    vectors = vector_of(rows, dims)
    return pa.table(
        {
            "entity_id": pa.array([f"e{i % entities}" for i in rows]),
            "ts": pa.array(EPOCH + rows * 1_000_000, pa.timestamp("us", tz="UTC")),
            "vec": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dims),
        }
    )


def vector_of(rows, dims: int = DIMS) -> np.ndarray:
    """(rows, dims) float32, a function of the row's number alone and never all zero."""
    rows = np.asarray(rows, dtype=np.uint64)[:, None]
    mixed = (rows * np.uint64(2654435761) + np.arange(1, dims + 1, dtype=np.uint64) * np.uint64(40503)) % np.uint64(
        65521
    )
    return (mixed.astype(np.float32) + 1) / np.float32(1024)


def write_parquet(folder, name: str, first: int = 0, count: int = 100, table: pa.Table | None = None, **options):
    """Writes a file of those rows, or of a table, whole at once: a source never sees half of it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    pq.write_table(parquet_table(first, count) if table is None else table, part, **options)
    part.chmod(0o644)
    part.rename(path)
    return path


# Fixtures of the modules that import them, each of which has a `cluster` of its own.


@pytest.fixture
def conn(cluster):
    with cluster.connect("d") as it:
        yield it


@pytest.fixture
def space(conn):
    """A space of 4 dimensions, the test's own; its sources and their dead letters go with it."""
    name = f"s{time.monotonic_ns()}"
    conn.execute("SELECT cvx.create_space(%s, 4)", (name,))
    yield name
    for (of,) in conn.execute("SELECT name FROM cvx.source WHERE space = %s", (name,)).fetchall():
        conn.execute("SELECT cvx.drop_source(%s)", (of,))
        conn.execute("DELETE FROM cvx.dead_letter WHERE source = %s", (of,))
    conn.execute("SELECT cvx.drop_space(%s, true)", (name,))


@pytest.fixture
def folder(cluster, space):
    return data_folder(cluster, space)


def data_folder(cluster, name: str):
    """A new folder in which a test puts files for the server of its own."""
    folder = cluster.folder / "files" / name
    folder.mkdir(parents=True)
    return folder


def files_config(folder, **more) -> dict:
    return {"url": f"file://{folder}", **more}


def kafka_config(bootstrap: str, topic: str, **more) -> dict:
    return {
        "brokers": bootstrap.split(","),
        "topic": topic,
        "entity_id_field": "id",
        "vector_field": "vec",
        "timestamp_field": "ts",
        "properties": {"security.protocol": "plaintext", **more.pop("properties", {})},
        **more,
    }


def create_source(conn, name: str, type: str, space: str, config: dict, **options):
    keys = "".join(f", {key} => %({key})s" for key in options)
    query = f"SELECT cvx.create_source(%(name)s, %(type)s, %(space)s, %(config)s{keys})"
    config = psycopg.types.json.Jsonb(config)
    return conn.execute(query, {"name": name, "type": type, "space": space, "config": config, **options}).fetchone()[0]


def source(conn, name: str) -> dict:
    """The row of cvx.sources."""
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute("SELECT * FROM cvx.sources WHERE name = %s", (name,)).fetchone()
    assert row is not None, f"no source {name}"
    return row


def runs(conn, name: str) -> list[dict]:
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute("SELECT * FROM cvx.sync_run WHERE source = %s ORDER BY run_id", (name,)).fetchall()


def in_state(conn, name: str, *states: str, seconds: float = 30) -> dict:
    """Waits for the source to be in one of the states and returns its row."""

    def look():
        row = source(conn, name)
        return row if row["state"] in states else None

    try:
        return until(look, seconds, f"{name} in {states}")
    except AssertionError as error:
        raise AssertionError(f"{error}; {source(conn, name)}") from None


def sync(conn, name: str, seconds: float = 30, full: bool = False) -> dict:
    """Asks for a sync and waits for the run that it makes to end. Returns that run's row."""
    before = max((run["run_id"] for run in runs(conn, name)), default=0)
    conn.execute("SELECT cvx.sync_source(%s, %s)", (name, full))

    def ended():
        new = [run for run in runs(conn, name) if run["run_id"] > before and run["finished_at"] is not None]
        return new[0] if new else None

    try:
        return until(ended, seconds, f"a run of {name}")
    except AssertionError as error:
        raise AssertionError(f"{error}; {source(conn, name)}; {runs(conn, name)}") from None


def rows(conn, space: str) -> int:
    # Of the partition: a count through cvx.embedding would wait for locks on others.
    return conn.execute(f'SELECT count(*) FROM cvx_space."{space}"').fetchone()[0]


def has_rows(conn, space: str, count: int, seconds: float = 30):
    """Waits until the space has so many rows, exactly."""
    until(lambda: rows(conn, space) == count, seconds, f"{count} rows in {space}, has {rows(conn, space)}")


def dead_letters(conn, name: str) -> list[dict]:
    with conn.cursor(row_factory=dict_row) as cursor:
        query = "SELECT * FROM cvx.dead_letter WHERE source = %s ORDER BY dead_letter_id"
        return cursor.execute(query, (name,)).fetchall()
