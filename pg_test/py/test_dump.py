"""pg_dump and restore (T28): a restored database holds the same rows, rights and indexes, and goes on working."""

import os
import subprocess

import psycopg
import pytest
from conftest import connect

ROLES = ("py_dump_reader", "py_dump_writer", "py_dump_admin")
TABLES = (
    "cvx.space",
    "cvx.embedding",
    "cvx.model_version",
    "cvx.alignment",
    "cvx.sync_run",
    "cvx.dead_letter",
    "public.kept",
    "public.kept_by_hash",
)


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    assert "warning" not in done.stderr and "error" not in done.stderr, done.stderr


@pytest.fixture(scope="module")
def source(create_database, data_dir):
    """A database with something in everything that cvx stores, and columns of its type in a user's tables."""
    name = create_database()
    with connect(name) as conn:
        for role in ROLES:
            conn.execute(f"DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN")
        conn.execute("""
            SELECT cvx.create_space('v1', 384, 'first'), cvx.create_space('odd "name" -- ', 3), cvx.create_space('gone', 2);
            SELECT cvx.drop_space('gone');
            SELECT cvx.grant_read('py_dump_reader'), cvx.grant_write('py_dump_writer'), cvx.grant_admin('py_dump_admin')""")
        conn.execute("SELECT cvx.create_space('v2', 384)")
        for space in ("v1", "v2"):
            row = conn.execute(
                """SELECT written, rejected FROM cvx.ingest_parquet(%s, %s, 'package', 'uploaded_at', 'embedding',
                       model_version_column => 'model_version', input_hash_column => 'text_sha256', attrs_columns => ARRAY['version'])""",
                (str(data_dir / f"changelog_{space}.parquet"), space),
            ).fetchone()
            assert row[0] > 1000 and row[1] == 0
        conn.execute(
            "SELECT * FROM cvx.ingest_parquet(%s, 'odd \"name\" -- ', 'package', 'uploaded_at', 'embedding')",
            (str(data_dir / "changelog_v3.parquet"),),
        )
        conn.execute("""
            INSERT INTO cvx.embedding (space_id, entity_id, ts, vec, attrs)
                VALUES (cvx.space_id('odd "name" -- '), E'tab\\t\\\\ and "quote"', '0044-03-15 BC', '[1e-45,-0,3.4e38]', '{"a": null}');
            SELECT cvx.create_index('v1', 'cosine');
            -- A chain of three with a version whose space is gone, a pending one, and the first one's row moved behind the others.
            SELECT cvx.create_space('middle', 384);
            INSERT INTO cvx.embedding (space_id, entity_id, ts, vec) SELECT cvx.space_id('middle'), entity_id, ts, vec FROM cvx_space.v2;
            SELECT cvx.create_model('texts', 'minilm-v1', 'v1');
            SELECT cvx.create_model('texts', 'middle', 'middle', 'minilm-v1');
            SELECT cvx.create_model('texts', 'last', 'v2', 'middle');
            SELECT cvx.align('texts', 'last', 'affine', 5);
            SELECT cvx.drop_space('middle', true);
            SELECT cvx.create_model('it''s "odd"', '"; --', 'odd "name" -- ', model_hash => 'hash');
            SELECT cvx.create_space('waits', 2);
            SELECT cvx.create_model('texts', 'waits', 'waits', 'last');
            UPDATE cvx.model_version SET model_hash = 'known since' WHERE version = 'minilm-v1';
            -- Rows that the guard would refuse were let in once.
            SET cvx.model_mismatch = 'ignore';
            INSERT INTO cvx_space.waits (entity_id, ts, vec, model_version, model_hash) VALUES ('e', '2026-01-01', '[1,2]', 'another', 'hash');
            UPDATE cvx_space.v1 SET model_version = 'someone else''s' WHERE entity_id = 'six';
            RESET cvx.model_mismatch;
            CREATE TABLE kept (entity_id text PRIMARY KEY, t cvx.trajectory NOT NULL DEFAULT '{}', u cvx.trajectory[]);
            INSERT INTO kept SELECT entity_id, cvx.trajectory(entity_id, 'v1'), ARRAY[cvx.trajectory(entity_id, 'v2')]
                FROM (SELECT DISTINCT entity_id FROM cvx_space.v1) q;
            CREATE TABLE kept_by_hash (t cvx.trajectory) PARTITION BY HASH (t);
            CREATE TABLE kept_0 PARTITION OF kept_by_hash FOR VALUES WITH (MODULUS 2, REMAINDER 0);
            CREATE TABLE kept_1 PARTITION OF kept_by_hash FOR VALUES WITH (MODULUS 2, REMAINDER 1);
            INSERT INTO kept_by_hash SELECT t FROM kept;
            CREATE INDEX ON kept USING hash (t);
            CREATE VIEW moved AS SELECT entity_id, cvx.drift(t) AS drift FROM kept;
            CREATE MATERIALIZED VIEW found AS SELECT k.entity_id, c.* FROM kept k, cvx.changepoints(k.t, penalty => 2) c""")
    return name


