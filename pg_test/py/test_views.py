"""What views hold, against numpy: each type, on spaces, models and tables of users, before and after changes."""

import itertools

import numpy as np
import pytest
import ruptures
from psycopg import sql
from trajectories import DAY, Micros
from view_oracle import (
    DIMS,
    FEATURES,
    HOUR,
    SOURCES,
    START,
    assert_rows,
    create_view,
    expected_changepoints,
    expected_cohort,
    expected_features,
    expected_summary,
    refresh,
    rows_of,
    space_source,
    stale_entities,
    table_source,
    view_row,
    walk,
)

NUMBERS = itertools.count()
DEFAULTS = [name for name in FEATURES if name not in ("velocity", "acceleration")]


@pytest.fixture(autouse=True)
def no_views_left(conn):
    """A test that fails leaves its views; the next one has the same names."""
    yield
    conn.execute("SELECT cvx.drop_view(name) FROM cvx.view")


@pytest.fixture
def source(typed, request):
    """A source of the kind that the test is parametrized with, of 12 entities: 1 to 80 points."""
    name = f"s{next(NUMBERS)}"
    it = SOURCES[request.param](typed, name)
    rng = np.random.default_rng(5)
    for i, n in enumerate([1, 2, 3, 80, 41, *rng.integers(4, 30, 7)]):
        it.write(f"e{i:02}", *walk(rng, int(n)))
    return it


def on(*kinds):
    return pytest.mark.parametrize("source", kinds or SOURCES, indirect=True)


def change(source, rng) -> set:
    """Points added at the end, in the middle and as a new entity, one replaced, some taken away; who was changed."""
    of = lambda name: source.data[source.key(name)]
    source.write("e00", [START + 125 * DAY], rng.normal(0, 2, (1, DIMS)))
    source.write("e03", [min(of("e03")) + 17], rng.normal(0, 2, (1, DIMS)))
    source.write("e04", [max(of("e04"))], rng.normal(0, 9, (1, DIMS)))
    source.delete("e05", list(of("e05"))[1:3])
    source.delete("e06")
    source.write("new", *walk(rng, 4))
    return {source.key(name) for name in ("e00", "e03", "e04", "e05", "e06", "new")}


def assert_is_its_definition(conn, name):
    """Row for row what the query of the view gives, computed from scratch."""
    data, definition = (sql.Identifier(schema, name) for schema in ("cvx_view_data", "cvx_view_definition"))
    columns = [column for (column,) in conn.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        (definition.as_string(conn),),
    )]
    listed = sql.SQL(", ").join(map(sql.Identifier, columns))
    query = sql.SQL("SELECT count(*) FROM (({d} EXCEPT ALL {v}) UNION ALL ({v} EXCEPT ALL {d})) q").format(
        d=sql.SQL("SELECT {} FROM {}").format(listed, definition), v=sql.SQL("SELECT {} FROM {}").format(listed, data)
    )
    assert conn.execute(query).fetchone() == (0,)


def follows(conn, source, name, type, expected, change_of=change):
    """The view holds what is expected: first, and after changes once it is refreshed. Only what changed is stale, and
    only that is computed."""
    assert view_row(conn, name)["status"] in ("computing", "stale")
    entities = {key[0] for key in expected()}
    assert len(entities) > 3 and refresh(conn, name) >= len(entities)
    assert_rows(rows_of(conn, name, type), expected())
    assert_is_its_definition(conn, name)
    row = view_row(conn, name)
    assert (row["status"], row["stale_entities"], row["stale_since"]) == ("fresh", 0, None), row
    assert refresh(conn, name) == 0
    held = {key[0] for key in rows_of(conn, name, type)}
    changed = change_of(source, np.random.default_rng(6))
    stale = stale_entities(conn, name)
    if type == "cohort_snapshot":
        assert stale == held and view_row(conn, name)["stale_entities"] >= len(held)
    else:
        assert stale == changed & held and stale
    assert view_row(conn, name)["status"] == "stale"
    computed = refresh(conn, name)
    if type != "cohort_snapshot":
        assert computed == len(changed)
    assert_rows(rows_of(conn, name, type), expected())
    assert_is_its_definition(conn, name)
    assert view_row(conn, name)["status"] == "fresh"
    conn.execute("SELECT cvx.drop_view(%s)", (name,))


