"""The life of cvx's processes: who starts them, what ends them, and what they never hold up.

Rounds are few here; CVX_TEST_ROUNDS makes them more (100 takes some ten minutes).
"""

import os
import statistics
import time

import psycopg
import pytest
from busy import BACK, SOON, all_workers, drop_database, make_busy, no_workers
from cluster import Cluster, until
from faults import SilentPeer
from sources import create_source, has_rows, in_state, kafka_config, source

ROUNDS = int(os.environ.get("CVX_TEST_ROUNDS", "10"))


def rounds(few: int) -> int:
    """How often a test does what takes it longer: rarely, unless many rounds are wanted."""
    return few if ROUNDS < 100 else ROUNDS


@pytest.fixture(scope="module")
def peer():
    """Takes connections and never answers: what a connector has to be torn away from."""
    with SilentPeer() as it:
        yield it


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as it:
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
def busy(cluster, peer):
    """The name of a database with all of its workers at work: each kind of source at a peer that never answers, and files."""
    name = f"d{time.monotonic_ns()}"
    make_busy(cluster, peer, name)
    yield name
    until(lambda: drop_database(cluster, name), 30, "the database can be dropped")


def test_a_database_has_three_processes(cluster, busy):
    pids = all_workers(cluster, busy)
    with cluster.connect(busy) as conn:
        shown = conn.execute(
            "SELECT role, pid, database, started_at <= now() FROM cvx.workers WHERE pid IS NOT NULL"
        ).fetchall()
        assert {role: pid for role, pid, database, _ in shown if database in (busy, None, "")} == pids
        assert all(known for *_, known in shown)
        types = conn.execute(
            "SELECT backend_type, datname FROM pg_stat_activity WHERE pid = ANY(%s)", (list(pids.values()),)
        ).fetchall()
    assert sorted(types, key=str) == sorted(
        [("cvx launcher", None), ("cvx scheduler", busy), ("cvx ingest", busy)], key=str
    )
    titles = [title for _, title in cluster.processes() if "cvx " in title]
    assert len(titles) == 3, titles


def say(what: str, times: list[float]) -> None:
    print(f"{what}: median {statistics.median(times):.3f} s, longest {max(times):.3f} s, {len(times)} times")


def terminate(cluster, pid) -> bool:
    with cluster.connect() as conn:
        return conn.execute("SELECT pg_terminate_backend(%s, %s)", (pid, int(SOON * 1000))).fetchone()[0]


@pytest.mark.parametrize("work", ["silent peer", "locked table"])
def test_terminated_workers_come_back(cluster, busy, work):
    """T01, T10: in the middle of a sync, whether it waits for its peer or for the database itself."""
    with cluster.connect(busy) as conn, cluster.connect(busy, autocommit=False) as locker:
        if work == "locked table":
            locker.execute("LOCK TABLE cvx_space.s IN ACCESS EXCLUSIVE MODE")
            conn.execute("SELECT cvx.sync_source('files')")
            until(lambda: waits_for_lock(cluster, busy), BACK, "the writer waits for the lock")
        times = []
        # So often that it would be taken for a loop of crashes, were it counted as one.
        for number in range(max(ROUNDS, 24) if work == "silent peer" else ROUNDS):
            role = ("ingest", "scheduler", "ingest", "ingest", "launcher", "ingest")[number % 6]
            pids = all_workers(cluster, busy)
            if work == "locked table" and role == "ingest":
                until(lambda: waits_for_lock(cluster, busy), BACK, "the writer waits for the lock")
            started = time.monotonic()
            assert terminate(cluster, pids[role]), f"round {number}: {role} did not end"
            times.append(time.monotonic() - started)
            until(lambda: all_workers(cluster, busy)[role] != pids[role], BACK, f"a new {role}")
        locker.rollback()
        if work == "locked table":
            has_rows(conn, "s", 10_000)
        say(f"SIGTERM, {work}", times)
        assert source(conn, "stream")["state"] in ("running", "queued", "backing off"), source(conn, "stream")


def waits_for_lock(cluster, name) -> bool:
    with cluster.connect() as conn:
        query = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cvx ingest' AND datname = %s AND wait_event_type = 'Lock'"
        return conn.execute(query, (name,)).fetchone() == (1,)


