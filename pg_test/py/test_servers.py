"""Servers on which workers may not run, or not all of them: standbys, without preload, without slots; and an idle one."""

import os
import time

import psycopg
import pytest
from busy import BACK, all_workers, make_busy
from cluster import Cluster, until
from faults import SilentPeer
from sources import create_source, files_config, in_state, kafka_config, source


@pytest.fixture(scope="module")
def peer():
    """Takes connections and never answers: what a connector has to be torn away from."""
    with SilentPeer() as it:
        yield it


def test_idle_cost():
    """An idle database: its processes, and the processor time that they take."""
    with Cluster() as cluster:
        cluster.create_database("idle")
        with cluster.connect("idle") as conn:
            conn.execute("SELECT cvx.create_space('s', 4)")
            create_source(conn, "files", "s3_parquet", "s", files_config("/tmp"), schedule="0 2 * * *")
            until(lambda: cluster.workers("scheduler", "idle"), BACK)
            in_state(conn, "files", "waiting")
        time.sleep(2)
        ours = [pid for pid, title in cluster.processes() if "cvx " in title]
        assert 2 <= len(ours) <= 3
        seconds = 10
        before = sum(map(cpu_seconds, ours))
        time.sleep(seconds)
        share = (sum(map(cpu_seconds, ours)) - before) / seconds
        print(f"idle: {len(ours)} processes, {100 * share:.2f} % of a core")
        assert share < 0.005


def cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_standby_and_promotion(peer):
    """T13: no worker on a standby; they start when it is promoted."""
    with Cluster({"wal_level": "replica", "max_wal_senders": "4"}) as primary:
        make_busy(primary, peer, "d")
        with Cluster.standby_of(primary) as standby:
            until(lambda: standby.connect("d").execute("SELECT count(*) FROM cvx.sources").fetchone() == (4,), 20)
            time.sleep(2)
            assert standby.workers() == []
            with standby.connect("d") as conn:
                assert conn.execute("SELECT cvx.drift('{[1,0]@2026-01-01, [0,1]@2026-01-02}')").fetchone() == (1.0,)
                for reading in (
                    "TABLE cvx.workers",
                    "TABLE cvx.sources",
                    "TABLE cvx.stat_progress_sync",
                    "SELECT cvx.dump_config()",
                ):
                    conn.execute(reading)
                for call in (
                    "cvx.sync_source('files')",
                    "cvx.pause_source('files')",
                    "cvx.enable()",
                    "cvx.drop_source('files')",
                ):
                    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                        conn.execute(f"SELECT {call}")
            primary.crash()
            standby.promote()
            all_workers(standby, "d")
            with standby.connect("d") as conn:
                conn.execute("SELECT cvx.sync_source('stream')")
            assert standby.faults() == []


def test_no_worker_slots(peer):
    """T11: more databases than slots: one warning, and what is there goes on."""
    with Cluster({"max_worker_processes": "4"}) as cluster:
        for name in ("a", "b", "c"):
            cluster.create_database(name)
            with cluster.connect(name) as conn:
                conn.execute("SELECT cvx.create_space('s', 4)")
                create_source(conn, "stream", "kafka", "s", kafka_config(f"127.0.0.1:{peer.port}", "t"))
        until(lambda: "max_worker_processes" in cluster.log(), BACK, "a warning")
        time.sleep(3)
        assert cluster.log().count("no background worker slot") == 1
        with cluster.connect("a") as conn:
            assert conn.execute("SELECT count(*) FROM generate_series(1, 1000)").fetchone() == (1000,)
            errors = [error for (error,) in conn.execute("SELECT last_error FROM cvx.workers") if error]
            assert any("slot" in error for error in errors), errors
        # A slot that comes free is taken.
        names = [name for name in ("a", "b", "c") if cluster.workers("%", name)]
        with cluster.connect() as conn:
            conn.execute(f"DROP DATABASE {names[0]} WITH (FORCE)")
        others = [name for name in ("a", "b", "c") if name != names[0]]
        until(lambda: any(cluster.workers("%", name) for name in others), 30, "a worker in another database")
        assert cluster.faults() == []


def test_not_preloaded(peer):
    """T12: everything but the workers works, and says so."""
    with Cluster({"shared_preload_libraries": ""}) as cluster:
        cluster.create_database("d")
        with cluster.connect("d") as conn:
            notices = []
            conn.add_notice_handler(lambda d: notices.append((d.severity, d.message_primary, d.message_hint)))
            conn.execute("SELECT cvx.create_space('s', 4)")
            create_source(conn, "stream", "kafka", "s", kafka_config(f"127.0.0.1:{peer.port}", "t"))
            assert any("shared_preload_libraries" in f"{message} {hint}" for _, message, hint in notices), notices
            hints = conn.execute("SELECT hint FROM cvx.workers").fetchall()
            assert hints and any("shared_preload_libraries" in (hint or "") for (hint,) in hints), hints
            assert source(conn, "stream")["state"] != "running"
            conn.execute("SELECT cvx.sync_source('stream'), cvx.pause_source('stream')")
            conn.execute("SELECT cvx.drop_source('stream')")
        start = cluster.log_size()
        time.sleep(2)
        assert cluster.log(start) == ""


def test_preloaded_and_not_created():
    """T12: a server without the extension in any database: the launcher alone, and a quiet log."""
    with Cluster() as cluster:
        until(lambda: cluster.workers("launcher"), BACK)
        cluster.create_database("d", extension=False)
        start = cluster.log_size()
        # Whoever looked into a database found no extension there and left.
        until(lambda: not cluster.workers("scheduler"), 30)
        time.sleep(3)
        assert len(cluster.workers()) == 1
        assert [line for line in cluster.log(start).splitlines() if "cvx" in line] == []
