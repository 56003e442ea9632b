"""Every way in which what a view reads can change (T25): the rows that it touches are out of date, and no others.

watch_cases.py holds the ways. Where a change cannot be followed it is refused, or the view says that it is untracked.
"""

import itertools
import threading
import time

import psycopg
import pytest
from cluster import Cluster, until
from watch_cases import ALL, CASES, ENTITIES, TARGETS, table, table_source

NUMBERS = itertools.count()
FEATURES = '{"features": ["drift", "velocity", "path_length", "drift_report"]}'


@pytest.fixture(scope="module")
def server():
    # No worker takes part: what is stale stays so until the test refreshes it.
    with Cluster({"shared_preload_libraries": "", "max_prepared_transactions": "4", "wal_level": "logical"}) as cluster:
        cluster.create_database("d")
        yield cluster
        assert cluster.faults() == []


@pytest.fixture
def conn(server):
    with server.connect("d") as connection:
        connection.execute("SET client_min_messages = error; SET TimeZone = 'UTC'")
        yield connection
        connection.execute("RESET ROLE; RESET ALL; SET client_min_messages = error")
        for (name,) in connection.execute("SELECT name FROM cvx.view").fetchall():
            connection.execute("SELECT cvx.drop_view(%s)", (name,))


def new_name() -> str:
    return f"w{next(NUMBERS)}"


def create_view(conn, name, source, **options):
    options = {"type": "temporal_features", "refresh_policy": "manual", "config": FEATURES, **options}
    given = "".join(f", {key} => '{value}'" for key, value in options.items())
    conn.execute(f"SELECT cvx.create_view('{name}', {source}{given})")
    conn.execute("SELECT cvx.refresh_view(%s)", (name,))


def rows(conn, name) -> dict:
    """Of each entity, since when it is out of date."""
    return dict(conn.execute(f"SELECT entity_id::text, stale_since FROM cvx_view.{name}").fetchall())


def stale(conn, name) -> set:
    return {entity for entity, since in rows(conn, name).items() if since is not None}


def status(conn, name) -> str:
    return conn.execute("SELECT status FROM cvx.views WHERE name = %s", (name,)).fetchone()[0]


def assert_equals_definition(conn, name):
    (columns,) = conn.execute(
        """SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
           WHERE attrelid = %s::regclass AND attnum > 0""",
        (f"cvx_view_definition.{name}",),
    ).fetchone()
    data, truth = (f"SELECT {columns} FROM {schema}.{name}" for schema in ("cvx_view_data", "cvx_view_definition"))
    differ = f"({data} EXCEPT ALL {truth}) UNION ALL ({truth} EXCEPT ALL {data})"
    assert conn.execute(f"SELECT * FROM ({differ}) q").fetchall() == []


def assert_refreshed(conn, name):
    """Once refreshed it is fresh, and what its query gives."""
    conn.execute("SELECT cvx.refresh_view(%s)", (name,))
    assert status(conn, name) == "fresh" and stale(conn, name) == set()
    assert_equals_definition(conn, name)


@pytest.mark.parametrize("kind, case", [(k, c) for c in CASES for k in c.kinds], ids=lambda it: getattr(it, "name", it))
def test_touched_entities_are_stale(conn, kind, case):
    target = TARGETS[kind](conn, new_name())
    name = target.name
    create_view(conn, name, target.source)
    for statement in case.prepare:
        conn.execute(target.sql(statement))
    assert_refreshed(conn, name)
    before = set(rows(conn, name))
    assert before == {entity for entity in before | set(ENTITIES) if kind != "branch" or entity.startswith("m")}
    for statement in case.statements:
        conn.execute(target.sql(statement))
    assert stale(conn, name) == case.touched & before
    assert status(conn, name) == ("stale" if case.touched else "fresh")
    assert_refreshed(conn, name)
    tear_down(conn, target)


