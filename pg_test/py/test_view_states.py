"""How views live: policies and the worker, the first computation, errors of single entities, cancelled and rolled back
refreshes, what the catalog shows meanwhile, and what is left when they are dropped."""

import statistics
import threading
import time
from datetime import datetime, timedelta, timezone

import numpy as np
import psycopg
import pytest
import trajectories
from cluster import Cluster, until
from trajectories import DAY
from view_oracle import (
    DIMS,
    START,
    assert_rows,
    create_view,
    expected_features,
    refresh,
    rows_of,
    space_source,
    stale_entities,
    table_source,
    view_row,
    walk,
)

FEATURES = ["drift", "path_length"]
# Those of a view that names none.
DEFAULTS = [
    "drift", "drift_l2", "speed", "mean_speed", "path_length", "efficiency", "volatility", "drift_entropy",
    "stability_score", "hurst",
]  # fmt: skip
FRESH = 30  # seconds that anything may take on a busy machine


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as it:
        it.create_database("d")
        yield it
        assert it.faults() == []


@pytest.fixture
def conn(cluster):
    with cluster.connect("d") as it:
        trajectories.register(it)
        yield it
    with cluster.connect("d") as it:
        for (name,) in it.execute("SELECT name FROM cvx.view").fetchall():
            it.execute("SELECT cvx.drop_view(%s)", (name,))
        for (name,) in it.execute("SELECT name FROM cvx.space").fetchall():
            it.execute("SELECT cvx.drop_space(%s, true)", (name,))
        for (name,) in it.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall():
            it.execute(f'DROP TABLE public."{name}"')


def of_entities(conn, name, count, points=4):
    source = space_source(conn, name)
    rng = np.random.default_rng(1)
    for i in range(count):
        source.write(f"e{i}", *walk(rng, points))
    return source


def many(conn, name, entities, points=8, dims=32):
    """A table of its own, made in the server."""
    conn.execute(f"CREATE TABLE {name} (entity_id text, ts timestamptz, vec vector)")
    conn.execute(f"""
        INSERT INTO {name} SELECT 'e' || e, '2026-01-01'::timestamptz + p * interval '1 hour',
            (SELECT array_agg(sin(e * j + p)) FROM generate_series(1, {dims}) j)::real[]::vector
        FROM generate_series(1, {entities}) e, generate_series(1, {points}) p""")
    conn.execute(f"ANALYZE {name}")
    return {"source_table": name, "entity_column": "entity_id", "ts_column": "ts", "vector_column": "vec"}


def is_fresh(conn, name, seconds=FRESH) -> dict:
    def look():
        row = view_row(conn, name)
        return row if row["status"] == "fresh" else None

    try:
        return until(look, seconds, f"{name} is fresh")
    except AssertionError as error:
        raise AssertionError(f"{error}; {view_row(conn, name)}") from None


