"""Histories of views and training sets: against DuckDB's ASOF JOIN on random data, and against what had come when.

The times are microseconds since 2000. Features are taken from cvx's functions on the points that DuckDB finds (that
these functions are right is test_calculus.py's matter), so that values are compared to the last bit.
"""

import itertools
import json
import os
import threading

import duckdb
import numpy as np
import psycopg
import pyarrow
import pytest
from cluster import Cluster
from conftest import connect
from psycopg import sql
from trajectories import DAY, Micros
from view_oracle import HOUR, START, timestamp, vector_text

# For the long form, CVX_POINT_IN_TIME_SETS=2000.
SETS = int(os.environ.get("CVX_POINT_IN_TIME_SETS", 100))
SETS_IN_A_SPACE = 20
NUMBERS = itertools.count()
REFUSED = psycopg.errors

# The features of each view as SQL over a trajectory `t`.
WHOLE = {
    "drift": "cvx.drift(t)",
    "drift_l2": "cvx.drift(t, 'l2')",
    "velocity": "cvx.velocity(t)::text",
    "mean_speed": "cvx.mean_speed(t)",
    "drift_report": "(SELECT to_jsonb(r)::text FROM cvx.drift_report(t, 10) r)",
}
RECENT = {"path_length": "cvx.path_length(t)", "volatility": "cvx.volatility(t)", "hurst": "cvx.hurst(t)"}
SUMMARY = {
    "count": "cvx.num_points(t)",
    "drift": "cvx.drift(t)",
    "rate": "cvx.drift(t) / nullif(date_part('epoch', cvx.duration(t)) / 86400::float8, 0)",
    "trend": "cvx.drift_trend(t)",
}
SHOWN = {"velocity": "velocity::text", "drift_report": "drift_report::text"}


class View:
    """A view with history: how it is made, and where in time its spans start (SQL over `ts`, in microseconds)."""

    def __init__(self, name, kind, features, window=None, ttl=None):
        self.name, self.kind, self.features, self.window, self.ttl = name, kind, features, window, ttl

    def create(self, conn, space):
        config = {"history": True}
        if self.kind == "temporal_features":
            config["features"] = list(self.features)
        if self.window:
            config["window"] = f"{self.window} microseconds"
        if self.ttl:
            config["ttl"] = f"{self.ttl} microseconds"
        conn.execute(
            "SELECT cvx.create_view(%s, %s, space => %s, refresh_policy => 'manual', config => %s)",
            [self.name, self.kind, space, json.dumps(config)],
        )

    def start(self, ts: str) -> str:
        if self.kind == "drift_summary":
            return f"({ts} // {self.window}) * {self.window}"
        return f"{ts} - {self.window}" if self.window else "-9000000000000000000"

    @property
    def shown(self) -> str:
        return ", ".join(f"{SHOWN.get(it, it)} AS {it}" for it in self.features)


def three_views(rng, prefix: str) -> list[View]:
    days = lambda low, high: int(rng.integers(low * 24, high * 24)) * HOUR
    return [
        View(f"{prefix}_whole", "temporal_features", WHOLE),
        View(f"{prefix}_recent", "temporal_features", RECENT, window=days(2, 12), ttl=days(1, 6)),
        View(f"{prefix}_summary", "drift_summary", SUMMARY, window=days(2, 12)),
    ]


def draw(rng, prefix: str, dims: int = 3) -> list[tuple]:
    """Points of six entities on a grid of six hours, so that times coincide, with gaps: (entity, ts, known, vector), in
    the order in which they become known, three of ten days after they happened."""
    points = []
    for entity in range(6):
        n = int(rng.integers(0, 14))
        hours = np.sort(rng.choice(160, n, replace=False)) * 6 + rng.choice([0, 0, 0, 400])
        late = np.where(rng.random(n) < 0.3, rng.integers(1, 200, n), 0)
        for hour, lag in zip(hours, late):
            ts = START + int(hour) * HOUR
            points.append((f"{prefix}-{entity}", ts, ts + int(lag) * HOUR, rng.normal(0, 1, dims).astype(np.float32)))
    return sorted(points, key=lambda it: (it[2], it[0], it[1]))


