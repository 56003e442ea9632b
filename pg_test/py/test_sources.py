"""Declaring sources and watching them: what each function does and refuses, states, progress, schedules."""

import json
import time

import psycopg
import pytest
from cluster import Cluster, until
from peers import KafkaMock
from psycopg.types.json import Jsonb
from sources import (  # noqa: F401, fixtures among them
    EPOCH,
    conn,
    create_source,
    data_folder,
    dead_letters,
    files_config,
    folder,
    has_rows,
    in_state,
    kafka_config,
    rows,
    runs,
    source,
    space,
    sync,
    write_parquet,
)


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as it:
        it.create_database("d")
        with it.connect("d") as conn:
            conn.execute("SELECT cvx.create_space('clock', 4)")
            folder = data_folder(it, "clock")
            write_parquet(folder, "a.parquet", 0, 10)
            # Due within a minute; looked at by the last test.
            create_source(conn, "clock", "s3_parquet", "clock", files_config(folder), schedule="* * * * *")
        yield it
        assert it.faults() == []


class TestRuns:
    def test_of_files(self, conn, space, folder):
        """From the declaration to rows; what is new; everything again; nothing."""
        write_parquet(folder, "a.parquet", 0, 100)
        write_parquet(folder, "sub/b.parquet", 100, 100)
        create_source(conn, "files", "s3_parquet", space, files_config(folder))
        assert source(conn, "files")["state"] == "waiting" and runs(conn, "files") == []

        run = sync(conn, "files")
        assert (run["kind"], run["state"], run["error"]) == ("sync", "done", None)
        assert (run["records_read"], run["records_written"], run["records_rejected"]) == (200, 200, 0)
        assert run["bytes"] > 0 and run["watermark_after"] != run["watermark_before"]
        assert rows(conn, space) == 200
        provenance = conn.execute(
            "SELECT DISTINCT source FROM cvx.embedding WHERE space_id = cvx.space_id(%s)", (space,)
        )
        assert provenance.fetchall() == [("files",)]

        row = in_state(conn, "files", "waiting")
        assert row["last_success_at"] is not None and row["last_error"] is None and row["failures"] == 0
        assert (row["run_id"], row["records_written"]) == (run["run_id"], 200)

        write_parquet(folder, "c.parquet", 200, 50)
        run = sync(conn, "files")
        assert (run["records_read"], run["records_written"]) == (50, 50)
        run = sync(conn, "files")
        assert (run["records_read"], run["records_written"]) == (0, 0)

        run = sync(conn, "files", full=True)
        assert run["records_read"] == 250 and run["records_written"] + run["records_skipped"] == 250
        assert rows(conn, space) == 250

    def test_a_file_that_changed_is_read_again(self, conn, space, folder):
        write_parquet(folder, "a.parquet", 0, 10)
        create_source(conn, "changing", "s3_parquet", space, files_config(folder))
        sync(conn, "changing")
        write_parquet(folder, "a.parquet", 5, 10)
        run = sync(conn, "changing")
        assert run["records_read"] == 10 and rows(conn, space) == 15

    def test_not_incremental(self, conn, space, folder):
        write_parquet(folder, "a.parquet", 0, 10)
        create_source(conn, "whole", "s3_parquet", space, files_config(folder), incremental=False)
        assert [sync(conn, "whole")["records_read"] for _ in range(2)] == [10, 10]
        assert rows(conn, space) == 10

    def test_filter(self, conn, space, folder):
        write_parquet(folder, "a.parquet", 0, 100)
        wanted = {"entity_ids": ["e1", "e2"], "from": "2026-01-01T00:00:30Z", "to": "2026-01-01T00:01:00Z"}
        create_source(conn, "some", "s3_parquet", space, files_config(folder, filter=wanted))
        run = sync(conn, "some")
        query = "SELECT entity_id, extract(second FROM ts)::int FROM cvx.embedding WHERE space_id = cvx.space_id(%s) ORDER BY ts"
        # Rows 51 and 52 are of e1 and e2; 1 and 2 are too early.
        assert conn.execute(query, (space,)).fetchall() == [("e1", 51), ("e2", 52)]
        assert run["records_written"] == 2

    def test_asked_twice_and_while_it_runs(self, cluster, conn, space, folder):
        """What came while a run was going on is not forgotten."""
        write_parquet(folder, "a.parquet", 0, 100)
        create_source(conn, "asked", "s3_parquet", space, files_config(folder))
        with cluster.connect("d", autocommit=False) as locker:
            locker.execute(f"LOCK TABLE cvx_space.{space} IN ACCESS EXCLUSIVE MODE")
            conn.execute("SELECT cvx.sync_source('asked')")
            in_state(conn, "asked", "running")
            write_parquet(folder, "b.parquet", 100, 100)
            conn.execute("SELECT cvx.sync_source('asked')")
            conn.execute("SELECT cvx.sync_source('asked')")
            locker.rollback()
        has_rows(conn, space, 200)

    def test_rolled_back_request(self, cluster, conn, space, folder):
        write_parquet(folder, "a.parquet", 0, 10)
        create_source(conn, "never", "s3_parquet", space, files_config(folder))
        with cluster.connect("d", autocommit=False) as other:
            other.execute("SELECT cvx.sync_source('never')")
            other.rollback()
        time.sleep(1)
        assert runs(conn, "never") == [] and source(conn, "never")["state"] == "waiting"

    def test_progress_while_it_runs(self, cluster, conn, space, folder):
        for number in range(5):
            write_parquet(folder, f"{number}.parquet", number * 1000, 1000)
        create_source(conn, "long", "s3_parquet", space, files_config(folder, batch_rows=500))
        with cluster.connect("d", autocommit=False) as locker:
            locker.execute(f"LOCK TABLE cvx_space.{space} IN ACCESS EXCLUSIVE MODE")
            conn.execute("SELECT cvx.sync_source('long')")
            row = in_state(conn, "long", "running")
            assert row["started_at"] is not None and row["finished_at"] is None
            query = """SELECT p.pid, p.datname, p.phase, a.backend_type FROM cvx.stat_progress_sync p
                       JOIN pg_stat_activity a USING (pid) WHERE p.source = 'long'"""
            shown = until(lambda: conn.execute(query).fetchone(), 10, "progress is shown")
            assert shown[1] == "d" and shown[2] and shown[3] == "cvx ingest"
            locker.rollback()
        has_rows(conn, space, 5000)
        row = in_state(conn, "long", "waiting")
        assert (row["records_read"], row["records_written"], row["finished_at"] is None) == (5000, 5000, False)
        until(lambda: not conn.execute(query).fetchone(), 10, "progress is gone")


