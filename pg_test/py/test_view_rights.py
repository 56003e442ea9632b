"""Who may do what with views, with whose rights they are computed, and what nobody learns through them."""

import time

import numpy as np
import psycopg
import pytest
import trajectories
from cluster import Cluster, until
from trajectories import DAY
from view_oracle import (
    DIMS,
    START,
    create_view,
    refresh,
    rows_of,
    space_source,
    stale_entities,
    table_source,
    view_row,
    walk,
)

SOON = 30


@pytest.fixture(scope="module")
def cluster():
    """Two roles that may make views, one that may read, one that may do nothing."""
    with Cluster() as it:
        it.create_database("d")
        with it.connect("d") as conn:
            for role in ("alice", "bob", "reader", "nobody"):
                conn.execute(f"CREATE ROLE {role} LOGIN")
            conn.execute("SELECT cvx.grant_admin('alice'), cvx.grant_admin('bob'), cvx.grant_read('reader')")
            conn.execute("GRANT CREATE ON SCHEMA public TO alice, bob")
        yield it
        assert it.faults() == []


def user(cluster, name):
    conn = cluster.connect("d", user=name)
    trajectories.register(conn)
    return conn


@pytest.fixture
def conn(cluster):
    with user(cluster, "postgres") as it:
        yield it
    with cluster.connect("d") as it:
        for (name,) in it.execute("SELECT name FROM cvx.view").fetchall():
            it.execute("SELECT cvx.drop_view(%s)", (name,))
        for (name,) in it.execute("SELECT name FROM cvx.space").fetchall():
            it.execute("SELECT cvx.drop_space(%s, true)", (name,))
        for (name,) in it.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall():
            it.execute(f'DROP TABLE public."{name}" CASCADE')


@pytest.fixture
def alice(cluster, conn):
    with user(cluster, "alice") as it:
        yield it


@pytest.fixture
def bob(cluster, conn):
    with user(cluster, "bob") as it:
        yield it


@pytest.fixture
def reader(cluster, conn):
    with user(cluster, "reader") as it:
        yield it


@pytest.fixture
def nobody(cluster, conn):
    with user(cluster, "nobody") as it:
        yield it


@pytest.fixture
def source(conn):
    """A space of four entities, filled by the superuser."""
    it = space_source(conn, "s")
    rng = np.random.default_rng(1)
    for i in range(4):
        it.write(f"e{i}", *walk(rng, 4))
    return it


@pytest.fixture
def table(alice):
    """A table of alice's."""
    it = table_source(alice, "hers")
    rng = np.random.default_rng(2)
    for i in range(4):
        it.write(f"secret {i}", *walk(rng, 4))
    return it


def entities(conn, name) -> set:
    return {entity for (entity,) in rows_of(conn, name, "temporal_features")}


def fresh(conn, name):
    return until(lambda: view_row(conn, name)["status"] == "fresh", SOON, f"{name} is fresh")


