"""Every function that PUBLIC may call, with arguments drawn from values that have a meaning somewhere, or none anywhere.

Whatever they answer, the server stays up (conftest looks), and no error is an internal one.
"""

import random

import psycopg
import pytest
from conftest import connect

CALLS = 4000
SEED = 20260101

# What a function of each type of argument is called with.
VALUES = {
    "text": [
        "NULL", "''", "'m'", "'v1'", "'v2'", "'gone'", "'wide'", "'old'", "'new'", "'e1'", "'only new'", "'cosine'", "'l2'",
        "'pelt'", "'rbf'", "'affine'", "'no such thing'", "'; --'", "E'\\\\x'", "repeat('x', 2000)", "'日本'",
        "'SELECT 1'", "'SELECT vec, ts, entity_id FROM cvx.embedding'", "'DELETE FROM cvx.embedding'",
    ],
    "cvx.trajectory": [
        "NULL", "'{}'", "'{[1,2]@2026-01-01}'", "'{[1,2]@2026-01-01, [2,1]@2026-01-02, [0,0]@2026-01-03}'", "'{[1,2,3]@2026-01-01}'",
        "'{[3e38,-3e38]@2026-01-01, [-3e38,3e38]@2026-01-01 00:00:00.000001}'", "'{[0,0]@2026-01-01, [0,0]@2026-01-02}'",
        "'{[1e-45,0]@4714-11-24 00:00:00+00 BC, [1,1]@294276-12-31 00:00:00+00}'", "cvx.trajectory('e1', 'old')", "cvx.canonical('e2', 'm')",
    ],
    "public.vector": ["NULL", "'[1,2]'", "'[0,0]'", "'[1]'", "'[1,2,3]'", "'[3e38,-3e38]'", "'[1e-45,1]'", "array_fill(1, ARRAY[16000])::public.vector"],
    "timestamp with time zone": ["NULL", "'2026-01-01'", "'2026-01-02'", "'infinity'", "'-infinity'", "'4714-11-24 BC'", "'294276-12-31'"],
    "tstzrange": ["NULL", "'empty'", "'[2026-01-01,2026-01-02]'", "'(,2026-01-02)'", "'[2026-01-02,)'", "'(,)'", "'[infinity,infinity]'"],
    "cvx.bocpd_state": [
        "NULL", "cvx.bocpd_update(NULL, '2026-01-01', '[1,2]')", "cvx.bocpd_update(NULL, '294276-12-31', '[3e38,-3e38]', 0.5, 0.9)",
        "cvx.bocpd_update(cvx.bocpd_update(NULL, '2026-01-01', '[1,2]'), '2026-01-02', '[2,1]')",
        "cvx.bocpd_update(NULL, '2026-01-01', array_fill(1, ARRAY[16000])::public.vector)",
    ],
    "interval": ["NULL", "'1 day'", "'0'", "'-1 day'", "'1 month'", "'1 microsecond'", "'178000000 years'"],
    "integer": ["NULL", "0", "1", "-1", "2", "3", "2147483647", "-2147483648"],
    "bigint": ["NULL", "0", "-1", "9223372036854775807"],
    "double precision": ["NULL", "0", "0.05", "1", "-1", "'NaN'", "'infinity'", "1e308", "5e-324"],
    "boolean": ["NULL", "true", "false"],
    "regclass": ["NULL", "'cvx.embedding'", "'cvx.space'", "'cvx_space.old'", "'pg_class'", "4294967294"],
    "text[]": ["NULL", "'{}'", "'{m}'", "'{NULL}'", "'{{a,b},{c,d}}'", "array_fill('m'::text, ARRAY[1000])"],
    "integer[]": ["NULL", "'{}'", "'{1,2}'", "'{NULL,-2147483648}'"],
    "oid": ["NULL", "0", "'cvx.embedding'::regclass::oid", "'pg_class'::regclass::oid", "4294967294"],
    "oid[]": ["NULL", "'{}'", "'{0,1259}'", "ARRAY['cvx.embedding'::regclass::oid, NULL]"],
    "jsonb": ["NULL", "'{}'", "'[]'", "'null'", "'{\"unit\": \"1 day\"}'", "'{\"unit\": 7}'", "'{\"unit\": \"no interval\"}'"],
    "name": ["NULL", "'vec'", "'ts'", "'entity_id'", "'space_id'", "'nope'", "''"],
}  # fmt: skip
FUNCTIONS = """
    SELECT p.oid::regproc::text, ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY u(t, n) ORDER BY n),
           p.proretset OR p.prorettype = 'record'::regtype
    FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid JOIN pg_proc p ON p.oid = d.objid
    WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e' AND e.extname = 'cvx' AND p.prokind = 'f'
      AND has_function_privilege('cvx_py_caller', p.oid, 'EXECUTE')
      AND p.prorettype <> 'trigger'::regtype AND NOT p.proargtypes::oid[] && ARRAY['internal'::regtype, 'cstring'::regtype]::oid[]
    ORDER BY p.oid::regprocedure::text"""


