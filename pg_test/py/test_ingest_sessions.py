"""ingest_parquet among sessions and roles: cancelled, concurrent, without rights, read only, under row security."""

import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
import pytest
from conftest import connect
from test_parquet import assert_nothing_written, ingest, space, write  # noqa: F401 (a fixture)

LONG = 400_000  # rows; seconds of work, of which a test waits for a fraction


@pytest.fixture(scope="module")
def long_file(tmp_path_factory):
    """A file that takes seconds to ingest, in the folder of the server's files."""
    folder = Path(tempfile.mkdtemp(dir=os.environ["CVX_TEST_FILES"]))
    folder.chmod(0o755)
    yield write(folder, "long.parquet", rows=LONG)
    shutil.rmtree(folder)


def threads(pid):
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def assert_alive_and_clean(conn, space, before):
    assert conn.execute("SELECT 1").fetchone() == (1,)
    wait_until(lambda: threads(conn.info.backend_pid) == before, 5)
    assert_nothing_written(conn, space)


def test_statement_timeout(conn, space, long_file):  # noqa: F811
    conn.execute("SELECT vector_dims('[1]'::vector)")
    before = threads(conn.info.backend_pid)
    for timeout in (30, 150):
        conn.execute(f"SET statement_timeout = {timeout}")
        with pytest.raises(psycopg.errors.QueryCanceled):
            ingest(conn, long_file, space, batch_size=500)
        conn.execute("RESET statement_timeout")
        assert_alive_and_clean(conn, space, before)


@pytest.mark.parametrize("batch_size", [10, 100_000])
def test_cancel_from_another_session(conn, space, long_file, batch_size):  # noqa: F811
    """Answered within a second, whether the batches are small or large."""
    before, pid = threads(conn.info.backend_pid), conn.info.backend_pid
    cancelled = []

    def cancel():
        with connect(conn.info.dbname) as other:
            wait_until(lambda: threads(pid) > before)
            time.sleep(0.2)
            cancelled.append(time.monotonic())
            other.execute("SELECT pg_cancel_backend(%s)", (pid,))

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(psycopg.errors.QueryCanceled):
        ingest(conn, long_file, space, batch_size=batch_size)
    answered = time.monotonic()
    canceller.join()
    assert answered - cancelled[0] < 1
    assert_alive_and_clean(conn, space, before)
    assert ingest(conn, write(long_file.parent, "short.parquet"), space)["written"] == 100


def test_terminate(conn, space, long_file):  # noqa: F811
    with connect(conn.info.dbname) as victim:
        pid = victim.info.backend_pid
        before = threads(pid)

        def terminate():
            wait_until(lambda: threads(pid) > before)
            conn.execute("SELECT pg_terminate_backend(%s)", (pid,))

        killer = threading.Thread(target=terminate)
        killer.start()
        with pytest.raises(psycopg.OperationalError):
            ingest(victim, long_file, space, batch_size=500)
        killer.join()
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
    assert_nothing_written(conn, space)


def test_rolled_back_with_its_transaction(conn, space, server_dir):  # noqa: F811
    path = write(server_dir, "f.parquet")
    with conn.transaction(force_rollback=True):
        assert ingest(conn, path, space)["written"] == 100
    assert_nothing_written(conn, space)
    with conn.transaction():
        with pytest.raises(psycopg.errors.BadCopyFileFormat), conn.transaction():
            (server_dir / "g.parquet").write_bytes(b"PAR1")
            ingest(conn, server_dir / "g.parquet", space)
        assert ingest(conn, path, space)["written"] == 100


@pytest.mark.parametrize("batch_size", [50, 100_000])
def test_concurrent_ingests_of_one_file(conn, space, server_dir, batch_size):  # noqa: F811
    """Each key arrives once; each row is counted once, as written or as skipped."""
    path = write(server_dir, "f.parquet", rows=3000)
    rows, start = [], threading.Barrier(3)

    def run():
        with connect(conn.info.dbname) as other:
            start.wait()
            rows.append(ingest(other, path, space, batch_size=batch_size))

    sessions = [threading.Thread(target=run) for _ in range(3)]
    for session in sessions:
        session.start()
    for session in sessions:
        session.join()
    assert sorted(row["written"] for row in rows) == [0, 0, 3000]
    assert all(row["written"] + row["skipped"] == 3000 for row in rows)
    count = "SELECT count(*), count(DISTINCT ts) FROM cvx.embedding WHERE space_id = cvx.space_id(%s)"
    assert conn.execute(count, (space,)).fetchone() == (3000, 3000)


