"""Who may do what with monitors, with whose rights they look, what a hostile query gets done (nothing), and who sees alerts."""

import time
from datetime import datetime, timedelta, timezone

import psycopg
import pytest
from cluster import until
from monitor_oracle import (
    SOON,
    alerts,
    clean,
    connect,
    create,
    evaluate,
    evaluated,
    listening,
    monitor_row,
    server,
)
from psycopg import sql

LIMIT = 2
# An evaluation that goes on after its limit is ended a second later; the rest is this machine's.
ENDED = LIMIT + 1 + 2
ROLES = ("alice", "bob", "reader", "nobody")


@pytest.fixture(scope="module")
def cluster():
    """Two roles that may declare monitors, one that may read, one that may do nothing."""
    settings = {"cvx.monitor_timeout": f"{LIMIT}s", "max_prepared_transactions": 5, "log_temp_files": 0}
    with server(settings) as it:
        with it.connect("d") as conn:
            for role in ROLES:
                conn.execute(f"CREATE ROLE {role} LOGIN")
            conn.execute("SELECT cvx.grant_admin('alice'), cvx.grant_admin('bob'), cvx.grant_read('reader')")
            conn.execute("GRANT CREATE ON SCHEMA public TO alice, bob")
            conn.execute("CREATE EXTENSION IF NOT EXISTS dblink")
        yield it


@pytest.fixture
def conn(cluster):
    with connect(cluster) as it:
        it.execute("SET client_min_messages = warning")
        yield it
    clean(cluster)
    with cluster.connect("d") as it:
        it.execute("SET client_min_messages = warning")
        it.execute("DROP OWNED BY alice CASCADE")
        it.execute("SELECT cvx.grant_admin('alice'); GRANT CREATE ON SCHEMA public TO alice")


def role(name):
    @pytest.fixture(name=name)
    def connected(cluster, conn):
        with connect(cluster, name) as it:
            yield it

    return connected


alice, bob, reader, nobody = map(role, ROLES)


def query(conn, text: str, name: str = "q", **options):
    create(conn, name, {"type": "custom_query", "sql": text}, **options)


