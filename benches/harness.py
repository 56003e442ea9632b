"""What the SQL benches share. The server is the one that `make bench` started and named in PGHOST and so on."""

import os
import statistics
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psycopg

# What sources read from, as processes: shared with the tests.
sys.path.insert(1, str(Path(__file__).parent.parent / "pg_test" / "py"))


def connect() -> psycopg.Connection:
    """An autocommit connection to a new database with cvx in it, named after the bench."""
    name = "bench_" + Path(sys.argv[0]).stem
    with psycopg.connect(autocommit=True) as admin:
        admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        admin.execute(f'CREATE DATABASE "{name}"')
    conn = psycopg.connect(dbname=name, autocommit=True)
    conn.execute("SET client_min_messages = warning")
    conn.execute("CREATE EXTENSION cvx CASCADE")
    return conn


def files() -> Path:
    """A folder that this process writes and the server reads."""
    return Path(os.environ["CVX_TEST_FILES"])


def seconds(action) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def alternate(first, second, rounds: int) -> tuple[float, float]:
    """The median times of two actions, taken in turns after one round that does not count."""
    times = [(seconds(first), seconds(second)) for _ in range(rounds + 1)][1:]
    return statistics.median(a for a, _ in times), statistics.median(b for _, b in times)


def wait_written(conn, source: str, records: int, minutes: float = 30) -> list[tuple[float, int]]:
    """Waits until a source has written so many records in its run; when it was seen to have written how many."""
    query = "SELECT records_written, state, last_error FROM cvx.sources WHERE name = %s"
    deadline = time.monotonic() + 60 * minutes
    seen = [(time.perf_counter(), 0)]
    while seen[-1][1] < records:
        written, state, error = conn.execute(query, [source]).fetchone()
        failed = state in ("paused", "error", "backing off") or time.monotonic() > deadline
        assert not failed, f"{state}, {written} written: {error}"
        if written and written > seen[-1][1]:
            seen.append((time.perf_counter(), written))
        time.sleep(0.01)
    return seen


def sync(conn, source: str, minutes: float = 30) -> dict:
    """Runs a source once and returns its row of cvx.sync_run."""
    latest = "SELECT * FROM cvx.sync_run WHERE source = %s ORDER BY run_id DESC LIMIT 1"
    with conn.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        before = cursor.execute(latest, [source]).fetchone()
        cursor.execute("SELECT cvx.sync_source(%s)", [source])
        deadline = time.monotonic() + 60 * minutes
        while True:
            run = cursor.execute(latest, [source]).fetchone()
            if run and run["finished_at"] and (not before or run["run_id"] > before["run_id"]):
                assert run["state"] == "done", run
                return run
            assert time.monotonic() < deadline, run
            time.sleep(0.02)


def copy_out(conn, relation: str, path: Path) -> None:
    """COPY TO a binary file, written by this process: the server's account may not write into the folder."""
    with path.open("wb") as out, conn.cursor().copy(f"COPY {relation} TO STDOUT (FORMAT binary)") as copy:
        for data in copy:
            out.write(data)


def copy_points(write, entities: int, points: int, dims: int, chunk: int = 5000) -> None:
    """Hands COPY's binary form of (entity_id text, ts, vec) to `write`: points day by day, each day of all entities, which
    are named e0000000 and so on."""
    row = np.dtype(
        [("fields", ">i2"), ("l0", ">i4"), ("id", "S8"), ("l1", ">i4"), ("ts", ">i8"), ("l2", ">i4")]
        + [("dim", ">i2"), ("unused", ">i2"), ("vec", ">f4", dims)]
    )
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((entities, dims), dtype=np.float32)
    write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
    for point in range(points):
        for first in range(0, entities, chunk):
            ids = np.arange(first, min(first + chunk, entities))
            rows = np.zeros(len(ids), row)
            rows["fields"], rows["l0"], rows["l1"], rows["l2"], rows["dim"] = 3, 8, 8, 4 + 4 * dims, dims
            rows["id"] = [b"e%07d" % i for i in ids]
            # 2026-01-01 on, in microseconds since 2000.
            rows["ts"] = (9497 + point) * 86_400_000_000 + ids
            rows["vec"] = centres[ids] + 0.3 * rng.standard_normal((len(ids), dims), dtype=np.float32)
            write(rows.tobytes())
    write(b"\xff\xff")


def drop_database(conn) -> None:
    """Closes the connection and drops its database, whose tables are large."""
    name = conn.info.dbname
    conn.close()
    with psycopg.connect(autocommit=True) as admin:
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextmanager
def peak_memory(pid: int):
    """Yields a dict whose `mb` is, afterwards, the most private memory (RssAnon) that the process held meanwhile."""
    peak = {"mb": 0.0}
    stop = threading.Event()

    def watch():
        while not stop.wait(0.005):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("RssAnon:"):
                    peak["mb"] = max(peak["mb"], int(line.split()[1]) / 1024)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        stop.set()
        watcher.join()


def random_walks(rng: np.random.Generator, entities: int, points: int, dims: int) -> np.ndarray:
    """(entities, points, dims) float32 of unit length: a centre an entity, and noise around it."""
    x = rng.standard_normal((entities, 1, dims), dtype=np.float32)
    x = x + 0.3 * rng.standard_normal((entities, points, dims), dtype=np.float32)
    return x / np.linalg.norm(x, axis=2, keepdims=True)


def report(name: str, value: float, bar: float, at_least: bool) -> bool:
    """Prints a ratio beside its bar; returns whether it holds."""
    holds = value >= bar if at_least else value <= bar
    print(f"  {name}: {value:.2f} (bar: {'at least' if at_least else 'at most'} {bar:g}) {'met' if holds else 'MISSED'}")
    return holds