class TestOnIngest:
    def test_within_a_second_of_the_commit(self, conn):
        """One changed entity of a thousand, as seen by a reader that asks again and again."""
        source = space_source(conn, "s")
        conn.execute(
            "INSERT INTO cvx_space.s (entity_id, ts, vec) SELECT 'e' || i, '2026-01-01', ARRAY[i, 1, 2, 3, 4]::real[]::vector"
            " FROM generate_series(1, 1000) i"
        )
        create_view(conn, "v", "temporal_features", source)
        is_fresh(conn, "v")
        query = "SELECT num_points, stale_since FROM cvx_view.v WHERE entity_id = 'e7'"
        took = []
        for i in range(2, 22):
            source.write("e7", [START + i * DAY], np.ones((1, DIMS)))
            started = time.monotonic()
            until(lambda: conn.execute(query).fetchone() == (i, None), FRESH, f"point {i}", every=0.01)
            took.append(time.monotonic() - started)
            time.sleep(0.05)
        print(f"\nfrom commit to fresh: median {statistics.median(took):.3f} s, worst {max(took):.3f} s")
        assert statistics.median(took) < 1 and max(took) < 5

    def test_all_of_a_copy(self, conn):
        source = space_source(conn, "s")
        create_view(conn, "v", "temporal_features", source, config={"features": FEATURES})
        is_fresh(conn, "v")
        (space_id,) = conn.execute("SELECT cvx.space_id('s')").fetchone()
        with conn.cursor().copy("COPY cvx.embedding (space_id, entity_id, ts, vec) FROM STDIN") as copy:
            for i in range(20_000):
                copy.write_row((space_id, f"e{i % 5000}", f"2026-01-{1 + i // 5000:02}", f"[{i + 1},1,2,3,4]"))
        assert is_fresh(conn, "v")["entities"] == 5000
        found = conn.execute("SELECT count(*), sum(num_points), count(stale_since) FROM cvx_view.v").fetchone()
        assert found == (5000, 20_000, 0)

    def test_what_rolled_back_marks_nothing(self, conn):
        source = of_entities(conn, "s", 3)
        create_view(conn, "v", "temporal_features", source)
        before = is_fresh(conn, "v")
        with pytest.raises(psycopg.errors.DivisionByZero), conn.transaction():
            conn.execute("DELETE FROM cvx_space.s")
            conn.execute("SELECT 1 / 0")
        time.sleep(1)
        assert view_row(conn, "v")["last_computed"] == before["last_computed"]
        assert_rows(rows_of(conn, "v", "temporal_features"), expected_features(source.points(), DEFAULTS))

    def test_in_a_transaction_of_many_statements(self, conn):
        """Seen stale by the writer at once, in its own transaction; by others from the commit on."""
        source = of_entities(conn, "s", 3)
        create_view(conn, "v", "temporal_features", source, refresh_policy="manual")
        refresh(conn, "v")
        with conn.transaction():
            source.write("e1", [START + 100 * DAY], np.ones((1, DIMS)))
            assert stale_entities(conn, "v") == {"e1"}
            with pytest.raises(psycopg.errors.RaiseException), conn.transaction():
                conn.execute("UPDATE cvx_space.s SET source = 'x' WHERE entity_id = 'e2'")
                assert stale_entities(conn, "v") == {"e1", "e2"}
                conn.execute("DO $$ BEGIN RAISE 'no' ; END $$")
            assert stale_entities(conn, "v") == {"e1"}
        assert stale_entities(conn, "v") == {"e1"}


def test_manual_waits_to_be_asked(conn):
    source = of_entities(conn, "s", 3)
    create_view(conn, "v", "temporal_features", source, refresh_policy="manual")
    time.sleep(1.5)
    row = view_row(conn, "v")
    assert row["status"] in ("stale", "computing") and row["last_computed"] is None
    assert conn.execute("SELECT count(*) FROM cvx_view.v").fetchone() == (0,)
    refresh(conn, "v")
    source.write("e1", [START + 100 * DAY], np.ones((1, DIMS)))
    time.sleep(1.5)
    assert view_row(conn, "v")["status"] == "stale" and stale_entities(conn, "v") == {"e1"}


def test_scheduled_waits_for_its_time(conn):
    source = of_entities(conn, "s", 3)
    options = {"refresh_policy": "scheduled", "schedule": "30 2 1 1 *", "time_zone": "Asia/Tokyo"}
    create_view(conn, "v", "temporal_features", source, **options)

    def due():
        conn.execute("UPDATE cvx.view_state SET next_run_at = now(); SELECT cvx._poke(false)")

    planned = until(lambda: view_row(conn, "v")["next_run_at"], FRESH, "a time is planned")
    assert planned.astimezone(timezone(timedelta(hours=9))).strftime("%m-%d %H:%M:%S") == "01-01 02:30:00"
    due()
    is_fresh(conn, "v")
    source.write("e1", [START + 100 * DAY], np.ones((1, DIMS)))
    time.sleep(1.5)
    assert stale_entities(conn, "v") == {"e1"}
    assert until(lambda: view_row(conn, "v")["next_run_at"] == planned, FRESH, "the next time is planned")
    due()
    is_fresh(conn, "v")
    assert_rows(rows_of(conn, "v", "temporal_features"), expected_features(source.points(), DEFAULTS))