def test_fast_restarts(cluster, busy):
    """T02: with every connector at work."""
    times = []
    for number in range(ROUNDS):
        # From the middle of the start to the middle of the work.
        if number % 2:
            all_workers(cluster, busy)
            with cluster.connect(busy) as conn:
                conn.execute("SELECT cvx.sync_source('files', true)")
        times.append(cluster.restart())
    assert max(times) < SOON, times
    all_workers(cluster, busy)
    say("fast stop", times)


def test_fast_stop_while_a_commit_waits_for_a_standby(cluster, busy):
    """T02: a standby that never comes holds up neither the writer nor the stop."""
    with cluster.connect(busy, options="-c synchronous_commit=local") as conn:
        conn.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        conn.execute("SELECT pg_reload_conf()")
        try:
            conn.execute("SELECT cvx.sync_source('files', true)")
            has_rows(conn, "s", 10_000)
            conn.execute("SELECT cvx.sync_source('files', true)")
            took = cluster.stop()
        finally:
            (cluster.data / "postgresql.auto.conf").write_text("")
            if cluster.is_running():
                cluster.stop()
            cluster.start()
    assert took < SOON
    all_workers(cluster, busy)


def test_other_databases_come_and_go(cluster, busy):
    """T03: DROP DATABASE asks every process of the server to answer."""
    with cluster.connect(busy) as conn:
        conn.execute("SELECT cvx.sync_source('files', true)")
    times = []
    with cluster.connect() as conn:
        for _ in range(ROUNDS):
            started = time.monotonic()
            conn.execute("CREATE DATABASE other")
            conn.execute("DROP DATABASE other")
            times.append(time.monotonic() - started)
    assert statistics.median(times) < 1 and max(times) < 5, times


class TestOwnDatabase:
    """T04: commands that want the database for themselves."""

    def test_drop(self, cluster, peer):
        times = []
        for number in range(rounds(3)):
            make_busy(cluster, peer, "mine")
            with cluster.connect("mine") as conn:
                conn.execute("SELECT cvx.sync_source('files')")
            time.sleep(0.01 * (number % 10))
            with cluster.connect() as conn:
                started = time.monotonic()
                conn.execute("DROP DATABASE mine")
                times.append(time.monotonic() - started)
            assert not cluster.workers("%", "mine")
        say("DROP DATABASE in the middle of a sync", times)
        assert max(times) < SOON, times

    def test_drop_that_fails_brings_them_back(self, cluster, busy):
        all_workers(cluster, busy)
        with cluster.connect(busy) as reader, cluster.connect() as conn:
            reader.execute("SELECT 1")
            with pytest.raises(psycopg.errors.ObjectInUse) as raised:
                conn.execute(f'DROP DATABASE "{busy}"')
            assert "1 other session" in str(raised.value)
            all_workers(cluster, busy, 10)

    def test_drop_by_force_while_workers_start(self, cluster, peer):
        for number in range(ROUNDS):
            cluster.create_database("forced")
            with cluster.connect("forced") as conn:
                conn.execute("SELECT cvx.create_space('s', 4)")
                create_source(conn, "stream", "kafka", "s", kafka_config(f"127.0.0.1:{peer.port}", "t"))
            time.sleep(0.02 * (number % 10))
            with cluster.connect() as conn:
                conn.execute("DROP DATABASE forced WITH (FORCE)")

    def test_rename(self, cluster, busy):
        renamed = busy + "x"
        with cluster.connect() as conn:
            conn.execute(f'ALTER DATABASE "{busy}" RENAME TO "{renamed}"')
            try:
                pids = all_workers(cluster, renamed)
                shown = conn.execute(
                    "SELECT datname FROM pg_stat_activity WHERE pid = %s", (pids["ingest"],)
                ).fetchone()
                assert shown == (renamed,)
                with cluster.connect(renamed) as inside:
                    assert source(inside, "stream")["state"] in ("running", "backing off")
            finally:
                until(lambda: rename(conn, renamed, busy), 10, "renamed back")

    def test_template(self, cluster, busy):
        with cluster.connect() as conn:
            for _ in range(rounds(3)):
                all_workers(cluster, busy)
                conn.execute(f'CREATE DATABASE copied TEMPLATE "{busy}"')
                conn.execute("DROP DATABASE copied")
            all_workers(cluster, busy)

    def test_tablespace(self, cluster, busy):
        place = cluster.folder / "tablespace"
        place.mkdir(exist_ok=True)
        os.chown(place, cluster.data.stat().st_uid, cluster.data.stat().st_gid)
        with cluster.connect() as conn:
            conn.execute(f"CREATE TABLESPACE elsewhere LOCATION '{place}'")
            conn.execute(f'ALTER DATABASE "{busy}" SET TABLESPACE elsewhere')
            all_workers(cluster, busy)
            conn.execute(f'ALTER DATABASE "{busy}" SET TABLESPACE pg_default')
            all_workers(cluster, busy)
            conn.execute("DROP TABLESPACE elsewhere")

    def test_only_who_may_drop_it_sends_them_away(self, cluster, busy):
        pids = all_workers(cluster, busy)
        with cluster.connect() as admin:
            admin.execute("CREATE ROLE visitor LOGIN")
            try:
                with cluster.connect(user="visitor") as conn:
                    for command in (
                        f'DROP DATABASE "{busy}"',
                        f'CREATE DATABASE c TEMPLATE "{busy}"',
                        f'ALTER DATABASE "{busy}" RENAME TO x',
                    ):
                        with pytest.raises(psycopg.errors.InsufficientPrivilege):
                            conn.execute(command)
                assert all_workers(cluster, busy) == pids
            finally:
                admin.execute("DROP ROLE visitor")