@on()
def test_temporal_features(typed, source):
    features = [*FEATURES, "drift_report"]
    create_view(typed, "v", "temporal_features", source, refresh_policy="manual", config={"features": features})
    follows(typed, source, "v", "temporal_features", lambda: expected_features(source.points(), features))


@on()
def test_windowed_features(typed, source):
    config = {"window": "20 days", "unit": "1 hour", "metric": "l2"}
    create_view(typed, "v", "temporal_features", source, refresh_policy="manual", config=config)
    expected = lambda: expected_features(source.points(), DEFAULTS, 20 * DAY, "l2", HOUR)
    follows(typed, source, "v", "temporal_features", expected)


@on()
def test_drift_summary(typed, source):
    config = {"window": "7 days", "unit": "1 hour", "metric": "l2", "origin": "2026-01-10 13:00:00+00"}
    create_view(typed, "v", "drift_summary", source, refresh_policy="manual", config=config)
    origin = START + 9 * DAY + 13 * HOUR
    follows(typed, source, "v", "drift_summary", lambda: expected_summary(source.points(), 7 * DAY, origin, "l2", HOUR))


@on()
def test_changepoint_cache(typed, source):
    options = {"method": "pelt", "cost": "l2", "penalty": 30.0, "min_size": 3, "alpha": 0.01}
    create_view(typed, "v", "changepoint_cache", source, refresh_policy="manual", config=options)
    expected = lambda: expected_changepoints(source, source.points(), options)
    assert len({key[0] for key in expected()}) > 3
    # Nothing of an entity without change points can be seen to be stale.
    refresh(typed, "v")
    assert_rows(rows_of(typed, "v", "changepoint_cache"), expected())
    changed = change(source, np.random.default_rng(6))
    assert stale_entities(typed, "v") <= changed
    assert view_row(typed, "v")["stale_entities"] == len(changed)
    assert refresh(typed, "v") == len(changed)
    assert_rows(rows_of(typed, "v", "changepoint_cache"), expected())
    assert_is_its_definition(typed, "v")
    typed.execute("SELECT cvx.drop_view('v')")


@on("space", "bigint")
def test_changepoints_are_those_of_ruptures(typed, source):
    create_view(
        typed, "v", "changepoint_cache", source, refresh_policy="manual", config={"penalty": 25, "min_size": 2}
    )
    refresh(typed, "v")
    found = {}
    for (entity, _), row in rows_of(typed, "v", "changepoint_cache").items():
        found.setdefault(entity, set()).add(row["index"])
    breaks = 0
    for entity, (t, x) in source.points().items():
        if len(t) < 4:
            continue
        expected = ruptures.Pelt(model="l2", jump=1, min_size=2).fit(x.astype(np.float64)).predict(pen=25)[:-1]
        assert found.get(entity, set()) == set(expected)
        breaks += len(expected)
    assert breaks > 10
    typed.execute("SELECT cvx.drop_view('v')")


@on()
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_cohort_snapshot(typed, source, metric):
    create_view(
        typed, "v", "cohort_snapshot", source, refresh_policy="manual", config={"window": "100 days", "metric": metric}
    )
    expected = lambda: expected_cohort(source.points(), list(source.points()), 100 * DAY, metric)
    follows(typed, source, "v", "cohort_snapshot", expected)


@on("space", "bigint", "uuid", "quoted")
def test_cohort_of_listed_entities(typed, source):
    names = [f"e{i:02}" for i in range(2, 7)]
    members = [source.key(name) for name in names]
    create_view(
        typed,
        "v",
        "cohort_snapshot",
        source,
        refresh_policy="manual",
        entity_filter={"entity_ids": [str(member) for member in [*members, source.key("nobody")]]},
    )
    refresh(typed, "v")
    assert_rows(rows_of(typed, "v", "cohort_snapshot"), expected_cohort(source.points(), members))
    # Of others nothing matters.
    source.write("e09", [START + 300 * DAY], np.ones((1, DIMS)))
    assert stale_entities(typed, "v") == set() and refresh(typed, "v") == 0
    source.write("e03", [START + 300 * DAY], np.ones((1, DIMS)))
    assert stale_entities(typed, "v") == set(members)
    refresh(typed, "v")
    assert_rows(rows_of(typed, "v", "cohort_snapshot"), expected_cohort(source.points(), members))
    typed.execute("SELECT cvx.drop_view('v')")