class TestFirstComputation:
    def test_shows_how_far_it_is(self, conn):
        create_view(conn, "v", "temporal_features", **many(conn, "much", 40_000))
        seen = []

        def look():
            seen.append(view_row(conn, "v"))
            return seen[-1]["status"] == "fresh"

        until(look, 120, "computed", every=0.02)
        during = [row for row in seen if row["status"] == "computing"]
        assert during, {row["status"] for row in seen}
        progress = [row["progress"] for row in during if row["progress"] is not None]
        assert progress == sorted(progress) and all(0 <= it <= 1 for it in progress)
        assert any(0 < it < 1 for it in progress), progress
        left = [row["time_left"] for row in during if row["time_left"] is not None]
        assert left and all(timedelta(0) <= it < timedelta(minutes=10) for it in left)
        last = seen[-1]
        assert (last["entities"], last["stale_entities"], last["time_left"]) == (40_000, 0, None)
        assert conn.execute("SELECT count(*) FROM cvx_view.v").fetchone() == (40_000,)

    def test_what_is_not_computed_yet_is_not_fresh(self, conn):
        """A row is there with its value or not there; and while any is missing the view does not say it is fresh."""
        arguments = many(conn, "much", 30_000)
        create_view(conn, "v", "temporal_features", **arguments)

        def look():
            with conn.transaction():
                conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                status = view_row(conn, "v")["status"]
                (count,) = conn.execute("SELECT count(*) FROM cvx_view.v").fetchone()
            assert status != "fresh" or count == 30_000
            return status == "fresh"

        until(look, 120, "computed", every=0.02)

    def test_writers_do_not_wait_for_it(self, conn, cluster):
        create_view(conn, "v", "temporal_features", **many(conn, "much", 30_000))
        slowest = count = 0
        with cluster.connect("d") as writer:
            writer.execute("SET lock_timeout = '5s'")
            while count % 20 or conn.execute("SELECT count(*) FROM cvx_view_data.v").fetchone()[0] < 30_000:
                started = time.monotonic()
                writer.execute(
                    "INSERT INTO much VALUES (%s, now(), (SELECT array_agg(1) FROM generate_series(1, 32))::real[]::vector)",
                    (f"new {count % 100}",),
                )
                slowest, count = max(slowest, time.monotonic() - started), count + 1
                time.sleep(0.005)
                assert count < 10_000
        assert count > 10 and slowest < 2, (count, slowest)
        is_fresh(conn, "v")
        assert conn.execute("SELECT count(*) FROM cvx_view.v").fetchone()[0] == 30_000 + min(count, 100)


