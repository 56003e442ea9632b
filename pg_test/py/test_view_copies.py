"""Views in copies of a database: dumps, upgrades, standbys and subscribers (T26, T28, T29). What was fresh is, what was
out of date is, and what is written to the copy is seen."""

import shutil

import psycopg
import pytest
from cluster import Cluster, as_server, bindir, until
from test_watch import assert_equals_definition, rows, stale, status
from watch_cases import TARGETS

FEATURES = '{"features": ["drift", "path_length"], "history": true}'
VIEWS = ("of_space", "of_model", "of_table", "of_tree", "of_summary", "of_changes", "of_cohort", "of_blind")
PER_ENTITY = ("of_space", "of_model", "of_table", "of_tree", "of_summary", "of_changes")
SETTINGS = {"shared_preload_libraries": "", "wal_level": "logical", "max_wal_senders": "8"}


def fill(conn):
    """A view of each kind, fresh but for entity m1 of each source; and one whose table's triggers are disabled."""
    conn.execute("SET client_min_messages = error")
    space, table, tree = (TARGETS[kind](conn, f"the_{kind}") for kind in ("space", "table", "tree"))
    conn.execute("SELECT cvx.create_model('m', 'v1', 'the_space')")
    conn.execute("CREATE TABLE members (who text PRIMARY KEY); INSERT INTO members VALUES ('a0'), ('m0'), ('m1')")
    blind = TARGETS["table"](conn, "the_blind")
    for name, source, kind, config in (
        ("of_space", space.source, "temporal_features", FEATURES),
        ("of_model", "model => 'm'", "temporal_features", '{"features": ["drift"]}'),
        ("of_table", table.source, "temporal_features", FEATURES),
        ("of_tree", tree.source, "temporal_features", FEATURES),
        ("of_summary", table.source, "drift_summary", '{"window": "2 days"}'),
        ("of_changes", space.source, "changepoint_cache", '{"penalty": 1}'),
        (
            "of_cohort",
            table.source,
            "cohort_snapshot",
            '{"window": "40 days", "query": "SELECT who FROM public.members"}',
        ),
        ("of_blind", blind.source, "temporal_features", '{"features": ["drift"]}'),
    ):
        conn.execute(
            f"SELECT cvx.create_view('{name}', '{kind}', {source}, refresh_policy => 'manual', config => '{config}')"
        )
        conn.execute("SELECT cvx.refresh_view(%s)", (name,))
        assert status(conn, name) == "fresh"
    conn.execute("UPDATE cvx_space.the_space SET vec = '[3,1,4]' WHERE entity_id = 'm1'")
    conn.execute(
        "UPDATE the_table SET vec = '[3,1,4]' WHERE id = 'm1'; UPDATE the_tree_m1 SET vec = '[3,1,4]' WHERE id = 'm1'"
    )
    conn.execute("ALTER TABLE the_blind DISABLE TRIGGER USER")


def content(conn) -> dict:
    """All that the views say, and the triggers by which they know."""
    conn.execute("SET TimeZone = 'UTC'")
    found = {name: conn.execute(f"SELECT v::text FROM cvx_view.{name} v ORDER BY 1").fetchall() for name in VIEWS}
    found |= {
        "views": conn.execute(
            "SELECT name, status, stale_entities > 0, last_computed FROM cvx.views ORDER BY 1"
        ).fetchall(),
        "triggers": conn.execute(
            """SELECT tgrelid::regclass::text, tgname, tgenabled, tgargs FROM pg_trigger
               WHERE tgname LIKE 'cvx\\_invalidate%%' ORDER BY 1, 2"""
        ).fetchall(),
        "history": conn.execute("SELECT h::text FROM cvx_view_history.of_table h ORDER BY 1").fetchall(),
        "blind": conn.execute("SELECT untracked_reason FROM cvx.view_state ORDER BY view_id").fetchall(),
    }
    return found


def assert_as_before(conn, before: dict):
    after = content(conn)
    for what in before:
        assert after[what] == before[what], what
    assert after["blind"].count((None,)) == len(VIEWS) - 1