def tear_down(conn, target):
    """What the view reads goes, and nothing of the view is left."""
    if target.kind == "space":
        conn.execute("SELECT cvx.drop_space(name, true) FROM cvx.space WHERE name LIKE %s", (f"{target.name}%",))
    else:
        conn.execute(target.sql("DROP TABLE {root} CASCADE"))
    assert_forgotten(conn, target.name)


def assert_forgotten(conn, name):
    left = conn.execute(
        """SELECT (SELECT count(*) FROM cvx.view WHERE name = %(name)s),
                  (SELECT count(*) FROM cvx.view_state WHERE view_id NOT IN (SELECT view_id FROM cvx.view)),
                  (SELECT count(*) FROM cvx.stale WHERE view_id NOT IN (SELECT view_id FROM cvx.view)),
                  (SELECT count(*) FROM cvx.tracked_table WHERE tracked_id NOT IN (SELECT tracked_id FROM cvx.view)),
                  (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
                   WHERE nspname LIKE 'cvx\\_view%%' AND relname = %(name)s),
                  (SELECT count(*) FROM pg_trigger t WHERE tgname LIKE 'cvx\\_invalidate%%'
                     AND NOT EXISTS (SELECT FROM cvx.view))""",
        {"name": name},
    ).fetchone()
    assert left == (0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("into", ["root", "leaf"])
def test_copy(conn, kind, into):
    target = TARGETS[kind](conn, new_name())
    create_view(conn, target.name, target.source)
    key = (int(target.key.rstrip(", ")),) if target.key and into == "root" else ()
    with conn.cursor().copy(
        target.sql("COPY {into} FROM STDIN" if into == "root" else "COPY {leaf_into} FROM STDIN")
    ) as copy:
        for entity in ("m0", "m2"):
            for minute in range(700):
                copy.write_row((*key, entity, f"2026-01-10 {minute // 60:02}:{minute % 60:02}:00+00", "[1,2,3]"))
    assert stale(conn, target.name) == {"m0", "m2"}
    assert_refreshed(conn, target.name)
    tear_down(conn, target)


# What cannot be followed: the view says so, all of it, and when it can be again all of it is computed anew.
BLIND = {
    "triggers disabled": ("ALTER TABLE {leaf} DISABLE TRIGGER ALL", "ALTER TABLE {leaf} ENABLE TRIGGER ALL"),
    "a user's triggers disabled": ("ALTER TABLE {leaf} DISABLE TRIGGER USER", "ALTER TABLE {leaf} ENABLE TRIGGER USER"),
    "one trigger disabled": (
        "ALTER TABLE {leaf} DISABLE TRIGGER {trigger}",
        "ALTER TABLE {leaf} ENABLE TRIGGER {trigger}",
    ),
    "for replicas only": (
        "ALTER TABLE {leaf} ENABLE REPLICA TRIGGER {trigger}",
        "ALTER TABLE {leaf} ENABLE TRIGGER {trigger}",
    ),
    "a trigger renamed": (
        "ALTER TRIGGER {trigger} ON {leaf} RENAME TO x",
        "ALTER TRIGGER x ON {leaf} RENAME TO {trigger}",
    ),
    "a trigger dropped": ("DROP TRIGGER {trigger} ON {leaf}", "SELECT cvx._watch_views()"),
    "disabled, and watched anew": ("ALTER TABLE {leaf} DISABLE TRIGGER ALL", "SELECT cvx._watch_views()"),
    "unlogged": ("ALTER TABLE {leaf} SET UNLOGGED", "ALTER TABLE {leaf} SET LOGGED"),
}


@pytest.mark.parametrize("way", BLIND)
@pytest.mark.parametrize("kind", TARGETS)
def test_untracked(conn, kind, way):
    target = TARGETS[kind](conn, new_name())
    create_view(conn, target.name, target.source)
    everything = set(rows(conn, target.name))
    (target.extra["trigger"],) = conn.execute(
        "SELECT quote_ident(tgname) FROM pg_trigger WHERE tgrelid = %s::regclass AND tgname ~ '^cvx_invalidate_update'",
        (target.leaf,),
    ).fetchone()
    triggers = "SELECT tgrelid::regclass::text, tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2"
    before = conn.execute(triggers).fetchall()
    conn.execute(target.sql(BLIND[way][0]))
    assert status(conn, target.name) == "untracked" and stale(conn, target.name) == everything
    (hint,) = conn.execute("SELECT untracked_reason FROM cvx.view_state").fetchone()
    assert "is disabled" in hint or "is missing" in hint or "unlogged" in hint
    conn.execute(target.sql("UPDATE {leaf} SET vec = '[8,7,6]' WHERE {id} = 'm0'"))
    # However often it is computed, it does not say that it is fresh.
    conn.execute("SELECT cvx.refresh_view(%s)", (target.name,))
    assert status(conn, target.name) == "untracked" and stale(conn, target.name) == everything
    conn.execute(target.sql(BLIND[way][1]))
    assert status(conn, target.name) == "stale" and stale(conn, target.name) == everything
    assert conn.execute(triggers).fetchall() == before
    assert_refreshed(conn, target.name)
    tear_down(conn, target)


def test_the_table_of_all_spaces_untracked(conn):
    """Its triggers are those of every space that has a view."""
    target = TARGETS["space"](conn, new_name())
    create_view(conn, target.name, target.source)
    for off, on in (
        ("DISABLE TRIGGER USER", "ENABLE TRIGGER USER"),
        ("DISABLE TRIGGER cvx_invalidate_insert_0", "ENABLE ALWAYS TRIGGER cvx_invalidate_insert_0"),
    ):
        conn.execute(f"ALTER TABLE cvx.embedding {off}")
        assert status(conn, target.name) == "untracked"
        conn.execute(f"ALTER TABLE cvx.embedding {on}")
        assert status(conn, target.name) == "stale"
        assert_refreshed(conn, target.name)
    conn.execute("DROP TRIGGER cvx_invalidate_delete_0 ON cvx.embedding")
    assert status(conn, target.name) == "untracked"
    conn.execute("SELECT cvx._watch_views()")
    assert_refreshed(conn, target.name)
    tear_down(conn, target)


def test_what_a_cohort_asks_is_watched(conn):
    target = table(conn, new_name())
    conn.execute(
        target.sql("CREATE TABLE {n}_members (who text PRIMARY KEY); INSERT INTO {n}_members VALUES ('a0'), ('m1')")
    )
    config = '{"window": "40 days", "query": "SELECT who FROM public.%s_members"}' % target.name
    create_view(conn, target.name, target.source, type="cohort_snapshot", config=config)
    assert set(rows(conn, target.name)) == {"a0", "m1"} and stale(conn, target.name) == set()
    for change in (
        "INSERT INTO {n}_members VALUES ('a2')",
        "DELETE FROM {n}_members WHERE who = 'a0'",
        "SET session_replication_role = replica; UPDATE {n}_members SET who = 'm2' WHERE who = 'm1'",
        "RESET session_replication_role; TRUNCATE {n}_members; INSERT INTO {n}_members VALUES ('a0'), ('a1')",
    ):
        before = set(rows(conn, target.name))
        conn.execute(target.sql(change))
        assert stale(conn, target.name) == before
        assert_refreshed(conn, target.name)
    conn.execute(target.sql("ALTER TABLE {n}_members DISABLE TRIGGER ALL"))
    assert status(conn, target.name) == "untracked"
    conn.execute(target.sql("ALTER TABLE {n}_members ENABLE TRIGGER ALL"))
    assert status(conn, target.name) != "fresh"
    conn.execute(target.sql("CREATE TABLE {n}_more () INHERITS ({n}_members)"))
    assert status(conn, target.name) == "untracked"
    conn.execute(target.sql("DROP TABLE {n}_more"))
    conn.execute(target.sql("DROP TABLE {n}_members CASCADE"))
    assert_forgotten(conn, target.name)
    conn.execute(target.sql("DROP TABLE {n}"))


REFUSED = {
    "a view": "CREATE VIEW {n} AS SELECT ''::text AS id, now() AS at, '[1]'::public.vector AS vec",
    "a materialized view": "CREATE MATERIALIZED VIEW {n}"
    " AS SELECT 'a'::text AS id, now() AS at, '[1]'::public.vector AS vec",
    "a foreign table": "CREATE FOREIGN TABLE {n} (id text, at timestamptz, vec public.vector) SERVER nowhere",
    "a temporary table": "CREATE TEMPORARY TABLE {n} (id text, at timestamptz, vec public.vector)",
    "an unlogged table": "CREATE UNLOGGED TABLE {n} (id text, at timestamptz, vec public.vector)",
    "a foreign partition": "CREATE TABLE {n} (id text, at timestamptz, vec public.vector) PARTITION BY LIST (id);"
    " CREATE FOREIGN TABLE {n}_f PARTITION OF {n} DEFAULT SERVER nowhere",
    "an unlogged partition": "CREATE TABLE {n} (id text, at timestamptz, vec public.vector) PARTITION BY LIST (id);"
    " CREATE UNLOGGED TABLE {n}_f PARTITION OF {n} DEFAULT",
    "a column that the parent lacks": "CREATE TABLE {n}_parent (at timestamptz, vec public.vector);"
    " CREATE TABLE {n} (id text) INHERITS ({n}_parent)",
    "a table of an extension": "CREATE TABLE {n} (id text, at timestamptz, vec public.vector);"
    " ALTER EXTENSION plpgsql ADD TABLE {n}",
}


@pytest.fixture(scope="module")
def nowhere(server):
    with server.connect("d") as conn:
        conn.execute("CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing")


@pytest.mark.parametrize("what", REFUSED)
def test_refused(conn, nowhere, what):
    name = new_name()
    conn.execute(REFUSED[what].format(n=name))
    with pytest.raises((psycopg.errors.FeatureNotSupported, psycopg.errors.WrongObjectType)) as error:
        create_view(conn, name, table_source(name))
    assert name in str(error.value) and error.value.diag.message_hint
    assert_forgotten(conn, name)


@pytest.mark.parametrize(
    "relation", ["cvx.embedding", "cvx_space.{n}", "cvx.sync_run", "pg_catalog.pg_class", "cvx_view_data.{n}"]
)
def test_own_and_system_tables_are_refused(conn, relation):
    target = TARGETS["space"](conn, new_name())
    create_view(conn, target.name, target.source)
    with pytest.raises(psycopg.errors.Error) as error:
        create_view(conn, "other", table_source(target.sql(relation)))
    assert error.value.sqlstate in ("0A000", "42809") and error.value.diag.message_hint
    tear_down(conn, target)


NEVER_PART = {
    "a foreign partition": "CREATE FOREIGN TABLE {n}_f PARTITION OF {n}_p DEFAULT SERVER nowhere",
    "attach of a foreign table": "CREATE FOREIGN TABLE {n}_f"
    " (id text, at timestamptz, vec public.vector(3)) SERVER nowhere"
    ";"
    " ALTER TABLE {n}_p ATTACH PARTITION {n}_f DEFAULT",
    "a temporary child": "CREATE TEMPORARY TABLE {n}_f () INHERITS ({n})",
    "a foreign child": "CREATE FOREIGN TABLE {n}_f () INHERITS ({n}) SERVER nowhere",
    "a foreign table that becomes a child": "CREATE FOREIGN TABLE {n}_f () INHERITS ({n}_empty) SERVER nowhere;"
    " ALTER FOREIGN TABLE {n}_f INHERIT {n}",
}


@pytest.mark.parametrize("what", NEVER_PART)
def test_what_cannot_be_followed_cannot_become_a_part(conn, nowhere, what):
    target = table(conn, new_name())
    conn.execute(
        target.sql(
            "CREATE TABLE {n}_empty (LIKE {n}); CREATE TABLE {n}_p (id text, at timestamptz, vec public.vector(3))"
            " PARTITION BY LIST (id)"
        )
    )
    create_view(conn, target.name, target.source)
    create_view(conn, f"{target.name}_p", table_source(f"{target.name}_p"))
    with pytest.raises(psycopg.errors.FeatureNotSupported) as error:
        conn.execute(target.sql(NEVER_PART[what]))
    assert f"{target.name}_f is a" in str(error.value) and error.value.diag.message_hint
    assert status(conn, target.name) == status(conn, f"{target.name}_p") == "fresh"
    conn.execute(target.sql("DROP TABLE {n}_p CASCADE"))
    tear_down(conn, target)


def test_columns_that_a_view_reads_stay(conn):
    target = table(conn, new_name())
    create_view(conn, target.name, target.source)
    for column in ("id", "at", "vec"):
        with pytest.raises(psycopg.errors.DependentObjectsStillExist):
            conn.execute(target.sql(f"ALTER TABLE {{n}} DROP COLUMN {column}"))
    for change in ("id TYPE varchar(9)", "at TYPE timestamptz(0)", "vec TYPE public.vector(2) USING '[1,2]'"):
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            conn.execute(target.sql(f"ALTER TABLE {{n}} ALTER {change}"))
    with pytest.raises(psycopg.errors.DependentObjectsStillExist):
        conn.execute(target.sql("DROP TABLE {n}"))
    assert status(conn, target.name) == "fresh"
    conn.execute(target.sql("ALTER TABLE {n} DROP COLUMN vec CASCADE"))
    assert_forgotten(conn, target.name)
    assert conn.execute("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'cvx\\_invalidate%%'").fetchone() == (0,)


@pytest.mark.parametrize(
    "drop",
    [
        "VIEW cvx_view.{n}",
        "VIEW cvx_view_definition.{n}",
        "TABLE cvx_view_data.{n} CASCADE",
        "TABLE cvx_view_history.{n}",
        "TABLE {n} CASCADE",
        "SCHEMA {n}_schema CASCADE",
    ],
)
def test_a_view_is_dropped_in_any_way(conn, drop):
    target = table(conn, new_name())
    conn.execute(target.sql("CREATE SCHEMA {n}_schema"))
    if "SCHEMA" in drop:
        conn.execute(target.sql("ALTER TABLE {n} SET SCHEMA {n}_schema"))
        target.source = table_source(target.sql("{n}_schema.{n}"))
    create_view(conn, target.name, target.source, config='{"history": true}')
    conn.execute(target.sql(f"DROP {drop}"))
    assert_forgotten(conn, target.name)


def test_drop_owned(conn):
    conn.execute(
        "CREATE ROLE watch_owner LOGIN; GRANT CREATE ON SCHEMA public TO watch_owner;"
        " SELECT cvx.grant_admin('watch_owner')"
    )
    conn.execute("SET ROLE watch_owner")
    target = table(conn, new_name())
    create_view(conn, target.name, target.source)
    assert_refreshed(conn, target.name)
    conn.execute("RESET ROLE; DROP OWNED BY watch_owner CASCADE; DROP ROLE watch_owner")
    assert_forgotten(conn, target.name)


def test_spaces_and_models_with_views(conn):
    a, b = new_name(), new_name()
    conn.execute("SELECT cvx.create_space(%s, 3), cvx.create_space(%s, 3)", (a, b))
    for space in (a, b):
        conn.execute(
            f"INSERT INTO cvx_space.{space} (entity_id, ts, vec)"
            " SELECT 'e' || i, '2026-01-01', format('[%s,1,%s]', i, i % 7)::public.vector"
            " FROM generate_series(1, 200) i"
        )
    conn.execute("SELECT cvx.create_model('m', 'v1', %s)", (a,))
    create_view(conn, "on_space", f"space => '{a}'")
    create_view(conn, "on_model", "model => 'm'")
    assert_refreshed(conn, "on_model")
    with pytest.raises(psycopg.errors.DependentObjectsStillExist, match="on_space"):
        conn.execute("SELECT cvx.drop_space(%s)", (a,))
    with pytest.raises(psycopg.errors.DependentObjectsStillExist, match="on_model"):
        conn.execute("SELECT cvx.drop_model('m')")
    # A new version is watched from then on, a new alignment marks what is computed by it; neither concerns the space.
    for change in ("SELECT cvx.create_model('m', 'v2', '{b}', 'v1')", "SELECT cvx.align('m', 'v2', 'affine')"):
        conn.execute(change.format(b=b))
        assert len(stale(conn, "on_model")) == 200 and stale(conn, "on_space") == set()
        assert_refreshed(conn, "on_model")
    conn.execute(f"INSERT INTO cvx_space.{b} (entity_id, ts, vec) VALUES ('e7', '2026-01-02', '[1,1,1]')")
    assert stale(conn, "on_model") == {"e7"} and stale(conn, "on_space") == set()
    conn.execute(
        "SET session_replication_role = replica; UPDATE cvx.alignment SET revision = revision + 1;"
        " RESET session_replication_role"
    )
    assert len(stale(conn, "on_model")) == 200
    assert_refreshed(conn, "on_model")
    conn.execute("SELECT cvx.drop_model('m', 'v2')")
    assert len(stale(conn, "on_model")) == 200
    assert_refreshed(conn, "on_model")
    conn.execute(f"INSERT INTO cvx_space.{b} (entity_id, ts, vec) VALUES ('e8', '2026-01-02', '[1,1,1]')")
    assert stale(conn, "on_model") == set()
    conn.execute("SELECT cvx.drop_space(%s, true)", (b,))
    conn.execute("SELECT cvx.drop_space(%s, true)", (a,))
    assert_forgotten(conn, "on_space")
    conn.execute("SELECT cvx.drop_view('on_model'), cvx.drop_model('m')")
    assert_forgotten(conn, "on_model")


def test_writers_need_no_rights_on_the_log(conn, server):
    """An unprivileged role's statements work and mark, whatever the role may do to cvx."""
    conn.execute("CREATE ROLE watch_writer LOGIN")
    try:
        for kind in ("table", "tree"):
            target = TARGETS[kind](conn, new_name())
            create_view(conn, target.name, target.source)
            conn.execute(target.sql("GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {root}, {leaf} TO watch_writer"))
            with server.connect("d", user="watch_writer") as writer:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    writer.execute("INSERT INTO cvx.invalidation (source, dirty_at) VALUES (1, now())")
                writer.execute(target.sql("UPDATE {root} SET vec = '[1,0,1]' WHERE id = 'a1'"))
                writer.execute(target.sql("INSERT INTO {leaf_into} VALUES ('m1', '2026-01-20', '[1,0,1]')"))
                assert stale(conn, target.name) == {"a1", "m1"}
                assert_refreshed(conn, target.name)
                writer.execute(target.sql("TRUNCATE {leaf}"))
                assert stale(conn, target.name) == ALL
            tear_down(conn, target)
    finally:
        conn.execute("DROP OWNED BY watch_writer; DROP ROLE watch_writer")


def test_a_table_owner_without_rights_on_cvx_alters_it(conn, server):
    """Event triggers run as whoever does the DDL."""
    conn.execute("CREATE ROLE watch_ddl LOGIN")
    try:
        target = TARGETS["tree"](conn, new_name())
        create_view(conn, target.name, target.source)
        conn.execute("GRANT CREATE ON SCHEMA public TO watch_ddl")
        for relation in ("", "_a", "_m", "_m1", "_m2"):
            conn.execute(target.sql(f"ALTER TABLE {{n}}{relation} OWNER TO watch_ddl"))
        with server.connect("d", user="watch_ddl") as owner:
            owner.execute(
                target.sql("CREATE TABLE {n}_m3 PARTITION OF {n}_m FOR VALUES FROM ('2026-03-01') TO ('2026-04-01')")
            )
            owner.execute(target.sql("INSERT INTO {n}_m3 (id, at, vec) VALUES ('m1', '2026-03-02', '[1,1,1]')"))
            assert stale(conn, target.name) == {"m1"}
            owner.execute(target.sql("ALTER TABLE {n}_m DETACH PARTITION {n}_m2"))
            assert stale(conn, target.name) == {"m0", "m1", "m2"}
            owner.execute(target.sql("ALTER TABLE {n}_a DISABLE TRIGGER USER"))
            assert status(conn, target.name) == "untracked"
            owner.execute(target.sql("ALTER TABLE {n}_a ENABLE TRIGGER USER; DROP TABLE {n}_m2"))
            assert_refreshed(conn, target.name)
            owner.execute(target.sql("DROP TABLE {n} CASCADE"))
        assert_forgotten(conn, target.name)
    finally:
        conn.execute("DROP OWNED BY watch_ddl; DROP ROLE watch_ddl")


@pytest.mark.parametrize("kind", TARGETS)
def test_a_writer_that_was_there_first_is_seen(conn, server, kind):
    """The view waits for statements that began without its triggers."""
    target = TARGETS[kind](conn, new_name())
    with server.connect("d", autocommit=False) as writer, server.connect("d") as creator:
        writer.execute(target.sql("UPDATE {root} SET vec = '[1,0,1]' WHERE {mine} AND {id} = 'm1'"))
        thread = threading.Thread(target=create_view, args=(creator, target.name, target.source))
        thread.start()
        waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND mode = 'ShareRowExclusiveLock')"
        until(lambda: conn.execute(waits).fetchone()[0])
        writer.commit()
        thread.join()
    assert status(conn, target.name) == "fresh"
    assert_equals_definition(conn, target.name)
    tear_down(conn, target)