class TestWhoMay:
    CALLS = [
        "cvx.create_view('x', 'temporal_features', 's')",
        "cvx.drop_view('v')",
        "cvx.refresh_view('v')",
        "cvx.refresh_view('v', ARRAY['e1'])",
        "cvx.refresh_view('v', force => true)",
        "cvx.invalidate_view('v')",
    ]
    TABLES = [
        "TABLE cvx_view.v",
        "TABLE cvx_view_data.v",
        "TABLE cvx_view_definition.v",
        "TABLE cvx_view_history.v",
        "TABLE cvx.invalidation",
        "TABLE cvx.view_state",
    ]
    FORGERIES = [
        "INSERT INTO cvx.view (name, type, space_id, refresh_policy, owner) VALUES ('x', 'temporal_features', 1, 'manual', 'postgres')",
        "UPDATE cvx.view SET owner = 'postgres'",
        "UPDATE cvx.view SET config = '{\"query\": \"SELECT 1\"}'",
        "DELETE FROM cvx.view",
        "UPDATE cvx.view_state SET sweep_since = NULL",
        "DELETE FROM cvx.stale",
        "DELETE FROM cvx.invalidation",
        "INSERT INTO cvx.invalidation VALUES (1, 'e1', now())",
        "INSERT INTO cvx.tracked_table (relation, entity_column, ts_column) VALUES ('pg_class', 'relname', 'relname')",
        "SELECT cvx._watch('cvx.secret', -1, 'name', 'name')",
        "SELECT cvx._unwatch(1)",
        "SELECT cvx._watch_views()",
        "CREATE TABLE cvx_view.mine (x int)",
        "CREATE TABLE cvx_view_data.mine (x int)",
        "CREATE VIEW cvx_view_definition.mine AS SELECT 1",
    ]

    @pytest.fixture
    def view(self, alice, source):
        create_view(alice, "v", "temporal_features", source, refresh_policy="manual", config={"history": True})
        refresh(alice, "v")

    @pytest.mark.parametrize("call", CALLS)
    def test_nobody_may_anything(self, view, nobody, reader, call):
        for role in (nobody, reader):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                role.execute(f"SELECT {call}")

    @pytest.mark.parametrize("call", CALLS[1:])
    def test_only_the_owner(self, conn, view, bob, call):
        """S07; members of the owner may, and superusers."""
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            bob.execute(f"SELECT {call}")
        conn.execute("GRANT alice TO bob")
        try:
            bob.execute(f"SELECT {call}")
        finally:
            conn.execute("REVOKE alice FROM bob")
        if "drop" not in call:
            conn.execute(f"SELECT {call}")

    @pytest.mark.parametrize("statement", TABLES)
    def test_others_read_nothing(self, view, nobody, bob, reader, statement):
        for role in (nobody, bob, reader):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                role.execute(statement)

    @pytest.mark.parametrize("statement", FORGERIES)
    def test_nothing_can_be_forged(self, view, alice, bob, statement):
        for role in (alice, bob):
            with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported)):
                role.execute(statement)

    def test_the_owner_hands_on_what_can_be_read(self, view, alice, reader, bob):
        """SELECT on cvx_view.v is all that it takes, and can be given to those who cannot read the source."""
        alice.execute("GRANT SELECT ON cvx_view.v TO reader")
        assert entities(reader, "v") == {"e0", "e1", "e2", "e3"}
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("SELECT * FROM cvx_view_data.v")
        # PostgreSQL warns, and grants nothing.
        reader.execute("GRANT SELECT ON cvx_view.v TO bob")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            bob.execute("TABLE cvx_view.v")
        alice.execute("REVOKE SELECT ON cvx_view.v FROM reader")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("TABLE cvx_view.v")

    def test_nobody_can_write_what_is_read(self, view, alice, conn):
        for statement in ("DELETE FROM cvx_view.v", "UPDATE cvx_view.v SET drift = 0", "INSERT INTO cvx_view.v SELECT * FROM cvx_view.v"):
            with pytest.raises(psycopg.Error) as error:
                alice.execute(statement)
            assert error.value.sqlstate in ("42501", "55000", "0A000"), error.value
        assert entities(conn, "v") == {"e0", "e1", "e2", "e3"}

    def test_shown_without_their_contents(self, view, reader):
        """A reader sees that there is a view and how it is."""
        assert view_row(reader, "v")["owner"] == "alice"
        reader.execute("TABLE cvx.freshness_status")
        reader.execute("TABLE cvx.invalidation_log")