def draw_spine(rng, points, prefix: str, rows: int = 40) -> list[tuple]:
    """(entity, ts): at the times of points, right before and after them, long after, twice; unknown and NULL."""
    entities = [f"{prefix}-{it}" for it in range(6)] + ["unknown", None]
    times = [it[1] for it in points] or [START]
    spine = []
    for _ in range(rows):
        near = int(rng.choice(times)) + int(rng.choice([0, 0, -1, 1, 3 * HOUR, 40 * DAY, -40 * DAY]))
        spine.append((rng.choice(entities), near if rng.random() < 0.95 else None))
    return spine + spine[:5]


def write(conn, space: str, points) -> None:
    table = sql.Identifier("cvx_space", space)
    with conn.cursor() as cursor:
        with cursor.copy(sql.SQL("COPY {} (entity_id, ts, ingested_at, vec) FROM STDIN").format(table)) as copy:
            for entity, ts, known, x in points:
                copy.write_row((entity, timestamp(ts), timestamp(known), vector_text(x)))


def refresh(conn, views) -> None:
    for it in views:
        conn.execute("SELECT cvx.refresh_view(%s)", [it.name])


def stream(conn, space, views, points, rng, chance: float = 0.3) -> None:
    """Writes points as they become known, and refreshes now and then, when all of a moment is in."""
    waiting = []
    for place, point in enumerate(points):
        waiting.append(point)
        ends = place + 1 == len(points) or points[place + 1][2] > point[2]
        if ends and (place + 1 == len(points) or rng.random() < chance):
            write(conn, space, waiting)
            refresh(conn, views)
            waiting = []


def members(view: View, points, spine, bitemporal: bool) -> list[tuple]:
    """What DuckDB says: for each row of the spine the point whose version holds there (its number and time, or None),
    and the points that the version comes from."""
    db = duckdb.connect()
    numbers = range(len(points))
    table = {
        "id": pyarrow.array(numbers, pyarrow.int64()),
        "entity": pyarrow.array([it[0] for it in points], pyarrow.string()),
        "ts": pyarrow.array([it[1] for it in points], pyarrow.int64()),
        "known": pyarrow.array([it[2] for it in points], pyarrow.int64()),
    }
    db.register("points", pyarrow.table(table))
    table = {
        "n": pyarrow.array(range(len(spine)), pyarrow.int64()),
        "entity": pyarrow.array([it[0] for it in spine], pyarrow.string()),
        "ts": pyarrow.array([it[1] for it in spine], pyarrow.int64()),
    }
    db.register("spine", pyarrow.table(table))
    if bitemporal:
        last = """SELECT s.*, (SELECT max(p.ts) FROM points p
                               WHERE p.entity = s.entity AND p.ts <= s.ts AND p.known <= s.ts) AS at FROM spine s"""
        known = "q.known <= l.ts"
    else:
        last = "SELECT s.*, p.ts AS at FROM spine s ASOF LEFT JOIN points p ON s.entity = p.entity AND s.ts >= p.ts"
        known = "true"
    alive = f"l.ts - l.at <= {view.ttl}" if view.ttl else "true"
    return db.execute(f"""
        WITH l AS ({last})
        SELECT l.n, l.at, list(q.id ORDER BY q.ts)
        FROM l JOIN points q ON q.entity = l.entity AND q.ts <= l.at AND q.ts >= {view.start("l.at")} AND {known}
        WHERE {alive} GROUP BY 1, 2""").fetchall()


def expected(conn, view: View, points, spine, bitemporal: bool) -> dict:
    """By row of the spine: (valid_from, features...), for those that have any."""
    found = members(view, points, spine, bitemporal)
    rows = [(n, points[it][1], vector_text(points[it][3])) for n, _, ids in found for it in ids]
    query = sql.SQL("""
        SELECT n, {features} FROM (
            SELECT n, cvx.trajectory_agg(ts, vec) AS t
            FROM unnest(%s::int[], %s::timestamptz[], %s::vector[]) u(n, ts, vec) GROUP BY n OFFSET 0) t""").format(
        features=sql.SQL(", ".join(view.features.values()))
    )
    columns = [list(it) for it in zip(*rows)] or [[], [], []]
    values = conn.execute(query, [columns[0], [timestamp(it) for it in columns[1]], columns[2]]).fetchall()
    times = {n: at for n, at, _ in found}
    return {row[0]: (timestamp(times[row[0]]), *row[1:]) for row in values}


