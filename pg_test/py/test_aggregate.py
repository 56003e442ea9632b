"""trajectory_agg in every plan: serial, parallel, hashed, spilled, sorted, as a window; always the same trajectory."""

import re

import numpy as np
import psycopg
import pytest
from conftest import connect
from trajectories import Trajectory, one

ROWS, ENTITIES, DIMS = 60_000, 300, 8
PARALLEL = """SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
              SET max_parallel_workers_per_gather = 2; SET debug_parallel_query = off"""
DIGEST = "md5(cvx.trajectory_send(cvx.trajectory_agg(ts, vec)))"
BY_ENTITY = f"SELECT md5(string_agg(e || d, ',' ORDER BY e)) FROM (SELECT e, {DIGEST} AS d FROM points GROUP BY e) q"


@pytest.fixture(scope="module")
def points(create_database):
    """A database with a table of points in no order, some without a time or a vector."""
    name = create_database()
    with connect(name) as conn:
        conn.execute(f"""
            CREATE TABLE points (e int, ts timestamptz, vec vector);
            SELECT setseed(0.5);
            INSERT INTO points SELECT i % {ENTITIES}, CASE WHEN i % 101 <> 0 THEN '2026-01-01'::timestamptz + i * interval '1 minute' END,
                CASE WHEN i % 103 <> 0 THEN ARRAY(SELECT random() + i * 0 FROM generate_series(1, {DIMS}))::vector END
                FROM generate_series(1, {ROWS}) i ORDER BY random();
            ALTER TABLE points SET (parallel_workers = 2);
            ANALYZE points""")
    return name


@pytest.fixture
def database(points):
    return points


def set_parallel(conn):
    for statement in PARALLEL.split(";"):
        if "debug" not in statement or conn.info.server_version >= 160000:
            conn.execute(statement)