def plain(source, target, folder):
    run("pg_dump", "--file", folder / "dump.sql", source)
    run("psql", "-XqAtv", "ON_ERROR_STOP=1", "-o", os.devnull, "-f", folder / "dump.sql", target)


def inserts(source, target, folder):
    run("pg_dump", "--inserts", "--quote-all-identifiers", "--file", folder / "dump.sql", source)
    run("psql", "-XqAtv", "ON_ERROR_STOP=1", "-o", os.devnull, "-f", folder / "dump.sql", target)


def custom(source, target, folder):
    run("pg_dump", "-Fc", "--file", folder / "dump", source)
    run("pg_restore", "--exit-on-error", "--dbname", target, folder / "dump")


def parallel(source, target, folder):
    run("pg_dump", "-Fd", "-j2", "--file", folder / "dump", source)
    run("pg_restore", "--exit-on-error", "-j2", "--dbname", target, folder / "dump")


def sections(source, target, folder):
    run("pg_dump", "-Fc", "--file", folder / "dump", source)
    for section in ("pre-data", "data", "post-data"):
        run("pg_restore", "--exit-on-error", "--section", section, "--dbname", target, folder / "dump")


def schema_then_data(source, target, folder):
    for part in ("--schema-only", "--data-only"):
        run("pg_dump", part, "--file", folder / "dump.sql", source)
        run("psql", "-XqAtv", "ON_ERROR_STOP=1", "-o", os.devnull, "-f", folder / "dump.sql", target)
    # pg_dump leaves that to us in a dump of data alone.
    run("psql", "-Xqc", "REFRESH MATERIALIZED VIEW found", target)


WAYS = [plain, inserts, custom, parallel, sections, schema_then_data]


@pytest.fixture(scope="module")
def restored(source, create_database, tmp_path_factory):
    """A function that dumps and restores one way, once, and returns the new database's name."""
    made = {}

    def restore(way):
        if way not in made:
            target = create_database(empty=True)
            way(source, target, tmp_path_factory.mktemp("dump"))
            made[way] = target
        return made[way]

    return restore


def content(name, table):
    """A hash of every row in full, in no order that a restore could change."""
    with connect(name) as conn:
        conn.execute("SET TimeZone = 'UTC'")
        query = f"SELECT count(*), md5(string_agg(md5(r::text), '' ORDER BY md5(r::text))) FROM {table} r"
        return conn.execute(query).fetchone()


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_every_row_is_back(source, restored, way):
    target = restored(way)
    for table in TABLES:
        before = content(source, table)
        assert before[0] > 0 and content(target, table) == before, table
    for view in ("moved", "found"):
        before = content(source, view)
        assert before[0] > 0 and content(target, view) == before


CATALOG = {
    "columns": """SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod), pg_get_expr(adbin, adrelid)
                  FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
                  WHERE attnum > 0 AND NOT attisdropped AND attrelid::regclass::text ~ '^(cvx|kept)' ORDER BY 1, 2""",
    "constraints": """SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
                      WHERE conrelid::regclass::text ~ '^(cvx|kept)' ORDER BY 1, 2""",
    "indexes": "SELECT indexdef FROM pg_indexes WHERE schemaname IN ('cvx', 'cvx_space', 'public') ORDER BY 1",
    "storage": """SELECT oid::regclass::text, reloptions, obj_description(oid) FROM pg_class
                  WHERE relnamespace IN ('cvx'::regnamespace, 'cvx_space'::regnamespace) ORDER BY 1""",
    "rights": """SELECT oid::regclass::text, (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(relacl) a) FROM pg_class
                 WHERE relnamespace IN ('cvx'::regnamespace, 'cvx_space'::regnamespace) ORDER BY 1""",
    "rights on functions": """SELECT oid::regprocedure::text, (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(proacl) a)
                              FROM pg_proc WHERE pronamespace = 'cvx'::regnamespace ORDER BY 1""",
    "members": """SELECT pg_describe_object(classid, objid, 0) FROM pg_depend
                  WHERE refclassid = 'pg_extension'::regclass AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'cvx')
                    AND deptype = 'e' ORDER BY 1""",
    "partitions": "SELECT inhrelid::regclass::text, pg_get_expr(relpartbound, c.oid) FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid ORDER BY 1",
}


@pytest.mark.parametrize("way", [plain, parallel, sections], ids=lambda way: way.__name__)
@pytest.mark.parametrize("what", CATALOG)
def test_catalog_is_the_same(source, restored, way, what):
    with connect(source) as before, connect(restored(way)) as after:
        expected = before.execute(CATALOG[what]).fetchall()
        assert expected and after.execute(CATALOG[what]).fetchall() == expected


PROJECTED = """SELECT md5(string_agg(vector_send(cvx.project(vec, 'v2', 'v1'))::text, '' ORDER BY entity_id, ts))
               FROM cvx.embedding WHERE space_id = cvx.space_id('v2')"""
