"""Monitors in copies of a database: dumps, upgrades, template copies and standbys (T13, T22, T28, T29). Declarations
and alerts come along; nothing is evaluated or sent until somebody says so."""

import json
import shutil
import time

import monitors_world as world
import psycopg
import pytest
from cluster import Cluster, as_server, bindir, until
from monitors_inbox import Inbox

SETTINGS = {
    "cvx.webhook_allowed_hosts": "127.0.0.1",
    "cvx.webhook_timeout": "1s",
    "wal_level": "replica",
    "max_wal_senders": "4",
}


@pytest.fixture(scope="module")
def inbox():
    with Inbox(world.SECRET, 1.0) as it:
        yield it


@pytest.fixture
def server(inbox):
    """Its database `source` has an alert of each monitor, one of them not sent: the receiver refuses."""
    inbox.arrivals.clear()
    with Cluster(SETTINGS) as cluster:
        cluster.create_database("source")
        with cluster.connect("source") as conn:
            world.create(conn, inbox.port)
            conn.execute("INSERT INTO public.incidents VALUES ('first', '2026-02-01', 1)")
            world.insert(conn, world.rows(shifter(1), range(world.LENGTH)))
            until(lambda: {"changes", "drift", "incidents", "silence"} <= monitors_of(conn), 60, "all have alerted")
            until(lambda: queued(conn) == 0, 60, "all is sent")
            inbox.close()
            conn.execute("SELECT cvx.test_monitor('changes')")
            conn.execute("SELECT cvx.acknowledge_alert(min(alert_id), 'seen') FROM cvx.alert WHERE monitor = 'drift'")
            conn.execute("SELECT cvx.mute_monitor('drift', '1000 days')")
            assert queued(conn) == 1
        yield cluster
        if inbox.server is None:
            inbox.open()
        assert inbox.wrong == [] and cluster.faults() == []


def shifter(number: int) -> str:
    """An entity that shifts once."""
    return [name for name in (f"e{i}" for i in range(1000)) if world.zlib.crc32(name.encode()) % 4 == 2][number]


def monitors_of(conn) -> set[str]:
    return {name for (name,) in conn.execute("SELECT DISTINCT monitor FROM cvx.alert").fetchall()}


def queued(conn) -> int:
    return conn.execute("SELECT count(*) FROM cvx.delivery").fetchone()[0]


def content(conn) -> dict:
    """What was declared, and what was raised."""
    conn.execute("SET TimeZone = 'UTC'")
    columns = "name, condition, action, space, model, severity, check_interval, cooldown, owner, muted_until, alerts"
    return {
        "monitors": conn.execute(f"SELECT {columns} FROM cvx.monitors ORDER BY 1").fetchall(),
        "alerts": conn.execute("SELECT to_jsonb(a) - 'deliveries' FROM cvx.alert a ORDER BY alert_id").fetchall(),
        "config": conn.execute("SELECT cvx.dump_config()").fetchone(),
    }


def stopped(server) -> dict:
    """What the source has, and nothing more comes to it."""
    with server.connect("source") as conn:
        conn.execute("SELECT cvx.disable()")
        until(lambda: not server.workers("monitor", "source"), 20, "no process looks any more")
        return content(conn)


def assert_silent(server, inbox, name: str, before: dict):
    """A copy as it comes: all is there, and nobody looks or sends, though the receiver is back."""
    arrived = len(inbox.arrivals)
    if inbox.server is None:
        inbox.open()
    with server.connect(name) as conn:
        time.sleep(3)
        after = content(conn)
        for what in before:
            assert after[what] == before[what], what
        states = conn.execute("SELECT status, hint FROM cvx.monitors").fetchall()
        assert {status for status, _ in states} == {"disabled"} and all("cvx.enable()" in hint for _, hint in states)
        assert not server.workers("monitor", name) and len(inbox.arrivals) == arrived