class TestEntitiesThatCannotBeComputed:
    """Of a table whose rows nothing checks: the others are computed, these say why not, and are when they are mended."""

    @pytest.fixture
    def table(self, conn):
        source = table_source(conn, "unchecked")
        rng = np.random.default_rng(3)
        for i in range(200):
            source.write(f"e{i:03}", *walk(rng, 4))
        return source

    SPOIL = {
        "twice": (
            "INSERT INTO unchecked SELECT * FROM unchecked WHERE entity_id = 'e050'",
            "DELETE FROM unchecked u USING unchecked o WHERE u.entity_id = 'e050' AND o.entity_id = 'e050'"
            " AND u.ts = o.ts AND u.ctid > o.ctid",
        ),
        "dimensions": (
            "INSERT INTO unchecked VALUES ('e050', '2027-01-01', '[1,2]')",
            "DELETE FROM unchecked WHERE vector_dims(vec) = 2",
        ),
        "infinite": (
            "INSERT INTO unchecked VALUES ('e050', 'infinity', '[1,2,3,4,5]')",
            "DELETE FROM unchecked WHERE ts = 'infinity'",
        ),
    }

    @pytest.mark.parametrize("how", SPOIL)
    @pytest.mark.parametrize("when", ["before", "after"])
    def test_on_ingest(self, conn, table, how, when):
        spoil, mend = self.SPOIL[how]
        if when == "before":
            conn.execute(spoil)
        create_view(conn, "v", "temporal_features", table, config={"features": FEATURES})
        if when == "after":
            is_fresh(conn, "v")
            conn.execute(spoil)
        table.write("e051", [START + 100 * DAY], np.ones((1, DIMS)))

        def settled():
            row = view_row(conn, "v")
            stale = conn.execute("SELECT entity_id, error FROM cvx.stale WHERE error IS NOT NULL").fetchall()
            return row if row["last_error"] and row["stale_entities"] == 1 and len(stale) == 1 else None

        row = until(settled, FRESH, "the other entities are computed")
        assert row["status"] in ("error", "stale")
        ((entity, error),) = conn.execute("SELECT entity_id, error FROM cvx.stale").fetchall()
        assert entity == "e050" and error and "e050" in row["last_error"]
        expected = expected_features(table.points(), FEATURES)
        found = rows_of(conn, "v", "temporal_features")
        for key in [("e050",)]:
            assert found.pop(key, {}).get("stale_since", True) is not None
            del expected[key]
        assert_rows(found, expected)
        conn.execute(mend)
        is_fresh(conn, "v")
        assert_rows(rows_of(conn, "v", "temporal_features"), expected_features(table.points(), FEATURES))
        assert conn.execute("SELECT count(*) FROM cvx.stale").fetchone() == (0,)

    def test_by_hand(self, conn, table):
        """The rest is computed here too, and the caller hears of it."""
        spoil, mend = self.SPOIL["dimensions"]
        conn.execute(spoil)
        create_view(conn, "v", "temporal_features", table, refresh_policy="manual", config={"features": FEATURES})
        heard = []
        conn.add_notice_handler(lambda notice: heard.append((notice.severity, notice.message_primary[:10])))
        assert refresh(conn, "v") == 199
        assert heard == [("WARNING", "1 entities")]
        assert conn.execute("SELECT entity_id FROM cvx.stale WHERE error LIKE '%dimensions%'").fetchall() == [("e050",)]
        found = rows_of(conn, "v", "temporal_features")
        assert len(found) == 199 and ("e050",) not in found
        assert view_row(conn, "v")["stale_entities"] == 1
        conn.execute(mend)
        refresh(conn, "v")
        assert_rows(rows_of(conn, "v", "temporal_features"), expected_features(table.points(), FEATURES))

    def test_many_among_many(self, conn, table):
        """Every tenth: what is wrong with them costs the others little."""
        conn.execute("INSERT INTO unchecked SELECT entity_id, '2027-01-01', '[1]' FROM unchecked WHERE entity_id LIKE '%7' GROUP BY 1")
        create_view(conn, "v", "temporal_features", table, config={"features": FEATURES})
        until(lambda: view_row(conn, "v")["stale_entities"] == 20, 60, "180 of 200 are computed")
        found = rows_of(conn, "v", "temporal_features")
        kept = {entity: of for entity, of in table.points().items() if not entity.endswith("7")}
        assert_rows({key: row for key, row in found.items() if key[0] in kept}, expected_features(kept, FEATURES))
        conn.execute("DELETE FROM unchecked WHERE vector_dims(vec) = 1")
        is_fresh(conn, "v")
        assert_rows(rows_of(conn, "v", "temporal_features"), expected_features(table.points(), FEATURES))