class TestWithTheOwnersRights:
    def test_of_a_table_that_the_owner_cannot_read(self, bob, table):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            create_view(bob, "v", "temporal_features", table)

    def test_of_a_table_whose_triggers_the_owner_cannot_make(self, conn, alice, bob, table):
        """Watching puts triggers on a table: whoever may not do that needs its owner's help."""
        alice.execute("GRANT SELECT ON hers TO bob")
        try:
            create_view(bob, "v", "temporal_features", table, refresh_policy="manual")
        except psycopg.errors.InsufficientPrivilege as error:
            assert "TRIGGER" in f"{error.diag.message_primary} {error.diag.message_hint}" or "owner" in str(error)
        alice.execute("GRANT TRIGGER ON hers TO bob")
        conn.execute("SELECT cvx.drop_view(name) FROM cvx.view")
        create_view(bob, "v", "temporal_features", table, refresh_policy="manual")
        refresh(bob, "v")
        assert len(entities(bob, "v")) == 4

    def test_another_space_stays_closed(self, conn, nobody, source):
        """Who may make views, but not read embeddings, learns nothing of them."""
        conn.execute("SELECT cvx.grant_admin('nobody'); REVOKE SELECT ON cvx.embedding FROM nobody")
        try:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                create_view(nobody, "v", "temporal_features", source)
        finally:
            conn.execute("DROP OWNED BY nobody")

    def test_row_level_security(self, conn, alice, source):
        """What is computed is what the owner sees, whoever or whatever refreshes."""
        conn.execute("""
            ALTER TABLE cvx.embedding ENABLE ROW LEVEL SECURITY;
            CREATE POLICY of_alice ON cvx.embedding TO alice USING (entity_id IN ('e1', 'e2', 'new'))""")
        try:
            create_view(alice, "mine", "temporal_features", source)
            create_view(alice, "by hand", "temporal_features", source, refresh_policy="manual")
            fresh(conn, "mine")
            refresh(conn, "by hand")
            for name in ("mine", "by hand"):
                assert entities(conn, name) == entities(alice, name) == {"e1", "e2"}
            source.write("e0", [START + 200 * DAY], np.ones((1, DIMS)))
            source.write("new", [START + 200 * DAY], np.ones((1, DIMS)))
            fresh(conn, "mine")
            refresh(conn, "by hand", force=True)
            for name in ("mine", "by hand"):
                assert entities(conn, name) == {"e1", "e2", "new"}
        finally:
            conn.execute("DROP POLICY of_alice ON cvx.embedding; ALTER TABLE cvx.embedding DISABLE ROW LEVEL SECURITY")

    def test_row_level_security_of_a_table(self, conn, alice, bob, table):
        alice.execute("""
            ALTER TABLE hers ENABLE ROW LEVEL SECURITY;
            CREATE POLICY of_bob ON hers TO bob USING (entity_id = 'secret 1');
            GRANT SELECT, TRIGGER ON hers TO bob""")
        create_view(bob, "v", "temporal_features", table, refresh_policy="manual")
        create_view(bob, "c", "cohort_snapshot", table, refresh_policy="manual")
        for conn_of in (bob, conn):
            refresh(conn_of, "v", force=True), refresh(conn_of, "c", force=True)
            assert entities(bob, "v") == {"secret 1"}
            assert set(rows_of(bob, "c", "cohort_snapshot")) == {("secret 1",)}
        # Ids of others' entities do not reach bob through marks either.
        table.write("secret 3", [START + 200 * DAY], np.ones((1, DIMS)))
        assert stale_entities(bob, "v") == set()
        assert bob.execute("SELECT count(*) FROM cvx.stale").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            bob.execute("SELECT entity_id FROM cvx.invalidation")

    def test_errors_are_their_owners(self, conn, alice, bob, reader, table):
        """Which entity failed, and why, may be nobody else's to know."""
        alice.execute("INSERT INTO hers SELECT * FROM hers WHERE entity_id = 'secret 2'")
        create_view(alice, "v", "temporal_features", table, refresh_policy="manual")
        refresh(alice, "v")
        for role, may_know in ((alice, True), (conn, True), (bob, False), (reader, False)):
            row = view_row(role, "v")
            assert row["status"] == "error" and ("secret 2" in row["last_error"]) == may_know
        failed = "SELECT entity_id FROM cvx.stale"
        assert alice.execute(failed).fetchall() == [("secret 2",)] and bob.execute(failed).fetchall() == []

    def test_rights_that_were_taken_away(self, conn, alice, bob, table):
        """Computed no more, shown as an error and as stale; and goes on where it stopped when they are given back."""
        alice.execute("GRANT SELECT, TRIGGER ON hers TO bob")
        create_view(bob, "v", "temporal_features", table)
        fresh(conn, "v")
        alice.execute("REVOKE SELECT ON hers FROM bob")
        table.write("secret 1", [START + 200 * DAY], np.ones((1, DIMS)))
        table.write("secret 9", *walk(np.random.default_rng(9), 3))
        row = until(lambda: (it := view_row(conn, "v"))["last_error"] and it, SOON, "an error")
        assert row["status"] == "error" and "permission denied" in row["last_error"]
        assert stale_entities(conn, "v") == {"secret 1"}
        found = rows_of(bob, "v", "temporal_features")
        assert ("secret 9",) not in found and found[("secret 1",)]["num_points"] == 4
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            refresh(bob, "v")
        alice.execute("GRANT SELECT ON hers TO bob")
        conn.execute("SELECT cvx.refresh_view('v')")
        fresh(conn, "v")
        assert entities(bob, "v") == {*(f"secret {i}" for i in range(4)), "secret 9"}


# What a role must not get done by letting somebody else, or the worker, refresh its view.
ESCAPES = [
    "RESET ROLE",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION postgres",
    "ALTER SYSTEM SET work_mem = '1MB'",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "CREATE TABLE cvx.planted (x int)",
    "ALTER ROLE alice SUPERUSER",
    "CREATE TEMP TABLE pg_class (x int)",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "SELECT pg_catalog.pg_read_file('postgresql.conf')",
    "GRANT postgres TO alice",
]
REFUSALS = ["permission denied", "security-restricted", "security-definer", "must be superuser", "inside a transaction",
            "must have admin", "cannot be executed", "non-volatile", "not allowed"]  # fmt: skip


