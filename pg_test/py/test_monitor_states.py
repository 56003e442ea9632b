"""The life of the process that evaluates monitors, and what monitors say of it: without preload, without a free slot,
killed, terminated, in the way of commands that want the database for themselves.

Rounds are few here; CVX_TEST_ROUNDS makes them more.
"""

import os
import statistics
import time

import psycopg
import pytest
from busy import BACK, SOON, drop_database, no_workers
from cluster import Cluster, until
from monitors_inbox import Inbox
from psycopg.types.json import Jsonb

ROUNDS = int(os.environ.get("CVX_TEST_ROUNDS", "10"))
EMIT = {"type": "emit_event"}
SLEEP = "SELECT 'e' AS entity_id FROM (SELECT pg_sleep(300)) s"
SECRET = "whsec_c29tZXRoaW5nIG5vYm9keSBrbm93cw=="
SETTINGS = {
    "cvx.monitor_timeout": "20s",
    "cvx.webhook_allowed_hosts": "127.0.0.1",
    "max_logical_replication_workers": "0",
}


@pytest.fixture(scope="module")
def cluster():
    with Cluster(SETTINGS) as it:
        with it.connect() as conn:
            conn.execute("CREATE ROLE watcher LOGIN")
        yield it


@pytest.fixture(autouse=True)
def no_faults(request):
    """No fault in the log of the module's server, except what the test itself has killed."""
    if "cluster" not in request.fixturenames:
        yield
        return
    cluster = request.getfixturevalue("cluster")
    start, cluster.killed = cluster.log_size(), 0
    yield
    assert cluster.faults(start) == []


@pytest.fixture
def name(cluster):
    """A database with a space of two silent entities."""
    it = f"d{time.monotonic_ns()}"
    make(cluster, it)
    yield it
    until(lambda: drop_database(cluster, it), 30, "the database can be dropped")


def make(cluster, name: str):
    cluster.create_database(name)
    with cluster.connect(name) as conn:
        conn.execute("SELECT cvx.create_space('s', 2)")
        points = "VALUES ('a', '2026-01-01', '[1,2]'), ('b', '2026-01-01', '[2,1]')"
        conn.execute(f"INSERT INTO cvx_space.s (entity_id, ts, vec) {points}")
        conn.execute("SELECT cvx.grant_admin('watcher')")


@pytest.fixture
def conn(cluster, name):
    with cluster.connect(name) as it:
        yield it


def silence(conn, name="silence", interval="1 s", cooldown="0 s", action=EMIT, **more):
    condition = {"type": "silence_exceeds", "duration": "1 hour"}
    create(conn, name, condition, interval, action=action, cooldown=cooldown, space="s", **more)


def sleeper(conn, name="sleeper", sql=SLEEP, interval="1 s", **more):
    """A monitor whose evaluation takes minutes, as its owner, who is no superuser."""
    conn.execute("SET ROLE watcher")
    create(conn, name, {"type": "custom_query", "sql": sql}, interval, **more)
    conn.execute("RESET ROLE")


def create(conn, name, condition, interval, action=EMIT, **more):
    given = "".join(f", {key} => %s" for key in more)
    query = f"SELECT cvx.create_monitor(%s, %s, %s, check_interval => %s::interval{given})"
    conn.execute(query, (name, Jsonb(condition), Jsonb(action), interval, *more.values()))


def shown(conn, name) -> dict:
    cursor = conn.cursor(row_factory=psycopg.rows.dict_row)
    return cursor.execute("SELECT * FROM cvx.monitors WHERE name = %s", (name,)).fetchone()


def alerts(conn, name) -> int:
    return conn.execute("SELECT count(*) FROM cvx.alert WHERE monitor = %s", (name,)).fetchone()[0]


def is_asleep(cluster, name) -> int:
    """The process that is in the middle of an evaluation."""
    query = """SELECT pid FROM pg_stat_activity WHERE datname = %s AND backend_type LIKE 'cvx monitor%%'
               AND wait_event = 'PgSleep'"""

    def look():
        with cluster.connect() as conn:
            return conn.execute(query, (name,)).fetchone()

    return until(look, 30, "an evaluation sleeps")[0]