def rename(conn, old, new) -> bool:
    try:
        conn.execute(f'ALTER DATABASE "{old}" RENAME TO "{new}"')
    except psycopg.errors.ObjectInUse:
        return False
    return True


def test_template1_with_the_extension(cluster, peer):
    """T05: databases are made from it while the launcher looks, and no worker goes there."""
    with cluster.connect("template1") as conn:
        conn.execute("SET client_min_messages = warning")
        conn.execute("CREATE EXTENSION cvx CASCADE")
        conn.execute("SELECT cvx.create_space('s', 4)")
    try:
        with cluster.connect() as conn:
            for _ in range(ROUNDS):
                conn.execute("CREATE DATABASE n")
                conn.execute("DROP DATABASE n")
            conn.execute("CREATE DATABASE n")
        with cluster.connect("n") as conn:
            create_source(conn, "stream", "kafka", "s", kafka_config(f"127.0.0.1:{peer.port}", "t"))
        all_workers(cluster, "n")
        assert not cluster.workers("%", "template1")
        drop_database(cluster, "n")
    finally:
        with cluster.connect("template1") as conn:
            conn.execute("DROP EXTENSION cvx CASCADE")
            conn.execute("DROP EXTENSION vector CASCADE")


class TestExtension:
    """T06: the extension comes and goes, with rollback."""

    def test_rolled_back(self, cluster, busy):
        pids = all_workers(cluster, busy)
        with cluster.connect(busy, autocommit=False) as conn:
            conn.execute("DROP EXTENSION cvx CASCADE")
            conn.rollback()
            conn.execute("SELECT count(*) FROM cvx.sources")
        assert all_workers(cluster, busy)["launcher"] == pids["launcher"]
        with cluster.connect(busy) as conn:
            assert source(conn, "stream")["state"] in ("running", "backing off")

    def test_dropped_in_the_middle_of_a_sync(self, cluster, peer):
        start, times = cluster.log_size(), []
        for number in range(rounds(3)):
            make_busy(cluster, peer, "without")
            with cluster.connect("without") as conn:
                conn.execute("SELECT cvx.sync_source('files')")
                time.sleep(0.01 * (number % 10))
                started = time.monotonic()
                conn.execute("DROP EXTENSION cvx CASCADE")
                no_workers(cluster, "without", SOON)
                times.append(time.monotonic() - started)
            drop_database(cluster, "without")
        say("DROP EXTENSION in the middle of a sync", times)
        assert max(times) < SOON, times
        assert cluster.log(start).count(" ERROR: ") <= len(times), cluster.log(start)

    def test_dropped_and_made_again(self, cluster, peer, busy):
        start = cluster.log_size()
        with cluster.connect(busy) as conn:
            conn.execute("SET client_min_messages = warning")
            for _ in range(max(ROUNDS, 20)):
                conn.execute("DROP EXTENSION cvx CASCADE")
                conn.execute("CREATE EXTENSION cvx")
            assert conn.execute("SELECT count(*) FROM cvx.sources").fetchone() == (0,)
            conn.execute("SELECT cvx.create_space('s', 4)")
            create_source(conn, "stream", "kafka", "s", kafka_config(f"127.0.0.1:{peer.port}", "t"))
            all_workers(cluster, busy)
        assert cluster.log(start).count(" ERROR: ") <= 5, cluster.log(start)

    def test_made_and_rolled_back(self, cluster):
        cluster.create_database("plain", extension=False)
        with cluster.connect("plain", autocommit=False) as conn:
            for _ in range(5):
                conn.execute("CREATE EXTENSION cvx CASCADE")
                conn.rollback()
        no_workers(cluster, "plain")
        with cluster.connect() as conn:
            conn.execute("DROP DATABASE plain")

    def test_drop_owned(self, cluster, peer):
        cluster.create_database("owned")
        with cluster.connect("owned") as conn:
            conn.execute("CREATE ROLE leaver LOGIN")
            conn.execute("SELECT cvx.create_space('s', 4), cvx.grant_admin('leaver')")
            with cluster.connect("owned", user="leaver") as theirs:
                create_source(theirs, "stream", "kafka", "s", kafka_config(f"127.0.0.1:{peer.port}", "t"))
            all_workers(cluster, "owned")
            start = cluster.log_size()
            conn.execute("DROP OWNED BY leaver; DROP ROLE leaver")
            # The stream has nothing to write yet; asked for, it says what it lacks.
            conn.execute("SELECT cvx.pause_source('stream')")
            in_state(conn, "stream", "paused")
            until(lambda: not conn.execute("SELECT FROM cvx.sync_run WHERE state = 'running'").fetchall(), BACK)
            conn.execute("SELECT cvx.resume_source('stream')")
            until(
                lambda: "leaver" in (source(conn, "stream")["last_error"] or ""), BACK, "an error that names the owner"
            )
            time.sleep(1)
            assert cluster.log(start).count("cvx ingest") <= 2, cluster.log(start)
        drop_database(cluster, "owned")


