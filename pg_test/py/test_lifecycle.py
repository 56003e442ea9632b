"""Loading the library: preloaded or not, with the extension in the database or without it."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg
import pytest

from conftest import connect

DRIFT = "SELECT cvx.drift('{[1,0]@2026-01-01, [0,1]@2026-01-02}')"


def as_server(*command: str) -> None:
    """Runs one of the server's programs under its account, which PostgreSQL wants not to be root."""
    owner = pwd.getpwuid(os.stat(os.environ["CVX_SERVER_LOG"]).st_uid).pw_name
    prefix = ["runuser", "-u", owner, "--"] if os.geteuid() == 0 else []
    subprocess.run([*prefix, *command], check=True, cwd="/", stdin=subprocess.DEVNULL, capture_output=True)


@pytest.fixture(scope="module")
def preloaded():
    """The socket folder of a server of its own with shared_preload_libraries = 'cvx'."""
    bindir = Path(shutil.which("pg_ctl")).parent
    folder = Path(tempfile.mkdtemp(prefix="cvx."))
    shutil.chown(folder, os.stat(os.environ["CVX_SERVER_LOG"]).st_uid)
    data = folder / "data"
    as_server(str(bindir / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync")
    options = f"-c shared_preload_libraries=cvx -c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
    as_server(str(bindir / "pg_ctl"), "-D", str(data), "-l", str(folder / "log"), "-o", options, "-s", "-w", "start")
    yield folder
    as_server(str(bindir / "pg_ctl"), "-D", str(data), "-s", "-m", "immediate", "stop")
    shutil.rmtree(folder)


def test_the_suite_runs_without_preload(conn):
    assert conn.execute("SHOW shared_preload_libraries").fetchone() == ("",)
    assert conn.execute(DRIFT).fetchone() == (1.0,)


def test_loaded_where_the_extension_is_not(create_database):
    with connect(create_database(empty=True)) as conn:
        conn.execute("LOAD 'cvx'")
        with pytest.raises(psycopg.errors.InvalidSchemaName, match='schema "cvx" does not exist'):
            conn.execute(DRIFT)
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_a_session_that_preloads_it(database):
    with connect(database, options="-c session_preload_libraries=cvx") as conn:
        assert conn.execute(DRIFT).fetchone() == (1.0,)


def test_server_that_preloads_it(preloaded):
    with connect("postgres", host=str(preloaded), port=5432, user="postgres") as conn:
        assert conn.execute("SHOW shared_preload_libraries").fetchone() == ("cvx",)
        assert conn.execute("SELECT 1").fetchone() == (1,)
        conn.execute("CREATE EXTENSION cvx CASCADE")
        assert conn.execute(DRIFT).fetchone() == (1.0,)
    log = (preloaded / "log").read_text()
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
