"""Every object of the extension against a list: its kind, its properties, what PUBLIC may do with it.

A new object fails here until it is put into objects.txt, on purpose: `python -m pytest ... --tb=short` prints the line.
"""

from pathlib import Path

import psycopg
import pytest

OBJECTS = Path(__file__).with_name("objects.txt")

# One line an object: functions with volatility, strictness, parallel safety, definer and PUBLIC's EXECUTE; relations,
# types and schemas with PUBLIC's rights.
LISTING = """
WITH member AS (
    SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'cvx'
)
SELECT format('%s %s %s%s%s%s%s',
        CASE p.prokind WHEN 'a' THEN 'aggregate' ELSE 'function' END, p.oid::regprocedure,
        CASE p.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END,
        CASE WHEN p.proisstrict THEN ' strict' ELSE '' END,
        CASE p.proparallel WHEN 's' THEN ' parallel-safe' WHEN 'u' THEN ' parallel-unsafe' ELSE ' parallel-restricted' END,
        CASE WHEN p.prosecdef THEN ' definer' ELSE '' END,
        CASE WHEN has_function_privilege('cvx_nobody', p.oid, 'EXECUTE') THEN ' public' ELSE '' END)
FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
UNION ALL
SELECT format('%s %s%s', CASE c.relkind WHEN 'p' THEN 'partitioned table' WHEN 'r' THEN 'table' WHEN 'S' THEN 'sequence'
                                        ELSE 'relation ' || c.relkind::text END,
        c.oid::regclass,
        CASE WHEN c.relkind = 'S' THEN CASE WHEN has_sequence_privilege('cvx_nobody', c.oid, 'USAGE, SELECT, UPDATE') THEN ' public' ELSE '' END
             WHEN has_table_privilege('cvx_nobody', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') THEN ' public'
             ELSE '' END)
FROM member m JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid
UNION ALL
SELECT format('schema %s%s%s', n.nspname, CASE WHEN has_schema_privilege('cvx_nobody', n.oid, 'USAGE') THEN ' usage' ELSE '' END,
        CASE WHEN has_schema_privilege('cvx_nobody', n.oid, 'CREATE') THEN ' create' ELSE '' END)
FROM member m JOIN pg_namespace n ON m.classid = 'pg_namespace'::regclass AND n.oid = m.objid
UNION ALL
SELECT format('other %s', pg_describe_object(m.classid, m.objid, 0))
FROM member m
WHERE m.classid NOT IN ('pg_proc'::regclass, 'pg_class'::regclass, 'pg_namespace'::regclass)
  -- Row types and array types go with what they are of; PostgreSQL 17 lists them as members, 15 does not.
  AND NOT (m.classid = 'pg_type'::regclass
           AND (SELECT t.typrelid <> 0 OR t.typelem <> 0 FROM pg_type t WHERE t.oid = m.objid))
ORDER BY 1
"""


@pytest.fixture
def nobody(conn):
    conn.execute("DROP ROLE IF EXISTS cvx_nobody")
    conn.execute("CREATE ROLE cvx_nobody")
    yield conn
    conn.execute("DROP ROLE cvx_nobody")


def test_every_object_is_listed(nobody):
    nobody.execute("SET search_path = pg_catalog")
    found = [line for (line,) in nobody.execute(LISTING)]
    listed = OBJECTS.read_text().splitlines()
    assert sorted(found) == sorted(listed)


def test_every_object_has_a_comment(conn):
    silent = conn.execute("""
        SELECT pg_describe_object(d.classid, d.objid, 0)
        FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
        WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'cvx'
          AND obj_description(d.objid, d.classid::regclass::name) IS NULL
          -- What stands for another object that has one: array types, row types, identity sequences, families.
          AND d.classid NOT IN ('pg_opfamily'::regclass)
          AND NOT (d.classid = 'pg_class'::regclass
                   AND (SELECT relkind FROM pg_class WHERE oid = d.objid) IN ('S', 'i', 'I'))
          AND NOT (d.classid = 'pg_type'::regclass
                   AND (SELECT typrelid <> 0 OR typelem <> 0 FROM pg_type WHERE oid = d.objid))
    """).fetchall()
    assert silent == []


def test_sql_and_plpgsql_functions_lock_their_search_path(conn):
    loose = conn.execute("""
        SELECT p.oid::regprocedure::text
        FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid JOIN pg_proc p ON p.oid = d.objid
        JOIN pg_language l ON l.oid = p.prolang
        WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e' AND e.extname = 'cvx'
          -- The names in a body of the SQL standard's form were resolved once and for all.
          AND (l.lanname IN ('sql', 'plpgsql') AND p.prosqlbody IS NULL OR p.prosecdef)
          AND NOT coalesce(p.proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false)
    """).fetchall()
    assert loose == []