class TestWhoMay:
    CALLS = [
        "cvx.create_monitor('x', '{\"type\": \"custom_query\", \"sql\": \"SELECT 1\"}', '{\"type\": \"log\"}')",
        "cvx.evaluate_monitor('q')",
        "cvx.test_monitor('q')",
        "cvx.pause_monitor('q')",
        "cvx.resume_monitor('q')",
        "cvx.mute_monitor('q')",
        "cvx.unmute_monitor('q')",
        "cvx.alter_monitor('q', severity => 'low')",
        "cvx.backtest_monitor('q', '2026-01-01', '2026-02-01')",
        "cvx.drop_monitor('q')",
    ]
    FORGERIES = [
        "UPDATE cvx.monitor SET owner = 'postgres'",
        "UPDATE cvx.monitor SET condition = '{\"type\": \"custom_query\", \"sql\": \"SELECT 1\"}'",
        "DELETE FROM cvx.monitor",
        "INSERT INTO cvx.monitor (name, condition, action, owner) VALUES ('x', '{}', '{}', 'postgres')",
        "UPDATE cvx.monitor_state SET next_check_at = NULL",
        "INSERT INTO cvx.alert (monitor_id, monitor, owner, severity, condition, message) VALUES (1, 'q', 'alice', 'low', 'x', 'x')",
        "UPDATE cvx.alert SET message = 'nothing'",
        "DELETE FROM cvx.alert",
        "TABLE cvx.delivery",
        "INSERT INTO cvx.delivery (alert_id, action, request, body, owner) VALUES (1, 0, '{}', '', 'postgres')",
        "TABLE cvx.detector",
        "DELETE FROM cvx.detector",
        "TRUNCATE cvx.alert CASCADE",
    ]

    @pytest.mark.parametrize("call", CALLS)
    def test_nobody_may_anything(self, alice, nobody, reader, call):
        query(alice, "SELECT 1")
        for it in (nobody, reader):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                it.execute(f"SELECT * FROM {call}")

    @pytest.mark.parametrize("call", [it for it in CALLS if "create" not in it])
    def test_only_the_owner(self, conn, alice, bob, call):
        """And members of the owner. A query runs only where its owner has logged in."""
        query(alice, "SELECT 1")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            bob.execute(f"SELECT * FROM {call}")
        conn.execute("GRANT alice TO bob")
        try:
            runs_the_query = "evaluate" in call or "backtest" in call
            if runs_the_query:
                with pytest.raises(psycopg.Error):
                    bob.execute(f"SELECT * FROM {call}")
            else:
                bob.execute(f"SELECT * FROM {call}")
        finally:
            conn.execute("REVOKE alice FROM bob")

    @pytest.mark.parametrize("call", ["cvx.acknowledge_alert", "cvx.resend_alert"])
    def test_alerts_of_others(self, alice, bob, nobody, reader, call):
        query(alice, "SELECT 1")
        (it,) = evaluate(alice, "q")
        for other in (bob, nobody, reader):
            with pytest.raises(psycopg.Error) as caught:
                other.execute(f"SELECT {call}({it['alert_id']})")
            assert caught.value.sqlstate in ("42501", "42704")
        if "resend" in call:
            with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="no webhook that failed"):
                alice.execute(f"SELECT {call}({it['alert_id']})")
        else:
            alice.execute(f"SELECT {call}({it['alert_id']})")

    @pytest.mark.parametrize("statement", FORGERIES)
    def test_nothing_can_be_forged(self, alice, bob, reader, nobody, statement):
        """S07."""
        query(alice, "SELECT 1")
        evaluate(alice, "q")
        for it in (alice, bob, reader, nobody):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                it.execute(statement)

    def test_an_owner_by_another_name(self, conn, alice, bob):
        """Declared while acting as another role, it is that role's."""
        conn.execute("GRANT alice TO bob")
        try:
            bob.execute("SET ROLE alice")
            query(bob, "SELECT current_user::text AS message")
            assert monitor_row(conn, "q")["owner"] == "alice"
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                evaluate(bob, "q")
        finally:
            bob.execute("RESET ROLE")
            conn.execute("REVOKE alice FROM bob")
        assert [it["message"] for it in evaluate(alice, "q")] == ["alice"]


