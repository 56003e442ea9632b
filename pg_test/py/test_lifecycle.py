"""Loading the library: preloaded or not, with the extension in the database or without it."""

import psycopg
import pytest
from cluster import Cluster
from conftest import connect

DRIFT = "SELECT cvx.drift('{[1,0]@2026-01-01, [0,1]@2026-01-02}')"


@pytest.fixture(scope="module")
def preloaded():
    """A server of its own with shared_preload_libraries = 'cvx', and connection options for it."""
    with Cluster() as server:
        yield server, {"dbname": "postgres", "host": server.host, "port": server.port, "user": "postgres"}


def test_a_server_without_preload(unloaded):
    with connect(**unloaded) as conn:
        assert conn.execute("SHOW shared_preload_libraries").fetchone() == ("",)
        assert conn.execute(DRIFT).fetchone() == (1.0,)


def test_loaded_where_the_extension_is_not(unloaded):
    with connect(**{**unloaded, "dbname": "template1"}) as conn:
        conn.execute("LOAD 'cvx'")
        with pytest.raises(psycopg.errors.InvalidSchemaName, match='schema "cvx" does not exist'):
            conn.execute(DRIFT)
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_a_session_that_preloads_it(unloaded):
    with connect(**unloaded, options="-c session_preload_libraries=cvx") as conn:
        assert conn.execute(DRIFT).fetchone() == (1.0,)


def test_server_that_preloads_it(preloaded):
    server, options = preloaded
    with connect(**options) as conn:
        assert conn.execute("SHOW shared_preload_libraries").fetchone() == ("cvx",)
        assert conn.execute("SELECT 1").fetchone() == (1,)
        conn.execute("CREATE EXTENSION cvx CASCADE")
        assert conn.execute(DRIFT).fetchone() == (1.0,)
    log = server.log_file.read_text()
    assert not [line for line in log.splitlines() if "ERROR" in line or "FATAL" in line or "WARNING" in line]


def test_drop_and_create_again_in_one_session(create_database):
    with connect(create_database()) as conn:
        for _ in range(3):
            conn.execute("SELECT cvx.create_space('s', 2)")
            conn.execute("INSERT INTO cvx_space.s (entity_id, ts, vec) VALUES ('e', '2026-01-01', '[1,2]')")
            found = "SELECT cvx.num_points(cvx.trajectory('e', 's'))"
            assert conn.execute(found).fetchone() == (1,)
            conn.execute("DROP EXTENSION cvx CASCADE")
            left = "SELECT count(*) FROM pg_namespace WHERE nspname IN ('cvx', 'cvx_space')"
            assert conn.execute(left).fetchone() == (0,)
            conn.execute("CREATE EXTENSION cvx")


def test_a_session_does_not_mix_up_two_extensions(create_database):
    """Numbers of fits start anew with the extension; maps that the session kept of the one before must not serve."""
    with connect(create_database()) as conn:
        for shift in (1, 2, 3):
            conn.execute("SELECT cvx.create_space('old', 2), cvx.create_space('new', 2)")
            conn.execute(
                """INSERT INTO cvx.embedding (space_id, entity_id, ts, vec)
                   SELECT cvx.space_id(s), 'e' || i, '2026-01-01',
                          ARRAY[5 + sin(i) + CASE s WHEN 'old' THEN %s ELSE 0 END, cos(2 * i)]::real[]::vector
                   FROM unnest(ARRAY['old', 'new']) s, generate_series(1, 30) i""",
                (shift,),
            )
            conn.execute("SELECT cvx.create_model('m', 'v1', 'old')")
            conn.execute("SELECT cvx.create_model('m', 'v2', 'new', 'v1')")
            conn.execute("INSERT INTO cvx_space.new (entity_id, ts, vec) VALUES ('only new', '2026-01-02', '[7,1]')")
            moved = """SELECT round((cvx.project('[7,1]'::vector, 'new', 'old') <-> '[7,1]')::numeric, 3),
                              round(c.alignment_residual::numeric, 3) FROM cvx.canonical_trajectory('only new', 'm') c"""
            assert conn.execute(moved).fetchone() == (shift, shift)
            with pytest.raises(psycopg.errors.CheckViolation):
                conn.execute(
                    "INSERT INTO cvx_space.new (entity_id, ts, vec, model_version) VALUES ('x', now(), '[1,2]', 'v1')"
                )
            conn.execute("DROP EXTENSION cvx CASCADE")
            conn.execute("CREATE EXTENSION cvx")


def test_settings_of_a_server_that_preloads_it(preloaded):
    _, options = preloaded
    with connect(**options) as conn:
        (count,) = conn.execute("SELECT count(*) FROM pg_settings WHERE name LIKE 'cvx.%'").fetchone()
        assert count == 10
        conn.execute("ALTER SYSTEM SET cvx.model_mismatch = 'warning'")
        conn.execute("SELECT pg_reload_conf()")
    with connect(**options) as conn:
        assert conn.execute("SHOW cvx.model_mismatch").fetchone() == ("warning",)
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            conn.execute("ALTER SYSTEM SET cvx.model_mismatch = 'sometimes'")