class TestRefreshThatDoesNotEnd:
    @pytest.fixture
    def stale(self, conn):
        """A view that takes seconds, of which all is stale."""
        arguments = many(conn, "much", 20_000, points=16)
        create_view(conn, "v", "temporal_features", refresh_policy="manual", **arguments)
        refresh(conn, "v")
        conn.execute("UPDATE much SET vec = vec * vec WHERE ts > '2026-01-01 12:00'")
        assert view_row(conn, "v")["stale_entities"] == 20_000
        return conn.execute("SELECT entity_id, xmin::text FROM cvx_view_data.v ORDER BY 1").fetchall()

    def is_untouched(self, conn, before):
        assert view_row(conn, "v")["stale_entities"] == 20_000
        assert conn.execute("SELECT count(*) FROM cvx_view.v WHERE stale_since IS NULL").fetchone() == (0,)
        assert conn.execute("SELECT entity_id, xmin::text FROM cvx_view_data.v ORDER BY 1").fetchall() == before

    def is_computed(self, conn):
        assert refresh(conn, "v") == 20_000
        assert view_row(conn, "v")["status"] == "fresh"
        differs = """SELECT count(*) FROM cvx_view_definition.v d JOIN cvx_view.v USING (entity_id)
                     WHERE (d.drift, d.path_length) IS DISTINCT FROM (v.drift, v.path_length)"""
        assert conn.execute(differs).fetchone() == (0,)

    def test_timeout(self, conn, stale):
        conn.execute("SET statement_timeout = '100ms'")
        started = time.monotonic()
        with pytest.raises(psycopg.errors.QueryCanceled):
            refresh(conn, "v")
        assert time.monotonic() - started < 3
        conn.execute("SET statement_timeout = '60s'")
        self.is_untouched(conn, stale)
        self.is_computed(conn)

    def test_cancel(self, conn, cluster, stale):
        with cluster.connect("d") as other:
            pid = conn.info.backend_pid
            timer = threading.Timer(0.2, lambda: other.execute("SELECT pg_cancel_backend(%s)", (pid,)))
            timer.start()
            with pytest.raises(psycopg.errors.QueryCanceled):
                refresh(conn, "v", force=True)
            timer.join()
        self.is_untouched(conn, stale)
        self.is_computed(conn)

    def test_rollback(self, conn, stale):
        with conn.transaction(force_rollback=True):
            assert refresh(conn, "v") == 20_000
            assert view_row(conn, "v")["status"] == "fresh"
        self.is_untouched(conn, stale)
        self.is_computed(conn)

    def test_terminated(self, conn, cluster, stale):
        with cluster.connect("d") as victim:
            pid = victim.info.backend_pid
            timer = threading.Timer(0.2, lambda: conn.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,)))
            timer.start()
            with pytest.raises(psycopg.OperationalError):
                refresh(victim, "v")
            timer.join()
        self.is_untouched(conn, stale)
        self.is_computed(conn)