def test_two_views_share_triggers(conn):
    """Those of the first to go stay for the second."""
    target = TARGETS["space"](conn, new_name())
    create_view(conn, "first", target.source)
    create_view(conn, "second", target.source)
    conn.execute("SELECT cvx.drop_view('first')")
    conn.execute(target.sql("UPDATE {root} SET vec = '[1,0,1]' WHERE {mine} AND {id} = 'm1'"))
    assert stale(conn, "second") == {"m1"}
    conn.execute("SELECT cvx.drop_view('second')")
    assert_forgotten(conn, "second")
    tear_down(conn, target)


def test_drop_extension(server):
    with server.connect() as conn:
        conn.execute("CREATE DATABASE gone TEMPLATE template0")
    with server.connect("gone") as conn:
        conn.execute("SET client_min_messages = error; CREATE EXTENSION cvx CASCADE")
        for kind in ("table", "tree", "space"):
            target = TARGETS[kind](conn, new_name())
            create_view(conn, target.name, target.source)
        with pytest.raises(psycopg.errors.DependentObjectsStillExist):
            conn.execute("DROP EXTENSION cvx")
        conn.execute("DROP EXTENSION cvx CASCADE")
        assert conn.execute("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal").fetchone() == (0,)
        assert conn.execute("SELECT count(*) FROM pg_event_trigger").fetchone() == (0,)
        conn.execute("CREATE EXTENSION cvx")
        target = table(conn, new_name())
        create_view(conn, target.name, target.source)
        assert_refreshed(conn, target.name)


def test_other_tables_are_altered_as_fast_as_before(conn):
    """A hundred views, and DDL that concerns none of them."""
    target = table(conn, new_name())
    ddl = "CREATE TABLE unrelated (i int); ALTER TABLE unrelated ADD j int; DROP TABLE unrelated"

    def seconds():
        took = []
        for _ in range(15):
            started = time.monotonic()
            conn.execute(ddl)
            took.append(time.monotonic() - started)
        return sorted(took)[len(took) // 2]

    without = seconds()
    for i in range(100):
        create_view(conn, f"v{i}", target.source, config='{"features": ["drift"]}')
    with_views = seconds()
    print(f"\nthree statements of DDL: {1000 * without:.1f} ms without views, {1000 * with_views:.1f} ms with 100")
    assert with_views < without + 0.03
    tear_down(conn, target)