def assert_goes_on(conn):
    """What is written is seen, wherever it goes; a refresh brings all up to date; new views can be made."""
    conn.execute("SET client_min_messages = error")
    for name in PER_ENTITY:
        assert stale(conn, name) == {"m1"}, name
        conn.execute("SELECT cvx.refresh_view(%s)", (name,))
        assert status(conn, name) == "fresh", name
        assert_equals_definition(conn, name)
    number = conn.execute("SELECT cvx.space_id('the_space')").fetchone()[0]
    for statement, views in (
        (
            "UPDATE cvx.embedding SET vec = '[1,1,9]' WHERE space_id = %d AND entity_id = 'a2'" % number,
            ("of_space", "of_model", "of_changes"),
        ),
        (
            "UPDATE cvx_space.the_space SET vec = '[1,1,8]' WHERE entity_id = 'a2'",
            ("of_space", "of_model", "of_changes"),
        ),
        ("UPDATE the_table SET vec = '[1,1,9]' WHERE id = 'a2'", ("of_table", "of_summary")),
        ("UPDATE the_tree SET vec = '[1,1,9]' WHERE id = 'a2'", ("of_tree",)),
        ("UPDATE the_tree_a SET vec = '[1,1,8]' WHERE id = 'a2'", ("of_tree",)),
        (
            "SET session_replication_role = replica; UPDATE the_tree_a SET vec = '[1,1,7]' WHERE id = 'a2';"
            " UPDATE cvx_space.the_space SET vec = '[1,1,7]' WHERE entity_id = 'a2'; RESET session_replication_role",
            ("of_tree", "of_space"),
        ),
    ):
        conn.execute(statement)
        for name in views:
            # Without a change point an entity has no row, before or after.
            assert stale(conn, name) == {"a2"} & set(rows(conn, name)), (statement, name)
            assert status(conn, name) == "stale", (statement, name)
        for name in PER_ENTITY:
            conn.execute("SELECT cvx.refresh_view(%s)", (name,))
            assert status(conn, name) == "fresh", name
    conn.execute("CREATE TABLE the_tree_m3 PARTITION OF the_tree_m FOR VALUES FROM ('2026-03-01') TO ('2026-04-01')")
    conn.execute("INSERT INTO the_tree_m3 (id, at, vec) VALUES ('m0', '2026-03-02', '[1,1,1]')")
    assert stale(conn, "of_tree") == {"m0"}
    conn.execute("SELECT cvx.refresh_view('of_cohort')")
    conn.execute("DELETE FROM members WHERE who = 'a0'")
    assert stale(conn, "of_cohort") == {"a0", "m0", "m1"}
    assert status(conn, "of_blind") == "untracked"
    conn.execute("ALTER TABLE the_blind ENABLE TRIGGER USER")
    for name in VIEWS:
        conn.execute("SELECT cvx.refresh_view(%s)", (name,))
        assert status(conn, name) == "fresh", name
        assert_equals_definition(conn, name)
    space = TARGETS["space"](conn, "another")
    conn.execute(f"SELECT cvx.create_view('more', 'temporal_features', {space.source}, refresh_policy => 'manual')")
    assert conn.execute("SELECT cvx.refresh_view('more')").fetchone() == (6,)
    conn.execute("SELECT cvx.drop_space('another', true)")
    for name in VIEWS:
        conn.execute("SELECT cvx.drop_view(%s)", (name,))
    assert conn.execute("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'cvx\\_invalidate%%'").fetchone() == (0,)


@pytest.fixture(scope="module")
def server():
    with Cluster(SETTINGS) as cluster:
        cluster.create_database("source")
        with cluster.connect("source") as conn:
            fill(conn)
        yield cluster
        assert cluster.faults() == []


@pytest.fixture(scope="module")
def before(server) -> dict:
    with server.connect("source") as conn:
        return content(conn)


@pytest.fixture
def folder():
    """One that the server's account may write."""
    path = as_server("mktemp", "-d")[1].strip()
    yield path
    shutil.rmtree(path)


def plain(server, folder):
    server.run("pg_dump", "-f", f"{folder}/dump.sql", "source")
    server.run("psql", "-XqAtv", "ON_ERROR_STOP=1", "-o", "/dev/null", "-f", f"{folder}/dump.sql", "target")