CANONICAL = "SELECT md5(string_agg(c::text, '' ORDER BY c::text)) FROM kept, cvx.canonical_trajectory(entity_id, 'texts') c"


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_projections_are_the_same_to_the_bit(source, restored, way):
    with connect(source) as before, connect(restored(way)) as after:
        for query in (PROJECTED, CANONICAL):
            (expected,) = before.execute(query).fetchone()
            assert expected is not None and after.execute(query).fetchone() == (expected,)
        quality = "SELECT q::text FROM cvx.alignment_quality('texts') q"
        expected = before.execute(quality).fetchall()
        assert len(expected) == 3 and after.execute(quality).fetchall() == expected


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_the_guard_is_up_again(restored, way):
    """Rows that were let in are back; new ones are judged; a new fit has a number of its own."""
    with connect(restored(way)) as conn:
        assert conn.execute("SELECT model_version FROM cvx_space.waits").fetchone() == ("another",)
        with pytest.raises(psycopg.errors.CheckViolation):
            conn.execute(
                "INSERT INTO cvx_space.waits (entity_id, ts, vec, model_version) VALUES ('e', now(), '[1,2]', 'x')"
            )
        (highest,) = conn.execute("SELECT max(revision) FROM cvx.alignment").fetchone()
        with conn.transaction(force_rollback=True):
            conn.execute("SELECT cvx.drop_model('texts', 'waits')")
            conn.execute("SELECT cvx.create_model('texts', 'waits', 'waits', 'last')")
            assert conn.execute("SELECT max(revision) FROM cvx.alignment").fetchone()[0] > highest


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_it_goes_on_working(source, restored, way, data_dir):
    """Sequences go on, rows are validated, rights hold, the index serves."""
    with connect(restored(way)) as conn:
        highest, last_run = conn.execute(
            "SELECT (SELECT max(space_id) FROM cvx.space), (SELECT max(run_id) FROM cvx.sync_run)"
        ).fetchone()
        fresh = conn.execute("SELECT cvx.create_space('fresh', 2)").fetchone()[0]
        assert fresh > highest
        conn.execute("INSERT INTO cvx_space.fresh (entity_id, ts, vec) VALUES ('e', now(), '[1,2]')")
        for vector in ("[1]", "[0,0]"):
            with pytest.raises(psycopg.errors.CheckViolation):
                conn.execute("INSERT INTO cvx_space.fresh (entity_id, ts, vec) VALUES ('f', now(), %s)", (vector,))
        with pytest.raises(psycopg.errors.CheckViolation):
            conn.execute(
                "INSERT INTO cvx.embedding (space_id, entity_id, ts, vec) VALUES (cvx.space_id('v1'), 'e', now(), '[1,2]')"
            )
        with pytest.raises(psycopg.errors.UniqueViolation):
            conn.execute("INSERT INTO cvx_space.v1 SELECT * FROM cvx_space.v1 LIMIT 1")
        run_id, skipped = conn.execute(
            "SELECT run_id, skipped FROM cvx.ingest_parquet(%s, 'v1', 'package', 'uploaded_at', 'embedding')",
            (str(data_dir / "changelog_v1.parquet"),),
        ).fetchone()
        assert run_id > last_run and skipped > 1000
        assert conn.execute(
            "SELECT count(*) FROM kept WHERE t OPERATOR(cvx.=) cvx.trajectory(entity_id, 'v1')"
        ).fetchone() == (25,)
        conn.execute("SET enable_seqscan = off; SET enable_sort = off")
        (probe,) = conn.execute("SELECT vec::text FROM cvx_space.v1 LIMIT 1").fetchone()
        (space_id,) = conn.execute("SELECT cvx.space_id('v1')").fetchone()
        plan = "\n".join(
            line
            for (line,) in conn.execute(
                f"""EXPLAIN SELECT entity_id FROM cvx.embedding WHERE space_id = {space_id}
                ORDER BY vec::vector(384) <=> '{probe}'::vector(384) LIMIT 10"""
            )
        )
        assert "hnsw" in plan
        conn.execute("SELECT cvx.drop_space('fresh', true)")
    with connect(restored(way), user="py_dump_reader") as reader:
        assert reader.execute("SELECT count(*) FROM cvx.embedding").fetchone()[0] > 2000
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("DELETE FROM cvx.embedding")
    with connect(restored(way), user="py_dump_admin") as admin:
        assert admin.execute("SELECT cvx.create_space('theirs', 2)").fetchone()[0] > fresh
        admin.execute("INSERT INTO cvx_space.theirs (entity_id, ts, vec) VALUES ('e', now(), '[1,2]')")
        admin.execute("SELECT cvx.drop_space('theirs', true)")


def test_dump_of_the_restored_database_is_the_same(source, restored, tmp_path):
    texts = []
    for name in (source, restored(custom)):
        run("pg_dump", "--schema-only", "--file", tmp_path / "dump.sql", name)
        lines = (tmp_path / "dump.sql").read_text().splitlines()
        # Since 15.14 a dump is framed by a random word.
        texts.append([line for line in lines if not line.startswith(("\\restrict", "\\unrestrict"))])
    assert texts[0] == texts[1]
