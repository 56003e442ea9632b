"""The identity guard among files, sessions and prepared statements: what it keeps, how often it warns, what it remembers."""

import itertools

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import connect

NUMBERS = itertools.count()
WRONG = "INSERT INTO cvx_space.\"{space}\" (entity_id, ts, vec, model_version) VALUES ('e{n}', '2026-01-01', '[1,2]', 'v2')"


@pytest.fixture
def space(conn):
    """A space registered for version v1, hash h1, of a model of the same name."""
    name = f"guarded {next(NUMBERS)}"
    conn.execute("SELECT cvx.create_space(%s, 2)", (name,))
    conn.execute("SELECT cvx.create_model(%s, 'v1', %s, model_hash => 'h1')", (name, name))
    yield name
    conn.execute("RESET cvx.model_mismatch")
    conn.execute("SELECT cvx.drop_space(%s, true)", (name,))
    conn.execute("SELECT cvx.drop_model(%s)", (name,))


@pytest.fixture
def warnings(conn):
    """The warnings that the connection has had, in order."""
    heard = []

    def hear(diagnostic):
        if diagnostic.severity_nonlocalized == "WARNING":
            heard.append(diagnostic.message_primary)

    conn.add_notice_handler(hear)
    yield heard
    conn.remove_notice_handler(hear)


def wrong(space):
    return WRONG.format(space=space, n=next(NUMBERS))


def ingest(conn, path, space, batch_size):
    query = """SELECT records_read, written, rejected, skipped, reject_reasons FROM cvx.ingest_parquet(
        %s, %s, 'entity', 'ts', 'vec', model_version_column => 'version', model_hash_column => 'hash', batch_size => %s)"""
    return conn.execute(query, (str(path), space, batch_size)).fetchone()


def write(folder):
    """Of 100 rows every tenth names version v2, every 25th hash h2."""
    rows = range(100)
    path = folder / "mixed.parquet"
    table = pa.table(
        {
            "entity": [f"e{i}" for i in rows],
            "ts": pa.array([1_767_225_600_000_000 + i for i in rows], pa.timestamp("us", "UTC")),
            "vec": pa.array([[float(i), 1.0] for i in rows], pa.list_(pa.float32())),
            "version": ["v2" if i % 10 == 0 else None if i % 3 == 0 else "v1" for i in rows],
            "hash": ["h2" if i % 25 == 0 else "h1" if i % 2 else None for i in rows],
        }
    )
    pq.write_table(table, path)
    path.chmod(0o644)
    return path


REFUSED = sorted({i for i in range(100) if i % 10 == 0 or i % 25 == 0})


@pytest.mark.parametrize("batch_size", [7, 1000])
def test_ingestion_keeps_the_rows_that_it_refuses(conn, space, server_dir, batch_size):
    path = write(server_dir)
    taken = 100 - len(REFUSED)
    assert ingest(conn, path, space, batch_size) == (100, taken, len(REFUSED), 0, {"model_mismatch": len(REFUSED)})
    letters = conn.execute("""
        SELECT d.position, d.reason, d.message, d.payload FROM cvx.dead_letter d
        WHERE d.run_id = (SELECT max(run_id) FROM cvx.sync_run) ORDER BY d.dead_letter_id""").fetchall()
    assert [(row[0], row[1]) for row in letters] == [(f"{path}#{i}", "model_mismatch") for i in REFUSED]
    for i, (_, _, message, payload) in zip(REFUSED, letters):
        # The version is judged before the hash.
        field, named, registered = ("model_version", "v2", "v1") if i % 10 == 0 else ("model_hash", "h2", "h1")
        assert message == f'{field} is "{named}", the space is registered for "{registered}"'
        assert payload[field] == named and payload["entity_id"] == f"e{i}"
    assert ingest(conn, path, space, batch_size)[1:4] == (0, len(REFUSED), taken)


@pytest.mark.parametrize("mode, count", [("warning", 1), ("ignore", 0)])
def test_ingestion_takes_them_when_told_to(conn, space, warnings, server_dir, mode, count):
    conn.execute(f"SET cvx.model_mismatch = {mode}")
    assert ingest(conn, write(server_dir), space, 7) == (100, 100, 0, 0, {})
    assert warnings == ['model_version is "v2", the space is registered for "v1"'] * count