def test_a_schema_of_somebody_else_is_not_adopted(create_database):
    name = create_database(empty=True)
    with psycopg.connect(dbname=name, autocommit=True) as conn:
        conn.execute("CREATE EXTENSION vector")
        conn.execute("CREATE ROLE cvx_squatter")
        try:
            conn.execute("CREATE SCHEMA cvx AUTHORIZATION cvx_squatter")
            with pytest.raises(psycopg.errors.DuplicateSchema):
                conn.execute("CREATE EXTENSION cvx")
            assert conn.execute("SELECT count(*) FROM pg_extension WHERE extname = 'cvx'").fetchone() == (0,)
        finally:
            conn.execute("DROP OWNED BY cvx_squatter CASCADE")
            conn.execute("DROP ROLE cvx_squatter")


# What the roles of README may do with models. Each statement runs by itself and is undone; the first level at which it
# succeeds. "nobody" stands for PUBLIC.
LEVELS = ("nobody", "read", "write", "admin", "superuser")
STATEMENTS = [
    ("SELECT cvx.project('{}'::cvx.trajectory, 'v2', 'v2')", "read"),
    ("SELECT cvx.project('[1,2]'::public.vector, 'v2', 'v1')", "read"),
    ("SELECT cvx.canonical('e1', 'm')", "read"),
    ("SELECT cvx.canonical_trajectory('e1', 'm')", "read"),
    ("SELECT cvx.canonical_svg('e1', 'm')", "read"),
    ("SELECT cvx.model_changepoints('e1', 'm')", "read"),
    ("SELECT cvx.alignment_quality('m')", "read"),
    ("SELECT cvx.alignment_map('m', 'v2')", "read"),
    ("SELECT cvx.space_report('cvx.embedding', 'vec')", "read"),
    ("SELECT * FROM cvx.model_version", "read"),
    ("SELECT * FROM cvx.alignment", "read"),
    ("SELECT cvx._max_align_dims(), cvx._registered_model(1), cvx._check_model(1, NULL, NULL)", "nobody"),
    ("INSERT INTO cvx.embedding (space_id, entity_id, ts, vec, model_version) VALUES (1, 'x', now(), '[1,2]', 'v1')", "write"),
    ("INSERT INTO cvx_space.v1 (entity_id, ts, vec, model_version) VALUES ('x', now(), '[1,2]', 'v1')", "write"),
    ("COPY cvx_space.v1 (entity_id, ts, vec) FROM '/dev/null'", "superuser"),
    ("SELECT cvx.create_model('n', 'v1', 'free')", "admin"),
    ("SELECT cvx.create_model('m', 'v3', 'free', 'v2', auto_align => false)", "admin"),
    ("SELECT cvx.align('m', 'v2')", "admin"),
    ("SELECT cvx._align('m', 'v2', 'affine', 5)", "admin"),
    ("SELECT cvx.drop_model('m', 'v2')", "admin"),
    ("SELECT cvx.drop_model('m')", "admin"),
    ("SELECT cvx.drop_space('v2', true)", "admin"),
    ("SET cvx.model_mismatch = 'warning'", "admin"),
    ("SET LOCAL cvx.model_mismatch = 'ignore'", "admin"),
    ("SET cvx.alignment_max_pairs = 500", "nobody"),
    ("SET cvx.projection_cache_size = 0", "nobody"),
    ("UPDATE cvx.model_version SET model_hash = 'h'", "admin"),
    ("UPDATE cvx.alignment SET status = 'aligned'", "admin"),
    ("DELETE FROM cvx.alignment", "admin"),
    ("SELECT nextval('cvx.alignment_revision_seq')", "admin"),
    ("SELECT setval('cvx.alignment_revision_seq', 1)", "superuser"),
    ("TRUNCATE cvx.alignment", "superuser"),
    ("ALTER TABLE cvx.alignment DROP COLUMN rank", "superuser"),
    ("CREATE TRIGGER t BEFORE UPDATE ON cvx.alignment EXECUTE FUNCTION suppress_redundant_updates_trigger()", "superuser"),
    ("UPDATE cvx.space SET dims = 5", "superuser"),
    ("SELECT cvx.grant_read('cvx_py_nobody')", "superuser"),
]


