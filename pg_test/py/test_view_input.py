"""What cvx.create_view and its companions refuse, with which SQLSTATE, and that every refusal says what to do instead."""

import json
import uuid

import numpy as np
import psycopg
import pytest
from psycopg.types.json import Jsonb
from view_oracle import DIMS, create_view, refresh, rows_of, space_source, stale_entities, table_source, view_row, walk


@pytest.fixture(scope="module")
def things(create_database, database):
    """A space, a model and relations of many kinds, none of which a view can be made of but `good`."""
    from conftest import connect

    with connect(database) as conn:
        conn.execute(f"SELECT cvx.create_space('s', {DIMS})")
        conn.execute("SELECT cvx.create_model('m', 'v1', 's')")
        conn.execute("""
            CREATE TABLE good (id text, ts timestamptz, vec vector(3), n int, j jsonb);
            CREATE VIEW a_view AS TABLE good;
            CREATE MATERIALIZED VIEW a_matview AS TABLE good;
            CREATE SEQUENCE a_sequence;
            CREATE TABLE no_index (x int);
            CREATE INDEX an_index ON no_index (x);
            CREATE EXTENSION IF NOT EXISTS postgres_fdw;
            CREATE SERVER nowhere FOREIGN DATA WRAPPER postgres_fdw;
            CREATE FOREIGN TABLE a_foreign (id text, ts timestamptz, vec vector(3)) SERVER nowhere;
            CREATE TABLE with_foreign (id text, ts timestamptz, vec vector(3)) PARTITION BY LIST (id);
            CREATE FOREIGN TABLE a_part PARTITION OF with_foreign FOR VALUES IN ('x') SERVER nowhere;
            CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
            CREATE TABLE blind_ids (id text COLLATE blind, ts timestamptz, vec vector(3));
            CREATE TYPE odd AS (a int);
            CREATE TABLE odd_ids (id odd, ts timestamptz, vec vector(3));
            CREATE TABLE json_ids (id json, ts timestamptz, vec vector(3));
            CREATE TABLE naive (id text, ts timestamp, vec vector(3));
            CREATE TABLE sparse (id text, ts timestamptz, vec sparsevec(3));
            CREATE TABLE arrays (id text, ts timestamptz, vec real[])""")
        conn.execute("SELECT cvx.create_view('taken', 'temporal_features', 's', refresh_policy => 'manual')")
    return database


@pytest.fixture(autouse=True)
def no_views_left(things, conn):
    """A test that fails leaves its views; the next one has the same names."""
    yield
    conn.execute("SELECT cvx.drop_view(name) FROM cvx.view WHERE name <> 'taken'")


GOOD = {"source_table": "good", "entity_column": "id", "ts_column": "ts", "vector_column": "vec"}
SPACE = {"name": "v", "type": "temporal_features", "space": "s"}


def of_table(**changes):
    return {"name": "v", "type": "temporal_features", **GOOD, **changes}


def cohort(query, **more):
    return {**SPACE, "type": "cohort_snapshot", "config": {"query": query, **more}}


def config(type="temporal_features", **keys):
    return {**SPACE, "type": type, "config": keys}