def make_spine(conn, name: str, spine) -> None:
    conn.execute(sql.SQL("CREATE TABLE {} (n int, entity_id text, ts timestamptz)").format(sql.Identifier(name)))
    with conn.cursor() as cursor:
        with cursor.copy(sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(name))) as copy:
            for n, (entity, ts) in enumerate(spine):
                copy.write_row((n, entity, None if ts is None else timestamp(ts)))


def training_rows(conn, name: str, view: View) -> dict:
    """By row of the spine: (valid_from, features...) of one view, for those that have any."""
    columns = [f"{view.name}_{it}" for it in ("valid_from", *view.features)]
    texts = [f"{view.name}_{it}" for it in SHOWN]
    selected = [f'"{it}"::text' if it in texts else f'"{it}"' for it in columns]
    query = f'SELECT n, {", ".join(selected)} FROM cvx_training."{name}"'
    return {row[0]: row[1:] for row in conn.execute(query) if row[1] is not None}


def history(conn, view: View, columns: str = "") -> list[tuple]:
    query = f"""SELECT entity_id, valid_from, valid_to, known_from, known_to, {view.shown}{columns}
        FROM cvx_view_history."{view.name}" ORDER BY 1, 2, 4"""
    return conn.execute(query).fetchall()


@pytest.fixture
def conn(database):
    with connect(database) as connection:
        connection.execute("SET timezone = 'UTC'")
        # Infinity is no date of Python's.
        connection.adapters.register_loader("timestamptz", Timestamp)
        yield connection
        connection.execute("SELECT cvx.drop_view(name) FROM cvx.view")


class Timestamp(psycopg.adapt.Loader):
    def load(self, data):
        text = bytes(data).decode()
        if text == "infinity":
            return text
        return psycopg.types.datetime.TimestamptzLoader(self.oid, None).load(data)


@pytest.fixture
def space(conn):
    name = f"p{next(NUMBERS)}"
    conn.execute("SELECT cvx.create_space(%s, 3)", [name])
    return name