class TestWhoSees:
    def test_alerts(self, conn, alice, bob, reader, nobody):
        """Those of one's own monitors, and of roles whose member one is."""
        query(alice, "SELECT 'hers' AS message")
        evaluate(alice, "q")
        query(bob, "SELECT 'his' AS message", "r")
        evaluate(bob, "r")
        shown = {name: {it for (it,) in of.execute("SELECT message FROM cvx.alert")}
                 for name, of in (("alice", alice), ("bob", bob), ("reader", reader), ("postgres", conn))}  # fmt: skip
        assert shown == {"alice": {"hers"}, "bob": {"his"}, "reader": set(), "postgres": {"hers", "his"}}
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            nobody.execute("TABLE cvx.alert")
        conn.execute("GRANT alice TO reader; GRANT pg_read_all_data TO bob")
        try:
            assert reader.execute("SELECT message FROM cvx.alert").fetchall() == [("hers",)]
            assert len(bob.execute("SELECT message FROM cvx.alert").fetchall()) == 2
        finally:
            conn.execute("REVOKE alice FROM reader; REVOKE pg_read_all_data FROM bob")

    def test_declarations(self, alice, bob, reader):
        """A query and a url may hold what is nobody's business; that there is a monitor is no secret."""
        query(alice, "SELECT 'secret' AS message")
        seen = {
            name: of.execute("SELECT condition, action IS NULL FROM cvx.monitors WHERE name = 'q'").fetchone()
            for name, of in (("alice", alice), ("bob", bob), ("reader", reader))
        }
        assert seen["alice"] == ({"type": "custom_query", "sql": "SELECT 'secret' AS message"}, False)
        assert seen["bob"] == seen["reader"] == ({"type": "custom_query"}, True)

    def test_through_a_leaky_function(self, conn, alice, bob):
        """A cheap condition of bob's sees no row that the policy hides."""
        query(alice, "SELECT 'hers' AS message")
        evaluate(alice, "q")
        bob.execute("""
            CREATE FUNCTION public.leak(it text) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS $$
            BEGIN RAISE NOTICE '%', it; RETURN true; END $$""")
        seen = []
        bob.add_notice_handler(lambda diag: seen.append(diag.message_primary))
        bob.execute("SELECT FROM cvx.alert WHERE public.leak(message)")
        bob.execute("DROP FUNCTION public.leak")
        assert seen == []

    def test_errors_are_their_owners(self, alice, bob, conn):
        query(alice, "SELECT 1 / 0 AS secret_name", paused=False)
        evaluated(conn, "q")
        assert "division by zero" in monitor_row(alice, "q")["last_error"]
        assert "division by zero" not in (monitor_row(bob, "q")["last_error"] or "")
        assert monitor_row(bob, "q")["status"] == "error"

    def test_what_its_owner_cannot_read(self, conn, alice):
        """A condition of ours reads embeddings with its owner's rights, row-level security included."""
        conn.execute("SELECT cvx.create_space('s', 2)")
        conn.execute(
            "INSERT INTO cvx_space.s (entity_id, ts, vec) SELECT 'e' || i, now() - interval '1 day', '[1,1]' FROM generate_series(1, 4) i"
        )
        create(alice, "m", {"type": "silence_exceeds", "duration": "1 hour"}, space="s", cooldown="0")
        assert len(evaluate(alice, "m")) == 4
        conn.execute("""
            ALTER TABLE cvx.embedding ENABLE ROW LEVEL SECURITY;
            CREATE POLICY of_alice ON cvx.embedding TO alice USING (entity_id = 'e1')""")
        try:
            assert [it["entity_id"] for it in evaluate(alice, "m")] == ["e1"]
            assert [it["entity_id"] for it in evaluate(conn, "m")] == ["e1"], "a superuser's call sees no more"
            conn.execute("DELETE FROM cvx.alert")
            alice.execute("SELECT cvx.resume_monitor('m')")
            until(lambda: alerts(conn, "m"), SOON, "the worker has alerted")
            assert {it["entity_id"] for it in alerts(conn, "m")} == {"e1"}
        finally:
            conn.execute("DROP POLICY of_alice ON cvx.embedding; ALTER TABLE cvx.embedding DISABLE ROW LEVEL SECURITY")
        conn.execute("REVOKE SELECT ON cvx.embedding FROM alice")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            evaluate(alice, "m")

    def test_change_points_that_its_owner_cannot_read(self, conn, alice):
        """Detectors are fed what the owner sees."""
        conn.execute("SELECT cvx.create_space('s', 2)")
        create(alice, "m", {"type": "change_point_detected", "min_severity": 0.5}, space="s", paused=False)
        conn.execute("""
            ALTER TABLE cvx.embedding ENABLE ROW LEVEL SECURITY;
            CREATE POLICY of_alice ON cvx.embedding TO alice USING (entity_id = 'e1')""")
        try:
            conn.execute("""
                INSERT INTO cvx_space.s (entity_id, ts, vec)
                SELECT 'e' || e, now() - (100 - i) * interval '1 hour',
                       ARRAY[5 + random() + 20 * (i / 41), 5 + random()]::real[]::vector
                FROM generate_series(1, 3) e, generate_series(1, 60) i""")
            until(lambda: alerts(conn, "m"), SOON, "the worker has alerted")
            time.sleep(1)
            assert {it["entity_id"] for it in alerts(conn, "m")} == {"e1"}
            assert conn.execute("SELECT DISTINCT entity_id FROM cvx.detector").fetchall() == [("e1",)]
        finally:
            conn.execute("DROP POLICY of_alice ON cvx.embedding; ALTER TABLE cvx.embedding DISABLE ROW LEVEL SECURITY")


