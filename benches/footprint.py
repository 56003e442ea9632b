"""What cvx's processes cost: memory while sources offer 5 GB, processor time when idle, a backend's first call.

On servers of its own with 64 MB of shared buffers, which count in a process's memory as far as it touched them. Bars:
the ingest worker under 300 MB; an idle database under 0.5 % of a core and at most three processes. What the first
call of a function of cvx adds to a new connection is stated, with and without shared_preload_libraries. CVX_BENCH_GB
sets another size, CVX_BENCH_RECORDS another number of Kafka records, CVX_BENCH_IDLE_S another idle time.
"""

import os
import statistics
import sys
import time
from pathlib import Path

import harness
import kafka
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from cluster import Cluster
from peers import KafkaMock
from psycopg.types.json import Jsonb

GIGABYTES = float(os.environ.get("CVX_BENCH_GB", 5))
IDLE_SECONDS = int(os.environ.get("CVX_BENCH_IDLE_S", 60))
CONNECTIONS = 20
DIMS = 768
ROWS_PER_FILE = 50_000
EPOCH = 1_767_225_600_000_000
TICKS = os.sysconf("SC_CLK_TCK")


def status_mb(pid: int, key: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024
    raise KeyError(key)


def cpu_seconds(pid: int) -> float:
    """Of the process and its threads, in user and system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def write_files(folder: Path) -> tuple[int, int]:
    """Parquet files of that size in all, each one row group as pyarrow writes them; records and bytes."""
    rng = np.random.default_rng(6)
    files = max(1, round(GIGABYTES * 1e9 / (ROWS_PER_FILE * 4 * DIMS)))
    users = [f"user-{row:08}" for row in range(ROWS_PER_FILE)]
    size = 0
    for number in range(files):
        vectors = rng.standard_normal(ROWS_PER_FILE * DIMS, dtype=np.float32)
        times = np.full(ROWS_PER_FILE, EPOCH + number * 86_400_000_000)
        table = pa.table(
            {
                "entity_id": users,
                "ts": pa.array(times, pa.timestamp("us", tz="UTC")),
                "vec": pa.FixedSizeListArray.from_arrays(pa.array(vectors), DIMS).cast(pa.list_(pa.float32())),
            }
        )
        path = folder / f"part-{number:05}.parquet"
        pq.write_table(table, path)
        path.chmod(0o644)
        size += path.stat().st_size
    return files * ROWS_PER_FILE, size


def peak_mb(server: Cluster) -> float:
    (worker,) = server.workers("ingest", "bench")
    return status_mb(worker, "VmHWM")


def from_files(server: Cluster, conn) -> float:
    """The ingest worker's peak. The source stays."""
    folder = harness.files() / "footprint"
    folder.mkdir(mode=0o755)
    rows, size = write_files(folder)
    conn.execute("SELECT cvx.create_space('files', %s)", [DIMS])
    config = {"url": f"file://{folder}"}
    conn.execute("SELECT cvx.create_source('files', 's3_parquet', 'files', %s)", [Jsonb(config)])
    took = harness.seconds(lambda: harness.sync(conn, "files"))
    (count,) = conn.execute("SELECT count(*) FROM cvx.embedding").fetchone()
    assert count == rows, f"{count} rows of {rows}"
    peak = peak_mb(server)
    speed = f"{rows / took:.0f} records/s, {size / took / 1e6:.0f} MB/s"
    print(f"  {rows} records of {size / 1e9:.1f} GB from files in {took:.0f} s ({speed}): peak {peak:.0f} MB")
    conn.execute("TRUNCATE cvx.embedding")
    for path in folder.iterdir():
        path.unlink()
    return peak


def from_kafka(server: Cluster, conn, broker: KafkaMock) -> float:
    """As above; the source goes on listening."""
    conn.execute("SELECT cvx.create_space('bench', %s)", [kafka.DIMS])
    records, size = kafka.produce(broker)
    kafka.cvx_source(conn, broker.bootstrap, records, "messages")
    peak = peak_mb(server)
    print(f"  {records} records of {size / 1e9:.2f} GB from Kafka: peak {peak:.0f} MB")
    return peak


def idle_cost(server: Cluster) -> tuple[float, int]:
    """Per cent of a core that cvx's processes take, their threads included, and how many they are."""
    time.sleep(5)
    workers = server.workers()
    before = {pid: cpu_seconds(pid) for pid in workers}
    time.sleep(IDLE_SECONDS)
    assert server.workers() == workers, "a process came or went"
    used = sum(cpu_seconds(pid) - before[pid] for pid in workers)
    return 100 * used / IDLE_SECONDS, len(workers)


def first_call(server: Cluster) -> None:
    """The first and the second call in new connections: milliseconds, and memory that the first one added."""
    query = "SELECT cvx.num_points('{}'::cvx.trajectory)"
    first, second, rss, private = [], [], [], []
    for _ in range(CONNECTIONS):
        with server.connect("bench") as conn:
            conn.execute("SELECT '[1]'::vector")
            pid = conn.info.backend_pid
            before = status_mb(pid, "VmRSS"), status_mb(pid, "RssAnon")
            first.append(1000 * harness.seconds(lambda: conn.execute(query)))
            rss.append(status_mb(pid, "VmRSS") - before[0])
            private.append(status_mb(pid, "RssAnon") - before[1])
            second.append(1000 * harness.seconds(lambda: conn.execute(query)))
    first, second, rss, private = map(statistics.median, (first, second, rss, private))
    times = f"first call {first:.2f} ms, second {second:.2f} ms"
    print(f"    {times}; memory +{rss:.1f} MB, of it private +{private:.2f} MB")


def main() -> bool:
    settings = {"synchronous_commit": "off", "full_page_writes": "off", "max_wal_size": "4GB"}
    with Cluster(settings) as server:
        server.create_database("bench")
        print("  with cvx in shared_preload_libraries:")
        first_call(server)
        with server.connect("bench") as conn, KafkaMock() as broker:
            peak = from_files(server, conn)
            idle, processes = idle_cost(server)
            peak = max(peak, from_kafka(server, conn, broker))
            listening, _ = idle_cost(server)
            print(f"  while a Kafka source waits for messages: {listening:.2f} % of a core")
        holds = harness.report("MB of the ingest worker at its peak", peak, 300, at_least=False)
        holds = harness.report("% of a core when idle, with a source", idle, 0.5, at_least=False) and holds
        holds = harness.report("processes then", processes, 3, at_least=False) and holds
        server.configure({"shared_preload_libraries": ""})
        server.restart()
        print("  without:")
        first_call(server)
    return holds


if __name__ == "__main__":
    sys.exit(not main())