# What is asked for, and the SQLSTATE of the refusal.
REFUSED = {
    "no name": ({**SPACE, "name": None}, "22004"),
    "no type": ({**SPACE, "type": None}, "22004"),
    "empty name": ({**SPACE, "name": ""}, "42602"),
    "long name": ({**SPACE, "name": "n" * 64}, "42602"),
    "long name in bytes": ({**SPACE, "name": "é" * 32}, "42602"),
    "taken name": ({**SPACE, "name": "taken"}, "42710"),
    "unknown type": ({**SPACE, "type": "temporal_feature"}, "22023"),
    "type in capitals": ({**SPACE, "type": "TEMPORAL_FEATURES"}, "22023"),
    "unknown policy": ({**SPACE, "refresh_policy": "always"}, "22023"),
    "unknown space": ({**SPACE, "space": "nowhere"}, "42704"),
    "unknown model": ({"name": "v", "type": "temporal_features", "model": "nothing"}, "42704"),
    "reads nothing": ({"name": "v", "type": "temporal_features"}, "22023"),
    "reads two things": ({**SPACE, "model": "m"}, "22023"),
    "reads a space and a table": ({**SPACE, **GOOD}, "22023"),
    "scheduled without a schedule": ({**SPACE, "refresh_policy": "scheduled"}, "22023"),
    "a schedule on ingest": ({**SPACE, "schedule": "* * * * *"}, "22023"),
    "no cron expression": ({**SPACE, "refresh_policy": "scheduled", "schedule": "every now and then"}, "22023"),
    "unknown time zone": (
        {**SPACE, "refresh_policy": "scheduled", "schedule": "0 2 * * *", "time_zone": "Mars/Olympus"},
        "22023",
    ),
    "retention of nothing": ({**SPACE, "retention": "0"}, "22023"),
    "negative retention": ({**SPACE, "retention": "-1 day"}, "22023"),
    # The config.
    "config is a list": ({**SPACE, "config": []}, "22023"),
    "config is a text": ({**SPACE, "config": Jsonb("window")}, "22023"),
    "unknown option": (config(windows="1 day"), "22023"),
    "option of another type": (config("changepoint_cache", window="1 day"), "22023"),
    "no feature": (config(features=[]), "22023"),
    "unknown feature": (config(features=["drift", "direction"]), "22023"),
    "feature twice": (config(features=["drift", "drift"]), "22023"),
    "features not a list": (config(features="drift"), "22023"),
    "features not texts": (config(features=[1, None]), "22023"),
    "unknown metric": (config(metric="manhattan"), "22023"),
    "metric not a text": (config(metric=2), "22023"),
    "window of nothing": (config(window="0"), "22023"),
    "negative window": (config(window="-1 day"), "22023"),
    "window in months": (config(window="1 month"), "22023"),
    "window not an interval": (config(window="long"), "22007"),
    "window a number": (config(window=7), "22023"),
    "window out of range": (config(window="999999999999 years"), "22015"),
    "unit of nothing": (config(unit="0 days"), "22023"),
    "top of nothing": (config(top=0), "22023"),
    "top a text": (config(top="10"), "22023"),
    "no window to tumble": (config("drift_summary"), "22023"),
    "infinite origin": (config("drift_summary", window="1 day", origin="infinity"), "22023"),
    "origin no time": (config("drift_summary", window="1 day", origin="yesterday-ish"), "22007"),
    "history not a bool": (config(history="yes"), "22023"),
    "history of change points": (config("changepoint_cache", history=True), "22023"),
    "unknown method": (config("changepoint_cache", method="guess"), "22023"),
    "unknown cost": (config("changepoint_cache", cost="l1"), "22023"),
    "negative penalty": (config("changepoint_cache", penalty=-1), "22023"),
    "alpha of two": (config("changepoint_cache", alpha=2), "22023"),
    "segments of nothing": (config("changepoint_cache", min_size=0), "22023"),
    "ttl of nothing": (config(ttl="0"), "22023"),
    "sla not an interval": (config(freshness_sla="soon"), "22007"),
    "config of 1 MB": (config(features=["x" * 1024] * 1024), "22023"),
    # The filter.
    "filter is a list": ({**SPACE, "entity_filter": ["a"]}, "22023"),
    "unknown filter": ({**SPACE, "entity_filter": {"entities": ["a"]}}, "22023"),
    "filter without ids": ({**SPACE, "entity_filter": {"entity_ids": "a"}}, "22023"),
    "ids not texts": ({**SPACE, "entity_filter": {"entity_ids": [1.5, None]}}, "22023"),
    "attrs not an object": ({**SPACE, "entity_filter": {"attrs": [1]}}, "22023"),
    "attrs of a table": (of_table(entity_filter={"attrs": {"a": 1}}), "22023"),
    # The table.
    "no such table": (of_table(source_table="gone"), "42P01"),
    "no such entity column": (of_table(entity_column="who"), "42703"),
    "no such ts column": (of_table(ts_column="when"), "42703"),
    "no such vector column": (of_table(vector_column="what"), "42703"),
    "no entity column": (of_table(entity_column=None), "22023"),
    "no ts column": (of_table(ts_column=None), "22023"),
    "no vector column": (of_table(vector_column=None), "22023"),
    "columns without a table": ({**SPACE, "entity_column": "id"}, "22023"),
    "system column": (of_table(entity_column="ctid"), "42703"),
    "ts of another type": (of_table(ts_column="n"), "42804"),
    "vector of another type": (of_table(vector_column="n"), "42804"),
    "ids of a composite type": (of_table(source_table="odd_ids"), "42804"),
    "ids of json": (of_table(source_table="json_ids"), "42804"),
    "ts without a time zone": (of_table(source_table="naive"), "42804"),
    "sparse vectors": (of_table(source_table="sparse"), "42804"),
    "arrays": (of_table(source_table="arrays"), "42804"),
    "a view": (of_table(source_table="a_view"), "0A000"),
    "a materialized view": (of_table(source_table="a_matview"), "0A000"),
    "a sequence": (of_table(source_table="a_sequence"), "0A000"),
    "an index": (of_table(source_table="an_index"), "0A000"),
    "a foreign table": (of_table(source_table="a_foreign"), "0A000"),
    "a foreign partition": (of_table(source_table="with_foreign"), "0A000"),
    "a system catalog": (of_table(source_table="pg_catalog.pg_class"), "0A000"),
    "case-blind ids": (of_table(source_table="blind_ids"), "0A000"),
    # The query of a cohort.
    "no query": (cohort(7), "22023"),
    "no SQL": (cohort("who knows"), "42601"),
    "not a SELECT": (cohort("DELETE FROM good"), "22023"),
    "a SELECT that writes": (cohort("SELECT 'a' INTO planted"), "22023"),
    "a SELECT with a DELETE in it": (cohort("WITH d AS (DELETE FROM good RETURNING id) SELECT id FROM d"), "0A000"),
    "two statements": (cohort("SELECT 'a'; DROP TABLE good"), "22023"),
    "out of its brackets": (cohort("SELECT 'a') q(entity)) OR true; CREATE TABLE planted (x int); --"), "42601"),
    "two columns": (cohort("SELECT id, id FROM good"), "42601"),
    "another type": (cohort("SELECT now()"), "42883"),
    "no such relation": (cohort("SELECT id FROM gone"), "42P01"),
    "a parameter": (cohort("SELECT $1::text"), "42P02"),
}