def inserts(server, folder):
    server.run("pg_dump", "--inserts", "--rows-per-insert", "5", "-f", f"{folder}/dump.sql", "source")
    server.run("psql", "-XqAtv", "ON_ERROR_STOP=1", "-1", "-o", "/dev/null", "-f", f"{folder}/dump.sql", "target")


def custom(server, folder):
    server.run("pg_dump", "-Fc", "-f", f"{folder}/dump", "source")
    server.run("pg_restore", "--exit-on-error", "-d", "target", f"{folder}/dump")


def parallel(server, folder):
    server.run("pg_dump", "-Fd", "-j2", "-f", f"{folder}/dump", "source")
    server.run("pg_restore", "--exit-on-error", "-j4", "-d", "target", f"{folder}/dump")


def sections(server, folder):
    server.run("pg_dump", "-Fc", "-f", f"{folder}/dump", "source")
    for section in ("pre-data", "data", "post-data"):
        server.run("pg_restore", "--exit-on-error", "--section", section, "-d", "target", f"{folder}/dump")


def through_the_parents(server, folder):
    """Rows come by the names of the tables that they are partitioned by."""
    server.run("pg_dump", "-Fc", "--load-via-partition-root", "-f", f"{folder}/dump", "source")
    server.run("pg_restore", "--exit-on-error", "-d", "target", f"{folder}/dump")


@pytest.fixture
def target(server):
    """An empty database."""
    with server.connect() as conn:
        conn.execute("CREATE DATABASE target TEMPLATE template0")
    yield "target"
    with server.connect() as conn:
        conn.execute("DROP DATABASE target WITH (FORCE)")


@pytest.mark.parametrize(
    "way", [plain, inserts, custom, sections, through_the_parents, *([parallel] * 3)], ids=lambda way: way.__name__
)
def test_restored(server, before, target, folder, way):
    way(server, folder)
    with server.connect(target) as conn:
        assert_as_before(conn, before)
        assert_goes_on(conn)


def test_restored_in_part(server, target, folder):
    """Without its last section there are no triggers: nothing says that it is fresh, until they are made."""
    server.run("pg_dump", "-Fc", "-f", f"{folder}/dump", "source")
    for section in ("pre-data", "data"):
        server.run("pg_restore", "--exit-on-error", "--section", section, "-d", target, f"{folder}/dump")
    with server.connect(target) as conn:
        conn.execute("SET client_min_messages = error")
        for name in VIEWS:
            assert status(conn, name) == "untracked" and stale(conn, name) == set(rows(conn, name)) != set()
        conn.execute("UPDATE the_table SET vec = '[1,0,0]' WHERE id = 'a1'")
        conn.execute("SELECT cvx._watch_views()")
        for name in VIEWS:
            if name != "of_cohort":
                assert status(conn, name) == "stale" and stale(conn, name) == set(rows(conn, name)), name


def test_schema_first_then_data(server, target, folder):
    """The triggers are there when the rows come: these are new to the views, which say so."""
    for part in ("--schema-only", "--data-only"):
        server.run("pg_dump", part, "-f", f"{folder}/dump.sql", "source")
        server.run("psql", "-XqAtv", "ON_ERROR_STOP=1", "-o", "/dev/null", "-f", f"{folder}/dump.sql", target)
    with server.connect(target) as conn:
        conn.execute("SET client_min_messages = error; ALTER TABLE the_blind ENABLE TRIGGER USER")
        for name in VIEWS:
            conn.execute("SELECT cvx.refresh_view(%s)", (name,))
            assert status(conn, name) == "fresh"
            assert_equals_definition(conn, name)
        number = conn.execute("SELECT cvx.space_id('the_space')").fetchone()[0]
        conn.execute(f"UPDATE cvx.embedding SET vec = '[1,0,1]' WHERE space_id = {number} AND entity_id = 'a1'")
        assert stale(conn, "of_space") == stale(conn, "of_model") == {"a1"}