class TestWhatIsShown:
    def test_views(self, conn):
        source = of_entities(conn, "s", 4)
        table = table_source(conn, "t")
        table.write("a", *walk(np.random.default_rng(1), 3))
        create_view(conn, "of a space", "temporal_features", source)
        create_view(
            conn, "of a table", "drift_summary", table, refresh_policy="scheduled", schedule="0 2 * * *", config={"window": "1 day"}
        )  # fmt: skip
        row = is_fresh(conn, "of a space")
        assert (row["type"], row["space"], row["model"], row["source_table"]) == ("temporal_features", "s", None, None)
        assert (row["owner"], row["refresh_policy"], row["schedule"]) == ("postgres", "on_ingest", None)
        assert (row["entities"], row["stale_entities"], row["stale_since"], row["last_error"]) == (4, 0, None, None)
        assert abs(row["last_computed"] - datetime.now(timezone.utc)) < timedelta(minutes=2)
        assert row["size_bytes"] >= conn.execute("SELECT pg_relation_size('cvx_view_data.\"of a space\"')").fetchone()[0] > 0
        # The first computation does not wait for the schedule.
        row = is_fresh(conn, "of a table")
        assert (row["space"], row["source_table"], row["time_zone"]) == (None, "t", "UTC")
        assert row["schedule"] == "0 2 * * *"
        assert row["hint"] and "CREATE INDEX" in row["hint"]
        conn.execute("CREATE INDEX ON t (entity_id, ts)")
        assert view_row(conn, "of a table")["hint"] is None

    def test_stale_since_is_the_first_change(self, conn):
        source = of_entities(conn, "s", 3)
        create_view(conn, "v", "temporal_features", source, refresh_policy="manual")
        refresh(conn, "v")
        times = [conn.execute("SELECT clock_timestamp()").fetchone()[0]]
        for _ in range(3):
            source.write("e1", [START + (100 + len(times)) * DAY], np.ones((1, DIMS)))
            times.append(conn.execute("SELECT clock_timestamp()").fetchone()[0])
        row = view_row(conn, "v")
        assert times[0] <= row["stale_since"] <= times[1] and row["stale_entities"] == 1
        assert conn.execute("SELECT stale_since FROM cvx_view.v WHERE entity_id = 'e1'").fetchone() == (row["stale_since"],)

    def test_invalidation_log(self, conn):
        source = of_entities(conn, "s", 3)
        of_entities(conn, "unwatched", 3)
        table = table_source(conn, "t")
        table.write("a", *walk(np.random.default_rng(1), 3))
        create_view(conn, "v", "temporal_features", source, refresh_policy="manual")
        create_view(conn, "w", "temporal_features", table, refresh_policy="manual")
        refresh(conn, "v"), refresh(conn, "w")
        log = "SELECT space, source_table::text, entries, oldest FROM cvx.invalidation_log WHERE entries > 0 ORDER BY 1"
        assert conn.execute(log).fetchall() == []
        (start,) = conn.execute("SELECT clock_timestamp()").fetchone()
        source.write("e0", [START + 100 * DAY], np.ones((1, DIMS)))
        source.write("e1", [START + 100 * DAY], np.ones((1, DIMS)))
        conn.execute("UPDATE t SET vec = '[1,1,1,1,1]'")
        conn.execute("UPDATE cvx_space.unwatched SET vec = '[1,1,1,1,1]'")
        first, second = conn.execute(log).fetchall()
        assert first[0] == "s" and first[1] is None and first[2] >= 2 and second[:2] == (None, "t") and second[2] >= 1
        assert start <= first[3] <= second[3]
        # What one statement does to one entity is one entry, however many rows it has.
        assert second[2] == 1
        size = "SELECT DISTINCT size_bytes FROM cvx.invalidation_log"
        assert conn.execute(size).fetchone()[0] >= 8192
        refresh(conn, "v"), refresh(conn, "w")
        assert conn.execute(log).fetchall() == []

    def test_freshness(self, conn):
        source = of_entities(conn, "s", 3)
        create_view(conn, "strict", "temporal_features", source, refresh_policy="manual", config={"freshness_sla": "1 ms"})
        create_view(conn, "mild", "temporal_features", source, refresh_policy="manual", config={"freshness_sla": "1 day"})
        create_view(conn, "none", "temporal_features", source, refresh_policy="manual")
        for name in ("strict", "mild", "none"):
            refresh(conn, name)
        columns = "name, freshness_sla, stale_entities, stale_since, lag, within_sla, last_computed"

        def status():
            rows = conn.execute(f"SELECT {columns} FROM cvx.freshness_status").fetchall()
            return {name: row for name, *row in rows}

        fresh = status()
        assert fresh["strict"][0] == timedelta(milliseconds=1) and fresh["mild"][0] == timedelta(days=1)
        for name in ("strict", "mild"):
            _, stale, since, lag, within, computed = fresh[name]
            assert (stale, since, within) == (0, None, True) and not lag
            assert timedelta(0) <= datetime.now(timezone.utc) - computed < timedelta(minutes=1)
        assert "none" not in fresh or fresh["none"][4] is None
        source.write("e1", [START + 100 * DAY], np.ones((1, DIMS)))
        time.sleep(0.1)
        stale = status()
        assert (stale["strict"][1], stale["strict"][4]) == (1, False)
        assert (stale["mild"][1], stale["mild"][4]) == (1, True)
        assert timedelta(seconds=0.1) <= stale["mild"][3] < timedelta(minutes=1)
        refresh(conn, "strict")
        assert status()["strict"][4] is True and status()["mild"][1] == 1