def test_cohort_of_a_query(typed):
    """Its members are who the query says, at the time of the refresh; a table that it reads is watched as well."""
    source = space_source(typed, "cohort-q")
    rng = np.random.default_rng(8)
    for i in range(8):
        source.write(f"e{i}", *walk(rng, 5))
    typed.execute("CREATE TABLE chosen (id text)")
    typed.execute("INSERT INTO chosen VALUES ('e1'), ('e3'), ('e4'), ('nobody'), (NULL)")
    query = "SELECT id FROM public.chosen -- who was chosen"
    create_view(typed, "v", "cohort_snapshot", source, refresh_policy="manual", config={"query": query})
    refresh(typed, "v")
    assert_rows(rows_of(typed, "v", "cohort_snapshot"), expected_cohort(source.points(), ["e1", "e3", "e4"]))
    typed.execute("INSERT INTO chosen VALUES ('e6'); DELETE FROM chosen WHERE id = 'e1'")
    assert stale_entities(typed, "v") == {"e1", "e3", "e4"}
    refresh(typed, "v")
    assert_rows(rows_of(typed, "v", "cohort_snapshot"), expected_cohort(source.points(), ["e3", "e4", "e6"]))
    typed.execute("DELETE FROM chosen")
    refresh(typed, "v")
    assert rows_of(typed, "v", "cohort_snapshot") == {}
    typed.execute("INSERT INTO chosen VALUES ('e2')")
    refresh(typed, "v")
    alone = expected_cohort(source.points(), ["e2"])
    assert alone[("e2",)]["mean_divergence"] is None
    assert_rows(rows_of(typed, "v", "cohort_snapshot"), alone)
    typed.execute("SELECT cvx.drop_view('v'); DROP TABLE chosen")


def test_each_feature_alone(typed):
    """By its name, as a column of its type, in the order in which they are named."""
    source = space_source(typed, "features-one")
    rng = np.random.default_rng(9)
    for i in range(4):
        source.write(f"e{i}", *walk(rng, 35))
    for name in [*FEATURES, "drift_report"]:
        create_view(
            typed, "v", "temporal_features", source, refresh_policy="manual", config={"features": [name], "top": 3}
        )
        refresh(typed, "v")
        assert_rows(rows_of(typed, "v", "temporal_features"), expected_features(source.points(), [name], top=3))
        typed.execute("SELECT cvx.drop_view('v')")
    names = ["hurst", "velocity", "drift"]
    create_view(typed, "v", "temporal_features", source, config={"features": names})
    columns = typed.execute(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = 'cvx_view.v'::regclass AND attnum > 0 ORDER BY attnum"
    ).fetchall()
    assert columns[:4] == [
        ("entity_id", "text"),
        ("num_points", "integer"),
        ("start_ts", "timestamp with time zone"),
        ("end_ts", "timestamp with time zone"),
    ]
    assert columns[4:7] == [("hurst", "double precision"), ("velocity", "vector"), ("drift", "double precision")]
    assert {name for name, _ in columns[7:]} == {"computed_at", "stale_since"}
    typed.execute("SELECT cvx.drop_view('v')")


def test_types_of_entities(typed):
    """entity_id has the type of the column, with an index that finds one entity."""
    for kind, type in [("bigint", "bigint"), ("uuid", "uuid"), ("quoted", "character varying"), ("partitioned", "integer")]:
        source = SOURCES[kind](typed, f"type-{kind}")
        source.write("e1", *walk(np.random.default_rng(1), 3))
        create_view(typed, "v", "drift_summary", source, config={"window": "1 day"})
        query = """SELECT format_type(atttypid, NULL) FROM pg_attribute
                   WHERE attrelid = 'cvx_view.v'::regclass AND attname = 'entity_id'"""
        assert typed.execute(query).fetchone() == (type,)
        typed.execute("SELECT cvx.drop_view('v')")