@pytest.fixture
def role(conn):
    """A function that makes a role and returns a connection as it."""
    made = []

    def make(name, *grants):
        conn.execute(f"DROP ROLE IF EXISTS {name}")
        conn.execute(f"CREATE ROLE {name} LOGIN")
        for grant in grants:
            conn.execute(grant.format(name))
        made.append((name, connect(conn.info.dbname, user=name)))
        return made[-1][1]

    yield make
    for name, connection in made:
        connection.close()
        conn.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


FILES, WRITE = "GRANT pg_read_server_files TO {}", "SELECT cvx.grant_write('{}')"


def test_rights(conn, space, server_dir, role):  # noqa: F811
    path = write(server_dir, "f.parquet")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="function"):
        ingest(role("py_nobody", FILES), path, space)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="server's file") as error:
        ingest(role("py_writer", WRITE), path, space)
    assert "pg_read_server_files" in error.value.diag.message_hint
    # Whether a file is there is not told either.
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="server's file"):
        ingest(role("py_prober", WRITE), "/nowhere", space)
    assert_nothing_written(conn, space)
    assert ingest(role("py_loader", WRITE, FILES), path, space)["written"] == 100


def test_read_only(conn, space, server_dir):  # noqa: F811
    path = write(server_dir, "f.parquet")
    conn.execute("SET default_transaction_read_only = on")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        ingest(conn, path, space)
    conn.execute("RESET default_transaction_read_only")
    assert_nothing_written(conn, space)


def test_row_level_security(conn, space, server_dir, role):  # noqa: F811
    """As COPY: refused to whom the policies apply to, open to whom they do not."""
    path = write(server_dir, "f.parquet")
    loader = role("py_rls", WRITE, FILES)
    conn.execute("ALTER TABLE cvx.embedding ENABLE ROW LEVEL SECURITY")
    try:
        conn.execute("CREATE POLICY mine ON cvx.embedding USING (entity_id = 'mine') WITH CHECK (true)")
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="row-level security") as error:
            ingest(loader, path, space)
        assert "INSERT" in error.value.diag.message_hint
        assert ingest(conn, path, space)["written"] == 100
        query = "SELECT cvx.num_points(cvx.trajectory('e', %s))"
        assert conn.execute(query, (space,)).fetchone() == (100,)
        assert loader.execute(query, (space,)).fetchone() == (None,)
        conn.execute("ALTER ROLE py_rls BYPASSRLS")
        assert ingest(loader, path, space)["skipped"] == 100
    finally:
        conn.execute(
            "DROP POLICY IF EXISTS mine ON cvx.embedding; ALTER TABLE cvx.embedding DISABLE ROW LEVEL SECURITY"
        )


def test_triggers_and_generated_times(conn, space, server_dir):  # noqa: F811
    """Rows pass the partition's triggers as those of COPY do."""
    table = f'cvx_space."{space}"'
    conn.execute(f"""CREATE FUNCTION pg_temp.tag() RETURNS trigger LANGUAGE plpgsql AS
                     $$ BEGIN NEW.model_version := 'tagged'; RETURN NEW; END $$;
                     CREATE TRIGGER tag BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION pg_temp.tag()""")
    path = write(server_dir, "f.parquet")
    assert ingest(conn, path, space)["written"] == pq.read_metadata(path).num_rows
    counts = conn.execute(
        f"SELECT count(*) FILTER (WHERE model_version = 'tagged' AND ingested_at <= now()) FROM {table}"
    )
    assert counts.fetchone() == (100,)
    conn.execute(f"DROP TRIGGER tag ON {table}")