class TestDropped:
    def left(self, conn):
        relations = """SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                       WHERE n.nspname LIKE 'cvx\\_view%' AND c.relkind IN ('r', 'v')"""
        triggers = "SELECT tgname FROM pg_trigger WHERE tgname LIKE 'cvx\\_invalidate%' AND NOT tgisinternal"
        tables = [f"SELECT count(*) FROM cvx.{name} HAVING count(*) > 0" for name in ("view", "view_state", "stale", "invalidation", "tracked_table")]
        return [conn.execute(query).fetchall() for query in (relations, triggers, *tables)]

    def test_leaves_nothing(self, conn):
        source = of_entities(conn, "s", 3)
        table = table_source(conn, "t")
        table.write("a", *walk(np.random.default_rng(1), 3))
        before = self.left(conn)
        for of, name in ((source, "v"), (source, "w"), (table, "x"), (table, "y")):
            create_view(conn, name, "temporal_features", of, config={"history": True})
            is_fresh(conn, name)
        conn.execute("SELECT cvx.drop_view('w'), cvx.drop_view('x')")
        source.write("e1", [START + 100 * DAY], np.ones((1, DIMS)))
        table.write("a", [START + 100 * DAY], np.ones((1, DIMS)))
        is_fresh(conn, "v"), is_fresh(conn, "y")
        assert_rows(rows_of(conn, "v", "temporal_features"), expected_features(source.points(), DEFAULTS))
        source.write("e1", [START + 101 * DAY], np.ones((1, DIMS)))
        conn.execute("SELECT cvx.drop_view('v'), cvx.drop_view('y')")
        assert self.left(conn) == before
        # And it can be made again.
        create_view(conn, "v", "temporal_features", source)
        is_fresh(conn, "v")
        assert_rows(rows_of(conn, "v", "temporal_features"), expected_features(source.points(), DEFAULTS))

    def test_rolled_back(self, conn):
        source = of_entities(conn, "s", 3)
        before = self.left(conn)
        with conn.transaction(force_rollback=True):
            create_view(conn, "v", "temporal_features", source)
            refresh(conn, "v")
        assert self.left(conn) == before
        create_view(conn, "v", "temporal_features", source)
        is_fresh(conn, "v")
        with conn.transaction(force_rollback=True):
            conn.execute("SELECT cvx.drop_view('v')")
        source.write("e1", [START + 100 * DAY], np.ones((1, DIMS)))
        until(lambda: rows_of(conn, "v", "temporal_features")[("e1",)]["num_points"] == 5, FRESH, "it goes on")
        is_fresh(conn, "v")

    def test_with_something_that_reads_it(self, conn):
        source = of_entities(conn, "s", 3)
        create_view(conn, "v", "temporal_features", source)
        conn.execute("CREATE VIEW public.reader AS SELECT entity_id, drift FROM cvx_view.v")
        with pytest.raises(psycopg.errors.DependentObjectsStillExist):
            conn.execute("SELECT cvx.drop_view('v')")
        is_fresh(conn, "v")
        assert conn.execute("SELECT count(*) FROM public.reader").fetchone() == (3,)
        conn.execute("DROP VIEW public.reader; SELECT cvx.drop_view('v')")

    def test_while_it_is_computed(self, conn):
        create_view(conn, "v", "temporal_features", **many(conn, "much", 30_000))
        until(lambda: conn.execute("SELECT count(*) > 0 FROM cvx_view_data.v").fetchone()[0], FRESH, "some are computed")
        started = time.monotonic()
        conn.execute("SELECT cvx.drop_view('v')")
        assert time.monotonic() - started < 20
        create_view(conn, "v", "temporal_features", source_table="much", entity_column="entity_id", ts_column="ts",
                    vector_column="vec", config={"features": FEATURES})  # fmt: skip
        assert is_fresh(conn, "v", 60)["entities"] == 30_000


def test_invalidated_by_hand(conn):
    """For what cvx cannot see: a function that a cohort's query calls has changed, say."""
    source = of_entities(conn, "s", 3)
    create_view(conn, "v", "temporal_features", source, refresh_policy="manual")
    refresh(conn, "v")
    conn.execute("SELECT cvx.invalidate_view('v')")
    assert stale_entities(conn, "v") == {"e0", "e1", "e2"} and view_row(conn, "v")["status"] != "fresh"
    assert refresh(conn, "v") == 3
    assert stale_entities(conn, "v") == set() and view_row(conn, "v")["status"] == "fresh"


def test_survives_restarts(conn, cluster):
    """Stale stays stale over a crash, and the worker goes on with it."""
    source = of_entities(conn, "s", 5)
    create_view(conn, "v", "temporal_features", source)
    create_view(conn, "m", "temporal_features", source, refresh_policy="manual")
    is_fresh(conn, "v")
    refresh(conn, "m")
    source.write("e1", [START + 100 * DAY], np.ones((1, DIMS)))
    cluster.crash()
    cluster.start()
    with cluster.connect("d") as new:
        trajectories.register(new)
        assert stale_entities(new, "m") == {"e1"}
        is_fresh(new, "v")
        assert_rows(rows_of(new, "v", "temporal_features"), expected_features(source.points(), DEFAULTS))
        refresh(new, "m")
        assert_rows(rows_of(new, "m", "temporal_features"), expected_features(source.points(), DEFAULTS))
        for name in "vm":
            new.execute("SELECT cvx.drop_view(%s)", (name,))
        new.execute("SELECT cvx.drop_space('s', true)")