# What a query's function tries; it says what came of it, and who it was, in the message of its finding.
ATTEMPTS = {
    "write": "INSERT INTO public.victims VALUES (2)",
    "truncate": "TRUNCATE public.victims",
    "table": "CREATE TABLE public.planted (x int)",
    "role": "CREATE ROLE planted",
    "set role": "SET ROLE postgres",
    "set role to bob": "SET ROLE bob",
    "session authorization": "SET SESSION AUTHORIZATION postgres",
    "superuser": "ALTER ROLE alice SUPERUSER",
    "own settings": "ALTER ROLE alice SET search_path = public",
    "system": "ALTER SYSTEM SET work_mem = '1MB'",
    "program": "COPY (SELECT 1) TO PROGRAM 'true'",
    "file": "COPY (SELECT 1) TO '/dev/null'",
    "read file": "SELECT pg_catalog.pg_read_file('postgresql.conf')",
    "grant": "GRANT postgres TO alice",
    "sequence": "SELECT nextval('public.counter')",
    "set sequence": "SELECT setval('public.counter', 100)",
    "read write": "SET TRANSACTION READ WRITE",
    "read write by set_config": "SELECT set_config('transaction_read_only', 'off', false)",
    # Before PostgreSQL 16 nothing looks at these two.
    "read write by reset": "RESET transaction_read_only; SELECT nextval('public.counter')",
    "read write by default": "SET transaction_read_only = DEFAULT; SELECT nextval('public.counter')",
    "read write by null": "SELECT set_config('transaction_read_only', NULL, false); SELECT nextval('public.counter')",
    "commit": "COMMIT",
    "procedure": "CALL public.commits()",
    "prepare": "PREPARE TRANSACTION 'planted'",
    "forged alert": "INSERT INTO cvx.alert (monitor_id, monitor, owner, severity, condition, message) VALUES (1, 'q', 'alice', 'low', 'x', 'x')",
    "another monitor": "SELECT cvx.drop_monitor('kept')",
    "definer": "SELECT public.writes_as_postgres()",
    "definer that turns around": "SELECT public.turns_as_postgres()",
    "dblink": "SELECT public.dblink_exec('dbname=d host=' || current_setting('unix_socket_directories') || ' user=postgres', 'INSERT INTO public.victims VALUES (3)')",
    "dblink to itself": "SELECT public.dblink_exec('dbname=d host=' || current_setting('unix_socket_directories'), 'INSERT INTO public.victims VALUES (3)')",
    "dblink without a password": "SELECT public.dblink_connect_u('c', 'dbname=d user=postgres')",
    "kill the launcher": "SELECT bool_or(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'postgres' AND pid <> pg_backend_pid()",
    "delivery": "TABLE cvx.delivery",
    "secrets": "TABLE cvx.secret",
    "extension": "DROP EXTENSION cvx CASCADE",
}
REFUSALS = [
    "permission denied", "read-only transaction", "must be superuser", "must be a superuser", "cannot be executed",
    "cannot run inside", "must be set before any query", "invalid transaction termination", "must be owner", "must have admin",
    "password is required", "cannot set parameter", "not allowed", "EXECUTE of transaction commands", "must have CREATEROLE",
    "cannot set transaction read-write", "cannot be reset", "cannot be changed", "must be member", "must be a member", "could not establish connection", "terminate",
    "security-definer", "must be set before", "must call it as",
]  # fmt: skip