def say(what: str, times: list[float]):
    print(f"{what}: median {statistics.median(times):.3f} s, longest {max(times):.3f} s, {len(times)} times")


class TestProcess:
    def test_comes_when_something_is_due_and_goes(self, cluster, conn, name):
        silence(conn, interval="1 hour", cooldown="1 hour")
        until(lambda: alerts(conn, "silence") == 2, BACK, "the first evaluation")
        no_workers_of(cluster, name)
        row = shown(conn, "silence")
        assert row["status"] == "ok" and row["findings"] == 2 and row["suppressed"] == 0 and row["last_error"] is None
        wait = row["next_check_at"] - row["last_evaluated_at"]
        assert 3590 < wait.total_seconds() <= 3601
        time.sleep(2)
        assert not cluster.workers("monitor", name)
        assert shown(conn, "silence")["last_evaluated_at"] == row["last_evaluated_at"]

    def test_each_interval(self, conn):
        silence(conn, interval="1 s")
        until(lambda: alerts(conn, "silence") >= 2, BACK)
        started, before = time.monotonic(), alerts(conn, "silence")
        time.sleep(6)
        rounds = (alerts(conn, "silence") - before) / 2
        took = time.monotonic() - started
        assert took * 0.4 <= rounds <= took + 2, f"{rounds} evaluations in {took} s"

    def test_one_that_sleeps_holds_up_no_other_for_ever(self, cluster, conn, name):
        """Its time limit is what the others may have to wait for."""
        conn.execute("ALTER SYSTEM SET cvx.monitor_timeout = '2s'")
        conn.execute("SELECT pg_reload_conf()")
        try:
            sleeper(conn)
            is_asleep(cluster, name)
            silence(conn)
            until(lambda: alerts(conn, "silence") >= 4, 20, "the other is evaluated")
            row = until(lambda: (it := shown(conn, "sleeper"))["last_error"] and it, 20)
            assert row["status"] == "error" and "timeout" in row["last_error"], row
        finally:
            conn.execute("ALTER SYSTEM RESET cvx.monitor_timeout")
            conn.execute("SELECT pg_reload_conf()")

    def test_log_volume_of_one_that_fails(self, cluster, conn):
        """T16: a line a monitor and minute, and it is tried more and more rarely."""
        start = cluster.log_size()
        sleeper(conn, sql="SELECT 1 / 0 AS value")
        row = until(lambda: (it := shown(conn, "sleeper"))["status"] == "error" and it, BACK)
        assert "division by zero" in row["last_error"]
        time.sleep(12)
        lines = [line for line in cluster.log(start).splitlines() if "division by zero" in line]
        assert len(lines) <= 4, lines
        row = shown(conn, "sleeper")
        assert (row["next_check_at"] - row["last_error_at"]).total_seconds() > 1, row

    def test_off_and_on(self, cluster, conn, name):
        silence(conn)
        until(lambda: alerts(conn, "silence") >= 2, BACK)
        try:
            conn.execute("ALTER SYSTEM SET cvx.workers = off")
            conn.execute("SELECT pg_reload_conf()")
            no_workers(cluster, name)
            before = alerts(conn, "silence")
            time.sleep(2)
            assert alerts(conn, "silence") == before
            assert conn.execute("SELECT count(alert_id) FROM cvx.evaluate_monitor('silence')").fetchone() == (2,)
        finally:
            conn.execute("ALTER SYSTEM RESET cvx.workers")
            conn.execute("SELECT pg_reload_conf()")
        before = alerts(conn, "silence")
        until(lambda: alerts(conn, "silence") > before, BACK, "it is evaluated again")

    def test_disabled_and_enabled(self, cluster, conn, name):
        silence(conn)
        sleeper(conn)
        is_asleep(cluster, name)
        conn.execute("SELECT cvx.disable()")
        until(lambda: not cluster.workers("monitor", name), SOON + 3, "nobody looks")
        before = alerts(conn, "silence")
        row = shown(conn, "silence")
        assert row["status"] == "disabled" and "cvx.enable()" in row["hint"]
        time.sleep(2)
        assert alerts(conn, "silence") == before
        conn.execute("SELECT cvx.drop_monitor('sleeper'), cvx.enable()")
        until(lambda: alerts(conn, "silence") > before, BACK, "it is evaluated again")

    def test_overdue_after_a_restart(self, cluster, conn, name):
        """What was due while the server was down is done once when it is back."""
        silence(conn, interval="3 s", cooldown="0 s")
        until(lambda: alerts(conn, "silence") >= 2, BACK)
        no_workers_of(cluster, name)
        before = alerts(conn, "silence")
        conn.close()
        cluster.stop()
        time.sleep(10)
        cluster.start()
        with cluster.connect(name) as again:
            until(lambda: alerts(again, "silence") > before, BACK, "it is evaluated again")
            assert alerts(again, "silence") == before + 2