@pytest.mark.parametrize("seed", range(SETS // SETS_IN_A_SPACE))
def test_training_sets_equal_asof_joins(conn, space, seed):
    rng = np.random.default_rng(seed)
    views = three_views(rng, f"q{seed}")
    for it in views:
        it.create(conn, space)
    refresh(conn, views)
    data = {f"d{number}": None for number in range(SETS_IN_A_SPACE)}
    data = {prefix: draw(rng, prefix) for prefix in data}
    points = sorted(itertools.chain(*data.values()), key=lambda it: (it[2], it[0], it[1]))
    stream(conn, space, views, points, rng, chance=0.02)
    assert conn.execute("SELECT sum(stale_entities) FROM cvx.views").fetchone() == (0,)
    names = [it.name for it in views]
    compared = 0
    for prefix, mine in data.items():
        spine = draw_spine(rng, mine, prefix)
        make_spine(conn, f"spine_{seed}_{prefix}", spine)
        for bitemporal in (False, True):
            name = f"set_{seed}_{prefix}_{bitemporal}"
            made = conn.execute(
                "SELECT cvx.create_training_set(%s, %s::regclass, %s, %s)",
                [name, f"spine_{seed}_{prefix}", names, bitemporal],
            ).fetchone()
            assert made == (len(spine),)
            kept = conn.execute(f'SELECT n, entity_id, ts FROM cvx_training."{name}" ORDER BY n').fetchall()
            assert kept == [(n, e, None if ts is None else timestamp(ts)) for n, (e, ts) in enumerate(spine)]
            for view in views:
                wanted = expected(conn, view, mine, spine, bitemporal)
                assert training_rows(conn, name, view) == wanted, (prefix, view.name, bitemporal)
                compared += len(wanted)
    assert compared > 1000
    check_features_as_of(conn, views[0], data["d0"], draw_spine(rng, data["d0"], "d0", 30))


def check_features_as_of(conn, view, points, spine):
    """The same by one call each; with known_at, what was known at the time that is asked about."""
    for bitemporal in (False, True):
        wanted = expected(conn, view, points, spine, bitemporal)
        for n, (entity, ts) in enumerate(spine):
            ts = None if ts is None else timestamp(ts)
            (found,) = conn.execute(
                "SELECT cvx.features_as_of(%s, %s, %s, %s)", [view.name, entity, ts, ts if bitemporal else None]
            ).fetchone()
            if n not in wanted:
                assert found is None
                continue
            assert found["stale_since"] is None
            assert psycopg.types.datetime.datetime.fromisoformat(found["valid_from"]) == wanted[n][0]
            assert (found["drift"], found["drift_l2"]) == wanted[n][1:3]
            assert found["drift_report"] == (json.loads(wanted[n][5]) if wanted[n][5] else None)


@pytest.mark.parametrize("seed", range(3))
def test_history_does_not_depend_on_when_it_was_refreshed(conn, space, seed):
    rng = np.random.default_rng(100 + seed)
    points = draw(rng, "a") + draw(rng, "b") + draw(rng, "c")
    points.sort(key=lambda it: (it[2], it[0], it[1]))
    found = []
    for way in ("streamed", "whole"):
        name = f"{space}_{way}"
        conn.execute("SELECT cvx.create_space(%s, 3)", [name])
        views = three_views(np.random.default_rng(seed), name)
        for it in views:
            it.create(conn, name)
        if way == "streamed":
            refresh(conn, views)
            stream(conn, name, views, points, rng)
        else:
            write(conn, name, points)
            refresh(conn, views)
        found.append([history(conn, it) for it in views])
        assert [it[0] for it in views[0].features.items()] == list(WHOLE)
    assert found[0] == found[1]
    assert all(len(rows) > len(points) for rows in found[0][:1])


def current(conn, view, points) -> dict:
    """The versions that the points make, by (entity, ts)."""
    spine = [(it[0], it[1]) for it in points]
    without_ttl = View(view.name, view.kind, view.features, view.window)
    return {spine[n]: row for n, row in expected(conn, without_ttl, points, spine, False).items()}


def test_updates_deletes_and_upserts(conn, space):
    """After each step the versions that stand are those of the points; what was closed stays, and what is known of the
    past from then on is what was known."""
    rng = np.random.default_rng(7)
    views = three_views(rng, "m")
    for it in views:
        it.create(conn, space)
    refresh(conn, views)
    points, before = {}, {it.name: [] for it in views}
    table = sql.Identifier("cvx_space", space)
    for step in range(60):
        for _ in range(int(rng.integers(1, 4))):
            key = (f"e{rng.integers(3)}", START + int(rng.integers(0, 40)) * 12 * HOUR)
            x = rng.normal(0, 1, 3).astype(np.float32)
            kind = rng.choice(["upsert", "upsert", "update", "delete"])
            if kind == "delete":
                delete = sql.SQL("DELETE FROM {} WHERE entity_id = %s AND ts = %s").format(table)
                conn.execute(delete, [key[0], timestamp(key[1])])
                points.pop(key, None)
            elif kind == "update":
                conn.execute(
                    sql.SQL("UPDATE {} SET vec = %s WHERE entity_id = %s AND ts = %s").format(table),
                    [vector_text(x), key[0], timestamp(key[1])],
                )
                if key in points:
                    points[key] = x
            else:
                conn.execute(
                    sql.SQL("""INSERT INTO {} (entity_id, ts, vec) VALUES (%s, %s, %s)
                        ON CONFLICT (space_id, entity_id, ts)
                        DO UPDATE SET vec = EXCLUDED.vec, ingested_at = EXCLUDED.ingested_at""").format(table),
                    [key[0], timestamp(key[1]), vector_text(x)],
                )
                points[key] = x
        (clock,) = conn.execute("SELECT clock_timestamp()").fetchone()
        refresh(conn, views)
        have = [(entity, ts, 0, x) for (entity, ts), x in sorted(points.items())]
        for view in views:
            rows = history(conn, view)
            stand = [row for row in rows if row[4] == "infinity"]
            assert {(row[0], row[1]): row[5:] for row in stand} == {
                (entity, timestamp(ts)): values[1:] for (entity, ts), values in current(conn, view, have).items()
            }
            follow = [(entity, timestamp(ts)) for entity, ts, _, _ in have]
            ends = {a: b[1] if a[0] == b[0] else "infinity" for a, b in zip(follow, [*follow[1:], (None, None)])}
            assert {(row[0], row[1]): row[2] for row in stand} == ends
            closed = [row for row in before[view.name] if row[4] != "infinity"]
            assert set(closed) <= set(rows)
            for row in rows:
                assert row[4] == "infinity" or row[3] < row[4]
            before[view.name] = rows
            # A correction is not known before it was made.
            known = [row for row in rows if row[3] > clock]
            assert all(row[4] == "infinity" for row in known)
    assert any(row[4] != "infinity" for row in before["m_whole"])


def test_what_is_gone_is_closed(conn, space):
    rng = np.random.default_rng(8)
    views = three_views(rng, "g")
    for it in views:
        it.create(conn, space)
    points = draw(rng, "x") + draw(rng, "y")
    write(conn, space, points)
    refresh(conn, views)
    sizes = [len(history(conn, it)) for it in views]
    conn.execute(sql.SQL("TRUNCATE {}").format(sql.Identifier("cvx_space", space)))
    (clock,) = conn.execute("SELECT clock_timestamp()").fetchone()
    refresh(conn, views)
    for view, size in zip(views, sizes):
        rows = history(conn, view)
        assert len(rows) == size and all(row[4] != "infinity" for row in rows)
        ever = conn.execute("SELECT cvx.features_as_of(%s, %s, 'infinity')", [view.name, points[0][0]])
        assert ever.fetchone() == (None,)
        (found,) = conn.execute(
            "SELECT cvx.features_as_of(%s, %s, %s, %s)", [view.name, points[0][0], timestamp(points[0][1]), clock]
        ).fetchone()
        assert found is not None
    write(conn, space, points[:1])
    refresh(conn, views)
    for view in views:
        stand = [row for row in history(conn, view) if row[4] == "infinity"]
        assert [row[:3] for row in stand] == [(points[0][0], timestamp(points[0][1]), "infinity")]
        # It came back with its old date, and all the same later than the store knew that it was gone.
        assert stand[0][3] > clock


def test_a_table_of_a_user(conn):
    """Ids of another type; with a column that says when rows came, and without one."""
    rng = np.random.default_rng(9)
    conn.execute("CREATE TABLE item (id int8, at timestamptz, v vector(3), came timestamptz, note text)")
    for name, config in [("i_dated", {"ingested_at_column": "came"}), ("i_plain", {})]:
        conn.execute(
            """SELECT cvx.create_view(%s, 'temporal_features', source_table => 'item', entity_column => 'id',
                ts_column => 'at', vector_column => 'v', refresh_policy => 'manual', config => %s)""",
            [name, json.dumps({"history": True, "features": list(WHOLE), **config})],
        )
    points = [(str(int(it[0][2:]) + 10**12), *it[1:]) for it in draw(rng, "i")]
    with conn.cursor().copy("COPY item (id, at, came, v) FROM STDIN") as copy:
        for entity, ts, known, x in points:
            copy.write_row((entity, timestamp(ts), timestamp(known), vector_text(x)))
    conn.execute("INSERT INTO item VALUES (7, NULL, '[1,1,1]', now()), (7, now(), NULL, now())")
    views = [View("i_dated", "temporal_features", WHOLE), View("i_plain", "temporal_features", WHOLE)]
    refresh(conn, views)
    spine = [(it[0], it[1] + gap) for it in points for gap in (0, 9 * HOUR)]
    make_spine(conn, "item_spine", spine)
    conn.execute("ALTER TABLE item_spine ALTER COLUMN entity_id TYPE int4 USING (entity_id::int8 - 10^12)::int4")
    with pytest.raises(REFUSED.DatatypeMismatch, match="which are of type bigint"):
        conn.execute("CREATE VIEW text_spine AS SELECT n, entity_id::text, ts FROM item_spine")
        conn.execute("SELECT cvx.create_training_set('i0', 'text_spine', '{i_dated}')")
    conn.execute("UPDATE item SET id = id - 10^12")
    refresh(conn, views)
    points = [(str(int(it[0]) - 10**12), *it[1:]) for it in points]
    spine = [(str(int(it[0]) - 10**12), it[1]) for it in spine]
    conn.execute("SELECT cvx.create_training_set('i1', 'item_spine', '{i_dated,i_plain}')")
    for view in views:
        assert training_rows(conn, "i1", view) == expected(conn, view, points, spine, False)
    # Without a column that says when rows came, it counts that they came when they happened.
    conn.execute("SELECT cvx.create_training_set('i2', 'item_spine', '{i_dated,i_plain}', true)")
    assert training_rows(conn, "i2", views[0]) == expected(conn, views[0], points, spine, True)
    assert training_rows(conn, "i2", views[1]) == expected(conn, views[1], points, spine, False)
    # But one that comes late to an entity that is known was not known before it was seen.
    (entity, ts, _, x) = next(it for it in points if it[0] == "0")
    conn.execute("INSERT INTO item VALUES (%s, %s, %s)", [entity, timestamp(ts - HOUR), vector_text(-x)])
    (clock,) = conn.execute("SELECT clock_timestamp()").fetchone()
    refresh(conn, views[1:])
    ask = "SELECT cvx.features_as_of('i_plain', %s, %s, %s)"
    assert conn.execute(ask, [entity, timestamp(ts - HOUR), clock]).fetchone() == (None,)
    (found,) = conn.execute(ask, [entity, timestamp(ts - HOUR), None]).fetchone()
    assert found["num_points"] == 1


def test_a_training_set_says_what_is_out_of_date(conn, space):
    rng = np.random.default_rng(10)
    views = three_views(rng, "w")
    for it in views:
        it.create(conn, space)
    conn.execute("CREATE TABLE w_spine AS SELECT e AS entity_id, now() AS ts FROM unnest(ARRAY['a', 'a', 'b']) e")
    notices = []
    conn.add_notice_handler(lambda it: notices.append((it.severity, it.message_primary, it.message_hint)))
    names = [it.name for it in views]

    def make(name):
        notices.clear()
        conn.execute("SELECT cvx.create_training_set(%s, 'w_spine', %s)", [name, names])
        return [(severity, message) for severity, message, hint in notices if hint]

    assert len(make("w0")) == 3
    refresh(conn, views)
    assert make("w1") == []
    write(conn, space, [("a", START, START, np.ones(3)), ("z", START, START, np.ones(3))])
    refresh(conn, views[1:])
    assert make("w2") == [("WARNING", 'entities of public.w_spine that are out of date in view "w_whole": 1')]
    (found,) = conn.execute("SELECT cvx.features_as_of('w_recent', 'a', %s)", [timestamp(START)]).fetchone()
    assert found["stale_since"] is None
    refresh(conn, views)
    assert make("w3") == []
    write(conn, space, [("a", START + DAY, START + DAY, np.ones(3))])
    (found,) = conn.execute("SELECT cvx.features_as_of('w_whole', 'a', %s)", [timestamp(START)]).fetchone()
    assert found["stale_since"] is not None


def test_the_rights_are_the_callers(conn, space, database):
    views = three_views(np.random.default_rng(11), "r")[:1]
    views[0].create(conn, space)
    write(conn, space, [("a", START, START, np.ones(3)), ("b", START, START, np.ones(3))])
    refresh(conn, views)
    conn.execute("DROP ROLE IF EXISTS pit_reader")
    conn.execute("CREATE ROLE pit_reader LOGIN")
    conn.execute("CREATE TABLE r_spine AS SELECT e AS entity_id, now() AS ts FROM unnest(ARRAY['a', 'b']) e")
    conn.execute("ALTER TABLE r_spine ENABLE ROW LEVEL SECURITY")
    conn.execute("CREATE POLICY only_a ON r_spine USING (entity_id = 'a')")
    make = "SELECT cvx.create_training_set('r1', 'r_spine', '{r_whole}')"
    ask = "SELECT cvx.features_as_of('r_whole', 'a', now()) IS NOT NULL"
    try:
        with connect(database, user="pit_reader") as reader:
            for grant in (
                "SELECT cvx.grant_read('pit_reader')",
                "GRANT SELECT ON r_spine TO pit_reader",
                "GRANT SELECT ON cvx_view_history.r_whole TO pit_reader",
            ):
                with pytest.raises(REFUSED.InsufficientPrivilege):
                    reader.execute(make)
                conn.execute(grant)
            assert reader.execute(make).fetchone() == (1,)
            assert reader.execute("SELECT entity_id FROM cvx_training.r1").fetchall() == [("a",)]
            assert reader.execute(ask).fetchone() == (True,)
            assert reader.execute("SELECT owner FROM cvx.training_set WHERE name = 'r1'").fetchone() == ("pit_reader",)
            conn.execute("SELECT cvx.create_training_set('r2', 'r_spine', '{r_whole}')")
            with pytest.raises(REFUSED.InsufficientPrivilege, match='must be owner of training set "r2"'):
                reader.execute("SELECT cvx.drop_training_set('r2')")
            reader.execute("SELECT cvx.drop_training_set('r1')")
            conn.execute("REVOKE SELECT ON cvx_view_history.r_whole FROM pit_reader")
            with pytest.raises(REFUSED.InsufficientPrivilege):
                reader.execute(ask)
    finally:
        conn.execute("DROP OWNED BY pit_reader CASCADE")
        conn.execute("DROP ROLE pit_reader")


def test_names(conn, space):
    """Quotes, the longest names, and one byte more."""
    odd = 'we"ird \'view\' é'
    for name in (odd, "v" * 63, "l" * 52):
        View(name, "temporal_features", {"drift": ""}).create(conn, space)
    write(conn, space, [(odd, START, START, np.ones(3)), (odd, START + 1, START + 1, np.arange(3) + 1)])
    conn.execute("SELECT cvx.refresh_view(name) FROM cvx.view")
    conn.execute('CREATE TABLE "sp""ine" (entity_id text, ts timestamptz, "a""b" int)')
    conn.execute('INSERT INTO "sp""ine" VALUES (%s, now(), 1)', [odd])
    make = "SELECT cvx.create_training_set(%s, '\"sp\"\"ine\"'::regclass, %s)"
    assert conn.execute(make, [odd, [odd, "l" * 52]]).fetchone() == (1,)
    row = conn.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier("cvx_training", odd))).fetchone()
    assert row[0] == odd and row[3] is not None and row[4] == timestamp(START + 1)
    with pytest.raises(REFUSED.NameTooLong):
        conn.execute(make, ["other", ["v" * 63]])
    with pytest.raises(REFUSED.InvalidName):
        conn.execute(make, ["é" * 32, [odd]])
    assert conn.execute(make, ["é" * 31, [odd]]).fetchone() == (1,)
    with pytest.raises(REFUSED.UndefinedObject):
        conn.execute(make, ["other", [odd, *map(str, range(20_000))]])
    (found,) = conn.execute("SELECT cvx.features_as_of(%s, %s, now())", [odd, odd]).fetchone()
    assert found["drift"] > 0
    for name in (odd, "é" * 31):
        conn.execute("SELECT cvx.drop_training_set(%s)", [name])