class TestHostileQueries:
    """S06. Alice's own role can do these things in a session of hers; her monitors can do none of them."""

    @pytest.fixture
    def trap(self, conn, alice):
        """What there is to break, functions that try, and a look at whether it is still whole."""
        conn.execute("""
            CREATE TABLE public.victims (x int); INSERT INTO public.victims VALUES (1);
            GRANT ALL ON public.victims TO alice;
            CREATE SEQUENCE public.counter; GRANT ALL ON SEQUENCE public.counter TO alice;
            CREATE FUNCTION public.writes_as_postgres() RETURNS void LANGUAGE sql SECURITY DEFINER
                AS 'INSERT INTO public.victims VALUES (4)';
            CREATE FUNCTION public.turns_as_postgres() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
                AS $$BEGIN SET SESSION AUTHORIZATION postgres; END$$""")
        alice.execute("""
            CREATE PROCEDURE public.commits() LANGUAGE plpgsql AS $$BEGIN COMMIT; INSERT INTO public.victims VALUES (5); END$$;
            CREATE FUNCTION public.tries(statement text) RETURNS text LANGUAGE plpgsql AS $$
            DECLARE outcome text := 'done';
            BEGIN
                BEGIN EXECUTE statement; EXCEPTION WHEN OTHERS THEN outcome := SQLERRM; END;
                RETURN format('%s, %s: %s', current_user, session_user, outcome);
            END $$""")
        create(conn, "kept", {"type": "silence_exceeds", "duration": "1 day"}, space=self.space(conn))
        before = self.state(conn)
        yield
        assert self.state(conn) == before
        conn.execute("DROP TABLE public.victims; DROP SEQUENCE public.counter")
        conn.execute("DROP FUNCTION public.writes_as_postgres, public.turns_as_postgres")

    @staticmethod
    def space(conn):
        conn.execute("SELECT cvx.create_space('s', 2)")
        return "s"

    @staticmethod
    def state(conn) -> tuple:
        return conn.execute("""
            SELECT ARRAY(SELECT x FROM public.victims), (SELECT last_value FROM public.counter),
                   ARRAY(SELECT rolname || rolsuper FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY 1),
                   ARRAY(SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1),
                   (SELECT count(*) FROM pg_largeobject_metadata), (SELECT count(*) FROM pg_prepared_xacts),
                   (SELECT count(*) FROM pg_db_role_setting), (SELECT count(*) FROM pg_extension),
                   (SELECT count(*) FROM cvx.monitor WHERE name = 'kept')""").fetchone()

    @pytest.mark.parametrize("attempt", ATTEMPTS)
    def test_what_it_tries(self, cluster, conn, alice, trap, attempt):
        """By the worker, and by its owner's own call: what she might do herself is undone there."""
        launcher = cluster.workers("launcher")
        text = sql.SQL("SELECT public.tries({}) AS message").format(sql.Literal(ATTEMPTS[attempt])).as_string(conn)
        query(alice, text, "by worker", paused=False)
        row = evaluated(conn, "by worker")
        assert row["last_error"] is None, row["last_error"]
        (alert,) = alerts(conn, "by worker")
        messages = [alert["message"]]
        if "nextval" not in ATTEMPTS[attempt]:
            query(alice, text, "by hand")
            messages += [it["message"] for it in evaluate(alice, "by hand")]
        for message in messages:
            who, outcome = message.split(": ", 1)
            assert who == "alice, alice", message
            assert any(words in outcome for words in REFUSALS), message
        assert cluster.workers("launcher") == launcher

    RAW = ["INSERT INTO public.victims VALUES (2) RETURNING x", "WITH w AS (DELETE FROM public.victims RETURNING 1) SELECT * FROM w",
           "SELECT 1; DELETE FROM public.victims", "COMMIT; DELETE FROM public.victims", "CREATE TABLE public.planted (x int)",
           "SELECT * INTO public.planted FROM public.victims", "COPY public.victims FROM PROGRAM 'echo 2'",
           "CALL public.commits()", "DO $$BEGIN DELETE FROM public.victims; END$$", "EXPLAIN ANALYZE DELETE FROM public.victims",
           "SELECT x FROM public.victims FOR UPDATE", "LOCK TABLE public.victims", "REFRESH MATERIALIZED VIEW public.none",
           "PREPARE x AS SELECT 1", "DECLARE c CURSOR WITH HOLD FOR SELECT 1", "SET ROLE postgres", "LISTEN cvx_alert"]  # fmt: skip

    @pytest.mark.parametrize("text", RAW)
    def test_what_it_is(self, conn, alice, trap, text):
        """Refused when it is declared, or ends as an error of this monitor, with a SQLSTATE of PostgreSQL's own."""
        try:
            query(alice, text, "raw", paused=False)
        except psycopg.Error as error:
            assert error.sqlstate[:2] in ("42", "25", "0A", "22"), error
            return
        row = evaluated(conn, "raw")
        assert row["status"] == "error" and row["last_error"], row
        with pytest.raises(psycopg.Error) as caught:
            evaluate(alice, "raw")
        assert not caught.value.sqlstate.startswith("XX"), caught.value

    def test_reset(self, conn, alice, trap):
        """RESET does nothing here: it is alice who has logged in."""
        for i, statement in enumerate(("RESET ROLE", "RESET SESSION AUTHORIZATION", "SET ROLE NONE", "RESET ALL")):
            query(alice, f"SELECT public.tries('{statement}') AS message", f"q{i}", paused=False)
            evaluated(conn, f"q{i}")
            (alert,) = alerts(conn, f"q{i}")
            assert alert["message"].startswith("alice, alice"), alert["message"]

    @staticmethod
    def stopped(cluster, conn, name, since):
        """Ended in time and recorded as that; the other monitors, and the workers, go on."""
        others = cluster.workers("launcher") + cluster.workers("scheduler", "d")
        row = until(lambda: (it := monitor_row(conn, name))["last_error"] and it, SOON, f"{name} is stopped")
        assert "time" in row["last_error"] and row["status"] == "error", row
        assert timedelta(seconds=LIMIT - 0.1) < row["last_error_at"] - since < timedelta(seconds=ENDED), row
        assert cluster.workers("launcher") + cluster.workers("scheduler", "d") == others
        with connect(cluster, "alice") as alice:
            alice.execute("SELECT cvx.pause_monitor(%s)", (name,))
            query(alice, "SELECT 'alive' AS message", f"after {name}", paused=False)
        until(lambda: alerts(conn, f"after {name}"), SOON, "another monitor alerts")

    LONG = {
        "sleep": "SELECT pg_sleep(3600)",
        "sleep without a limit of its own": "SELECT set_config('statement_timeout', '0', false), pg_sleep(3600)",
        "spin": "SELECT public.spins()",
        "catch": "SELECT public.catches()",
        "catch and spin": "SELECT public.catches_and_spins()",
        "temporary files": "SELECT count(*) FROM (SELECT random() x FROM generate_series(1, 1000000000) ORDER BY 1) s",
        "endless rows": "SELECT i AS message FROM generate_series(1, 9000000000000) i",
        "endless patterns": "SELECT count(*) FROM generate_series(1, 1000000) i WHERE repeat('a', 30000) || i ~ '(a*)*(a|aa)+b$'",
        "wait for a lock": "SELECT pg_advisory_lock(42)",
    }

    @pytest.mark.parametrize("which", LONG)
    def test_what_takes_for_ever(self, cluster, conn, alice, which):
        """T14: ended at its limit, or a second later when it does not let itself be cancelled."""
        alice.execute("""
            CREATE FUNCTION public.spins() RETURNS void LANGUAGE plpgsql AS $$BEGIN LOOP NULL; END LOOP; END$$;
            CREATE FUNCTION public.catches() RETURNS void LANGUAGE plpgsql AS $$
            BEGIN LOOP
                BEGIN PERFORM pg_sleep(3600); EXCEPTION WHEN query_canceled THEN NULL; END;
            END LOOP; END$$;
            CREATE FUNCTION public.catches_and_spins() RETURNS void LANGUAGE plpgsql AS $$
            BEGIN LOOP
                BEGIN LOOP NULL; END LOOP; EXCEPTION WHEN query_canceled OR OTHERS THEN NULL; END;
            END LOOP; END$$""")
        conn.execute("ALTER ROLE alice SET statement_timeout = 0; ALTER ROLE alice SET temp_file_limit = -1; SELECT pg_advisory_lock(42)")
        conn.execute("ALTER ROLE alice SET default_transaction_read_only = off; ALTER ROLE alice SET work_mem = '64kB'")
        try:
            since = datetime.now(timezone.utc)
            query(alice, self.LONG[which], paused=False)
            self.stopped(cluster, conn, "q", since)
            assert alerts(conn, "q") == []
        finally:
            conn.execute("ALTER ROLE alice RESET ALL; SELECT pg_advisory_unlock(42)")
        until(lambda: cluster.workers("monitor", "d") == [], SOON, "its process has ended")
        assert conn.execute("SELECT count(*) FROM pg_ls_tmpdir()").fetchone() == (0,)

    def test_what_is_left_in_the_session(self, cluster, conn, alice, trap):
        """Locks, settings, temporary tables, listening, large objects: gone with the evaluation, or never there."""
        alice.execute("""
            CREATE FUNCTION public.leaves() RETURNS text LANGUAGE plpgsql AS $$
            DECLARE seen text := format('%s %s', current_setting('my.mark', true), to_regclass('pg_temp.mine'));
            BEGIN
                PERFORM pg_advisory_lock(7), set_config('my.mark', 'here', false), set_config('search_path', 'public', false);
                BEGIN CREATE TEMP TABLE IF NOT EXISTS mine (x int); EXCEPTION WHEN OTHERS THEN NULL; END;
                PERFORM pg_notify('cvx_alert', '{"forged": true}');
                BEGIN PERFORM lo_create(4242); EXCEPTION WHEN OTHERS THEN NULL; END;
                RETURN seen;
            END$$""")
        with listening(cluster) as arrived:
            for i in range(3):
                query(alice, "SELECT public.leaves() AS message", f"q{i}", paused=False, action={"type": "log"})
                evaluated(conn, f"q{i}")
            assert arrived(1, seconds=1) == []
        assert [it["message"].strip() for i in range(3) for it in alerts(conn, f"q{i}")] == [""] * 3
        held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7"
        until(lambda: conn.execute(held).fetchone() == (0,), SOON, "nobody holds its lock")

    def test_its_own_end(self, cluster, conn, alice):
        """A query that ends its own process gets no further; the others are evaluated."""
        query(alice, "SELECT pg_terminate_backend(pg_backend_pid())", "suicide", paused=False)
        query(alice, "SELECT 'alive' AS message", "other", paused=False)
        until(lambda: alerts(conn, "other"), SOON, "the other one alerts")
        row = until(lambda: (it := monitor_row(conn, "suicide"))["last_error"] and it, SOON, "it says so")
        assert "ended" in row["last_error"] and row["last_evaluated_at"] is None and alerts(conn, "suicide") == []

    def test_the_depth_of_the_stack(self, conn, alice):
        alice.execute("CREATE FUNCTION public.deep() RETURNS int LANGUAGE sql AS 'SELECT 1'")
        alice.execute("CREATE OR REPLACE FUNCTION public.deep() RETURNS int LANGUAGE sql AS 'SELECT 1 + public.deep()'")
        query(alice, "SELECT public.deep()", paused=False)
        assert "stack depth" in evaluated(conn, "q")["last_error"]

    def test_names_that_are_not_what_they_seem(self, conn, alice):
        """Objects in front of the catalog change what the query means, not what cvx does around it."""
        conn.execute("GRANT CREATE ON DATABASE d TO alice")
        alice.execute("CREATE SCHEMA evil")
        alice.execute("CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE sql AS $$SELECT '2000-01-01'::timestamptz$$")
        alice.execute("CREATE FUNCTION evil.fail(text, text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE 'caught'; END$$")
        alice.execute("CREATE OPERATOR evil.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.fail)")
        alice.execute("ALTER ROLE alice SET search_path = evil, pg_catalog, public")
        try:
            query(alice, "SELECT 'fine' AS message", paused=False)
            row = evaluated(conn, "q")
            assert row["last_error"] is None and [it["message"] for it in alerts(conn, "q")] == ["fine"]
            assert alerts(conn, "q")[0]["fired_at"].year > 2000
        finally:
            alice.execute("ALTER ROLE alice RESET search_path; DROP SCHEMA evil CASCADE")