def test_windows_end_and_begin_at_points(typed):
    """A point exactly a window before the last one counts; tumbling windows hold their start and not their end, before
    their origin too."""
    source = space_source(typed, "edges")
    times = [START - 14 * DAY, START - 7 * DAY - 1, START - 7 * DAY, START - 1, START, START + 7 * DAY]
    source.write("a", times, np.random.default_rng(2).normal(0, 1, (6, DIMS)))
    create_view(typed, "slides", "temporal_features", source, refresh_policy="manual", config={"window": "14 days"})
    create_view(
        typed,
        "tumbles",
        "drift_summary",
        source,
        refresh_policy="manual",
        config={"window": "7 days", "origin": "2026-01-01 00:00:00+00"},
    )
    refresh(typed, "slides"), refresh(typed, "tumbles")
    found = rows_of(typed, "slides", "temporal_features")
    assert found[("a",)]["num_points"] == 4 and found[("a",)]["start_ts"] == times[2]
    assert_rows(found, expected_features(source.points(), DEFAULTS, 14 * DAY))
    tumbling = rows_of(typed, "tumbles", "drift_summary")
    assert {start: row["count"] for (_, start), row in tumbling.items()} == {
        START - 14 * DAY: 2, START - 7 * DAY: 2, START: 1, START + 7 * DAY: 1
    }
    assert_rows(tumbling, expected_summary(source.points(), 7 * DAY, START))
    typed.execute("SELECT cvx.drop_view('slides'), cvx.drop_view('tumbles')")


def test_values_do_not_depend_on_the_session(typed):
    """A day has 24 hours, whichever time zone, search_path and number format the session has that computes."""
    source = space_source(typed, "zones")
    # Through the two changes of clocks in New York, in 2026 on 8 March and 1 November.
    days = np.arange(60, 320)
    source.write("a", START + days * DAY + 5 * HOUR, np.random.default_rng(2).normal(0, 1, (len(days), DIMS)))
    # Drift from a day to the next changes with every hour that a window is off.
    config = {"window": "1 day", "origin": "2026-01-01 05:00"}
    typed.execute("SET timezone = 'America/New_York'; SET search_path = public; SET extra_float_digits = -5")
    typed.execute("SET datestyle = 'SQL, DMY'; SET intervalstyle = 'iso_8601'")
    create_view(typed, "v", "drift_summary", source, refresh_policy="manual", config=config)
    create_view(typed, "w", "temporal_features", source, refresh_policy="manual", config={"window": "180 days"})
    refresh(typed, "v"), refresh(typed, "w")
    stored = {name: rows_of(typed, name, type) for name, type in (("v", "drift_summary"), ("w", "temporal_features"))}
    assert_is_its_definition(typed, "v"), assert_is_its_definition(typed, "w")
    for setting in ("timezone", "search_path", "extra_float_digits", "datestyle", "intervalstyle"):
        typed.execute(f"RESET {setting}")
    typed.execute("SET timezone = 'Australia/Lord_Howe'")
    assert_is_its_definition(typed, "v"), assert_is_its_definition(typed, "w")
    assert {row["count"] for row in stored["v"].values()} == {1}
    assert_rows(stored["w"], expected_features(source.points(), DEFAULTS, 180 * DAY))
    typed.execute("RESET timezone; SELECT cvx.drop_view('v'), cvx.drop_view('w')")