def no_workers_of(cluster, name):
    until(lambda: not cluster.workers("monitor", name), BACK, "the process ends")


class TestKilled:
    def test_in_an_evaluation(self, cluster, conn, name):
        """Counted, tried again later and later, and paused in the end; the others go on."""
        silence(conn, interval="5 s")
        sleeper(conn)
        conn.close()
        kills, gaps = 0, []
        with cluster.connect(name) as again:
            assert shown(again, "sleeper")["status"] in ("ok", "running")
        while kills < 20:
            started = time.monotonic()
            state = until(lambda: self.asleep_or_paused(cluster, name), 120, "asleep or paused")
            if state == "paused":
                break
            gaps.append(time.monotonic() - started)
            cluster.kill(state)
            kills += 1
        print(f"paused after {kills} kills; evaluated again after {[round(gap, 1) for gap in gaps]} s")
        assert 2 <= kills <= 10
        with cluster.connect(name) as again:
            row = shown(again, "sleeper")
            assert row["status"] == "paused" and "cvx.resume_monitor" in row["hint"], row
            before = alerts(again, "silence")
            assert before > 0 and shown(again, "silence")["status"] in ("ok", "running")
            until(lambda: alerts(again, "silence") > before, 60, "the other goes on")
            again.execute("SELECT cvx.resume_monitor('sleeper')")
        is_asleep(cluster, name)

    def asleep_or_paused(self, cluster, name):
        query = """SELECT CASE WHEN m.paused THEN 'paused' ELSE (
                       SELECT pid::text FROM pg_stat_activity WHERE datname = current_database()
                       AND backend_type LIKE 'cvx monitor%' AND wait_event = 'PgSleep') END
                   FROM cvx.monitor m WHERE name = 'sleeper'"""
        with cluster.connect(name) as conn:
            (state,) = conn.execute(query).fetchone()
        return state if state in (None, "paused") else int(state)

    def test_terminated_in_an_evaluation(self, cluster, conn, name):
        """That is no crash: as often as anybody likes."""
        sleeper(conn)
        times = []
        for _ in range(max(ROUNDS, 12)):
            pid = is_asleep(cluster, name)
            started = time.monotonic()
            assert conn.execute("SELECT pg_terminate_backend(%s, %s)", (pid, int(SOON * 1000))).fetchone()[0]
            times.append(time.monotonic() - started)
        assert is_asleep(cluster, name)
        assert conn.execute("SELECT crashes FROM cvx.monitor_state").fetchone() == (0,)
        assert shown(conn, "sleeper")["status"] == "running"
        say("SIGTERM in an evaluation", times)

    def test_cancelled(self, cluster, conn, name):
        sleeper(conn)
        conn.execute("SELECT pg_cancel_backend(%s)", (is_asleep(cluster, name),))
        row = until(lambda: (it := shown(conn, "sleeper"))["last_error"] and it, BACK, "it says so")
        assert "cancel" in row["last_error"], row

    def test_postmaster_killed(self, cluster, conn, name):
        """T08: a process in the middle of an evaluation does not outlive it."""
        sleeper(conn)
        is_asleep(cluster, name)
        conn.close()
        assert cluster.kill_postmaster() < 5
        cluster.start()
        assert is_asleep(cluster, name)


