"""Who may do what with sources, with whose rights they write, and where secrets are never seen."""

import secrets as random_secrets
import subprocess
import time

import psycopg
import pytest
from cluster import Cluster, until
from peers import free_port
from psycopg.types.json import Jsonb
from sources import (  # noqa: F401, a fixture among them
    conn,
    create_source,
    data_folder,
    files_config,
    has_rows,
    kafka_config,
    rows,
    runs,
    source,
    sync,
    write_parquet,
)

CANARY = "S3CR3T" + random_secrets.token_hex(8)
ENVIRONMENT_CANARY = "3NV" + random_secrets.token_hex(8)


@pytest.fixture(scope="module")
def cluster():
    """With a password for TCP, so that it is a peer of its own as well; two roles that may declare sources."""
    port = free_port()
    env = {"CVX_TEST_PASSWORD": ENVIRONMENT_CANARY, "OTHER_PASSWORD": ENVIRONMENT_CANARY}
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "log_statement": "all",
        "log_parameter_max_length": "0",
        "password_encryption": "scram-sha-256",
    }
    with Cluster(settings, env) as it:
        (it.data / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        it.reload()
        it.create_database("d")
        with it.connect("d") as conn:
            for role in ("alice", "bob", "reader"):
                conn.execute(f"CREATE ROLE {role} LOGIN")
            conn.execute("SELECT cvx.grant_admin('alice'), cvx.grant_admin('bob'), cvx.grant_read('reader')")
            conn.execute("CREATE DATABASE there")
        with it.connect("there") as conn:
            conn.execute("CREATE EXTENSION vector")
            conn.execute("CREATE TABLE items (entity_id text, ts timestamptz, vec vector(4))")
            conn.execute(
                "INSERT INTO items SELECT 'e' || i, '2026-01-01'::timestamptz + i * interval '1 s', ARRAY[i, 1, 2, 3]::real[]::vector FROM generate_series(1, 500) i"
            )
            conn.execute("CREATE ROLE remote LOGIN")
            conn.execute(f"ALTER ROLE remote PASSWORD '{CANARY}'".replace(CANARY, ENVIRONMENT_CANARY))
            conn.execute("GRANT SELECT ON items TO remote")
        yield it
        assert it.faults() == []


@pytest.fixture
def alice(cluster):
    with cluster.connect("d", user="alice") as it:
        yield it


@pytest.fixture
def bob(cluster):
    with cluster.connect("d", user="bob") as it:
        yield it


@pytest.fixture
def space(cluster):
    name = f"s{time.monotonic_ns()}"
    with cluster.connect("d") as conn:
        conn.execute("SELECT cvx.create_space(%s, 4)", (name,))
    yield name
    with cluster.connect("d") as conn:
        for (of,) in conn.execute("SELECT name FROM cvx.source WHERE space = %s", (name,)).fetchall():
            conn.execute("SELECT cvx.drop_source(%s)", (of,))
        conn.execute("SELECT cvx.drop_space(%s, true)", (name,))


def remote_config(cluster, password, **more) -> dict:
    return {
        "host": "127.0.0.1",
        "port": cluster.port,
        "dbname": "there",
        "user": "remote",
        "password": password,
        "table": "items",
        "sslmode": "disable",
        **more,
    }


def keep_secret(conn, name, value):
    """As a bind parameter: the server logs statements here, and not their parameters."""
    conn.execute("SELECT cvx.create_secret(%s, %s, true)", (name, value))


def test_a_role_without_grants_can_do_nothing(cluster, conn):
    conn.execute("CREATE ROLE nobody LOGIN")
    calls = [
        "SELECT cvx.create_source('x', 'kafka', 's', '{}')",
        "SELECT cvx.alter_source('x')",
        "SELECT cvx.drop_source('x')",
        "SELECT cvx.sync_source('x')",
        "SELECT cvx.pause_source('x')",
        "SELECT cvx.resume_source('x')",
        "SELECT cvx.replay_dead_letters('x')",
        "SELECT cvx.create_secret('x', 'y')",
        "SELECT cvx.drop_secret('x')",
        "SELECT cvx.enable()",
        "SELECT cvx.disable()",
        "SELECT cvx.apply_config('')",
        "SELECT cvx.dump_config()",
        "TABLE cvx.secret",
        "TABLE cvx.source",
        "TABLE cvx.sources",
        "TABLE cvx.dead_letter",
        "TABLE cvx.workers",
        "INSERT INTO cvx.activation VALUES ('x', 1)",
        "INSERT INTO cvx.source (name, type, space, config, owner) VALUES ('x', 'kafka', 's', '{}', 'postgres')",
        "SELECT cvx._poke(true)",
    ]
    with cluster.connect("d", user="nobody") as nobody:
        for call in calls:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                nobody.execute(call)


def test_a_reader_sees_and_changes_nothing(cluster, conn, space):
    create_source(conn, "seen", "kafka", space, kafka_config("127.0.0.1:1", "t"))
    with cluster.connect("d", user="reader") as reader:
        assert source(reader, "seen")["type"] == "kafka"
        assert reader.execute("SELECT count(*) > 0 FROM cvx.workers").fetchone() == (True,)
        reader.execute("TABLE cvx.stat_progress_sync")
        for call in ("cvx.pause_source('seen')", "cvx.drop_source('seen')", "cvx.sync_source('seen')", "cvx.enable()"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(f"SELECT {call}")
        for table in ("cvx.secret", "cvx.source", "cvx.dead_letter"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(f"TABLE {table}")


def test_a_source_belongs_to_who_made_it(conn, alice, bob, space):
    """S07: another role that may declare sources can neither change it nor forge its owner."""
    create_source(alice, "hers", "kafka", space, kafka_config("127.0.0.1:1", "t"))
    assert source(conn, "hers")["owner"] == "alice"
    for call in (
        "alter_source('hers', priority => 1)",
        "drop_source('hers')",
        "sync_source('hers')",
        "pause_source('hers')",
        "resume_source('hers')",
        "replay_dead_letters('hers')",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            bob.execute(f"SELECT cvx.{call}")
    for statement in (
        "UPDATE cvx.source SET owner = 'postgres' WHERE name = 'hers'",
        "INSERT INTO cvx.source (name, type, space, config, owner) VALUES ('x', 'kafka', 's', '{}', 'postgres')",
        "INSERT INTO cvx.source_state (source_id, owner_oid) VALUES (1, 10)",
        "UPDATE cvx.source_state SET owner_oid = 10",
        "DELETE FROM cvx.source_position",
        "INSERT INTO cvx.secret VALUES ('x', 'postgres', 'y')",
        "DELETE FROM cvx.activation",
    ):
        for role in (alice, bob):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                role.execute(statement)
    # A member of the owner may, and so may a superuser.
    conn.execute("GRANT alice TO bob")
    try:
        bob.execute("SELECT cvx.pause_source('hers')")
    finally:
        conn.execute("REVOKE alice FROM bob")
    conn.execute("SELECT cvx.resume_source('hers')")


# What needs rights of the server that alice does not have.
NEEDS = {
    "files of the server": ("s3_parquet", {"url": "file:///tmp"}),
    "its credentials": ("s3_parquet", {"bucket": "b"}),
    "its identity": (
        "postgres",
        {"host": "127.0.0.1", "dbname": "d", "user": "postgres", "table": "t", "sslmode": "disable"},
    ),
    "its socket": (
        "postgres",
        {"host": "/tmp", "dbname": "d", "user": "postgres", "password": {"secret": "p"}, "table": "t"},
    ),
    "a certificate file": (
        "postgres",
        {
            "host": "h",
            "dbname": "d",
            "user": "u",
            "password": {"secret": "p"},
            "table": "t",
            "sslrootcert": "/etc/passwd",
        },
    ),
    "a file of librdkafka": ("kafka", kafka_config("h:1", "t", properties={"ssl.ca.location": "/etc/passwd"})),
}


@pytest.mark.parametrize("what", NEEDS)
def test_the_servers_own_rights(conn, alice, space, what):
    """S08: what would be reached as the server needs a right to do so; a superuser has it."""
    type, config = NEEDS[what]
    keep_secret(alice, "p", "x")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        create_source(alice, "reaching", type, space, config)
    keep_secret(conn, "p", "x")
    create_source(conn, "reaching", type, space, config)
    conn.execute("SELECT cvx.drop_source('reaching'), cvx.drop_secret('p')")


def test_a_right_that_was_taken_away(conn, alice, cluster, space):
    """Checked when it runs, not only when it was declared."""
    folder = data_folder(cluster, space)
    write_parquet(folder, "a.parquet", 0, 10)
    conn.execute("GRANT pg_read_server_files TO alice")
    try:
        create_source(alice, "was-allowed", "s3_parquet", space, files_config(folder))
        assert sync(alice, "was-allowed")["records_written"] == 10
    finally:
        conn.execute("REVOKE pg_read_server_files FROM alice")
    write_parquet(folder, "b.parquet", 10, 10)
    alice.execute("SELECT cvx.sync_source('was-allowed')")
    row = until(lambda: (it := source(conn, "was-allowed"))["last_error"] and it, 20, "an error")
    assert "files of the server" in row["last_error"] and rows(conn, space) == 10


@pytest.fixture
def from_remote(cluster, alice, space):
    """A source of alice's that reads the other database of this server with a password."""
    keep_secret(alice, "remote", ENVIRONMENT_CANARY)
    create_source(alice, "remote", "postgres", space, remote_config(cluster, {"secret": "remote"}))
    return "remote"


def test_writes_as_its_owner(cluster, conn, alice, space, from_remote):
    """S06: rows are written as alice; what a trigger of somebody else tries with her rights, it tries in vain."""
    conn.execute(f"""
        CREATE TABLE seen (who text, real text); GRANT INSERT, SELECT ON seen TO PUBLIC;
        CREATE FUNCTION spy() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN INSERT INTO public.seen VALUES (current_user, session_user); RETURN new; END $$;
        CREATE TRIGGER spy BEFORE INSERT ON cvx_space.{space} FOR EACH ROW WHEN (new.entity_id = 'e1') EXECUTE FUNCTION spy()""")
    try:
        run = sync(alice, from_remote)
        assert run["records_written"] == 500, str(run)
        ((who, _),) = conn.execute("SELECT DISTINCT who, real FROM seen").fetchall()
        assert who == "alice"
    finally:
        conn.execute("DROP TABLE seen; DROP FUNCTION spy CASCADE")


ESCAPES = [
    "RESET ROLE",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION postgres",
    "ALTER SYSTEM SET work_mem = '1MB'",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "CREATE TABLE cvx.planted (x int)",
    "ALTER ROLE alice SUPERUSER",
    "CREATE TEMP TABLE pg_class (x int)",
]


# Rights that alice lacks, and what a security-restricted operation may not do.
REFUSALS = [
    "permission denied",
    "security-restricted",
    "security-definer",
    "must be superuser",
    "inside a transaction block",
]


@pytest.mark.parametrize("attempt", ESCAPES)
def test_triggers_cannot_escape(conn, alice, space, from_remote, attempt):
    conn.execute(f"""
        CREATE FUNCTION escape() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN EXECUTE $a${attempt}$a$; RETURN new; END $$;
        CREATE TRIGGER escape BEFORE INSERT ON cvx_space.{space} FOR EACH ROW WHEN (new.entity_id = 'e1') EXECUTE FUNCTION escape()""")
    try:
        run = sync(alice, from_remote)
        assert (run["state"], run["records_written"]) == ("failed", 0), run["error"]
        assert any(words in run["error"] for words in REFUSALS), run["error"]
        assert conn.execute("SELECT rolsuper FROM pg_roles WHERE rolname = 'alice'").fetchone() == (False,)
    finally:
        conn.execute("DROP FUNCTION escape CASCADE")


def test_without_the_right_to_write(conn, alice, space, from_remote):
    conn.execute(f"REVOKE INSERT ON cvx_space.{space} FROM alice")
    alice.execute("SELECT cvx.sync_source('remote')")
    row = until(lambda: (it := source(conn, from_remote))["last_error"] and it, 20, "an error")
    assert "permission denied" in row["last_error"] and rows(conn, space) == 0
    conn.execute(f"GRANT INSERT ON cvx_space.{space} TO alice")
    alice.execute("SELECT cvx.sync_source('remote')")
    has_rows(conn, space, 500)


def test_row_level_security_holds(conn, alice, space, from_remote):
    """No row goes in that a policy forbids, and the source says what is in the way."""
    conn.execute("""
        ALTER TABLE cvx.embedding ENABLE ROW LEVEL SECURITY;
        CREATE POLICY of_alice ON cvx.embedding TO alice USING (entity_id < 'e3') WITH CHECK (entity_id < 'e3')""")
    try:
        alice.execute("SELECT cvx.sync_source('remote')")
        row = until(lambda: (it := source(conn, from_remote))["last_error"] and it, 20, "an error")
        assert "row-level security" in row["last_error"]
        assert conn.execute(f"SELECT count(*) FROM cvx_space.{space} WHERE entity_id >= 'e3'").fetchone() == (0,)
    finally:
        conn.execute("DROP POLICY of_alice ON cvx.embedding; ALTER TABLE cvx.embedding DISABLE ROW LEVEL SECURITY")


def test_owner_dropped(conn, cluster, space):
    """A role of the same name is another role."""
    conn.execute("CREATE ROLE leaving LOGIN; SELECT cvx.grant_admin('leaving')")
    with cluster.connect("d", user="leaving") as leaving:
        keep_secret(leaving, "theirs", ENVIRONMENT_CANARY)
        create_source(leaving, "left", "postgres", space, remote_config(cluster, {"secret": "theirs"}))
    conn.execute("DROP OWNED BY leaving; DROP ROLE leaving")
    try:
        conn.execute("SELECT cvx.sync_source('left')")
        row = until(lambda: (it := source(conn, "left"))["last_error"] and it, 20, "an error")
        assert "leaving" in row["last_error"] and rows(conn, space) == 0
        conn.execute("CREATE ROLE leaving; SELECT cvx.grant_admin('leaving')")
        conn.execute("SELECT cvx.resume_source('left'), cvx.sync_source('left')")
        time.sleep(2)
        assert rows(conn, space) == 0
    finally:
        conn.execute("SELECT cvx.drop_source('left'), cvx.drop_secret('theirs')")
        conn.execute("DROP OWNED BY leaving; DROP ROLE leaving")


class TestSecrets:
    def test_of_another_role(self, cluster, alice, bob, space):
        """A reference to a secret is no way to use somebody else's."""
        keep_secret(alice, "alices", ENVIRONMENT_CANARY)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            bob.execute("SELECT cvx.create_secret('alices', 'x', true)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            bob.execute("SELECT cvx.drop_secret('alices')")
        try:
            create_source(bob, "borrowed", "postgres", space, remote_config(cluster, {"secret": "alices"}))
        except psycopg.errors.InsufficientPrivilege:
            return
        bob.execute("SELECT cvx.sync_source('borrowed')")
        row = until(lambda: (it := source(bob, "borrowed"))["last_error"] and it, 20, "an error")
        assert "must be owner of secret" in row["last_error"] and not runs(bob, "borrowed")

    def test_missing_one_is_named(self, cluster, conn, alice, space):
        try:
            create_source(alice, "lacking", "postgres", space, remote_config(cluster, {"secret": "not-there"}))
        except psycopg.Error as error:
            assert "not-there" in str(error)
            return
        alice.execute("SELECT cvx.sync_source('lacking')")
        row = until(lambda: (it := source(alice, "lacking"))["last_error"] and it, 20, "an error")
        assert "not-there" in row["last_error"]
        keep_secret(alice, "not-there", ENVIRONMENT_CANARY)
        alice.execute("SELECT cvx.sync_source('lacking')")
        has_rows(conn, space, 500)
        alice.execute("SELECT cvx.drop_secret('not-there')")

    def test_from_the_environment(self, cluster, conn, alice, space):
        """Only of what cvx.source_environment lists; by default names that begin with CVX_."""
        create_source(alice, "env", "postgres", space, remote_config(cluster, {"env": "CVX_TEST_PASSWORD"}))
        sync(alice, "env")
        has_rows(conn, space, 500)
        for name in ("OTHER_PASSWORD", "PATH"):
            alice.execute(
                "SELECT cvx.alter_source('env', config => %s)", (Jsonb(remote_config(cluster, {"env": name})),)
            )
            alice.execute("SELECT cvx.sync_source('env')")
            until(lambda: name in (source(conn, "env")["last_error"] or ""), 20, f"an error that names {name}")

    def test_replaced_value_is_used(self, cluster, conn, alice, space):
        keep_secret(alice, "changing", "wrong")
        create_source(alice, "changing", "postgres", space, remote_config(cluster, {"secret": "changing"}))
        run = sync(alice, "changing")
        assert run["state"] == "failed" and rows(conn, space) == 0
        keep_secret(alice, "changing", ENVIRONMENT_CANARY)
        alice.execute("SELECT cvx.resume_source('changing'), cvx.sync_source('changing')")
        has_rows(conn, space, 500)

    def test_seen_nowhere(self, cluster, conn, alice, space):
        """S10: after it was made, used and refused, and after a crash, a secret stands in its table and nowhere else."""
        keep_secret(alice, "canary", CANARY)
        bad = kafka_config(
            "127.0.0.1:1",
            "t",
            properties={
                "security.protocol": "sasl_plaintext",
                "sasl.mechanism": "PLAIN",
                "sasl.username": "u",
                "sasl.password": {"secret": "canary"},
            },
        )
        create_source(alice, "canary-kafka", "kafka", space, bad)
        create_source(alice, "canary-postgres", "postgres", space, remote_config(cluster, {"secret": "canary"}))
        s3 = {
            "bucket": "b",
            "endpoint": "http://127.0.0.1:1",
            "allow_http": True,
            "path_style": True,
            "access_key_id": {"secret": "canary"},
            "secret_access_key": {"secret": "canary"},
        }
        create_source(alice, "canary-s3", "s3_parquet", space, s3)
        for name in ("canary-postgres", "canary-s3"):
            alice.execute("SELECT cvx.sync_source(%s)", (name,))
            until(lambda: source(conn, name)["last_error"], 40, f"{name} has failed")
        cluster.kill(until(lambda: cluster.workers("ingest", "d"), 20)[0])
        until(lambda: cluster.workers("ingest", "d"), 30)

        with cluster.connect("d") as conn, cluster.connect("d", user="bob") as bob:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                bob.execute("TABLE cvx.secret")
            relations = """SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                           WHERE n.nspname IN ('cvx', 'cvx_space') AND c.relkind IN ('r', 'v', 'p') AND c.relname <> 'secret'"""
            for (name,) in [*conn.execute(relations).fetchall(), ("pg_stat_activity",)]:
                found = conn.execute(
                    f"SELECT count(*) FROM {name} r WHERE r::text LIKE %s AND r::text NOT LIKE '%%canary in query%%'",
                    (f"%{CANARY}%",),
                )
                assert found.fetchone()[0] - (name == "pg_stat_activity") <= 0, name
            assert conn.execute("SELECT count(*) FROM cvx.secret WHERE value = %s", (CANARY,)).fetchone() == (1,)
            assert CANARY not in conn.execute("SELECT cvx.dump_config()").fetchone()[0]
            for name in ("canary-kafka", "canary-postgres", "canary-s3"):
                conn.execute("SELECT cvx.drop_source(%s)", (name,))
        assert CANARY not in cluster.run("pg_dump", "d")
        assert not [title for _, title in cluster.processes() if CANARY in title]
        logged = [line for line in cluster.log().splitlines() if CANARY in line]
        assert logged == []
        alice.close()

    def test_dumped_by_reference_only(self, cluster, conn, alice, space, from_remote):
        dump = cluster.run("pg_dump", "d")
        assert ENVIRONMENT_CANARY not in dump and '"secret": "remote"' in dump


class TestEncryption:
    """S12: plain text is never silent."""

    def test_postgres_without_tls(self, cluster, conn, alice, space):
        keep_secret(alice, "remote", ENVIRONMENT_CANARY)
        config = remote_config(cluster, {"secret": "remote"})
        del config["sslmode"]
        create_source(alice, "tls", "postgres", space, config)
        alice.execute("SELECT cvx.sync_source('tls')")
        row = until(lambda: (it := source(alice, "tls"))["last_error"] and it, 30, "an error")
        assert rows(conn, space) == 0 and any(word in row["last_error"].lower() for word in ("tls", "ssl")), row[
            "last_error"
        ]

    def test_a_password_that_nobody_asks_for(self, cluster, conn, alice, space):
        """Otherwise the database server's own account or address would be let in."""
        hba = cluster.data / "pg_hba.conf"
        before = hba.read_text()
        hba.write_text("local all all trust\nhost all all 127.0.0.1/32 trust\n")
        cluster.reload()
        try:
            keep_secret(alice, "remote", ENVIRONMENT_CANARY)
            create_source(alice, "trusted", "postgres", space, remote_config(cluster, {"secret": "remote"}))
            alice.execute("SELECT cvx.sync_source('trusted')")
            row = until(lambda: (it := source(alice, "trusted"))["last_error"] and it, 30, "an error")
            assert "password" in row["last_error"] and rows(conn, space) == 0
        finally:
            hba.write_text(before)
            cluster.reload()


def test_nothing_is_connected_to_when_idle(cluster, conn):
    """T16: with no source that runs, no process of cvx has a socket to anywhere."""
    for (name,) in conn.execute("SELECT name FROM cvx.source").fetchall():
        conn.execute("SELECT cvx.drop_source(%s)", (name,))
    time.sleep(1)
    for pid in cluster.workers():
        sockets = subprocess.run(["ls", "-l", f"/proc/{pid}/fd"], capture_output=True, text=True).stdout
        inodes = {line.rsplit("[", 1)[1].rstrip("]") for line in sockets.splitlines() if "socket:[" in line}
        with open(f"/proc/{pid}/net/tcp") as tcp:
            established = [line.split() for line in tcp.read().splitlines()[1:]]
        assert not [fields for fields in established if fields[9] in inodes and fields[3] == "01"]