def test_a_partition_restored_into_a_live_database(server, target, folder):
    """A dump of one table looks like that of a database; what it brings is seen."""
    custom(server, folder)
    with server.connect(target) as conn:
        conn.execute("SET client_min_messages = error; SELECT cvx.refresh_view('of_tree')")
        conn.execute(
            "CREATE TABLE the_tree_m3 PARTITION OF the_tree_m FOR VALUES FROM ('2026-03-01') TO ('2026-04-01')"
        )
        conn.execute(
            "INSERT INTO the_tree_m3 (id, at, vec) VALUES ('m0', '2026-03-02', '[1,1,1]');"
            " SELECT cvx.refresh_view('of_tree')"
        )
        server.run("pg_dump", "-t", "the_tree_m3", "-f", f"{folder}/part.sql", target)
        conn.execute("DROP TABLE the_tree_m3; SELECT cvx.refresh_view('of_tree')")
        assert status(conn, "of_tree") == "fresh"
        # The dump's own triggers are there already when it makes them, and that is all that goes wrong.
        server.run("psql", "-Xq", "-o", "/dev/null", "-f", f"{folder}/part.sql", target)
        assert conn.execute("SELECT count(*) FROM the_tree_m3").fetchone() == (1,)
        assert "m0" in stale(conn, "of_tree")
        conn.execute("SELECT cvx._watch_views(), cvx.refresh_view('of_tree')")
        assert status(conn, "of_tree") == "fresh"
        assert_equals_definition(conn, "of_tree")
        conn.execute("UPDATE the_tree_m3 SET vec = '[2,1,1]'")
        assert stale(conn, "of_tree") == {"m0"}


def test_upgrade(server, before, folder):
    """pg_upgrade to a server of the same version (T29)."""
    old = server.data
    server.stop()
    try:
        with Cluster({**SETTINGS, "port": "5433"}, start=False) as new:
            command = [
                bindir() / "pg_upgrade",
                "-b",
                bindir(),
                "-B",
                bindir(),
                "-d",
                old,
                "-D",
                new.data,
                "-U",
                "postgres",
                "-p",
                "5434",
                "-P",
                "5435",
                "-s",
                folder,
            ]
            as_server("sh", "-c", 'cd "$0" && exec "$@"', folder, *command, timeout=300)
            new.start()
            with new.connect("source") as conn:
                assert_as_before(conn, before)
                assert_goes_on(conn)
            assert new.faults() == []
    finally:
        # Its files were copied.
        server.start()


def test_copied_by_template(server, before):
    with server.connect() as conn:
        conn.execute("CREATE DATABASE twin TEMPLATE source")
    with server.connect("twin") as conn:
        assert_as_before(conn, before)
        assert_goes_on(conn)
    with server.connect() as conn:
        conn.execute("DROP DATABASE twin")


def test_standby_and_promotion():
    """A standby shows what is stale and computes nothing; once promoted its worker does."""
    with Cluster({"wal_level": "replica", "max_wal_senders": "4"}) as primary:
        primary.create_database("d")
        with primary.connect("d") as conn:
            conn.execute("SET client_min_messages = error")
            target = TARGETS["table"](conn, "the_table")
            for name, policy in (("kept", "on_ingest"), ("by_hand", "manual")):
                conn.execute(
                    f"SELECT cvx.create_view('{name}', 'temporal_features', {target.source},"
                    f" refresh_policy => '{policy}')"
                )
            conn.execute("SELECT cvx.refresh_view('by_hand')")
            until(lambda: status(conn, "kept") == "fresh")
            conn.execute("UPDATE the_table SET vec = '[1,0,1]' WHERE id = 'a1'")
            until(lambda: status(conn, "kept") == "fresh")
        with Cluster.standby_of(primary) as standby:
            with primary.connect("d") as conn:
                conn.execute("SELECT cvx.disable()")
                conn.execute("UPDATE the_table SET vec = '[1,0,2]' WHERE id = 'a2'")
            with standby.connect("d") as conn:
                until(lambda: stale(conn, "kept") == {"a2"})
                assert (
                    stale(conn, "by_hand") == {"a1", "a2"}
                    and status(conn, "by_hand") == status(conn, "kept") == "stale"
                )
                assert len(rows(conn, "by_hand")) == 6
                for reading in ("TABLE cvx.views", "TABLE cvx.invalidation_log", "TABLE cvx.freshness_status"):
                    conn.execute(reading).fetchall()
                for call in (
                    "refresh_view('by_hand')",
                    "refresh_view('by_hand', force => true)",
                    "drop_view('kept')",
                    "invalidate_view('kept')",
                ):
                    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                        conn.execute(f"SELECT cvx.{call}")
            primary.crash()
            standby.promote()
            with standby.connect("d") as conn:
                conn.execute("SELECT cvx.enable()")
                until(lambda: status(conn, "kept") == "fresh", 30)
                assert_equals_definition(conn, "kept")
                assert stale(conn, "by_hand") == {"a1", "a2"}
                conn.execute("UPDATE the_table SET vec = '[1,0,3]' WHERE id = 'm1'")
                until(lambda: rows(conn, "kept") and status(conn, "kept") == "fresh", 30)
                assert_equals_definition(conn, "kept")
                conn.execute("SELECT cvx.refresh_view('by_hand')")
                assert status(conn, "by_hand") == "fresh"
            assert standby.faults() == []