def test_one_warning_a_statement(conn, space, warnings):
    conn.execute("SET cvx.model_mismatch = warning")
    many = f"""INSERT INTO cvx_space."{space}" (entity_id, ts, vec, model_version)
               SELECT %s || i, '2026-01-01', '[1,2]', 'v' || i FROM generate_series(1, 1000) i"""
    for n in range(3):
        conn.execute(many, (f"many {n} ",))
        assert len(warnings) == n + 1
    with conn.cursor() as cursor, cursor.copy(f'COPY cvx_space."{space}" (entity_id, ts, vec, model_hash) FROM STDIN') as copy:
        for i in range(1000):
            copy.write_row((f"copied {i}", "2026-01-01", "[1,2]", f"h{i}"))
    assert warnings[3:] == ['model_hash is "h0", the space is registered for "h1"']
    conn.execute("BEGIN")
    for n in range(3):
        conn.execute(wrong(space))
        assert len(warnings) == 5 + n
    conn.execute("COMMIT")
    conn.execute("DO $$ BEGIN FOR i IN 1..5 LOOP " + wrong(space).replace("'2026-01-01'", "now() + i * interval '1 s'") + "; END LOOP; END $$")
    assert len(warnings) == 8
    conn.execute(f"""UPDATE cvx_space."{space}" SET model_version = 'v3'""")
    assert warnings[8:] == ['model_version is "v3", the space is registered for "v1"']
    # A statement that fails has said it; the next one says it again.
    with pytest.raises(psycopg.errors.CheckViolation):
        conn.execute(f"""INSERT INTO cvx_space."{space}" (entity_id, ts, vec, model_version)
                         VALUES ('x', now(), '[1,2]', 'v4'), ('x', now(), '[0,0]', NULL)""")
    conn.execute(wrong(space))
    assert len(warnings) == 11


def test_a_registration_reaches_sessions_that_have_written_before(conn, database, space):
    """Prepared statements and what a session remembers notwithstanding, in a transaction too."""
    insert = f"""INSERT INTO cvx_space."{space}" (entity_id, ts, vec, model_version) VALUES (%s, now(), '[1,2]', %s)"""
    with connect(database) as writer:
        for n in range(10):
            writer.execute(insert, (f"a{n}", "v1"), prepare=True)
        writer.execute("BEGIN")
        writer.execute(insert, ("b", "v1"), prepare=True)
        conn.execute("SELECT cvx.drop_model(%s)", (space,))
        writer.execute(insert, ("c", "any"), prepare=True)
        conn.execute("SELECT cvx.create_model(%s, 'v9', %s)", (space, space))
        writer.execute("SAVEPOINT s")
        with pytest.raises(psycopg.errors.CheckViolation, match='"v1", the space is registered for "v9"'):
            writer.execute(insert, ("d", "v1"), prepare=True)
        writer.execute("ROLLBACK TO s")
        writer.execute(insert, ("d", "v9"), prepare=True)
        writer.execute("COMMIT")
        writer.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        writer.execute("SELECT count(*) FROM cvx.space")
        conn.execute("SELECT cvx.drop_model(%s)", (space,))
        conn.execute("SELECT cvx.create_model(%s, 'v10', %s)", (space, space))
        # The transaction's snapshot is of before.
        writer.execute(insert, ("e", "v9"), prepare=True)
        writer.execute("COMMIT")
        with pytest.raises(psycopg.errors.CheckViolation):
            writer.execute(insert, ("f", "v9"), prepare=True)


def test_rows_are_written_as_fast_as_without_a_model(conn, space):
    """What is registered is looked up once a statement, not once a row."""
    calls = "SELECT coalesce(sum(calls), 0) FROM pg_stat_user_functions WHERE funcname = '_registered_model'"
    conn.execute("SET track_functions = 'all'")
    conn.execute("SELECT pg_stat_force_next_flush()")
    (before,) = conn.execute(calls).fetchone()
    conn.execute(f"""INSERT INTO cvx_space."{space}" (entity_id, ts, vec, model_version)
                     SELECT 'e' || i, '2026-01-01', '[1,2]', 'v1' FROM generate_series(1, 5000) i""")
    conn.execute("SELECT pg_stat_force_next_flush()")
    assert conn.execute(calls).fetchone()[0] - before <= 2