def trap(alice, attempt):
    """A function of alice's that tries it and lets slip who ran it: it says so in a table of hers."""
    alice.execute("CREATE TABLE IF NOT EXISTS ran (who text, really text, outcome text)")
    alice.execute(f"""
        CREATE OR REPLACE FUNCTION public.trap() RETURNS text LANGUAGE plpgsql VOLATILE AS $$
        DECLARE outcome text := 'done';
        BEGIN
            BEGIN EXECUTE $a${attempt}$a$; EXCEPTION WHEN OTHERS THEN outcome := SQLERRM; END;
            INSERT INTO public.ran VALUES (current_user, session_user, outcome);
            RETURN 'secret 1';
        END $$""")


class TestEscapes:
    def outcomes(self, conn):
        return set(conn.execute("SELECT who, outcome FROM ran"))

    def assert_harmless(self, conn):
        found = self.outcomes(conn)
        assert found and {who for who, _ in found} == {"alice"}, found
        for _, outcome in found:
            assert any(words in outcome for words in REFUSALS), outcome
        assert conn.execute("SELECT rolsuper FROM pg_roles WHERE rolname = 'alice'").fetchone() == (False,)
        assert conn.execute("SELECT to_regclass('cvx.planted')").fetchone() == (None,)

    @pytest.mark.parametrize("attempt", ESCAPES)
    def test_query_of_a_cohort(self, conn, alice, table, attempt):
        """S06: by the worker, and by a superuser's own call."""
        trap(alice, "SELECT 1")
        config = {"query": "SELECT public.trap()"}
        create_view(alice, "by worker", "cohort_snapshot", table, config=config)
        create_view(alice, "by hand", "cohort_snapshot", table, refresh_policy="manual", config=config)
        fresh(conn, "by worker")
        trap(alice, attempt)
        conn.execute("TRUNCATE ran")
        table.write("secret 1", [START + 200 * DAY], np.ones((1, DIMS)))
        until(lambda: self.outcomes(conn), SOON, "the worker ran it")
        refresh(conn, "by hand")
        self.assert_harmless(conn)

    @pytest.mark.parametrize("attempt", ESCAPES)
    def test_policy_of_the_source(self, conn, alice, table, attempt):
        trap(alice, "SELECT 1")
        alice.execute("""
            ALTER TABLE hers ENABLE ROW LEVEL SECURITY; ALTER TABLE hers FORCE ROW LEVEL SECURITY;
            CREATE POLICY trapped ON hers USING (public.trap() IS NOT NULL) WITH CHECK (true)""")
        create_view(alice, "by hand", "temporal_features", table, refresh_policy="manual")
        trap(alice, attempt)
        conn.execute("TRUNCATE ran")
        refresh(conn, "by hand", force=True)
        self.assert_harmless(conn)

    def test_of_the_superuser_who_reads(self, conn, alice, table):
        """Reading cvx_view.v runs nothing of alice's: what is there has been computed."""
        trap(alice, "SELECT 1")
        create_view(alice, "v", "cohort_snapshot", table, refresh_policy="manual", config={"query": "SELECT public.trap()"})
        refresh(alice, "v")
        conn.execute("TRUNCATE ran")
        assert len(rows_of(conn, "v", "cohort_snapshot")) == 1
        view_row(conn, "v")
        conn.execute("TABLE cvx.freshness_status")
        assert self.outcomes(conn) == set()

    def test_definition_replaced_by_its_owner(self, conn, alice, table):
        """The definition is alice's own view: what she makes of it runs with her rights, and gives rows of its type."""
        create_view(alice, "v", "temporal_features", table, refresh_policy="manual")
        trap(alice, "RESET ROLE")
        columns = alice.execute(
            "SELECT string_agg(format('%I', attname), ', ' ORDER BY attnum) FROM pg_attribute"
            " WHERE attrelid = 'cvx_view_definition.v'::regclass AND attnum > 0"
        ).fetchone()[0]
        definition = alice.execute("SELECT pg_get_viewdef('cvx_view_definition.v')").fetchone()[0].rstrip(";")
        try:
            alice.execute(
                f"CREATE OR REPLACE VIEW cvx_view_definition.v AS SELECT {columns} FROM ({definition}) q WHERE public.trap() IS NOT NULL"
            )
        except psycopg.errors.InsufficientPrivilege:
            return
        refresh(conn, "v", force=True)
        self.assert_harmless(conn)

    def test_triggers_on_the_storage(self, conn, alice, table):
        """Should the owner be able to put one there, it runs as the owner."""
        create_view(alice, "v", "temporal_features", table, refresh_policy="manual")
        trap(alice, "RESET ROLE")
        alice.execute("""
            CREATE FUNCTION public.springs() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN PERFORM public.trap(); RETURN new; END $$""")
        try:
            try:
                alice.execute(
                    "CREATE TRIGGER springs BEFORE INSERT OR UPDATE ON cvx_view_data.v FOR EACH ROW EXECUTE FUNCTION public.springs()"
                )
            except psycopg.errors.InsufficientPrivilege:
                return
            refresh(conn, "v")
            self.assert_harmless(conn)
        finally:
            alice.execute("DROP FUNCTION public.springs CASCADE")


