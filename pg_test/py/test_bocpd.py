"""Online change points through SQL against plain numpy, one by one against the batch, and states of any bytes."""

import bocpd_oracle
import numpy as np
import psycopg
import pytest
from trajectories import DAY, Trajectory

# Every point of a series fed to the state that the points before it made, all in the server.
FEED = """
    WITH RECURSIVE p AS MATERIALIZED (
        SELECT row_number() OVER (ORDER BY ts) AS i, ts, vec FROM cvx.points(%s::cvx.trajectory)
    ), fed AS (
        SELECT 0::bigint AS i, NULL::cvx.bocpd_state AS state
        UNION ALL
        SELECT p.i, cvx.bocpd_update({state}, p.ts, p.vec, %s, %s) FROM fed JOIN p ON p.i = fed.i + 1
    )
    SELECT cvx.bocpd_num_points(state), cvx.bocpd_probability(state), cvx.bocpd_run_length(state), r.index,
           r.probability, r.run_length, r.severity, r.ts, r.detected_at, cvx.bocpd_last_ts(state), pg_column_size(state)
    FROM fed LEFT JOIN LATERAL cvx.bocpd_reported(state) r ON true WHERE i > 0 ORDER BY i"""
BATCH = """SELECT index, probability, run_length, severity, ts, detected_at
           FROM cvx.bocpd(%s::cvx.trajectory, %s, %s) ORDER BY index"""
THROUGH_TEXT = "state::text::cvx.bocpd_state"


def evenly(x):
    return Trajectory(np.arange(len(x)) * DAY, x)


def rows(conn, query, *arguments):
    return conn.execute(query, arguments, binary=True).fetchall()


def fed(conn, x, hazard=0.004, threshold=0.5, state="state"):
    return rows(conn, FEED.format(state=state), evenly(x), hazard, threshold)


def series(rng, n, dims, shifts=(), outliers=(), scale=1.0):
    """Normal noise of random covariance, with shifts (at, deviations) and outliers (at, deviations), as float32."""
    mix = rng.standard_normal((dims, dims))
    x = rng.standard_normal((n, dims)) @ mix
    noise = np.sqrt((mix**2).sum())
    for at, delta in shifts:
        direction = rng.standard_normal(dims)
        x[at:] += delta * noise * direction / np.linalg.norm(direction)
    for at, delta in outliers:
        x[at] += delta * noise / np.sqrt(dims)
    return (scale * x).astype(np.float32)


CASES = [
    ("no change", 500, (), (), 1.0),
    ("one shift", 500, [(200, 2.0)], (), 1e-3),
    ("small shift", 400, [(150, 1.0)], (), 1.0),
    ("many shifts", 300, [(40, 3.0), (90, 2.0), (93, 8.0), (200, 1.5)], (), 1e6),
    ("outliers", 300, [(220, 3.0)], [(30, 8.0), (80, 300.0), (81, -100.0), (150, 20.0), (218, 15.0)], 1.0),
    ("a shift of few points", 200, [(100, 6.0), (102, 6.0), (140, 1.0)], (), 1.0),
]


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("name, n, shifts, outliers, scale", CASES, ids=[case[0] for case in CASES])
def test_is_the_recursion_of_the_paper(typed, dims, name, n, shifts, outliers, scale):
    x = series(np.random.default_rng([dims, n, len(outliers)]), n, dims, shifts, outliers, scale)
    hazard, threshold = (0.004, 0.5) if dims < 3 else (0.02, 0.9)
    expected = bocpd_oracle.detect(x, hazard, threshold)
    found = fed(typed, x, hazard, threshold)
    assert [row[0] for row in found] == list(range(1, n + 1))
    assert np.abs([row[1] for row in found] - np.array([step.probability for step in expected])).max() < 1e-6
    assert [row[2] for row in found] == [step.run_length for step in expected]
    reports = {i: row[3:7] for i, row in enumerate(found) if row[3] is not None}
    assert reports.keys() == {i for i, step in enumerate(expected) if step.report}
    for i, (index, probability, run_length, severity) in reports.items():
        assert (index, run_length) == (expected[i].report[0], expected[i].report[2])
        assert probability == pytest.approx(expected[i].report[1], abs=1e-6)
        assert severity == pytest.approx(expected[i].report[3], abs=1e-6)
    assert bool(reports) == bool(shifts)