class TestPause:
    def test_pause_and_resume(self, conn, space, folder):
        write_parquet(folder, "a.parquet", 0, 10)
        create_source(conn, "p", "s3_parquet", space, files_config(folder))
        conn.execute("SELECT cvx.pause_source('p')")
        assert source(conn, "p")["state"] == "paused"
        conn.execute("SELECT cvx.sync_source('p')")
        time.sleep(1)
        assert rows(conn, space) == 0
        conn.execute("SELECT cvx.resume_source('p')")
        has_rows(conn, space, 10)

    def test_while_the_table_is_locked(self, cluster, conn, space, folder):
        """What was asked for is done after the pause, though nothing of it had been written."""
        write_parquet(folder, "a.parquet", 0, 10)
        create_source(conn, "both", "s3_parquet", space, files_config(folder))
        with cluster.connect("d", autocommit=False) as locker:
            locker.execute(f"LOCK TABLE cvx_space.{space} IN ACCESS EXCLUSIVE MODE")
            conn.execute("SELECT cvx.sync_source('both')")
            in_state(conn, "both", "backing off")
            conn.execute("SELECT cvx.pause_source('both')")
            until(lambda: runs(conn, "both")[-1]["state"] == "stopped", 10, "the run is stopped")
            locker.rollback()
        conn.execute("SELECT cvx.resume_source('both')")
        has_rows(conn, space, 10)

    def test_in_the_middle_of_a_run(self, cluster, conn, space, folder):
        """Nothing is written once the pause has committed; resumed, it goes on from there."""
        for number in range(20):
            write_parquet(folder, f"{number:02}.parquet", number * 100, 100)
        create_source(conn, "mid", "s3_parquet", space, files_config(folder, batch_rows=50))
        conn.execute("SELECT cvx.sync_source('mid')")
        until(lambda: rows(conn, space) > 0, 30)
        conn.execute("SELECT cvx.pause_source('mid')")
        count = rows(conn, space)
        time.sleep(1)
        assert rows(conn, space) == count and source(conn, "mid")["state"] == "paused"
        conn.execute("SELECT cvx.resume_source('mid')")
        if count < 2000:
            has_rows(conn, space, 2000)
        written = sum(run["records_written"] for run in runs(conn, "mid"))
        assert written == 2000

    def test_dropped_in_the_middle_of_a_run(self, conn, space, folder):
        for number in range(20):
            write_parquet(folder, f"{number:02}.parquet", number * 100, 100)
        create_source(conn, "gone", "s3_parquet", space, files_config(folder, batch_rows=50))
        conn.execute("SELECT cvx.sync_source('gone')")
        until(lambda: rows(conn, space) > 0, 30)
        conn.execute("SELECT cvx.drop_source('gone')")
        count = rows(conn, space)
        time.sleep(1)
        assert rows(conn, space) == count
        assert conn.execute("SELECT count(*) FROM cvx.sources WHERE name = 'gone'").fetchone() == (0,)
        until(lambda: not [run for run in runs(conn, "gone") if run["state"] == "running"], 10, "its run has ended")
        # A new one of the same name begins at the beginning.
        create_source(conn, "gone", "s3_parquet", space, files_config(folder))
        assert sync(conn, "gone")["records_read"] == 2000
        assert rows(conn, space) == 2000

    def test_altered_in_the_middle_of_a_run(self, conn, space, folder):
        for number in range(20):
            write_parquet(folder, f"{number:02}.parquet", number * 100, 100)
        create_source(conn, "alt", "s3_parquet", space, files_config(folder, batch_rows=50))
        conn.execute("SELECT cvx.sync_source('alt')")
        until(lambda: rows(conn, space) > 0, 30)
        config = Jsonb(files_config(folder, batch_rows=1000))
        conn.execute("SELECT cvx.alter_source('alt', config => %s, priority => 5)", (config,))
        has_rows(conn, space, 2000)
        assert conn.execute(
            "SELECT priority, config ->> 'batch_rows' FROM cvx.source WHERE name = 'alt'"
        ).fetchone() == (5, "1000")