class TestEntityFilter:
    def test_ids(self, typed):
        source = space_source(typed, "filter-ids")
        rng = np.random.default_rng(3)
        names = ["a", "b", "it's", 'qu"ote', "back\\slash", "{brace}", "éé", "", " "]
        for name in filter(None, names):
            source.write(name, *walk(rng, 4))
        listed = ["b", "it's", "back\\slash", "éé", "nobody", " "]
        create_view(typed, "v", "temporal_features", source, refresh_policy="manual", entity_filter={"entity_ids": listed})
        refresh(typed, "v")
        kept = lambda: {name: of for name, of in source.points().items() if name in listed}
        assert_rows(rows_of(typed, "v", "temporal_features"), expected_features(kept(), DEFAULTS))
        source.write("a", *walk(rng, 2))
        assert refresh(typed, "v") <= 1
        source.write("nobody", *walk(rng, 2))
        refresh(typed, "v")
        assert_rows(rows_of(typed, "v", "temporal_features"), expected_features(kept(), DEFAULTS))
        assert ("nobody",) in rows_of(typed, "v", "temporal_features")
        typed.execute("SELECT cvx.drop_view('v')")

    @pytest.mark.parametrize("of", ["space", "model"])
    def test_attrs_of_the_last_point(self, typed, of):
        source = SOURCES[of](typed, f"filter-attrs-{of}")
        rng = np.random.default_rng(4)
        for name in "abcd":
            source.write(name, *walk(rng, 4))

        def set_attrs(entity, attrs, last=True):
            query = sql.SQL(
                "UPDATE {0} SET attrs = %s WHERE entity_id = %s AND (ts = (SELECT max(ts) FROM {0} WHERE entity_id = %s)) = %s"
            ).format(source.table)
            typed.execute(query, (attrs, entity, entity, last))

        set_attrs("a", '{"plan": "pro", "tags": ["x", "y"]}')
        set_attrs("b", '{"plan": "free"}')
        set_attrs("c", '{"plan": "pro", "tags": ["x"]}', last=False)
        create_view(
            typed,
            "v",
            "temporal_features",
            source,
            refresh_policy="manual",
            entity_filter={"attrs": {"plan": "pro", "tags": ["x"]}, "entity_ids": ["a", "b", "c", "d"]},
        )
        names = lambda: {entity for (entity,) in rows_of(typed, "v", "temporal_features")}
        refresh(typed, "v")
        assert names() == {"a"}
        set_attrs("b", '{"plan": "pro", "tags": ["y", "x"], "more": 1}')
        set_attrs("a", '{"plan": "free"}')
        refresh(typed, "v")
        assert names() == {"b"}
        # A new last point, without attrs: b goes.
        source.write("b", [START + 400 * DAY], np.ones((1, DIMS)))
        refresh(typed, "v")
        assert names() == set()
        typed.execute("SELECT cvx.drop_view('v')")


class TestOldRows:
    """Of data relative to now: rows older than `retention` or `ttl` are not shown, by their event time."""

    def recent(self, typed, name):
        source = space_source(typed, name)
        (now,) = typed.execute("SELECT now()", binary=True).fetchone()
        rng = np.random.default_rng(5)
        for name, age in [("new", DAY), ("old", 20 * DAY), ("ancient", 300 * DAY)]:
            source.write(name, int(now) - age - np.arange(5)[::-1] * 8 * DAY, rng.normal(0, 1, (5, DIMS)))
        return source, int(now)

    @pytest.mark.parametrize("how", ["retention", "ttl"])
    def test_are_hidden(self, typed, how):
        source, now = self.recent(typed, f"old-{how}")
        options = {"retention": "30 days"} if how == "retention" else {}
        config = {"ttl": "30 days"} if how == "ttl" else {}
        for name, type, more in [
            ("f", "temporal_features", {}),
            ("d", "drift_summary", {"window": "1 day"}),
            ("c", "changepoint_cache", {"penalty": 1e-9, "min_size": 1}),
        ]:
            create_view(typed, name, type, source, refresh_policy="manual", config={**config, **more}, **options)
            refresh(typed, name)
        assert {entity for (entity,) in rows_of(typed, "f", "temporal_features")} == {"new", "old"}
        ends = [row["window_end"] for row in rows_of(typed, "d", "drift_summary").values()]
        every = [row["window_end"] for row in rows_of(typed, "d", "drift_summary", "cvx_view_definition").values()]
        assert sorted(ends) == sorted(end for end in every if end >= now - 30 * DAY) and len(ends) < len(every)
        times = [ts for _, ts in rows_of(typed, "c", "changepoint_cache")]
        every = [ts for _, ts in rows_of(typed, "c", "changepoint_cache", "cvx_view_definition")]
        assert sorted(times) == sorted(ts for ts in every if ts >= now - 30 * DAY) and 0 < len(times) < len(every)
        typed.execute("SELECT cvx.drop_view('f'), cvx.drop_view('d'), cvx.drop_view('c')")

    def test_come_back_with_a_new_point(self, typed):
        source, now = self.recent(typed, "old-back")
        create_view(typed, "v", "temporal_features", source, refresh_policy="manual", retention="30 days")
        refresh(typed, "v")
        source.write("ancient", [now - DAY], np.ones((1, DIMS)))
        refresh(typed, "v")
        assert {entity for (entity,) in rows_of(typed, "v", "temporal_features")} == {"new", "old", "ancient"}
        typed.execute("SELECT cvx.drop_view('v')")