@pytest.fixture(scope="module")
def levels(create_database):
    """A database with an aligned model and a role of each level: a function that runs a statement as one of them."""
    name = create_database()
    with psycopg.connect(dbname=name, autocommit=True) as conn:
        conn.execute("SELECT cvx.create_space(s, 2) FROM unnest(ARRAY['v1', 'v2', 'free']) s")
        conn.execute("""
            INSERT INTO cvx.embedding (space_id, entity_id, ts, vec)
            SELECT cvx.space_id(s), 'e' || i, '2026-01-01', ARRAY[3 + sin(i), cos(2 * i)]::real[]::vector
            FROM unnest(ARRAY['v1', 'v2']) s, generate_series(1, 110) i""")
        conn.execute("SELECT cvx.create_model('m', 'v1', 'v1'), cvx.create_model('m', 'v2', 'v2', 'v1')")
        assert conn.execute("SELECT cvx.space_id('v1')").fetchone() == (1,)
        for level in LEVELS[:-1]:
            role = f"cvx_py_{level}"
            conn.execute(f"DROP ROLE IF EXISTS {role}; CREATE ROLE {role}")
            if level != "nobody":
                conn.execute(f"SELECT cvx.grant_{level}('{role}')")

        def state_of(statement: str, level: str) -> str | None:
            """None, or the SQLSTATE."""
            role = "" if level == "superuser" else f"SET LOCAL ROLE cvx_py_{level};"
            try:
                with conn.transaction(force_rollback=True):
                    conn.execute(role + statement)
            except psycopg.Error as error:
                return error.sqlstate
            return None

        yield state_of
        for level in LEVELS[:-1]:
            conn.execute(f"DROP OWNED BY cvx_py_{level}; DROP ROLE cvx_py_{level}")


@pytest.mark.parametrize("statement, first", STATEMENTS, ids=[statement for statement, _ in STATEMENTS])
def test_each_level_may_do_what_it_is_for(levels, statement, first):
    allowed = LEVELS.index(first)
    expected = ["42501"] * allowed + [None] * (len(LEVELS) - allowed)
    assert [levels(statement, level) for level in LEVELS] == expected


def trap(what: str) -> str:
    return f"LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.trapped VALUES ('{what}'); RETURN NULL; END $$"


# Names that cvx uses, with arguments that fit better or as well, where a careless search_path would find them.
TRAPS = [
    f"CREATE FUNCTION public.count(public.vector) RETURNS bigint {trap('count')}",
    f"CREATE FUNCTION public.format(text, name, int) RETURNS text {trap('format')}",
    f"CREATE FUNCTION public.format(text, text, text) RETURNS text {trap('format')}",
    f"CREATE FUNCTION public.quote_ident(name) RETURNS text {trap('quote_ident')}",
    f"CREATE FUNCTION public.octet_length(name) RETURNS int {trap('octet_length')}",
    f"CREATE FUNCTION public.to_json(text) RETURNS json {trap('to_json')}",
    f"CREATE FUNCTION public.now() RETURNS timestamptz {trap('now')}",
    f"CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz {trap('clock_timestamp')}",
    f"CREATE FUNCTION public.min(pg_catalog.timestamptz) RETURNS pg_catalog.timestamptz {trap('min')}",
    f"CREATE FUNCTION public.hashtextextended(text, bigint) RETURNS bigint {trap('hashtextextended')}",
    f"CREATE FUNCTION public.nextval(regclass) RETURNS bigint {trap('nextval')}",
    f"CREATE FUNCTION public.sha256(bytea) RETURNS bytea {trap('sha256')}",
    f"CREATE FUNCTION public.int_int(int, int) RETURNS bool {trap('operator')}",
    f"CREATE FUNCTION public.unnest(text[]) RETURNS text {trap('unnest')}",
    f"CREATE FUNCTION public.int_text(int, text) RETURNS bool {trap('operator')}",
    f"CREATE FUNCTION public.text_text(text, text) RETURNS bool {trap('operator')}",
    f"CREATE FUNCTION public.ts_ts(timestamptz, timestamptz) RETURNS bool {trap('operator')}",
    "CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.text_text)",
    "CREATE OPERATOR public.= (LEFTARG = int, RIGHTARG = int, FUNCTION = public.int_int)",
    "CREATE OPERATOR public.< (LEFTARG = int, RIGHTARG = int, FUNCTION = public.int_int)",
    "CREATE OPERATOR public.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = public.text_text)",
    "CREATE OPERATOR public.>= (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = public.ts_ts)",
    "CREATE OPERATOR public.<= (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = public.ts_ts)",
]