def test_storage_that_its_owner_makes_a_view_of(conn, alice, table):
    """PostgreSQL 15 lets the owner of an empty table turn it into a view, whose functions would run as whoever reads."""
    create_view(alice, "v", "temporal_features", table, refresh_policy="manual")
    trap(alice, "SELECT 1")
    columns = [column for (column,) in alice.execute(
        "SELECT format('NULL::%s AS %I', format_type(atttypid, atttypmod), attname) FROM pg_attribute"
        " WHERE attrelid = 'cvx_view_data.v'::regclass AND attnum > 0 ORDER BY attnum"
    )]
    columns[0] = "public.trap() AS entity_id"
    try:
        alice.execute("ALTER TABLE cvx_view_data.v DROP CONSTRAINT v_pkey")
        alice.execute(f'CREATE RULE "_RETURN" AS ON SELECT TO cvx_view_data.v DO INSTEAD SELECT {", ".join(columns)}')
    except psycopg.Error:
        pass
    try:
        conn.execute("TABLE cvx_view.v")
    except psycopg.Error:
        pass
    assert conn.execute("SELECT who FROM ran").fetchall() in ([], [("alice",)])


def test_names_that_shadow(conn, alice, cluster, table, source):
    """S05: functions and operators of alice's, first on everybody's path, are never called."""
    conn.execute("CREATE TABLE trapped (what text); GRANT ALL ON trapped TO PUBLIC")
    for name, arguments, result in [
        ("count", "anyelement", "bigint"), ("num_points", "cvx.trajectory", "int"), ("end_ts", "cvx.trajectory", "timestamptz"),
        ("drift", "cvx.trajectory, text", "float8"), ("now", "", "timestamptz"), ("clock_timestamp", "", "timestamptz"),
        ("date_bin", "interval, timestamptz, timestamptz", "timestamptz"), ("format", "text, text", "text"),
        ("unnest", "text[]", "text"), ("to_jsonb", "text", "jsonb"), ("quote_ident", "text", "text"),
    ]:  # fmt: skip
        alice.execute(f"""
            CREATE FUNCTION public.{name}({arguments}) RETURNS {result} LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO public.trapped VALUES ('{name}'); RETURN NULL; END $$""")
    for operator, left, right in [
        ("=", "text", "text"), ("=", "int", "int"), ("<", "text", "text"), (">", "timestamptz", "timestamptz"),
        ("-", "timestamptz", "interval"), ("+", "timestamptz", "interval"), ("@>", "jsonb", "jsonb"), ("||", "text", "text"),
    ]:  # fmt: skip
        name = f"op_{left}_{right}_{hex(ord(operator[0]))}"
        result = "bool" if operator in "=<>@>" else left
        alice.execute(f"""
            CREATE FUNCTION public.{name}({left}, {right}) RETURNS {result} LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO public.trapped VALUES ('{operator}'); RETURN NULL; END $$;
            CREATE OPERATOR public.{operator} (FUNCTION = public.{name}, LEFTARG = {left}, RIGHTARG = {right})""")
    conn.execute("ALTER DATABASE d SET search_path = public, pg_catalog")
    try:
        with user(cluster, "postgres") as shadowed:
            shadowed.execute("CREATE TEMP TABLE pg_class (oid oid, relname name); CREATE TEMP TABLE view (x int)")
            for of, prefix in ((source, "space"), (table, "table")):
                for type, config in [
                    ("temporal_features", {"window": "1 day", "history": True}), ("drift_summary", {"window": "1 day"}),
                    ("changepoint_cache", {}), ("cohort_snapshot", {"window": "1 day"}),
                ]:  # fmt: skip
                    name = f"{prefix} {type}"
                    create_view(shadowed, name, type, of, config=config, refresh_policy="manual")
                    refresh(shadowed, name)
                    shadowed.execute("SELECT cvx.invalidate_view(%s)", (name,))
                    refresh(shadowed, name, ["e1", "secret 1"], force=True)
                    rows_of(shadowed, name, type)
                    shadowed.execute("TABLE cvx.views")
            source.write("e1", [START + 200 * DAY], np.ones((1, DIMS)))
            shadowed.execute("UPDATE cvx_space.s SET source = 'x'; DELETE FROM cvx_space.s WHERE entity_id OPERATOR(pg_catalog.=) 'e2'")
            shadowed.execute("DELETE FROM public.hers WHERE ts OPERATOR(pg_catalog.>) '2030-01-01'")
            for table_name in ("cvx.views", "cvx.freshness_status", "cvx.invalidation_log"):
                shadowed.execute(f"TABLE {table_name}")
            create_view(shadowed, "by worker", "temporal_features", source)
            until(lambda: shadowed.execute("SELECT status OPERATOR(pg_catalog.=) 'fresh' FROM cvx.views"
                                           " WHERE name OPERATOR(pg_catalog.=) 'by worker'").fetchone()[0], SOON)  # fmt: skip
            for (name,) in shadowed.execute("SELECT name FROM cvx.view").fetchall():
                shadowed.execute("SELECT cvx.drop_view(%s)", (name,))
        with cluster.connect("d") as plain:
            assert plain.execute("SELECT DISTINCT what FROM public.trapped").fetchall() == []
    finally:
        with cluster.connect("d") as plain:
            plain.execute("ALTER DATABASE d RESET search_path")
            plain.execute("DROP OWNED BY alice; GRANT CREATE ON SCHEMA public TO alice; SELECT cvx.grant_admin('alice')")