@pytest.mark.parametrize("role", ["ingest", "scheduler", "launcher"])
def test_killed_worker(cluster, busy, role):
    """T07: PostgreSQL restarts itself when a process that shares its memory dies like this."""
    with cluster.connect(busy) as conn:
        conn.execute("SELECT cvx.sync_source('files')")
    for _ in range(max(2, ROUNDS // 10)):
        pids = all_workers(cluster, busy)
        cluster.kill(pids[role])
        until(lambda: all_workers(cluster, busy)[role] != pids[role], BACK, "all workers are back")
    with cluster.connect(busy) as conn:
        has_rows(conn, "s", 10_000)


def test_killed_postmaster(cluster, busy):
    """T08: nobody outlives it, so that the next one starts."""
    for _ in range(max(2, ROUNDS // 10)):
        all_workers(cluster, busy)
        assert cluster.kill_postmaster() < 5
        cluster.start()
    all_workers(cluster, busy)


def test_workers_off_and_on(cluster, busy):
    with cluster.connect(busy) as conn:
        try:
            conn.execute("ALTER SYSTEM SET cvx.workers = off")
            conn.execute("SELECT pg_reload_conf()")
            no_workers(cluster, busy)
            assert source(conn, "stream")["state"] != "running"
            hints = [hint for (hint,) in conn.execute("SELECT hint FROM cvx.workers") if hint]
            assert any("cvx.workers" in hint for hint in hints), hints
        finally:
            conn.execute("ALTER SYSTEM RESET cvx.workers")
            conn.execute("SELECT pg_reload_conf()")
        all_workers(cluster, busy)


def test_disabled_and_enabled(cluster, busy):
    with cluster.connect(busy) as conn:
        assert conn.execute("SELECT cvx.is_enabled()").fetchone() == (True,)
        conn.execute("SELECT cvx.disable()")
        assert conn.execute("SELECT cvx.is_enabled()").fetchone() == (False,)
        until(lambda: not cluster.workers("ingest", busy), SOON + 3, "no ingest worker")
        assert source(conn, "stream")["state"] == "disabled"
        conn.execute("SELECT cvx.enable()")
        all_workers(cluster, busy)
        in_state(conn, "stream", "running", "backing off")


def test_a_crash_loop_slows_down(cluster, busy):
    """T09: a worker that dies again and again is not started at once each time, and takes nobody with it for long."""
    gaps = []
    for _ in range(3):
        pids = all_workers(cluster, busy, 30)
        started = time.monotonic()
        cluster.kill(pids["ingest"])
        until(lambda: all_workers(cluster, busy, 30)["ingest"] != pids["ingest"], 30)
        gaps.append(time.monotonic() - started)
    assert max(gaps) < 20, gaps


def test_log_volume_with_unreachable_peers(cluster):
    """T16: peers are down, and the log does not fill."""
    cluster.create_database("unreachable")
    with cluster.connect("unreachable") as conn:
        conn.execute("SELECT cvx.create_space('s', 4)")
        conn.execute("SELECT cvx.create_secret('p', 'x')")
        start = cluster.log_size()
        # Port 1 refuses.
        create_source(conn, "kafka", "kafka", "s", kafka_config("127.0.0.1:1", "t"))
        create_source(
            conn,
            "postgres",
            "postgres",
            "s",
            {
                "host": "127.0.0.1",
                "port": 1,
                "dbname": "x",
                "user": "x",
                "password": {"secret": "p"},
                "table": "t",
                "sslmode": "disable",
            },
        )
        create_source(
            conn,
            "s3",
            "s3_parquet",
            "s",
            {
                "bucket": "bucket",
                "endpoint": "http://127.0.0.1:1",
                "allow_http": True,
                "path_style": True,
                "anonymous": True,
            },
        )
        conn.execute("SELECT cvx.sync_source('postgres'), cvx.sync_source('s3')")
        for name in ("postgres", "s3"):
            row = in_state(conn, name, "backing off")
            assert row["failures"] >= 1 and row["next_attempt_at"] is not None
            assert any(peer in row["last_error"] for peer in ("127.0.0.1", 'bucket "bucket"'))
        time.sleep(15)
        logged = [line for line in cluster.log(start).splitlines() if "cvx ingest" in line]
        # A line a source and minute; three sources, less than a minute.
        assert len(logged) <= 3 * 2, logged
    drop_database(cluster, "unreachable")


class TestCopies:
    """T22: a copy of a database fetches nothing until somebody says so."""

    @pytest.fixture
    def counted(self, cluster):
        """A peer of its own, and a database whose stream reads from it and which is gone again."""
        with SilentPeer() as peer:
            make_busy(cluster, peer, "original")
            until(lambda: peer.connections, BACK, "the original connects")
            yield peer
            for name in ("original", "copy"):
                until(lambda: drop_database(cluster, name), 20)

    def nothing_until_enabled(self, cluster, peer):
        before = peer.connections
        with cluster.connect("copy") as conn:
            assert conn.execute("SELECT cvx.is_enabled()").fetchone() == (False,)
            assert source(conn, "stream")["state"] == "disabled"
            conn.execute("SELECT cvx.sync_source('files')")
            time.sleep(3)
            assert peer.connections == before and not cluster.workers("ingest", "copy")
            conn.execute("SELECT cvx.enable()")
            all_workers(cluster, "copy")
            until(lambda: peer.connections > before, BACK, "the copy connects once it is enabled")

    def test_template(self, cluster, counted):
        with cluster.connect() as conn:
            conn.execute("CREATE DATABASE copy TEMPLATE original")
            conn.execute("DROP DATABASE original")
        self.nothing_until_enabled(cluster, counted)

    def test_dump_and_restore(self, cluster, counted):
        dump = cluster.folder / "dump"
        dump.unlink(missing_ok=True)
        cluster.run("pg_dump", "-Fc", "-f", dump, "original")
        until(lambda: drop_database(cluster, "original"), 20)
        cluster.create_database("copy", extension=False)
        cluster.run("pg_restore", "--exit-on-error", "--dbname", "copy", dump)
        self.nothing_until_enabled(cluster, counted)