def test_two_make_one_set_at_a_time(conn, space, database):
    View("two", "temporal_features", {"drift": ""}).create(conn, space)
    conn.execute("SELECT cvx.refresh_view('two')")
    conn.execute("CREATE TABLE two_spine AS SELECT n::text AS entity_id, now() AS ts FROM generate_series(1, 2000) n")
    made, refused = [], []

    def make():
        with connect(database) as other:
            try:
                made.append(other.execute("SELECT cvx.create_training_set('two_set', 'two_spine', '{two}')").fetchone())
            except (REFUSED.DuplicateObject, REFUSED.DuplicateTable, REFUSED.UniqueViolation) as error:
                refused.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for it in threads:
        it.start()
    for it in threads:
        it.join()
    assert (made, len(refused)) == ([(2000,)], 3)
    assert conn.execute("SELECT count(*) FROM cvx.training_set WHERE name = 'two_set'").fetchone() == (1,)


def test_a_restart_changes_nothing():
    vector = lambda n: np.array([n + 1, 1, n % 3])
    points = [(f"e{n % 5}", START + n * HOUR, START + (n + n % 7) * HOUR, vector(n)) for n in range(60)]
    with Cluster() as server:
        options = {"dbname": "postgres", "host": server.host, "port": server.port, "user": "postgres"}
        view = View("kept", "temporal_features", WHOLE)
        ask = "SELECT cvx.features_as_of('kept', 'e1', %s, %s)"
        times = [timestamp(START + 30 * HOUR), timestamp(START + 31 * HOUR)]
        with connect(**options) as conn:
            conn.adapters.register_loader("timestamptz", Timestamp)
            conn.execute("CREATE EXTENSION cvx CASCADE")
            conn.execute("SELECT cvx.create_space('s', 3)")
            view.create(conn, "s")
            write(conn, "s", points[:40])
            refresh(conn, [view])
            write(conn, "s", points[40:])
            before = history(conn, view)
            answer = conn.execute(ask, times).fetchone()
        assert len(before) >= 40
        server.crash()
        server.start()
        with connect(**options) as conn:
            conn.adapters.register_loader("timestamptz", Timestamp)
            assert history(conn, view) == before
            assert conn.execute(ask, times).fetchone()[0]["drift"] == answer[0]["drift"]
            refresh(conn, [view])
            assert len([row for row in history(conn, view) if row[4] == "infinity"]) == 60