# Of these PostgreSQL speaks itself.
UNHINTED = {
    "no name", "no type", "window not an interval", "window out of range", "origin no time", "sla not an interval",
    "no such table", "no SQL", "a SELECT with a DELETE in it", "out of its brackets", "two columns", "no such relation",
    "a parameter",
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_refused(things, conn, what):
    """With its SQLSTATE and a hint, and nothing is left behind."""
    arguments, code = REFUSED[what]
    with pytest.raises(psycopg.Error) as error:
        create_view(conn, **arguments)
    diagnosis = error.value.diag
    assert (diagnosis.sqlstate, bool(diagnosis.message_primary)) == (code, True), diagnosis.message_primary
    assert diagnosis.message_hint or what in UNHINTED, diagnosis.message_primary
    assert len(diagnosis.message_primary) < 500
    assert conn.execute("SELECT name FROM cvx.view").fetchall() == [("taken",)]
    left = """SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
              WHERE n.nspname LIKE 'cvx\\_view%' AND c.relname NOT LIKE 'taken%' AND c.relkind IN ('r', 'v')"""
    assert conn.execute(left).fetchall() == []
    assert conn.execute("SELECT to_regclass('planted')").fetchone() == (None,)
    triggers = "SELECT tgname FROM pg_trigger WHERE tgrelid = 'good'::regclass"
    assert conn.execute(triggers).fetchall() == []


def test_temporary_tables(things, conn):
    conn.execute("CREATE TEMP TABLE fleeting (id text, ts timestamptz, vec vector(3))")
    with pytest.raises(psycopg.errors.FeatureNotSupported) as error:
        create_view(conn, **of_table(source_table="fleeting"))
    assert error.value.diag.message_hint


@pytest.mark.parametrize(
    "call",
    [
        "cvx.drop_view('nothing')",
        "cvx.refresh_view('nothing')",
        "cvx.refresh_view('')",
        "cvx.invalidate_view('nothing')",
    ],
)
def test_unknown_view(things, conn, call):
    with pytest.raises(psycopg.errors.UndefinedObject) as error:
        conn.execute(f"SELECT {call}")
    assert error.value.diag.message_hint


@pytest.mark.parametrize("call", ["cvx.drop_view(NULL)", "cvx.refresh_view(NULL)", "cvx.invalidate_view(NULL)"])
def test_null_view(things, conn, call):
    with pytest.raises(psycopg.errors.NullValueNotAllowed):
        conn.execute(f"SELECT {call}")


def test_ids_of_the_wrong_form(things, conn):
    """Ids that the column's type cannot hold are no entities of the view."""
    source = table_source(conn, "numbered", "int", key=lambda entity: int(entity))
    source.write("7", *walk(np.random.default_rng(1), 3))
    create_view(conn, "numbers", "temporal_features", source, refresh_policy="manual")
    refresh(conn, "numbers")
    for ids in (["seven"], ["99999999999999999999"], ["7", ""], ["7; DROP TABLE numbered"]):
        for force in (True, False):
            with pytest.raises(psycopg.errors.DataError):
                refresh(conn, "numbers", ids, force)
    assert view_row(conn, "numbers")["status"] == "fresh"
    assert refresh(conn, "numbers", ["7"], force=True) == 1
    source.write("7", *walk(np.random.default_rng(2), 3))
    assert refresh(conn, "numbers", [" 007"]) == 1 and view_row(conn, "numbers")["status"] == "fresh"
    with pytest.raises(psycopg.errors.DataError):
        create_view(conn, "others", "temporal_features", source, entity_filter={"entity_ids": ["seven"]})
    conn.execute("SELECT cvx.drop_view('numbers'); DROP TABLE numbered")


def test_ids_of_another_spelling(things, typed):
    """A listed id is the entity that it names, however it is written, and follows it."""
    source = table_source(typed, "spelled", "uuid", key=uuid.UUID)
    ids = [uuid.UUID(int=i + 0xABCDEF0000) for i in range(3)]
    for entity in ids:
        source.write(str(entity), *walk(np.random.default_rng(1), 3))
    listed = [str(ids[0]).upper(), "{" + ids[1].hex + "}"]
    for name, type in (("spelled", "temporal_features"), ("cohort", "cohort_snapshot")):
        create_view(typed, name, type, source, refresh_policy="manual", entity_filter={"entity_ids": listed})
        refresh(typed, name)
        assert {entity for (entity,) in rows_of(typed, name, type)} == set(ids[:2])
    for i, entity in enumerate(ids):
        source.write(str(entity), *walk(np.random.default_rng(2), 4))
        assert stale_entities(typed, "spelled") == ({entity} if i < 2 else set())
        assert stale_entities(typed, "cohort") == (set(ids[:2]) if i < 2 else set())
        refresh(typed, "spelled", [str(entity).upper()]), refresh(typed, "cohort")
        assert stale_entities(typed, "spelled") == set()
    typed.execute("SELECT cvx.drop_view('spelled'), cvx.drop_view('cohort')")
    typed.execute("DROP TABLE spelled")


NAMES = ["plain", 'a "quoted" one', "it's", "semi;colon", "back\\slash", "Ümläut", "100% %I", "n" * 63, "é" * 31, "select", " "]


@pytest.mark.parametrize("name", NAMES)
def test_names(things, typed, name):
    """Any name of 1 to 63 bytes, without another being cut off to the same."""
    source = space_source(typed, f"space {NAMES.index(name)}")
    source.write("a", *walk(np.random.default_rng(1), 4))
    for view in (name, name[:-1] + "x"):
        create_view(typed, view, "temporal_features", source, config={"history": True}, refresh_policy="manual")
        assert refresh(typed, view) == 1
        assert set(rows_of(typed, view, "temporal_features")) == {("a",)}
        assert view_row(typed, view)["entities"] == 1
    source.write("a", *walk(np.random.default_rng(1), 1))
    assert refresh(typed, name) == 1 and stale_entities(typed, name[:-1] + "x") == {"a"}
    for view in (name, name[:-1] + "x"):
        typed.execute("SELECT cvx.drop_view(%s)", (view,))
    typed.execute("SELECT cvx.drop_space(%s, true)", (source.arguments["space"],))
    left = typed.execute("SELECT count(*) FROM cvx.view WHERE name <> 'taken'").fetchone()
    assert left == (0,)


def test_empty_source(things, typed):
    source = space_source(typed, "nothing here")
    for type, config in [
        ("temporal_features", {}),
        ("drift_summary", {"window": "1 day"}),
        ("changepoint_cache", {}),
        ("cohort_snapshot", {}),
    ]:
        create_view(typed, "e", type, source, refresh_policy="manual", config=config)
        refresh(typed, "e")
        assert rows_of(typed, "e", type) == {}
        row = view_row(typed, "e")
        assert (row["status"], row["entities"], row["stale_entities"]) == ("fresh", 0, 0)
        source.write("first", *walk(np.random.default_rng(1), 1))
        assert refresh(typed, "e") == 1
        assert len(rows_of(typed, "e", type)) == (0 if type == "changepoint_cache" else 1)
        source.delete("first")
        refresh(typed, "e")
        assert rows_of(typed, "e", type) == {}
        typed.execute("SELECT cvx.drop_view('e')")


def test_huge_windows_and_far_times(things, typed):
    """From the first to the last timestamp that PostgreSQL has, under windows as long as that and longer."""
    source = table_source(typed, "ages")
    typed.execute("""
        INSERT INTO ages VALUES ('a', '4714-11-24 00:00:00+00 BC', '[1,2,3,4,5]'), ('a', '2026-01-01', '[2,2,2,2,2]'),
            ('a', '294276-12-31 23:59:59.999999+00', '[5,4,3,2,1]'), ('b', '4714-11-24 00:00:00+00 BC', '[1,1,1,1,1]')""")
    for window in ("1 us", "36500 days", "100000000 days"):
        for type in ("temporal_features", "drift_summary", "cohort_snapshot"):
            try:
                create_view(typed, "far", type, source, refresh_policy="manual", config={"window": window})
            except psycopg.DataError as error:
                assert error.diag.message_hint
                continue
            refresh(typed, "far")
            row = view_row(typed, "far")
            # An end before the first timestamp there is, is no reason to fail for ever without saying so.
            assert row["status"] == "fresh" or row["last_error"] or row["stale_entities"], (window, type, row)
            if row["status"] == "fresh":
                definition = typed.execute("SELECT count(*) FROM cvx_view_definition.far").fetchone()
                assert typed.execute("SELECT count(*) FROM cvx_view.far").fetchone() == definition
            typed.execute("SELECT cvx.drop_view('far')")
    typed.execute("DROP TABLE ages")


def test_large_config_that_is_valid(things, typed):
    """Ten thousand listed entities are a filter like another; a config of a megabyte is refused."""
    source = space_source(typed, "listed")
    for name in ("e5", "e9999", "e10001"):
        source.write(name, *walk(np.random.default_rng(1), 2))
    ids = [f"e{i}" for i in range(10_000)]
    create_view(typed, "listed", "temporal_features", source, refresh_policy="manual", entity_filter={"entity_ids": ids})
    refresh(typed, "listed")
    assert set(rows_of(typed, "listed", "temporal_features")) == {("e5",), ("e9999",)}
    typed.execute("SELECT cvx.drop_view('listed')")


@pytest.mark.parametrize("seed", range(8))
def test_random_configs(things, conn, seed):
    """Whatever JSON comes: a view, or an error of the user's with a message, never one of the server's own."""
    rng = np.random.default_rng(seed)
    keys = ["features", "window", "metric", "unit", "top", "history", "origin", "ttl", "freshness_sla", "query", "penalty", "x"]
    scalars = [None, True, 0, -1, 1e308, "", "drift", "cosine", "1 day", "infinity", "\u0001", "'; --", "9" * 400]

    def value(depth=0):
        kind = rng.integers(0, 4 if depth < 3 else 2)
        if kind < 2:
            return scalars[rng.integers(len(scalars))]
        if kind == 2:
            return [value(depth + 1) for _ in range(rng.integers(0, 4))]
        return {keys[rng.integers(len(keys))]: value(depth + 1) for _ in range(rng.integers(0, 4))}

    types = ["temporal_features", "drift_summary", "changepoint_cache", "cohort_snapshot"]
    made = refused = 0
    for _ in range(60):
        given = {keys[rng.integers(len(keys))]: value() for _ in range(rng.integers(0, 3))}
        filtered = None if rng.random() < 0.7 else value()
        try:
            create_view(
                conn,
                "random",
                types[rng.integers(4)],
                space="s",
                refresh_policy="manual",
                config=Jsonb(given),
                entity_filter=Jsonb(filtered) if filtered is not None else None,
            )
        except psycopg.Error as error:
            assert error.sqlstate[:2] in ("22", "42", "0A"), (given, filtered, error)
            refused += 1
        else:
            refresh(conn, "random")
            conn.execute("SELECT cvx.drop_view('random')")
            made += 1
    assert made > 0 and refused > 0, json.dumps([made, refused])