@pytest.mark.parametrize("dims, n, state", [(2, 300, THROUGH_TEXT), (40, 200, THROUGH_TEXT), (384, 120, "state")])
def test_one_by_one_is_the_batch(typed, dims, n, state):
    x = series(np.random.default_rng(dims), n, dims, [(n // 3, 4.0), (2 * n // 3, 3.0)], [(n // 2, 50.0)])
    batch = rows(typed, BATCH, evenly(x), 0.004, 0.5)
    one_by_one = [(r[3], r[4], r[5], r[6], r[7], r[8]) for r in fed(typed, x, state=state) if r[3] is not None]
    # Bit for bit: the batch is the same steps.
    assert batch == one_by_one
    assert [row[0] for row in batch] == [n // 3, 2 * n // 3]
    for index, _, run_length, _, ts, detected_at in batch:
        assert (ts, detected_at) == (index * DAY, (index + run_length - 1) * DAY)


def test_units_and_directions_do_not_matter(typed):
    rng = np.random.default_rng(3)
    x = series(rng, 200, 3, [(80, 2.0), (150, 3.0)])
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    plain = rows(typed, BATCH, evenly(x), 0.004, 0.5)
    assert plain and rows(typed, BATCH, evenly(x * np.float32(2**20)), 0.004, 0.5) == plain
    turned = rows(typed, BATCH, evenly(x @ turn + np.array([5, -3, 100])), 0.004, 0.5)
    assert [row[:1] + row[2:3] for row in turned] == [row[:1] + row[2:3] for row in plain]
    assert np.allclose([row[3] for row in turned], [row[3] for row in plain], atol=1e-4)


def test_the_state_is_small_and_goes_through_a_table(typed):
    rng = np.random.default_rng(4)
    for dims, n in ((2, 600), (768, 60)):
        sizes = [row[10] for row in fed(typed, series(rng, n, dims))]
        assert max(sizes) <= 48 * 1024, (dims, max(sizes))
    typed.execute("CREATE TEMP TABLE kept (state cvx.bocpd_state)")
    x = series(rng, 40, 768, [(30, 4.0)])
    typed.execute("INSERT INTO kept VALUES (NULL)")
    for i, vec in enumerate(x):
        text = "[" + ",".join(map(repr, vec.tolist())) + "]"
        ts = "'2000-01-01'::timestamptz + %s * interval '1 day'"
        typed.execute(f"UPDATE kept SET state = cvx.bocpd_update(state, {ts}, %s)", (i, text))
    read = "cvx.bocpd_probability(state), cvx.bocpd_run_length(state), cvx.bocpd_num_points(state)"
    stored = rows(typed, f"SELECT {read} FROM kept")
    direct = fed(typed, x)[-1]
    assert stored == [(direct[1], direct[2], direct[0])]
    toasted = "SELECT pg_relation_size(reltoastrelid) > 0 FROM pg_class WHERE oid = 'kept'::regclass"
    assert rows(typed, toasted) == [(True,)]


def states(conn):
    """Text forms of states in their beginning, their middle, at a report and at an outlier."""
    found = []
    for dims in (2, 20):
        x = series(np.random.default_rng(dims), 62, dims, [(40, 8.0)], [(61, 50.0)])
        query = FEED.format(state="state").replace("SELECT cvx.bocpd_num_points(state), ", "SELECT state::text, ")
        texts = [row[0] for row in rows(conn, query, evenly(x), 0.004, 0.5)]
        found += [texts[i] for i in (0, 5, 30, 41, 61)]
    return found


def test_binary_and_text_are_lossless(typed, tmp_path):
    for text in states(typed):
        assert rows(typed, "SELECT %s::cvx.bocpd_state::text", text) == [(text,)]
        (data,) = rows(typed, "SELECT cvx.bocpd_state_send(%s::cvx.bocpd_state)", text)[0]
        assert bytes(data).hex() == text
    typed.execute("CREATE TEMP TABLE a (id int, state cvx.bocpd_state); CREATE TEMP TABLE b (LIKE a)")
    for i, text in enumerate(states(typed)):
        typed.execute("INSERT INTO a VALUES (%s, %s::cvx.bocpd_state)", (i, text))
    with typed.cursor() as cursor:
        with cursor.copy("COPY a TO STDOUT (FORMAT binary)") as out:
            data = b"".join(out)
        with cursor.copy("COPY b FROM STDIN (FORMAT binary)") as into:
            into.write(data)
    same = "SELECT bool_and(a.state::text = b.state::text), count(*) FROM a FULL JOIN b USING (id)"
    assert rows(typed, same) == [(True, 10)]


def copy_in(conn, payload):
    """What COPY of this binary form as a state ends in: its SQLSTATE, or None."""
    row = b"\0\1" + len(payload).to_bytes(4, "big") + payload
    try:
        copy = "COPY hostile FROM STDIN (FORMAT binary)"
        with conn.transaction(), conn.cursor() as cursor, cursor.copy(copy) as into:
            into.write(b"PGCOPY\n\xff\r\n\0" + bytes(8) + row + b"\xff\xff")
    except psycopg.Error as error:
        return error.sqlstate
    return None


def test_bytes_of_strangers_are_refused_or_harmless(typed):
    typed.execute("CREATE TEMP TABLE hostile (state cvx.bocpd_state)")
    rng = np.random.default_rng(5)
    accepted = refused = 0
    for text in states(typed):
        good = bytes.fromhex(text)
        tries = [good[: rng.integers(0, len(good))] for _ in range(20)]
        tries += [good + b"\0", bytes(len(good)), rng.bytes(200)]
        for _ in range(150):
            bad = bytearray(good)
            for at in rng.integers(0, min(len(good), 900), rng.integers(1, 4)):
                bad[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.integers(0, 256)])
            tries.append(bytes(bad))
        for payload in tries:
            code = copy_in(typed, payload)
            assert code in (None, "22P03"), (code, payload.hex())
            refused += code is not None
            accepted += code is None
    assert refused > 500 and accepted > 100
    # What was accepted can be gone on with, or is refused by what it says; nothing falls over.
    go_on = """
        DO $$
        DECLARE s cvx.bocpd_state; n cvx.bocpd_state; v vector;
        BEGIN
            FOR s IN SELECT state FROM hostile LOOP
                BEGIN
                    FOREACH v IN ARRAY ARRAY[array_fill(1, ARRAY[2])::vector, array_fill(1, ARRAY[20])::vector] LOOP
                        n := cvx.bocpd_update(s, '294276-01-01', v);
                        PERFORM cvx.bocpd_probability(n), cvx.bocpd_run_length(n), n::text;
                    END LOOP;
                EXCEPTION WHEN data_exception OR invalid_parameter_value OR data_corrupted THEN
                    NULL;
                END;
            END LOOP;
        END $$"""
    typed.execute(go_on)
    assert rows(typed, "SELECT 1") == [(1,)]


def test_series_without_change_are_quiet(typed):
    """In small what the study (cargo run --example bocpd_study) has at length: at most 1 % of series alarm."""
    rng = np.random.default_rng(6)
    spiked = np.sqrt(np.r_[63, np.ones(63)])
    kinds = [(2, np.ones(2)), (64, np.ones(64)), (64, 1 / np.sqrt(np.arange(1, 65))), (64, spiked)]
    for dims, deviations in kinds:
        noise = (evenly(rng.standard_normal((500, dims)) * deviations) for _ in range(100))
        alarms = sum(bool(rows(typed, BATCH, t, 0.004, 0.5)) for t in noise)
        assert alarms <= 3, (dims, alarms)


@pytest.mark.parametrize("dims", [64, 384])
@pytest.mark.parametrize("delta, within", [(2.0, 5), (1.0, 15)])
def test_shifts_are_reported_in_time(typed, dims, delta, within):
    rng = np.random.default_rng([dims, within])
    hits = 0
    for _ in range(60):
        x = rng.standard_normal((120 + within, dims))
        direction = rng.standard_normal(dims)
        x[120:] += delta * np.sqrt(dims) * direction / np.linalg.norm(direction)
        found = rows(typed, BATCH, evenly(x), 0.004, 0.5)
        hits += len(found) == 1 and abs(found[0][0] - 120) <= 3
    assert hits >= 57