class TestRefreshedEntities:
    @pytest.fixture
    def view(self, typed, request):
        source = space_source(typed, f"ids-{request.node.name}")
        rng = np.random.default_rng(6)
        for i in range(6):
            source.write(f"e{i}", *walk(rng, 5))
        create_view(typed, "v", "temporal_features", source, refresh_policy="manual")
        refresh(typed, "v")
        yield source
        typed.execute("SELECT cvx.drop_view('v')")

    def test_only_the_stale_of_those_named(self, typed, view):
        rng = np.random.default_rng(7)
        for name in ("e1", "e2", "e3"):
            view.write(name, *walk(rng, 1))
        assert refresh(typed, "v", ["e1", "e2", "e5", "nobody"]) == 2
        assert stale_entities(typed, "v") == {"e3"}
        assert refresh(typed, "v", []) == 0
        assert refresh(typed, "v", ["e3", "e3", None]) == 1
        assert_rows(rows_of(typed, "v", "temporal_features"), expected_features(view.points(), DEFAULTS))

    def test_force_computes_the_fresh_too(self, typed, view):
        before = {key: row["computed_at"] for key, row in rows_of(typed, "v", "temporal_features").items()}
        assert refresh(typed, "v", ["e1", "e4"], force=True) == 2
        after = {key: row["computed_at"] for key, row in rows_of(typed, "v", "temporal_features").items()}
        assert {key for key in after if after[key] != before[key]} == {("e1",), ("e4",)}
        assert refresh(typed, "v", force=True) == 6
        assert all(row["computed_at"] > before[key] for key, row in rows_of(typed, "v", "temporal_features").items())

    def test_ten_thousand_by_name(self, typed, view):
        typed.execute(
            "INSERT INTO cvx_space.{} (entity_id, ts, vec) SELECT 'n' || i, '2026-01-01', ARRAY[i, 1, 2, 3, 4]::real[]::vector"
            " FROM generate_series(1, 10000) i".format(sql.Identifier(view.arguments["space"]).as_string(typed))
        )
        assert refresh(typed, "v", [f"n{i}" for i in range(1, 10_001)]) == 10_000
        assert stale_entities(typed, "v") == set()


def test_ten_thousand_entities(typed):
    """All three types that hold rows per entity, over a table of 10 000 entities, of which a hundred change."""
    source = table_source(typed, "ten-thousand")
    typed.execute("""
        INSERT INTO "ten-thousand" SELECT 'e' || e, '2026-01-01'::timestamptz + p * interval '5 hours',
            ARRAY[e % 17 + 1, sin(e * p), cos(p), e % 5, p]::real[]::vector
        FROM generate_series(1, 10000) e, generate_series(1, 6) p""")
    for name, type, config in [
        ("f", "temporal_features", {}),
        ("d", "drift_summary", {"window": "12 hours"}),
        ("c", "changepoint_cache", {"penalty": 3}),
    ]:
        create_view(typed, name, type, source, refresh_policy="manual", config=config)
        assert refresh(typed, name) == 10_000
        assert_is_its_definition(typed, name)
    typed.execute("UPDATE \"ten-thousand\" SET vec = '[9,9,9,9,9]' WHERE entity_id LIKE 'e77%' AND ts > '2026-01-01 20:00'")
    for name in "fdc":
        assert view_row(typed, name)["stale_entities"] == 111
        assert refresh(typed, name) == 111
        assert_is_its_definition(typed, name)
    typed.execute("SELECT cvx.drop_view('f'), cvx.drop_view('d'), cvx.drop_view('c')")
    typed.execute('DROP TABLE "ten-thousand"')