def test_owner_dropped(conn, cluster, source):
    """A view whose owner is gone is an error that names the role, and is not computed for another role of that name."""
    conn.execute("CREATE ROLE leaving LOGIN; SELECT cvx.grant_admin('leaving')")
    with user(cluster, "leaving") as leaving:
        create_view(leaving, "v", "temporal_features", source)
        fresh(conn, "v")
    with pytest.raises(psycopg.errors.DependentObjectsStillExist):
        conn.execute("DROP ROLE leaving")
    conn.execute("REASSIGN OWNED BY leaving TO bob; DROP OWNED BY leaving; DROP ROLE leaving")
    source.write("e1", [START + 200 * DAY], np.ones((1, DIMS)))
    time.sleep(1.5)
    row = view_row(conn, "v")
    # Either it belongs to bob now, as its relations do, or it says what is wrong; it is never fresh for nobody.
    if row["owner"] == "leaving":
        row = until(lambda: (it := view_row(conn, "v"))["last_error"] and it, SOON, "an error")
        assert "leaving" in row["last_error"] and row["status"] == "error"
        assert stale_entities(conn, "v") == {"e1"}
        conn.execute("CREATE ROLE leaving; SELECT cvx.grant_admin('leaving')")
        time.sleep(1.5)
        assert stale_entities(conn, "v") == {"e1"} or view_row(conn, "v")["status"] == "fresh"
        conn.execute("SELECT cvx.drop_view('v'); DROP OWNED BY leaving; DROP ROLE leaving")
    else:
        assert row["owner"] == "bob"
        fresh(conn, "v")


def test_owner_dropped_with_all_that_it_owned(conn, cluster, source):
    conn.execute("CREATE ROLE leaving LOGIN; SELECT cvx.grant_admin('leaving')")
    with user(cluster, "leaving") as leaving:
        create_view(leaving, "v", "temporal_features", source)
        create_view(conn, "w", "temporal_features", source)
        fresh(conn, "v"), fresh(conn, "w")
    conn.execute("DROP OWNED BY leaving CASCADE; DROP ROLE leaving")
    assert conn.execute("SELECT name FROM cvx.view").fetchall() == [("w",)]
    source.write("e1", [START + 200 * DAY], np.ones((1, DIMS)))
    fresh(conn, "w")
    assert conn.execute("SELECT count(*) FROM cvx_view.w WHERE stale_since IS NULL").fetchone() == (4,)