def plan(conn, query):
    return "\n".join(line for (line,) in conn.execute(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) {query}"))


def test_against_numpy(typed):
    query = "SELECT cvx.trajectory_agg(ts, vec) FROM points WHERE e = 17"
    (found,) = one(typed, query)
    rows = typed.execute(
        "SELECT ts, vec FROM points WHERE e = 17 AND ts IS NOT NULL AND vec IS NOT NULL", binary=True
    ).fetchall()
    order = np.argsort([int(ts) for ts, _ in rows])
    assert len(rows) > 190 and not np.array_equal(order, np.arange(len(rows)))
    assert found == Trajectory([int(rows[i][0]) for i in order], np.stack([rows[i][1] for i in order]))


def test_every_plan_gives_the_same(conn):
    conn.execute("SET max_parallel_workers_per_gather = 0")
    expected = conn.execute(BY_ENTITY).fetchone()
    settings = {
        "sorted": "SET enable_hashagg = off",
        "spilled": "SET work_mem = '64kB'; SET enable_sort = off",
        "little memory, sorted": "SET work_mem = '64kB'; SET enable_hashagg = off",
    }
    for name, statement in settings.items():
        conn.execute("RESET ALL; SET max_parallel_workers_per_gather = 0;" + statement)
        found = plan(conn, BY_ENTITY)
        assert "Partial" not in found, name
        assert conn.execute(BY_ENTITY).fetchone() == expected, name
    for statement in ["SELECT 1", "SET enable_hashagg = off", "SET work_mem = '64kB'"]:
        conn.execute("RESET ALL")
        set_parallel(conn)
        conn.execute(statement)
        found = plan(conn, BY_ENTITY)
        assert "Finalize" in found and "Partial" in found and "Workers Launched: 2" in found, found
        assert conn.execute(BY_ENTITY).fetchone() == expected, statement


def test_one_group_in_parallel(conn):
    query = "SELECT md5(cvx.trajectory_send(cvx.trajectory_agg(ts, vec))) FROM points"
    conn.execute("SET max_parallel_workers_per_gather = 0")
    expected = conn.execute(query).fetchone()
    set_parallel(conn)
    for leader in ("on", "off"):
        conn.execute(f"SET parallel_leader_participation = {leader}")
        assert "Finalize Aggregate" in plan(conn, query)
        assert conn.execute(query).fetchone() == expected


def test_functions_of_the_aggregate(conn):
    """Planner support may replace the aggregate inside them: the value may not change, in any plan."""
    functions = [
        "drift(t)",
        "drift(t, 'l2')",
        "path_length(t)",
        "num_points(t)",
        "start_ts(t)",
        "end_ts(t)",
        "efficiency(t)",
        "stability_score(t)",
        "mean_speed(t)",
        "velocity(t)",
        "drift_entropy(t)",
        "dims(t)",
        "duration(t)",
    ]
    for function in functions:
        call = function.replace("(t", "(cvx.trajectory_agg(ts, vec)")
        direct = f"SELECT e, cvx.{call}::text FROM points GROUP BY e ORDER BY e"
        stored = f"SELECT e, cvx.{function}::text FROM (SELECT e, cvx.trajectory_agg(ts, vec) AS t FROM points GROUP BY e OFFSET 0) q ORDER BY e"
        conn.execute("RESET ALL; SET max_parallel_workers_per_gather = 0")
        expected = conn.execute(stored).fetchall()
        assert len(expected) == ENTITIES and conn.execute(direct).fetchall() == expected, function
        set_parallel(conn)
        assert conn.execute(direct).fetchall() == expected, function


def test_order_by_filter_and_distinct(typed):
    query = "SELECT cvx.trajectory_agg(ts, vec {}) {} FROM points WHERE e = 5"
    (plain,) = one(typed, query.format("", ""))
    assert one(typed, query.format("ORDER BY ts", ""))[0] == plain
    assert one(typed, query.format("ORDER BY ts DESC", ""))[0] == plain
    (half,) = one(typed, query.format("", "FILTER (WHERE ts < '2026-01-20')"))
    assert 0 < len(half.t) < len(plain.t) and half == Trajectory(plain.t[: len(half.t)], plain.x[: len(half.t)])
    assert one(typed, query.format("", "FILTER (WHERE false)")) == (None,)
    assert one(typed, "SELECT cvx.trajectory_agg(NULL, vec), cvx.trajectory_agg(ts, NULL) FROM points") == (None, None)
    doubled = "SELECT cvx.trajectory_agg(DISTINCT ts, vec) FROM (SELECT * FROM points WHERE e = 5 UNION ALL SELECT * FROM points WHERE e = 5) q"
    assert one(typed, doubled)[0] == plain


def test_window(typed):
    """A growing window goes on with the state that gave the last result; a moving one starts anew."""
    for frame in ["", "ROWS BETWEEN 3 PRECEDING AND CURRENT ROW", "ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING"]:
        for order in ("ts", "ts DESC", "vec_norm"):
            rows = typed.execute(
                f"""SELECT ts, vec, cvx.trajectory_agg(ts, vec) OVER (ORDER BY {order} {frame})
                    FROM (SELECT ts, vec, vector_norm(vec) AS vec_norm FROM points
                          WHERE e = 9 AND ts < '2026-01-10' AND vec IS NOT NULL) q ORDER BY {order}""",
                binary=True,
            ).fetchall()
            assert len(rows) > 20
            for i, (_, _, found) in enumerate(rows):
                chosen = {
                    "": rows[: i + 1],
                    "ROWS BETWEEN 3 PRECEDING AND CURRENT ROW": rows[max(i - 3, 0) : i + 1],
                }.get(frame, rows[i:])
                chosen = sorted(chosen, key=lambda row: row[0])
                assert found == Trajectory([int(r[0]) for r in chosen], np.stack([r[1] for r in chosen]))


def test_grouping_sets_and_many_small_groups(conn):
    conn.execute("SET work_mem = '64kB'")
    many = "SELECT count(*), sum(cvx.num_points(t)) FROM (SELECT e, ts, cvx.trajectory_agg(ts, vec) t FROM points GROUP BY e, ts) q"
    points = conn.execute("SELECT count(*) FROM points WHERE ts IS NOT NULL AND vec IS NOT NULL").fetchone()[0]
    for hash_aggregation in ("on", "off"):
        conn.execute(f"SET enable_hashagg = {hash_aggregation}")
        groups, total = conn.execute(many).fetchone()
        assert groups > 59_000 and total == points
    sets = "SELECT sum(cvx.num_points(cvx.trajectory_agg(ts, vec))) OVER () FROM points GROUP BY GROUPING SETS ((e), ()) LIMIT 1"
    assert conn.execute(sets).fetchone() == (2 * points,)


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize(
    "extra, code, says",
    [
        # Which of the two is the odd one depends on which a process met first.
        ("('2030-01-01', '[1,2]')", "22000", r"has (2 dimensions, the trajectory has 8|8 dimensions, the trajectory has 2)"),
        ("('infinity', '[1,2,3,4,5,6,7,8]')", "22008", "infinite timestamps"),
        ("('2030-01-01', '[1,2,3,4,5,6,7,8]'), ('2030-01-01', '[1,2,3,4,5,6,7,8]')", "22000", "2030-01-01"),
    ],
)
def test_errors_in_a_worker(conn, parallel, extra, code, says):
    """A bad point is the same error wherever it is met, and the connection goes on."""
    with conn.transaction(force_rollback=True):
        conn.execute(f"INSERT INTO points SELECT 1, ts::timestamptz, vec::vector FROM (VALUES {extra}) v(ts, vec)")
        if parallel:
            set_parallel(conn)
            conn.execute("SET parallel_leader_participation = off")
        whole = "SELECT cvx.{}(cvx.trajectory_agg(ts, vec)) FROM points"
        for query in [BY_ENTITY, whole.format("num_points"), whole.format("drift")]:
            with pytest.raises(psycopg.Error) as error, conn.transaction():
                conn.execute(query)
            assert error.value.sqlstate == code and error.value.diag.message_hint
            assert re.search(says, str(error.value))
    assert conn.execute("SELECT count(*) > 0 FROM points").fetchone() == (True,)


@pytest.mark.parametrize(
    "function",
    [
        "_trajectory_agg_transfn(NULL, now(), '[1]'::vector)",
        "_trajectory_agg_finalfn(NULL)",
        "_trajectory_agg_combinefn(NULL, NULL)",
        "_trajectory_agg_deserialfn('\\x00'::bytea, NULL)",
        "_trajectory_agg_serialfn(NULL)",
    ],
)
def test_support_functions_called_by_hand(conn, function):
    """An internal argument other than NULL cannot be made, and NULL gives an error or NULL."""
    try:
        assert conn.execute(f"SELECT cvx.{function} IS NULL").fetchone() == (True,)
    except psycopg.Error as error:
        assert error.sqlstate in ("22023", "0A000", "42883")


def test_memory_is_given_back(conn):
    """Thousands of groups of wide points, one after the other: sorted aggregation keeps one at a time."""
    conn.execute("SET enable_hashagg = off; SET max_parallel_workers_per_gather = 0")
    query = """SELECT max(cvx.num_points(t)) FROM (SELECT g, cvx.trajectory_agg(to_timestamp(i), v) t
               FROM generate_series(1, 3000) g, generate_series(1, 20) i, (SELECT array_fill(0.5, ARRAY[1000])::vector) q(v) GROUP BY g) q"""

    def resident():
        with open(f"/proc/{conn.info.backend_pid}/statm") as statm:
            return int(statm.read().split()[1]) * 4096

    conn.execute(query.replace("3000", "10"))
    before = resident()
    assert conn.execute(query).fetchone() == (20,)
    assert resident() - before < 64 << 20, "240 MB of points went through"