@pytest.fixture(scope="module")
def caller(create_database):
    """A role that may read, in a database with a chain of versions: one is gone, one not aligned, one of another dimension."""
    name = create_database()
    with connect(name) as conn:
        conn.execute("DROP ROLE IF EXISTS cvx_py_caller; CREATE ROLE cvx_py_caller LOGIN; SELECT cvx.grant_read('cvx_py_caller')")
        conn.execute("SELECT cvx.create_space(s, CASE s WHEN 'wide' THEN 3 ELSE 2 END) FROM unnest(ARRAY['old', 'gone', 'new', 'wide']) s")
        conn.execute("""
            INSERT INTO cvx.embedding (space_id, entity_id, ts, vec)
            SELECT cvx.space_id(s), 'e' || i % 4, '2026-01-01'::timestamptz + i * interval '1 hour',
                   (ARRAY[sin(i), cos(2 * i)]::real[] || CASE s WHEN 'wide' THEN ARRAY[0]::real[] ELSE '{}' END)::vector
            FROM unnest(ARRAY['old', 'gone', 'new', 'wide']) s, generate_series(1, 60) i""")
        conn.execute("INSERT INTO cvx_space.new (entity_id, ts, vec) VALUES ('only new', '2026-01-02', '[1,2]')")
        for version, space, before in (("v1", "old", None), ("gone", "gone", "v1"), ("v2", "new", "gone"), ("wide", "wide", "v2")):
            conn.execute("SELECT cvx.create_model('m', %s, %s, %s, auto_align => %s)", (version, space, before, version != "wide"))
        conn.execute("SELECT cvx.drop_space('gone', true)")
        conn.execute("SET search_path = pg_catalog")
        functions = conn.execute(FUNCTIONS).fetchall()
        with connect(name, user="cvx_py_caller") as role:
            role.execute("SET statement_timeout = '5s'")
            yield role, functions
        conn.execute("DROP OWNED BY cvx_py_caller; DROP ROLE cvx_py_caller")


def test_no_call_ends_in_an_internal_error(caller):
    role, functions = caller
    assert len(functions) > 50 and {t for _, types, _ in functions for t in types} <= VALUES.keys()
    rng = random.Random(SEED)
    answered, internal = 0, []
    for n in range(CALLS):
        name, types, rows = functions[n % len(functions)]
        arguments = ", ".join(f"({rng.choice(VALUES[t])})::{t}" for t in types)
        query = f"SELECT {'count(*) FROM ' if rows else ''}{name}({arguments})"
        try:
            role.execute(query)
            answered += 1
        except psycopg.Error as error:
            if error.sqlstate is None or error.sqlstate.startswith("XX"):
                internal.append((query, str(error)))
    assert internal == []
    assert answered > CALLS / 5