class TestStream:
    @pytest.fixture
    def broker(self):
        with KafkaMock() as it:
            it.create_topic("t", 3)
            yield it

    def send(self, broker, values, partition=None):
        producer = broker.producer()
        for i, value in enumerate(values):
            body = value if isinstance(value, bytes) else json.dumps(value)
            producer.produce("t", body, partition=i % 3 if partition is None else partition)
        assert producer.flush(30) == 0

    def good(self, numbers):
        return [{"id": f"e{i % 7}", "ts": EPOCH // 1000 + i, "vec": [i + 1, 2, 3, 4.5]} for i in numbers]

    def config(self, broker, **more):
        soon = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 1000}
        return kafka_config(broker.bootstrap, "t", timestamp_unit="ms", properties=soon, **more)

    def test_starts_by_itself_and_goes_on(self, conn, space, broker):
        self.send(broker, self.good(range(300)))
        create_source(conn, "stream", "kafka", space, self.config(broker))
        has_rows(conn, space, 300)
        self.send(broker, [b"{broken", {"id": "e", "ts": 1, "vec": [1]}, *self.good(range(300, 400))])
        has_rows(conn, space, 400)
        letters = until(lambda: len(found := dead_letters(conn, "stream")) == 2 and found, 10)
        assert {it["reason"] for it in letters} == {"malformed", "wrong_dimension"}
        row = until(lambda: (it := source(conn, "stream"))["state"] == "running" and it, 10)
        assert (row["records_written"], row["records_rejected"], row["dead_letters"]) == (400, 2, 2)
        assert row["finished_at"] is None

    def test_runs_again_after_the_table_was_locked(self, cluster, conn, space, broker):
        self.send(broker, self.good(range(30)))
        create_source(conn, "waits", "kafka", space, self.config(broker))
        has_rows(conn, space, 30)
        with cluster.connect("d", autocommit=False) as locker:
            locker.execute(f"LOCK TABLE cvx_space.{space} IN ACCESS EXCLUSIVE MODE")
            self.send(broker, self.good(range(30, 60)))
            assert "lock timeout" in in_state(conn, "waits", "backing off")["last_error"]
            locker.rollback()
        has_rows(conn, space, 60)
        in_state(conn, "waits", "running")

    def test_paused_and_resumed(self, conn, space, broker):
        self.send(broker, self.good(range(30)))
        create_source(conn, "stop-and-go", "kafka", space, self.config(broker))
        has_rows(conn, space, 30)
        conn.execute("SELECT cvx.pause_source('stop-and-go')")
        self.send(broker, self.good(range(30, 60)))
        time.sleep(1)
        assert rows(conn, space) == 30
        conn.execute("SELECT cvx.resume_source('stop-and-go')")
        has_rows(conn, space, 60)
        assert sum(run["records_written"] for run in runs(conn, "stop-and-go")) == 60

    def test_replay(self, conn, space, broker):
        """What was refused for its dimension is taken once it fits; what is broken is refused again, once."""
        self.send(broker, [{"id": "e", "ts": 1000, "vec": [1, 2, 3]}, b"{broken", *self.good(range(50))], partition=0)
        create_source(conn, "again", "kafka", space, self.config(broker))
        has_rows(conn, space, 50)
        letters = until(lambda: len(found := dead_letters(conn, "again")) == 2 and found, 10)
        assert {it["position"] for it in letters} == {"t/0/0", "t/0/1"}
        assert conn.execute("SELECT cvx.replay_dead_letters('again', ARRAY['malformed'])").fetchone() == (1,)
        until(
            lambda: [run for run in runs(conn, "again") if run["kind"] == "replay" and run["state"] == "done"],
            30,
            "a replay",
        )
        after = dead_letters(conn, "again")
        assert {it["position"] for it in after} == {"t/0/0", "t/0/1"} and len(after) == 2
        # The stream goes on behind it.
        self.send(broker, self.good(range(50, 60)))
        has_rows(conn, space, 60)

    def test_huge_message(self, conn, space, broker):
        """T19: one that no record is as large as; those around it are taken."""
        producer = broker.producer(**{"message.max.bytes": 20_000_000})
        big = b'{"id": "e", "ts": 1, "vec": [' + b"1," * 1_500_000 + b"1]}"
        for value in [*self.good(range(5)), big, *self.good(range(5, 10))]:
            producer.produce("t", value if isinstance(value, bytes) else json.dumps(value), partition=0)
        assert producer.flush(60) == 0
        create_source(conn, "huge", "kafka", space, self.config(broker))
        has_rows(conn, space, 10)
        (letter,) = until(lambda: dead_letters(conn, "huge"), 10)
        assert letter["position"] == "t/0/5" and len(json.dumps(letter["payload"])) < 100_000


class TestSchedule:
    def test_next_run_is_in_its_time_zone(self, conn, space, folder):
        create_source(
            conn, "nightly", "s3_parquet", space, files_config(folder), schedule="30 2 * * *", time_zone="Asia/Tokyo"
        )
        (local,) = conn.execute(
            "SELECT (next_run_at AT TIME ZONE 'Asia/Tokyo')::time FROM cvx.sources WHERE name = 'nightly'"
        ).fetchone()
        assert (local.hour, local.minute) == (2, 30)
        conn.execute("SELECT cvx.alter_source('nightly', schedule => '0 3 * * *', time_zone => 'UTC')")
        row = source(conn, "nightly")
        assert (row["next_run_at"].hour, row["schedule"], row["time_zone"]) == (3, "0 3 * * *", "UTC")
        conn.execute("SELECT cvx.alter_source('nightly', schedule => '')")
        row = source(conn, "nightly")
        assert row["schedule"] is None and row["next_run_at"] is None


# Call with $space in place of a space; SQLSTATE; what the message says; what the hint says.
REFUSED = [
    ("create_source(NULL, 's3_parquet', $space, '{}')", "22004", "name", ""),
    ("create_source('', 's3_parquet', $space, '{}')", "42602", "name", ""),
    ("create_source(repeat('x', 300), 's3_parquet', $space, '{}')", "42602", "300", ""),
    ("create_source('x', 'ftp', $space, '{}')", "22023", "ftp", "kafka"),
    ("create_source('x', 'rest_api', $space, '{}')", "0A000", "rest_api", "kafka"),
    ("create_source('x', 's3_parquet', 'nowhere', '{\"bucket\": \"b\"}')", "42704", "nowhere", "create_space"),
    ("create_source('x', 's3_parquet', $space, NULL)", "22004", "config", ""),
    ("create_source('x', 's3_parquet', $space, '[]')", "22023", "object", ""),
    ("create_source('x', 's3_parquet', $space, '{\"bukcet\": \"b\"}')", "22023", "bukcet", ""),
    ("create_source('x', 's3_parquet', $space, '{}')", "22023", "bucket", ""),
    (
        'create_source(\'x\', \'s3_parquet\', $space, \'{"bucket": "b", "endpoint": "http://127.0.0.1:1"}\')',
        "22023",
        "http",
        "allow_http",
    ),
    (
        'create_source(\'x\', \'s3_parquet\', $space, \'{"bucket": "b", "secret_access_key": "literal"}\')',
        "22023",
        "",
        "",
    ),
    ("create_source('x', 'kafka', $space, '{\"brokers\": [\"a:1\"]}')", "22023", "topic", ""),
    (
        'create_source(\'x\', \'kafka\', $space, \'{"brokers": [], "topic": "t", "entity_id_field": "i", "vector_field": "v"}\')',
        "22023",
        "brokers",
        "",
    ),
    (
        'create_source(\'x\', \'kafka\', $space, \'{"brokers": ["a:1"], "topic": "t", "entity_id_field": "i", "vector_field": "v", '
        '"properties": {"plugin.library.paths": "/tmp/x.so"}}\')',
        "22023",
        "plugin.library.paths",
        "",
    ),
    (
        'create_source(\'x\', \'kafka\', $space, \'{"brokers": ["a:1"], "topic": "t", "entity_id_field": "i", "vector_field": "v", '
        '"properties": {"sasl.password": "literal-canary"}}\')',
        "22023",
        "sasl.password",
        "",
    ),
    (
        'create_source(\'x\', \'postgres\', $space, \'{"host": "h", "dbname": "d", "user": "u", "password": "literal-canary", "table": "t"}\')',
        "22023",
        "",
        "",
    ),
    ("create_source('x', 's3_parquet', $space, '{\"bucket\": \"b\", \"batch_rows\": 0}')", "22023", "batch_rows", ""),
    (
        "create_source('x', 's3_parquet', $space, '{\"bucket\": \"b\", \"max_reject_ratio\": 2}')",
        "22023",
        "max_reject_ratio",
        "",
    ),
    (
        'create_source(\'x\', \'s3_parquet\', $space, \'{"bucket": "b", "filter": {"from": "soon"}}\')',
        "22023",
        "filter.from",
        "",
    ),
    (
        "create_source('x', 's3_parquet', $space, '{\"bucket\": \"b\"}', schedule => '61 * * * *')",
        "22023",
        "61 * * * *",
        "",
    ),
    (
        "create_source('x', 's3_parquet', $space, '{\"bucket\": \"b\"}', schedule => '0 0 * * *', time_zone => 'Mars/Olympus')",
        "22023",
        "Mars/Olympus",
        "",
    ),
    ("create_source('there', 's3_parquet', $space, '{\"bucket\": \"b\"}')", "42710", "there", "alter_source"),
    ("alter_source('nobody')", "42704", "nobody", "cvx.sources"),
    ("alter_source('there', config => '{\"bukcet\": 1}')", "22023", "bukcet", ""),
    ("alter_source('there', schedule => 'x')", "22023", "x", ""),
    ("drop_source('nobody')", "42704", "nobody", "cvx.sources"),
    ("sync_source('nobody')", "42704", "nobody", "cvx.sources"),
    ("pause_source('nobody')", "42704", "nobody", "cvx.sources"),
    ("resume_source('nobody')", "42704", "nobody", "cvx.sources"),
    ("replay_dead_letters('nobody')", "42704", "nobody", "cvx.sources"),
    ("sync_source(NULL)", "22004", "name", ""),
    ("create_secret('', 'x')", "42602", "name", ""),
    ("create_secret('kept', 'x')", "42710", "kept", "replace"),
    ("drop_secret('nobody')", "42704", "nobody", ""),
]


@pytest.mark.parametrize("call, sqlstate, message, hint", REFUSED, ids=[f"{n}" for n in range(len(REFUSED))])
def test_refused(conn, space, folder, call, sqlstate, message, hint):
    create_source(conn, "there", "s3_parquet", space, files_config(folder))
    conn.execute("SELECT cvx.create_secret('kept', 'value', replace => true)")
    before = conn.execute("SELECT count(*) FROM cvx.source").fetchone()
    with pytest.raises(psycopg.Error) as raised:
        conn.execute("SELECT cvx." + call.replace("$space", f"'{space}'").replace("%", "%%"))
    found = raised.value.diag
    assert (found.sqlstate, message in found.message_primary, hint in (found.message_hint or "")) == (
        sqlstate,
        True,
        True,
    ), f"{found.sqlstate}: {found.message_primary}; hint: {found.message_hint}"
    assert "literal-canary" not in f"{found.message_primary} {found.message_detail} {found.message_hint}"
    assert conn.execute("SELECT count(*) FROM cvx.source").fetchone() == before


class TestErrors:
    """What goes wrong in a run is told, and does not stop other sources."""

    def test_no_such_folder(self, conn, space, cluster):
        create_source(conn, "lost", "s3_parquet", space, files_config(cluster.folder / "nowhere"))
        run = sync(conn, "lost")
        assert run["state"] == "failed" and "nowhere" in run["error"]
        row = in_state(conn, "lost", "error")
        assert "nowhere" in row["last_error"] and row["failures"] == 1 and row["last_error_at"] is not None

    def test_mended_by_alter(self, conn, space, folder):
        write_parquet(folder, "a.parquet", 0, 10)
        create_source(conn, "mended", "s3_parquet", space, files_config(folder / "missing"))
        sync(conn, "mended")
        in_state(conn, "mended", "error")
        conn.execute("SELECT cvx.alter_source('mended', config => %s)", (Jsonb(files_config(folder)),))
        has_rows(conn, space, 10)
        row = in_state(conn, "mended", "waiting")
        assert row["failures"] == 0 and row["last_success_at"] > row["last_error_at"]

    def test_backs_off_and_recovers(self, conn, space):
        """T16: a peer that refuses: each attempt later than the one before; another word and it is tried at once."""
        config = {
            "bucket": "b",
            "endpoint": "http://127.0.0.1:1",
            "allow_http": True,
            "path_style": True,
            "anonymous": True,
        }
        create_source(conn, "down", "s3_parquet", space, config)
        conn.execute("SELECT cvx.sync_source('down')")
        row = in_state(conn, "down", "backing off")
        until(lambda: source(conn, "down")["failures"] >= 3, 30, "three failures")
        row = in_state(conn, "down", "backing off")
        assert row["next_attempt_at"] > row["last_error_at"]
        failed = [run for run in runs(conn, "down") if run["state"] == "failed"]
        assert len(failed) >= 3 and all(run["error"] for run in failed)

    def test_space_dropped_under_it(self, conn, space, folder):
        conn.execute("SELECT cvx.create_space('short-lived', 4)")
        write_parquet(folder, "a.parquet", 0, 10)
        create_source(conn, "homeless", "s3_parquet", "short-lived", files_config(folder))
        try:
            sync(conn, "homeless")
            conn.execute("SELECT cvx.drop_space('short-lived', true)")
            write_parquet(folder, "b.parquet", 10, 10)
            conn.execute("SELECT cvx.sync_source('homeless')")
            row = until(lambda: (it := source(conn, "homeless"))["last_error"] and it, 30, "an error")
            assert "short-lived" in row["last_error"]
        finally:
            conn.execute("SELECT cvx.drop_source('homeless')")

    def test_others_go_on(self, cluster, conn, space, folder):
        """T20: the table of one source is locked for seconds; another source is not held up, the first catches up."""
        conn.execute("SELECT cvx.create_space('unlocked', 4)")
        for number in range(10):
            write_parquet(folder, f"{number}.parquet", number * 1000, 1000)
        try:
            create_source(conn, "held", "s3_parquet", space, files_config(folder))
            create_source(conn, "free", "s3_parquet", "unlocked", files_config(folder))
            with cluster.connect("d", autocommit=False) as locker:
                locker.execute(f"LOCK TABLE cvx_space.{space} IN ACCESS EXCLUSIVE MODE")
                conn.execute("SELECT cvx.sync_source('held')")
                in_state(conn, "held", "running", "backing off")
                time.sleep(1)
                conn.execute("SELECT cvx.sync_source('free')")
                has_rows(conn, "unlocked", 10_000, 20)
                time.sleep(5)
                pid = cluster.workers("ingest", "d")[0]
                peak = peak_rss_mb(pid)
                locker.rollback()
            has_rows(conn, space, 10_000)
            assert peak < 300, f"{peak} MB"
            in_state(conn, "held", "waiting")
        finally:
            conn.execute("SELECT cvx.drop_source('free')")
            conn.execute("SELECT cvx.drop_space('unlocked', true)")


def peak_rss_mb(pid: int) -> float:
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024


def test_limit_on_the_number_of_sources(conn, space, folder):
    """S13: somebody who makes them in a loop is stopped."""
    with conn.transaction(force_rollback=True):
        with pytest.raises(psycopg.errors.ProgramLimitExceeded):
            conn.execute(
                "SELECT cvx.create_source('many' || i, 's3_parquet', %s, %s) FROM generate_series(1, 10000) i",
                (space, Jsonb(files_config(folder))),
            )


def test_the_clock_runs_a_source(cluster, conn):
    """The source that the module's server was given at its start has had its minute."""
    has_rows(conn, "clock", 10, 75)
    (run, *_) = runs(conn, "clock")
    assert run["state"] == "done" and source(conn, "clock")["next_run_at"] is not None