@pytest.fixture(scope="module")
def subscriber():
    with Cluster(SETTINGS) as cluster:
        yield cluster
        assert cluster.faults() == []


@pytest.mark.parametrize("kind, root", [("table", False), ("tree", False), ("tree", True), ("space", False)])
def test_logical_replication(server, subscriber, kind, root):
    """What a subscription applies, which fires no statement triggers, is seen: the first copy, and all after (T26)."""
    name = f"r_{kind}_{root}".lower()
    for it in (server, subscriber):
        it.create_database(name)
    with server.connect(name) as publisher, subscriber.connect(name) as conn:
        publisher.execute("SET client_min_messages = error")
        conn.execute("SET client_min_messages = error")
        target = TARGETS[kind](publisher, "it")
        TARGETS[kind](conn, "it")
        conn.execute(target.sql("DELETE FROM {root} WHERE {mine} AND {id} <> 'a0'; UPDATE {root} SET {id} = 'own'"))
        conn.execute(f"SELECT cvx.create_view('v', 'temporal_features', {target.source}, refresh_policy => 'manual')")
        conn.execute("SELECT cvx.refresh_view('v')")
        assert set(rows(conn, "v")) == {"own"}
        published = target.leaf if kind == "space" else target.root
        publisher.execute(f"CREATE PUBLICATION p FOR TABLE {published} WITH (publish_via_partition_root = {root})")
        # Made apart from the subscription, as for any two databases of different servers of one machine.
        connection = f"host={server.host} port={server.port} user=postgres dbname={name}"
        conn.execute(f"CREATE SUBSCRIPTION s_{name} CONNECTION '{connection}' PUBLICATION p")
        try:
            until(lambda: conn.execute(f"SELECT count(*) FROM {target.leaf}").fetchone()[0] >= 12, 30, "the first copy")
            until(lambda: conn.execute("SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel").fetchone()[0], 30)
            assert status(conn, "v") == "stale"
            conn.execute("SELECT cvx.refresh_view('v')")
            assert set(rows(conn, "v")) == {"own", "a0", "a1", "a2", "m0", "m1", "m2"}
            assert_equals_definition(conn, "v")
            for change, touched in (
                ("UPDATE {root} SET vec = '[9,9,9]' WHERE {mine} AND {id} = 'm1'", {"m1"}),
                ("INSERT INTO {leaf_into} VALUES ('m2', '2026-01-20', '[1,2,3]')", {"m2"}),
                ("DELETE FROM {root} WHERE {mine} AND {id} IN ('a0', 'm0')", {"a0", "m0"}),
                (
                    "UPDATE {root} SET {id} = 'a2', {at} = {at} + interval '1 minute' WHERE {mine} AND {id} = 'a1'",
                    {"a1", "a2"},
                ),
                ("TRUNCATE " + ("{leaf}" if not root else "{root}"), {"own", "a2", "m1", "m2"}),
            ):
                assert status(conn, "v") == "fresh"
                publisher.execute(target.sql(change))
                until(lambda: stale(conn, "v") == touched, 20, change)
                conn.execute("SELECT cvx.refresh_view('v')")
                assert_equals_definition(conn, "v")
        finally:
            conn.execute(f"DROP SUBSCRIPTION s_{name}")