class TestOwners:
    def test_of_a_superuser(self, cluster, conn):
        """Its queries run only where that is allowed."""
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
            query(conn, "SELECT current_user::text AS message")
            evaluate(conn, "q")
        assert "cvx.superuser_monitors" in f"{caught.value.diag.message_primary} {caught.value.diag.message_hint}"

    def test_who_has_become_a_superuser(self, cluster, conn, alice):
        query(alice, "SELECT 1", check_interval="1 s", cooldown="0", paused=False)
        until(lambda: alerts(conn, "q"), SOON, "it alerts")
        conn.execute("ALTER ROLE alice SUPERUSER")
        try:
            row = until(lambda: (it := monitor_row(conn, "q"))["last_error"] and it, SOON, "it is refused")
            assert "superuser" in row["last_error"]
            with cluster.connect("d") as admin:
                admin.execute("ALTER SYSTEM SET cvx.superuser_monitors = on")
                admin.execute("SELECT pg_reload_conf()")
            until(lambda: monitor_row(conn, "q")["last_error"] is None, SOON, "it is allowed")
        finally:
            conn.execute("ALTER ROLE alice NOSUPERUSER")
            conn.execute("ALTER SYSTEM RESET cvx.superuser_monitors")
            conn.execute("SELECT pg_reload_conf()")

    @pytest.fixture
    def carol(self, conn):
        conn.execute("CREATE ROLE carol LOGIN; SELECT cvx.grant_admin('carol')")
        yield "carol"
        for name in ("carol", "caroline"):
            if conn.execute("SELECT FROM pg_roles WHERE rolname = %s", (name,)).fetchone() is not None:
                conn.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")

    def monitor_of(self, cluster, name):
        with connect(cluster, name) as own:
            query(own, "SELECT session_user::text AS message", check_interval="1 s", cooldown="0", paused=False)

    def test_who_cannot_log_in(self, cluster, conn, carol):
        self.monitor_of(cluster, carol)
        until(lambda: alerts(conn, "q"), SOON, "it alerts")
        conn.execute("ALTER ROLE carol NOLOGIN")
        row = until(lambda: (it := monitor_row(conn, "q"))["last_error"] and it, SOON, "it is refused")
        assert "log in" in row["last_error"] or "login" in row["last_error"].lower(), row["last_error"]
        conn.execute("ALTER ROLE carol LOGIN")
        until(lambda: monitor_row(conn, "q")["last_error"] is None, SOON, "it works again")

    def test_who_is_gone(self, cluster, conn, carol):
        """Nothing runs, as whoever; a new role of that name is another role."""
        self.monitor_of(cluster, carol)
        until(lambda: alerts(conn, "q"), SOON, "it alerts")
        conn.execute("DROP OWNED BY carol; DROP ROLE carol")
        row = until(lambda: (it := monitor_row(conn, "q"))["status"] == "error" and it, SOON, "it is refused")
        assert "carol" in row["last_error"] and row["hint"]
        raised = len(alerts(conn, "q"))
        conn.execute("CREATE ROLE carol LOGIN")
        time.sleep(3)
        assert len(alerts(conn, "q")) == raised
        conn.execute("SELECT cvx.drop_monitor('q')")

    def test_who_has_another_name_now(self, cluster, conn, carol):
        """Declarations name roles: the old name is nobody's, and says so."""
        self.monitor_of(cluster, carol)
        until(lambda: alerts(conn, "q"), SOON, "it alerts")
        conn.execute("ALTER ROLE carol RENAME TO caroline")
        row = until(lambda: (it := monitor_row(conn, "q"))["status"] == "error" and it, SOON, "it is refused")
        assert "carol" in row["last_error"] and row["hint"]
        conn.execute("ALTER ROLE caroline RENAME TO carol")
        until(lambda: monitor_row(conn, "q")["last_error"] is None, SOON, "it works again")

    def test_who_lost_the_right_to_connect(self, cluster, conn, carol):
        self.monitor_of(cluster, carol)
        until(lambda: alerts(conn, "q"), SOON, "it alerts")
        conn.execute("REVOKE CONNECT ON DATABASE d FROM PUBLIC")
        try:
            until(lambda: monitor_row(conn, "q")["status"] == "error", SOON, "it is refused")
        finally:
            conn.execute("GRANT CONNECT ON DATABASE d TO PUBLIC")
        until(lambda: monitor_row(conn, "q")["last_error"] is None, SOON, "it works again")