def assert_goes_on(server, inbox, name: str, shift: int):
    """Enabled, it finds what is new, tells nobody of what the source has told already, and sends."""
    with server.connect(name) as conn:
        # Secrets stay where they were.
        conn.execute("SELECT cvx.create_secret('hook', %s, replace => true)", (world.SECRET,))
        conn.execute("SET ROLE watcher; SELECT cvx.create_secret('their hook', '%s', true); RESET ROLE" % world.SECRET)
        before = {row for row in conn.execute("SELECT event_id::text FROM cvx.alert").fetchall()}
        conn.execute("SELECT cvx.enable()")
        last = "SELECT max(alert_id) FROM cvx.alert WHERE monitor = 'silence'"
        (old,) = conn.execute(last).fetchone()
        until(lambda: conn.execute(last).fetchone()[0] > old, 30, "it looks again")
        entity = shifter(shift)
        world.insert(conn, world.rows(entity, range(world.LENGTH)))
        conn.execute("INSERT INTO public.incidents VALUES (%s, '2026-02-02', 1)", (entity,))
        query = "SELECT DISTINCT monitor FROM cvx.alert WHERE entity_id = %s"
        wanted = [("changes",), ("incidents",)]
        until(lambda: sorted(conn.execute(query, (entity,)).fetchall()) == wanted, 30, "it finds what is new")
        until(lambda: queued(conn) == 0, 30, "all is sent")
        again = """SELECT monitor, entity_id, ts FROM cvx.alert
                   WHERE monitor IN ('changes', 'incidents') AND NOT is_test GROUP BY 1, 2, 3 HAVING count(*) > 1"""
        assert conn.execute(again).fetchall() == []
        new = {row for row in conn.execute("SELECT event_id::text FROM cvx.alert").fetchall()} - before
        ids = [json.loads(a.body)["id"] for a in inbox.arrivals if json.loads(a.body)["entity_id"] == entity]
        assert len(set(ids)) == 2 and {(name,) for name in ids} <= new
        assert conn.execute("SELECT muted_until > now() FROM cvx.monitor WHERE name = 'drift'").fetchone()[0]
        assert conn.execute("SELECT cvx.test_monitor('incidents')").fetchone()[0] > old
        conn.execute("SELECT cvx.drop_monitor('drift')")


@pytest.fixture
def folder():
    """One that the server's account may write."""
    path = as_server("mktemp", "-d")[1].strip()
    yield path
    shutil.rmtree(path)


def plain(server, folder):
    server.run("pg_dump", "-f", f"{folder}/dump.sql", "source")
    server.run("psql", "-XqAtv", "ON_ERROR_STOP=1", "-o", "/dev/null", "-f", f"{folder}/dump.sql", "target")


def parallel(server, folder):
    server.run("pg_dump", "-Fd", "-j2", "-f", f"{folder}/dump", "source")
    server.run("pg_restore", "--exit-on-error", "-d", "target", "-j4", f"{folder}/dump")


def sections(server, folder):
    server.run("pg_dump", "-Fc", "-f", f"{folder}/dump", "source")
    for section in ("pre-data", "data", "post-data"):
        server.run("pg_restore", "--exit-on-error", "--section", section, "-d", "target", f"{folder}/dump")


def schema_then_data(server, folder):
    for part in ("--schema-only", "--data-only"):
        server.run("pg_dump", part, "-f", f"{folder}/dump.sql", "source")
        server.run("psql", "-XqAtv", "ON_ERROR_STOP=1", "-o", "/dev/null", "-f", f"{folder}/dump.sql", "target")


@pytest.mark.parametrize("way", [plain, parallel, sections, schema_then_data], ids=lambda way: way.__name__)
def test_restored(server, inbox, folder, way):
    before = stopped(server)
    with server.connect() as conn:
        conn.execute("CREATE DATABASE target TEMPLATE template0")
    way(server, folder)
    with server.connect("target") as conn:
        assert queued(conn) == 0
        assert conn.execute("SELECT count(*) FROM cvx.detector").fetchone() == (0,)
        assert conn.execute("SELECT count(*) FROM cvx.secret").fetchone() == (0,)
    assert_silent(server, inbox, "target", before)
    assert_goes_on(server, inbox, "target", 2)
    # What was not sent when the dump was made is the original's to send, which still can.
    with server.connect("source") as conn:
        conn.execute("SELECT cvx.pause_monitor(name) FROM cvx.monitors")
        conn.execute("SELECT cvx.enable()")
        until(lambda: queued(conn) == 0, 30, "the original sends")
        ((status,),) = conn.execute(
            "SELECT deliveries -> 0 ->> 'status' FROM cvx.alert WHERE is_test AND monitor = 'changes'"
        ).fetchall()
        assert status == "delivered"