def test_tables_with_nulls_and_zero_vectors(typed):
    """Rows without an entity, a time or a vector are no points; a zero vector has no cosine."""
    source = table_source(typed, "holes")
    source.write("a", *walk(np.random.default_rng(1), 3))
    source.write("zero", [START, START + DAY], np.array([[0] * DIMS, [1] * DIMS]))
    typed.execute("""
        INSERT INTO holes VALUES (NULL, '2026-01-01', '[1,2,3,4,5]'), ('a', NULL, '[1,2,3,4,5]'), ('a', '2026-05-05', NULL),
            ('nothing', NULL, NULL), (NULL, NULL, NULL)""")
    for name, type, config in [
        ("f", "temporal_features", {}),
        ("d", "drift_summary", {"window": "1 day"}),
        ("c", "cohort_snapshot", {}),
    ]:
        create_view(typed, name, type, source, refresh_policy="manual", config=config)
        refresh(typed, name)
        assert view_row(typed, name)["status"] == "fresh"
        assert_is_its_definition(typed, name)
    features = rows_of(typed, "f", "temporal_features")
    assert features[("zero",)]["drift"] is None
    assert_rows(features, expected_features(source.points(), DEFAULTS))
    assert_rows(rows_of(typed, "d", "drift_summary"), expected_summary(source.points(), DAY))
    assert_rows(rows_of(typed, "c", "cohort_snapshot"), expected_cohort(source.points(), source.points()))
    typed.execute("UPDATE holes SET entity_id = 'found', ts = '2026-01-02' WHERE entity_id IS NULL AND vec IS NOT NULL")
    assert refresh(typed, "f") >= 1
    assert rows_of(typed, "f", "temporal_features")[("found",)]["end_ts"] == Micros(START + DAY)
    typed.execute("SELECT cvx.drop_view('f'), cvx.drop_view('d'), cvx.drop_view('c')")
    typed.execute("DROP TABLE holes")


def test_several_views_of_one_source(typed):
    """Each has its own marks: one that is refreshed leaves the others stale."""
    source = space_source(typed, "shared")
    rng = np.random.default_rng(12)
    source.write("a", *walk(rng, 4))
    source.write("b", *walk(rng, 4))
    names = [f"several {i}" for i in range(5)]
    for name in names:
        create_view(typed, name, "temporal_features", source, refresh_policy="manual")
        refresh(typed, name)
    source.write("a", *walk(rng, 2))
    for i, name in enumerate(names):
        assert [bool(stale_entities(typed, other)) for other in names] == [False] * i + [True] * (5 - i)
        assert refresh(typed, name) == 1
        assert_rows(rows_of(typed, name, "temporal_features"), expected_features(source.points(), DEFAULTS))
    assert typed.execute("SELECT count(*) FROM cvx.invalidation_log WHERE space = 'shared' AND entries > 0").fetchone() == (0,)
    for name in names:
        typed.execute("SELECT cvx.drop_view(%s)", (name,))


def test_alignment_makes_its_views_stale(typed):
    source = SOURCES["model"](typed, "aligned")
    other = space_source(typed, "unaligned")
    other.write("a", *walk(np.random.default_rng(1), 3))
    create_view(typed, "v", "temporal_features", source, refresh_policy="manual")
    create_view(typed, "w", "temporal_features", other, refresh_policy="manual")
    refresh(typed, "v"), refresh(typed, "w")
    assert_rows(rows_of(typed, "v", "temporal_features"), expected_features(source.points(), DEFAULTS))
    typed.execute("SELECT cvx.align('aligned', 'v2', 'affine')")
    assert len(stale_entities(typed, "v")) == 30 and stale_entities(typed, "w") == set()
    refresh(typed, "v")
    assert_rows(rows_of(typed, "v", "temporal_features"), expected_features(source.points(), DEFAULTS))
    typed.execute("SELECT cvx.drop_view('v'), cvx.drop_view('w')")