class TestOwnDatabase:
    """T02, T04, T06: commands that want the server or the database for themselves, in the middle of an evaluation."""

    def asleep(self, cluster, name):
        with cluster.connect(name) as conn:
            if shown(conn, "sleeper") is None:
                sleeper(conn)
                condition = {"type": "change_point_detected", "min_severity": 0.5}
                create(conn, "changes", condition, "1 s", space="s")
        is_asleep(cluster, name)

    def test_fast_restarts(self, cluster, name):
        times = []
        for _ in range(max(3, ROUNDS // 3)):
            self.asleep(cluster, name)
            times.append(cluster.restart())
        say("fast stop in an evaluation", times)
        assert max(times) < SOON, times

    def test_drop(self, cluster):
        times = []
        for _ in range(3):
            make(cluster, "mine")
            self.asleep(cluster, "mine")
            with cluster.connect() as conn:
                started = time.monotonic()
                conn.execute("DROP DATABASE mine")
                times.append(time.monotonic() - started)
            assert not cluster.workers("%", "mine")
        say("DROP DATABASE in an evaluation", times)
        assert max(times) < SOON, times

    def test_other_databases_come_and_go(self, cluster, name):
        self.asleep(cluster, name)
        times = []
        with cluster.connect() as conn:
            for _ in range(ROUNDS):
                started = time.monotonic()
                conn.execute("CREATE DATABASE other")
                conn.execute("DROP DATABASE other")
                times.append(time.monotonic() - started)
        assert statistics.median(times) < 1 and max(times) < 5, times

    def test_template_and_rename(self, cluster, name):
        self.asleep(cluster, name)
        with cluster.connect() as conn:
            conn.execute(f'CREATE DATABASE copied TEMPLATE "{name}"')
            conn.execute("DROP DATABASE copied")
            self.asleep(cluster, name)
            conn.execute(f'ALTER DATABASE "{name}" RENAME TO renamed')
            self.asleep(cluster, "renamed")
            conn.execute(f'ALTER DATABASE renamed RENAME TO "{name}"')
        is_asleep(cluster, name)

    def test_drop_extension(self, cluster):
        """Nobody waits for the end of an evaluation."""
        start, times = cluster.log_size(), []
        for _ in range(3):
            make(cluster, "without")
            self.asleep(cluster, "without")
            with cluster.connect("without") as conn:
                started = time.monotonic()
                conn.execute("DROP EXTENSION cvx CASCADE")
                no_workers(cluster, "without", SOON)
                times.append(time.monotonic() - started)
            drop_database(cluster, "without")
        say("DROP EXTENSION in an evaluation", times)
        assert max(times) < SOON, times
        assert cluster.log(start).count(" ERROR: ") <= len(times), cluster.log(start)

    def test_drop_monitor(self, cluster, name):
        """And who drops, alters or pauses a monitor does not wait either."""
        alter = "alter_monitor('sleeper', cooldown => '1 day')"
        for call in ("pause_monitor('sleeper')", alter, "drop_monitor('sleeper')"):
            self.asleep(cluster, name)
            with cluster.connect(name) as conn:
                started = time.monotonic()
                conn.execute(f"SELECT cvx.{call}")
                assert time.monotonic() - started < SOON, call
                if call.startswith("pause"):
                    until(lambda: not cluster.workers("monitor", name), BACK, "a paused monitor's evaluation ends")
                    conn.execute("SELECT cvx.resume_monitor('sleeper')")
        until(lambda: not cluster.workers("monitor", name), BACK, "a dropped monitor's evaluation ends")

    def test_drop_owned(self, cluster):
        make(cluster, "owned")
        with cluster.connect("owned") as conn:
            conn.execute("CREATE ROLE other_watcher LOGIN; SELECT cvx.grant_admin('other_watcher')")
            conn.execute("SET ROLE other_watcher")
            create(conn, "sleeper", {"type": "custom_query", "sql": SLEEP}, "1 s")
            conn.execute("RESET ROLE")
            is_asleep(cluster, "owned")
            conn.execute("DROP OWNED BY other_watcher")
            conn.execute("DROP ROLE other_watcher")
            row = shown(conn, "sleeper")
            assert "owner" in row["hint"], row
            until(lambda: not cluster.workers("monitor", "owned"), 40, "nobody looks as a role that is gone")
        drop_database(cluster, "owned")


def test_without_preload():
    """By hand everything is evaluated, and cvx.monitors says what is missing."""
    with Cluster({"shared_preload_libraries": ""}) as cluster:
        with cluster.connect() as conn:
            conn.execute("CREATE ROLE watcher LOGIN")
        make(cluster, "d")
        with cluster.connect("d") as conn, cluster.connect("d") as listener:
            heard = []
            listener.add_notify_handler(lambda notice: heard.append(notice.payload))
            listener.execute("LISTEN cvx_alert")
            silence(conn, action=[EMIT, {"type": "webhook_post", "url": "https://example.com/x"}])
            create(conn, "changes", {"type": "change_point_detected", "min_severity": 0.5}, "1 s", space="s")
            row = shown(conn, "silence")
            assert "shared_preload_libraries" in row["hint"], row
            found = conn.execute("SELECT entity_id, alert_id > 0 FROM cvx.evaluate_monitor('silence')").fetchall()
            assert sorted(found) == [("a", True), ("b", True)]
            listener.execute("SELECT 1")
            assert len(heard) == 2
            # They wait for somebody to send them.
            assert conn.execute("SELECT count(*) FROM cvx.delivery").fetchone() == (2,)
            conn.execute("""INSERT INTO cvx_space.s (entity_id, ts, vec)
                SELECT 'c', '2026-01-01'::timestamptz + i * interval '1 hour',
                       ARRAY[sin(i * 12.9898) + i / 40 * 20, cos(i * 78.233)]::real[]::vector
                FROM generate_series(1, 60) i""")
            found = conn.execute("SELECT entity_id, ts FROM cvx.evaluate_monitor('changes')").fetchall()
            assert [entity for entity, _ in found] == ["c"]
            assert alerts(conn, "changes") == 1
        assert cluster.faults() == []


def test_no_free_slot():
    """T11: the monitors wait, one warning says why, and what needs no process goes on."""
    own = {**SETTINGS, "max_worker_processes": "2"}
    with Inbox(SECRET, 1.0) as inbox, Cluster(own) as cluster:
        with cluster.connect() as conn:
            conn.execute("CREATE ROLE watcher LOGIN")
        make(cluster, "d")
        with cluster.connect("d") as conn:
            conn.execute("SELECT cvx.create_secret('k', %s)", (SECRET,))
            webhook = {
                "type": "webhook_post",
                "url": f"http://127.0.0.1:{inbox.port}/x",
                "secret": {"secret": "k"},
            }
            silence(conn, action=webhook)
            until(lambda: cluster.workers("scheduler", "d"), BACK, "a scheduler")
            time.sleep(8)
            assert alerts(conn, "silence") == 0
            warnings = [line for line in cluster.log().splitlines() if "max_worker_processes" in line]
            assert 1 <= len(warnings) <= 3, warnings
            assert conn.execute("SELECT count(alert_id) FROM cvx.evaluate_monitor('silence')").fetchone() == (2,)
            until(lambda: len(inbox.arrivals) == 2, BACK, "the scheduler sends")
        cluster.configure({"max_worker_processes": "8"})
        cluster.restart()
        with cluster.connect("d") as conn:
            until(lambda: alerts(conn, "silence") > 2, BACK, "with a slot it is evaluated")
        assert inbox.wrong == [] and cluster.faults() == []


def test_two_databases_do_not_wait_for_each_other(cluster):
    names = [f"d{time.monotonic_ns()}", f"d{time.monotonic_ns()}x"]
    for name in names:
        make(cluster, name)
    try:
        with cluster.connect(names[0]) as one, cluster.connect(names[1]) as two:
            sleeper(one)
            is_asleep(cluster, names[0])
            silence(two)
            until(lambda: alerts(two, "silence") >= 4, BACK, "the other database's monitor")
    finally:
        for name in names:
            until(lambda: drop_database(cluster, name), 30)


def test_four_databases(cluster):
    """Each with a monitor each second, in a server with room for few processes at once."""
    names = [f"many{i}" for i in range(4)]
    for name in names:
        make(cluster, name)
        with cluster.connect(name) as conn:
            silence(conn)
    try:
        for name in names:
            with cluster.connect(name) as conn:
                until(lambda: alerts(conn, "silence") >= 6, 60, f"{name} is evaluated")
    finally:
        for name in names:
            until(lambda: drop_database(cluster, name), 30)