@pytest.mark.parametrize("when", ["before CREATE EXTENSION", "after it"])
def test_traps_in_public_stay_shut(create_database, data_dir, when):
    """A superuser with public first in search_path runs what cvx has; nothing planted there is called."""
    name = create_database(empty=True)
    with psycopg.connect(dbname=name, autocommit=True) as conn:
        conn.execute("CREATE SCHEMA extensions")
        conn.execute("CREATE EXTENSION vector SCHEMA extensions")
        conn.execute("CREATE TABLE public.trapped (what text)")
        traps = [t.replace("public.vector", "extensions.vector") for t in TRAPS]
        # Types as well: an unqualified "vector" or "regclass" must not mean these.
        traps += ["CREATE DOMAIN public.vector AS text", "CREATE DOMAIN public.timestamptz AS text"]
        traps = [t.replace("timestamptz,", "pg_catalog.timestamptz,") for t in traps]
        steps = [lambda: [conn.execute(t) for t in traps], lambda: conn.execute("CREATE EXTENSION cvx")]
        for step in steps if when.startswith("before") else reversed(steps):
            step()
        conn.execute("SET search_path = public, extensions, pg_catalog")
        conn.execute("CREATE TEMP TABLE pg_class (oid oid)")
        conn.execute("SELECT cvx.create_space('s', 384)")
        conn.execute(
            "SELECT * FROM cvx.ingest_parquet(%s, 's', 'package', 'uploaded_at', 'embedding')",
            [f"{data_dir}/changelog_v1.parquet"],
        )
        (entity,) = conn.execute("SELECT entity_id FROM cvx.embedding LIMIT 1").fetchone()
        conn.execute("SELECT cvx.create_space('s2', 384)")
        conn.execute("SELECT cvx.create_model('m', 'v1', 's')")
        conn.execute(
            "SELECT * FROM cvx.ingest_parquet(%s, 's2', 'package', 'uploaded_at', 'embedding', input_hash_column => 'text_sha256')",
            [f"{data_dir}/changelog_v2.parquet"],
        )
        conn.execute("SELECT cvx.create_model('m', 'v2', 's2', 'v1')")
        conn.execute("SELECT cvx.align('m', 'v2', 'affine')")
        for query in [
            "SELECT cvx.canonical_trajectory(%s, 'm')",
            "SELECT cvx.canonical_svg(%s, 'm')",
            "SELECT cvx.model_changepoints(%s, 'm', penalty => 1) UNION ALL SELECT NULL",
            "SELECT cvx.project(cvx.trajectory(%s, 's2'), 's2', 's')",
            "SELECT cvx.project(vec, 's2', 's') FROM cvx_space.s2 WHERE entity_id OPERATOR(pg_catalog.=) %s",
            "SELECT cvx.changepoints(cvx.trajectory(%s, 's'))",
            "SELECT cvx.trajectory_svg(cvx.trajectory(%s, 's'))",
            "SELECT cvx.provenance(%s, 's')",
            "SELECT cvx.consistent_model(%s, 's')",
            "SELECT cvx.drift(cvx.trajectory_agg(ts, vec)) FROM cvx_space.s WHERE entity_id OPERATOR(pg_catalog.=) %s",
        ]:
            assert conn.execute(query, [entity]).fetchall()
        assert conn.execute("SELECT cvx.freshness()").fetchall()
        assert conn.execute("SELECT cvx.alignment_quality('m'), cvx.alignment_map('m', 'v2')").fetchall()
        assert conn.execute("SELECT cvx.space_report('cvx_space.s2', 'vec', 'ts', 'entity_id')").fetchall()
        conn.execute("SELECT cvx.drop_model('m')")
        conn.execute("SELECT cvx.create_index('s')")
        conn.execute("CREATE ROLE cvx_trapped")
        conn.execute("SELECT cvx.grant_admin('cvx_trapped')")
        conn.execute("SELECT cvx.drop_space('s', true)")
        conn.execute("DROP OWNED BY cvx_trapped")
        conn.execute("DROP ROLE cvx_trapped")
        assert conn.execute("SELECT * FROM public.trapped").fetchall() == []
        conn.execute("SELECT 'a'::text = 'b'::text")
        assert conn.execute("SELECT * FROM public.trapped").fetchall() == [("operator",)], "the traps work"


def test_errors_hold_no_source_path(conn):
    """DETAIL goes to clients: no Rust backtrace, whatever RUST_BACKTRACE says in the server's environment."""
    with pytest.raises(psycopg.Error) as caught:
        conn.execute("SELECT cvx.drift('{[1]@2026-01-01, [2]@2026-01-02}', 'nonsense')")
    diag = caught.value.diag
    assert diag.sqlstate == "22023"
    said = " ".join(str(x) for x in (diag.message_primary, diag.message_detail, diag.message_hint, diag.context))
    assert ".rs" not in said and "backtrace" not in said
