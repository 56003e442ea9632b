"""Fixtures of the pytest suite. The server is the one that `make test-py` started and named in PGHOST and so on."""

import os
import re
import shutil
import tempfile
import uuid
from pathlib import Path

import psycopg
import pytest
import trajectories
from cluster import Cluster
from psycopg import sql


def pytest_configure(config):
    if "CVX_SERVER_LOG" not in os.environ:
        raise pytest.UsageError("no server: run the suite with `make test-py`")


def connect(dbname: str, **options) -> psycopg.Connection:
    """An autocommit connection to a database of the test server, as its superuser unless `user` says otherwise."""
    options.setdefault("autocommit", True)
    return psycopg.connect(dbname=dbname, **options)


@pytest.fixture(scope="session")
def template() -> str:
    """A database with cvx in it and nothing else, to copy from: quicker than CREATE EXTENSION a test."""
    name = "cvx_py_template"
    with connect("postgres") as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    with connect(name) as conn:
        conn.execute("CREATE EXTENSION cvx CASCADE")
    return name


@pytest.fixture(scope="session")
def create_database(template):
    """A function that makes a database (with cvx unless empty=True) and returns its name; dropped at the end."""
    made = []

    def create(empty: bool = False) -> str:
        name = f"cvx_py_{uuid.uuid4().hex[:12]}"
        source = "template0" if empty else template
        with connect("postgres") as admin:
            admin.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(source))
            )
        made.append(name)
        return name

    yield create
    with connect("postgres") as admin:
        for name in made:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def unloaded():
    """A server of its own without shared_preload_libraries; connection options for its database, which has cvx."""
    with Cluster({"shared_preload_libraries": ""}) as server:
        options = {"dbname": "postgres", "host": server.host, "port": server.port, "user": "postgres"}
        with connect(**options) as conn:
            conn.execute("CREATE EXTENSION cvx CASCADE")
        yield options


@pytest.fixture(scope="module")
def database(create_database) -> str:
    """The name of a database with cvx, the test module's own."""
    return create_database()


@pytest.fixture
def conn(database):
    """An autocommit connection to the module's database."""
    with connect(database) as connection:
        yield connection


@pytest.fixture
def typed(conn):
    """The same connection, through which trajectories, vectors and timestamps travel in binary (trajectories.py)."""
    trajectories.register(conn)
    return conn


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The demo's Parquet files, in a folder that the server can read."""
    return Path(os.environ["CVX_TEST_DATA"])


@pytest.fixture
def server_dir():
    """An empty folder in which a test puts files for the server to read (pytest's tmp_path is closed to it)."""
    folder = Path(tempfile.mkdtemp(dir=os.environ["CVX_TEST_FILES"]))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def server_log():
    """A function that returns what the server has logged since the test began."""
    path = Path(os.environ["CVX_SERVER_LOG"])
    start = path.stat().st_size

    def read() -> str:
        with path.open("rb") as log:
            log.seek(start)
            return log.read().decode(errors="replace")

    return read


@pytest.fixture(autouse=True)
def nothing_broke(server_log):
    """After every test: no backend has crashed, and no Rust code has panicked, while it ran.

    The parquet crate may: it does on some damaged files, and the connector makes errors of that.
    """
    yield
    found = re.search(r"was terminated by signal|PANIC:|panicked at (?!\S*/parquet-\d)", server_log())
    assert not found, f"the server's log holds {found[0]!r}"