def test_restored_where_nothing_is_preloaded(server, inbox, folder):
    """By hand everything works that needs no process, once it is enabled."""
    before = stopped(server)
    server.run("pg_dump", "-Fc", "-f", f"{folder}/dump", "source")
    with Cluster({"shared_preload_libraries": ""}) as other:
        with other.connect() as conn:
            conn.execute("CREATE ROLE watcher LOGIN")
            conn.execute("CREATE DATABASE target TEMPLATE template0")
        other.run("pg_restore", "--exit-on-error", "-d", "target", f"{folder}/dump")
        with other.connect("target") as conn:
            after = content(conn)
            assert after["monitors"] == before["monitors"] and after["alerts"] == before["alerts"]
            found = conn.execute("SELECT count(*) FROM cvx.evaluate_monitor('silence')").fetchone()
            assert found == (3,)
        assert other.faults() == []


def test_template_copy(server, inbox):
    before = stopped(server)
    with server.connect() as conn:
        conn.execute("CREATE DATABASE twin TEMPLATE source")
    assert_silent(server, inbox, "twin", before)
    assert_goes_on(server, inbox, "twin", 3)


def test_upgrade(server, inbox, folder):
    """pg_upgrade to a server of the same version: another system, so a copy."""
    before = stopped(server)
    server.stop()
    with Cluster({**SETTINGS, "port": "5433"}, start=False) as new:
        options = {"-b": bindir(), "-B": bindir(), "-d": server.data, "-D": new.data, "-U": "postgres"}
        options |= {"-p": "5434", "-P": "5435", "-s": folder}
        command = [bindir() / "pg_upgrade", *(word for option in options.items() for word in option)]
        as_server("sh", "-c", 'cd "$0" && exec "$@"', folder, *command, timeout=300)
        new.start()
        assert_silent(new, inbox, "source", before)
        assert_goes_on(new, inbox, "source", 4)
        assert new.faults() == []


def test_standby_and_promotion(server, inbox):
    """A standby shows what there is and does nothing; promoted it goes on where the primary was, sending included."""
    with Cluster.standby_of(server) as standby:
        with server.connect("source") as primary, standby.connect("source") as conn:
            (last,) = primary.execute("SELECT max(alert_id) FROM cvx.alert").fetchone()
            newest = "SELECT max(alert_id) FROM cvx.alert"
            until(lambda: conn.execute(newest).fetchone()[0] > last, 30, "alerts are replicated")
            assert not standby.workers("monitor") and not standby.workers("scheduler")
            for reading in ("TABLE cvx.monitors", "TABLE cvx.alert", "TABLE cvx.workers", "SELECT cvx.dump_config()"):
                conn.execute(reading).fetchall()
            for call in (
                "evaluate_monitor('silence')",
                "test_monitor('silence')",
                "pause_monitor('silence')",
                f"acknowledge_alert({last})",
                "drop_monitor('silence')",
            ):
                with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                    conn.execute(f"SELECT cvx.{call}")
        server.crash()
        with standby.connect("source") as conn:
            (last,) = conn.execute(newest).fetchone()
            unsent = queued(conn)
            assert unsent == 1 and inbox.server is None
            standby.promote()
            inbox.open()
            until(lambda: conn.execute(newest).fetchone()[0] > last, 30, "the new primary looks")
            until(lambda: queued(conn) == 0, 60, "the new primary sends")
            entity = shifter(5)
            world.insert(conn, world.rows(entity, range(world.LENGTH)))
            query = "SELECT count(*) FROM cvx.alert WHERE monitor = 'changes' AND entity_id = %s"
            until(lambda: conn.execute(query, (entity,)).fetchone() == (1,), 30, "the new primary finds what is new")
        server.start()
        assert standby.faults() == []
