"""cvx.backtest_monitor against a simulation that looks at every entity at every check, and against evaluations."""

import json
from datetime import datetime, timedelta, timezone

import numpy as np
import psycopg
import pytest
from psycopg.types.json import Jsonb
from scipy import stats
from test_significance import p_value

UTC = timezone.utc
START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
LOG = Jsonb({"type": "log", "level": "debug"})
FIELDS = ("fired_at", "entity_id", "ts", "value", "threshold", "p_value", "severity", "message")


def text(x):
    return "[" + ",".join(repr(float(value)) for value in x) + "]"


def walks(seed, entities, days, dims=3):
    """Points of each entity, at odd times: long rests, some noise, some leaps, some entities that end early."""
    rng = np.random.default_rng(seed)
    made = {}
    for k in range(entities):
        count = int(rng.integers(3, 40))
        times = np.sort(rng.choice(int(days * 86_400 * (1 if k % 4 else 0.5)), count, replace=False))
        leaps = rng.normal(size=(count, dims)) * (rng.random((count, 1)) < 0.15) * (2 if k % 3 else 0)
        x = 3 + rng.normal(size=dims) + np.cumsum(leaps, axis=0) + 0.1 * rng.normal(size=(count, dims))
        made[f"e{k:02}"] = ([START + timedelta(seconds=int(t)) for t in times], x.astype(np.float32).astype(float))
    return made


def load(conn, space, points, source=lambda i: "s"):
    rows = [(entity, ts, text(x), source(i)) for entity, (times, values) in points.items()
            for i, (ts, x) in enumerate(zip(times, values, strict=True))]
    statement = f'COPY cvx_space."{space}" (entity_id, ts, vec, source) FROM STDIN'
    with conn.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


@pytest.fixture
def spaces(conn):
    """A function that makes a space with these points."""
    made = []

    def make(name, points, **options):
        made.append(name)
        dims = next(iter(points.values()))[1].shape[1]
        conn.execute("SELECT cvx.create_space(%s, %s)", [name, dims])
        load(conn, name, points, **options)

    yield make
    for name in made:
        conn.execute("SELECT cvx.drop_space(%s, cascade => true)", [name])


@pytest.fixture
def monitor(conn):
    """A function that declares a monitor and returns its name."""
    made = []

    def make(condition, **options):
        name = f"backtest_{len(made)}"
        given = "".join(f", {key} => %({key})s" for key in options)
        # Paused before anybody looks at it by the clock.
        with conn.transaction():
            conn.execute(f"SELECT cvx.create_monitor(%(name)s, %(condition)s, %(action)s{given})",
                         {"name": name, "condition": Jsonb(condition), "action": LOG, **options})
            conn.execute("SELECT cvx.pause_monitor(%s)", [name])
        made.append(name)
        return name

    yield make
    for name in made:
        conn.execute("SELECT cvx.drop_monitor(%s)", [name])


def backtest(conn, name, since, until):
    rows = conn.execute("SELECT * FROM cvx.backtest_monitor(%s, %s, %s)", [name, since, until]).fetchall()
    return [dict(zip(FIELDS, row, strict=True)) for row in rows]


def cosine(a, b):
    return 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def kept(of):
    """Each point is looked at many times: `of(times, x, last, ...)` is asked once."""
    known = {}

    def at(times, x, last, *rest):
        key = (id(x), last, *rest)
        if key not in known:
            known[key] = x, of(times, x, last, *rest)
        return known[key][1]

    return at


@kept
def drift_of(times, x, last, window, metric, tested):
    part = x[[i for i in range(last + 1) if times[i] >= times[last] - window]]
    if len(part) < 2:
        return None
    p = 1.0
    if tested and len(part) >= 4:
        p = p_value(part if metric == "l2" else unit(part), (0, -1), slice(1, -1))
    return cosine(part[0], part[-1]) if metric == "cosine" else np.linalg.norm(part[-1] - part[0]), p


@kept
def velocity_of(times, x, last, tested):
    days = (times[last] - times[last - 1]) / DAY
    p = p_value(x[: last + 1], (-2, -1), slice(None, -2)) if tested and last >= 3 else 1.0
    return np.linalg.norm(x[last] - x[last - 1]) / days, p


def drift_at(times, x, now, window, metric, tested):
    """(time of the last point, value, p-value) or None."""
    last = sum(t <= now for t in times) - 1
    if last < 0 or times[last] < now - window:
        return None
    found = drift_of(times, x, last, window, metric, tested)
    return found and (times[last], *found)


def velocity_at(times, x, now, window, tested):
    last = sum(t <= now for t in times) - 1
    if last < 1 or (window and times[last] < now - window):
        return None
    return times[last], *velocity_of(times, x, last, tested)


def silence_at(times, now, duration):
    before = [t for t in times if t <= now]
    if not before or before[-1] >= now - duration:
        return None
    return before[-1], (now - before[-1]).total_seconds(), None


def simulate(groups, checks, find, threshold, cooldown, fdr=None, once=True):
    """What alerts are raised: `find(times, x, now)` is asked of every entity of every space at every check."""
    fired, last, told = [], {}, {}
    for now in checks:
        seen = set()
        for points in groups:
            rows = [(entity, *found) for entity, (times, x) in points.items() if (found := find(times, x, now))]
            if fdr is not None and rows:
                adjusted = stats.false_discovery_control([row[3] for row in rows])
                rows = [row for row, p in zip(rows, adjusted, strict=True) if p <= fdr]
            rows = [row for row in rows if row[2] > threshold]
            for entity, ts, value, p in sorted(rows, key=lambda row: (-row[2], row[0])):
                if entity in seen and cooldown:
                    continue
                seen.add(entity)
                if entity in last and last[entity] > now - cooldown or once and told.get((entity, ts), now) < now:
                    continue
                last[entity] = now
                told[entity, ts] = now
                fired.append((now, entity, ts, value, p))
    return fired


def agree(found, expected, tested):
    assert [(it["fired_at"], it["entity_id"], it["ts"]) for it in found] == [it[:3] for it in expected]
    for it, (_, _, _, value, p) in zip(found, expected, strict=True):
        assert it["value"] == pytest.approx(value, rel=1e-6, abs=1e-9)
        assert it["p_value"] is None if not tested else it["p_value"] == pytest.approx(p, rel=1e-5, abs=1e-200)
        assert it["severity"] == "medium" and it["entity_id"] in it["message"]


def every(step, since, until):
    checks = []
    while since <= until:
        checks.append(since)
        since += step
    return checks


SINCE, UNTIL = START + 10 * DAY, START + 40 * DAY + HOUR


@pytest.mark.parametrize("metric, threshold", [("cosine", 0.02), ("l2", 0.5)])
@pytest.mark.parametrize("fdr", [None, 0.2])
@pytest.mark.parametrize("cooldown", [timedelta(0), 2 * DAY])
def test_drift(conn, spaces, monitor, metric, threshold, fdr, cooldown):
    points = walks([1, fdr is None, cooldown.days], 30, 50)
    spaces("walks", points)
    condition = {"type": "drift_exceeds", "threshold": threshold, "window": "8 days", "metric": metric}
    name = monitor(condition | ({"fdr": fdr} if fdr else {}), space="walks", cooldown=cooldown, check_interval=5 * HOUR)
    expected = simulate([points], every(5 * HOUR, SINCE, UNTIL),
                        lambda times, x, now: drift_at(times, x, now, 8 * DAY, metric, fdr), threshold, cooldown, fdr)
    assert len(expected) > 20
    agree(backtest(conn, name, SINCE, UNTIL), expected, fdr)


@pytest.mark.parametrize("window", [None, 3 * DAY])
@pytest.mark.parametrize("fdr", [None, 0.1])
def test_velocity(conn, spaces, monitor, window, fdr):
    points = walks([2, fdr is None], 30, 50)
    spaces("walks", points)
    condition = {"type": "velocity_exceeds", "threshold": 0.4} | ({"fdr": fdr} if fdr else {})
    condition |= {"window": "3 days"} if window else {}
    name = monitor(condition, space="walks", cooldown=DAY, check_interval=7 * HOUR)
    expected = simulate([points], every(7 * HOUR, SINCE, UNTIL),
                        lambda times, x, now: velocity_at(times, x, now, window, fdr), 0.4, DAY, fdr)
    assert len(expected) > 10
    agree(backtest(conn, name, SINCE, UNTIL), expected, fdr)


@pytest.mark.parametrize("cooldown", [timedelta(0), 30 * HOUR])
@pytest.mark.parametrize("source", [None, "a"])
def test_silence(conn, spaces, monitor, cooldown, source):
    points = walks([3, cooldown.days], 20, 50)
    spaces("walks", points, source=lambda i: "ab"[i % 2])
    if source:
        points = {entity: (times[::2], x[::2]) for entity, (times, x) in points.items()}
    condition = {"type": "silence_exceeds", "duration": "4 days"} | ({"source": source} if source else {})
    name = monitor(condition, space="walks", cooldown=cooldown, check_interval=5 * HOUR)
    expected = simulate([points], every(5 * HOUR, SINCE, UNTIL), lambda times, x, now: silence_at(times, now, 4 * DAY),
                        4 * 86_400, cooldown, once=False)
    assert len(expected) > 100
    agree(backtest(conn, name, SINCE, UNTIL), expected, None)


@pytest.mark.parametrize("fdr", [None, 0.2])
@pytest.mark.parametrize("cooldown", [timedelta(0), 12 * HOUR])
def test_several_spaces(conn, spaces, monitor, fdr, cooldown):
    """Without a space all are looked at; with a cooldown an entity has one alert at most."""
    groups = [walks(4, 12, 50), walks(5, 12, 50, dims=2)]
    for place, points in enumerate(groups):
        spaces(f"walks_{place}", points)
    condition = {"type": "drift_exceeds", "threshold": 0.3, "window": "8 days", "metric": "l2"}
    name = monitor(condition | ({"fdr": fdr} if fdr else {}), cooldown=cooldown, check_interval=5 * HOUR)
    expected = simulate(groups, every(5 * HOUR, SINCE, UNTIL),
                        lambda times, x, now: drift_at(times, x, now, 8 * DAY, "l2", fdr), 0.3, cooldown, fdr)
    assert len(expected) > 20
    agree(backtest(conn, name, SINCE, UNTIL), expected, fdr)


def test_schedule_and_filter(conn, spaces, monitor):
    points = walks(6, 20, 50)
    spaces("walks", points)
    condition = {"type": "silence_exceeds", "duration": "3 days"}
    chosen = {entity: points[entity] for entity in ("e01", "e07", "e12")}
    name = monitor(condition, space="walks", cooldown=DAY, schedule="30 6 * * 1-5", time_zone="Asia/Kolkata",
                   entity_filter=Jsonb({"entity_ids": list(chosen)}))
    checks = [day + HOUR for day in every(DAY, START + 10 * DAY, UNTIL) if (day + HOUR).weekday() < 5]
    expected = simulate([chosen], checks, lambda times, x, now: silence_at(times, now, 3 * DAY), 3 * 86_400, DAY,
                        once=False)
    assert len(expected) > 10
    agree(backtest(conn, name, SINCE, UNTIL), expected, None)


def test_at_most_a_thousand_at_once(conn, spaces, monitor):
    points = {f"n{i:04}": ([START + timedelta(seconds=i)], np.ones((1, 2))) for i in range(2500)}
    spaces("many", points)
    name = monitor({"type": "silence_exceeds", "duration": "1 day"}, space="many", cooldown=100 * DAY,
                   check_interval=HOUR)
    found = backtest(conn, name, START + 2 * DAY, START + 3 * DAY)
    assert [it["fired_at"] for it in found] == sorted(START + 2 * DAY + (i // 1000) * HOUR for i in range(2500))
    assert [it["entity_id"] for it in found] == sorted(points)


def test_reject_ratio(conn, monitor):
    rng = np.random.default_rng(8)
    runs = []
    for _ in range(300):
        source = str(rng.choice(["x", "y"]))
        ended = START + timedelta(seconds=int(rng.integers(0, 50 * 86_400)))
        read = int(rng.integers(0, 50))
        runs.append((source, ended, read, int(read * rng.random() ** 3)))
        conn.execute("""INSERT INTO cvx.sync_run (source, space_id, state, started_at, finished_at, records_read,
                            records_rejected) VALUES (%s, 1, 'done', %s, %s, %s, %s)""",
                     [source, ended - HOUR, ended, read, runs[-1][3]])
    name = monitor({"type": "reject_ratio_exceeds", "threshold": 0.3, "window": "2 days"}, cooldown=DAY,
                   check_interval=5 * HOUR)
    expected, last = [], {}
    for now in every(5 * HOUR, SINCE, UNTIL):
        for source in "xy":
            within = [run for run in runs if run[0] == source and now - 2 * DAY <= run[1] <= now]
            read, rejected = sum(run[2] for run in within), sum(run[3] for run in within)
            if read and rejected / read > 0.3 and not (source in last and last[source] > now - DAY):
                last[source] = now
                expected.append((now, source, max(run[1] for run in within), rejected / read))
    found = backtest(conn, name, SINCE, UNTIL)
    assert len(expected) > 5
    source = lambda it: it["message"].split(" of source ")[1][0]
    assert [(it["fired_at"], source(it), it["ts"], it["value"]) for it in found] == expected
    assert all(it["entity_id"] is None and it["threshold"] == 0.3 for it in found)
    conn.execute("TRUNCATE cvx.sync_run")


@pytest.mark.parametrize("source", [None, "a"])
def test_freshness(conn, spaces, monitor, source):
    points = walks(9, 3, 50)
    spaces("walks", points, source=lambda i: "ab"[i % 2])
    times = sorted(t for of_entity, _ in points.values() for t in (of_entity[::2] if source else of_entity))
    condition = {"type": "freshness_exceeds", "duration": "20 hours"} | ({"source": source} if source else {})
    name = monitor(condition, cooldown=DAY, check_interval=5 * HOUR, **({} if source else {"space": "walks"}))
    expected, last = [], None
    for now in every(5 * HOUR, SINCE, UNTIL):
        newest = max(t for t in times if t <= now)
        if now - newest > 20 * HOUR and not (last and last > now - DAY):
            last = now
            expected.append((now, newest, (now - newest).total_seconds()))
    assert len(expected) > 5
    assert [(it["fired_at"], it["ts"], it["value"]) for it in backtest(conn, name, SINCE, UNTIL)] == expected


@pytest.mark.parametrize("baseline", ["10 days", "[2026-01-01,2026-01-15)"])
def test_population(conn, spaces, monitor, baseline):
    rng = np.random.default_rng(10)
    times = [START + 2 * HOUR * i for i in range(480)]
    points = {"one": (times, rng.normal(size=(480, 2)) + np.array([[3.0 * (i > 300), 0] for i in range(480)]))}
    spaces("shifted", points)
    condition = {"type": "population_drift_exceeds", "method": "centroid", "threshold": 0.8, "baseline": baseline,
                 "window": "3 days"}
    name = monitor(condition, space="shifted", cooldown=2 * DAY, check_interval=8 * HOUR)
    expected, last = [], None
    for now in every(8 * HOUR, SINCE, UNTIL):
        ranges = [baseline if "[" in baseline else f"[{now - 13 * DAY},{now - 3 * DAY})", f"[{now - 3 * DAY},{now}]"]
        overlap, = conn.execute("SELECT %s::tstzrange && %s::tstzrange", ranges).fetchone()
        if overlap:
            continue
        statistic, p = conn.execute(
            "SELECT statistic, p_value FROM cvx.population_drift('shifted', %s, %s, 'centroid')", ranges).fetchone()
        if statistic and statistic > 0.8 and not (last and last > now - 2 * DAY):
            last = now
            expected.append((now, statistic, p))
    assert len(expected) > 2
    assert [(it["fired_at"], it["value"], it["p_value"]) for it in backtest(conn, name, SINCE, UNTIL)] == expected


@pytest.mark.parametrize("fdr", [None, 0.01])
def test_change_points(conn, spaces, monitor, fdr):
    rng = np.random.default_rng(11)
    points = {}
    for k in range(12):
        times = [START + timedelta(hours=6 * i, minutes=0 if fdr else k) for i in range(200)]
        level = np.repeat(rng.normal(size=(5, 4)) * (2 if k % 3 else 0), 40, axis=0)
        points[f"e{k:02}"] = (times, (level + 0.5 * rng.normal(size=(200, 4))).astype(np.float32).astype(float))
    spaces("levels", points)
    condition = {"type": "change_point_detected", "min_severity": 0.6} | ({"fdr": fdr} if fdr else {})
    name = monitor(condition, space="levels", cooldown=12 * DAY)
    found = backtest(conn, name, SINCE, UNTIL)
    reports = conn.execute(
        """SELECT b.detected_at, t.entity_id, b.ts, b.severity
           FROM (SELECT entity_id, cvx.trajectory_agg(ts, vec) AS t FROM cvx.embedding
                 WHERE space_id = cvx.space_id('levels') AND ts <= %s GROUP BY 1) t, cvx.bocpd(t.t) b
           WHERE b.detected_at >= %s ORDER BY 1, 2""", [UNTIL, SINCE]).fetchall()
    significant = {(it["fired_at"], it["entity_id"]): it["p_value"] for it in found}
    expected, last = [], {}
    for at, entity, ts, severity in reports:
        if severity < 0.6 or entity in last and last[entity] > at - 12 * DAY:
            continue
        if fdr and (at, entity) not in significant:
            continue
        last[entity] = at
        expected.append((at, entity, ts, severity))
    assert [(it["fired_at"], it["entity_id"], it["ts"], it["value"]) for it in found] == expected
    assert len(expected) > 5
    assert all(0 <= p <= (fdr or 1) for p in significant.values())


CONDITIONS = [
    {"type": "drift_exceeds", "threshold": 0.01, "window": "9 days"},
    {"type": "drift_exceeds", "threshold": 0.3, "window": "9 days", "metric": "l2", "fdr": 0.3},
    {"type": "velocity_exceeds", "threshold": 0.1},
    {"type": "velocity_exceeds", "threshold": 0.1, "window": "5 days", "fdr": 0.3},
    {"type": "silence_exceeds", "duration": "1 day"},
    {"type": "silence_exceeds", "duration": "1 day", "source": "a"},
    {"type": "freshness_exceeds", "duration": "10 minutes"},
    {"type": "freshness_exceeds", "duration": "10 minutes", "source": "a"},
    {"type": "reject_ratio_exceeds", "threshold": 0.2},
    {"type": "population_drift_exceeds", "method": "mmd", "threshold": 1e-9, "baseline": "20 days",
     "window": "10 days"},
]


@pytest.mark.parametrize("scope", ["space", "model", None])
@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda it: json.dumps(list(it.values())))
def test_an_evaluation_now_finds_the_same(conn, spaces, monitor, condition, scope):
    """The last check of a backtest is what an evaluation does, to the word."""
    kind = condition["type"]
    if scope == "model" and kind == "population_drift_exceeds" or scope is None and kind.startswith("popul"):
        pytest.skip("a population is that of a space")
    if kind.startswith("fresh") and not scope and "source" not in condition:
        pytest.skip("it is that of a source, a space or a model")
    if kind.startswith("reject") and scope:
        pytest.skip("a ratio is that of a source")
    now, = conn.execute("SELECT now() - interval '1 hour'").fetchone()
    points = {entity: ([t + (now - START) - 50 * DAY for t in times], x)
              for entity, (times, x) in walks(12, 25, 50).items()}
    spaces("recent", points, source=lambda i: "ab"[i % 2])
    fields = "entity_id, ts, value, threshold, p_value, severity, message"
    try:
        conn.execute("SELECT cvx.create_model('m', 'v1', 'recent')")
        conn.execute("""INSERT INTO cvx.sync_run (source, space_id, state, finished_at, records_read, records_rejected)
                        VALUES ('x', 1, 'done', %s, 10, 5), ('y', 1, 'done', %s, 10, 1)""", [now, now])
        name = monitor(condition, **({"space": "recent"} if scope == "space" else {"model": "m"} if scope else {}))
        with conn.transaction(force_rollback=True):
            before = conn.execute(f"SELECT {fields} FROM cvx.backtest_monitor(%s, now(), now())", [name]).fetchall()
            found = conn.execute(
                f"SELECT {fields} FROM cvx.evaluate_monitor(%s) WHERE alert_id IS NOT NULL", [name]).fetchall()
        # An evaluation takes the age as a difference of seconds in floating point.
        rounded = [[(*row[:2], float(f"{row[2]:.12g}"), *row[3:]) for row in rows] for rows in (before, found)]
        assert found and rounded[0] == rounded[1]
    finally:
        conn.execute("SELECT cvx.drop_model('m', 'v1')")
        conn.execute("TRUNCATE cvx.sync_run")


@pytest.mark.parametrize("condition", CONDITIONS[:4], ids=lambda it: json.dumps(list(it.values())))
def test_a_retrain_is_explained_alike(conn, spaces, monitor, condition):
    """Trajectories that cross from one version of a model to the next, in a rotated frame, of which some also move."""
    now, = conn.execute("SELECT now()").fetchone()
    rng = np.random.default_rng(15)
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    old, new = {}, {}
    for k in range(120):
        x = rng.normal(size=4) + 0.02 * rng.normal(size=(12, 4))
        x[9:] += 0.5 * rng.normal(size=4) * (k % 3 == 0)
        times = [now - (60 - 5 * i) * DAY / 5 - HOUR for i in range(12)]
        old[f"e{k:03}"] = (times[:9], x[:9])
        # The last two points of the old version are embedded by the new one too.
        new[f"e{k:03}"] = (times[7:], (x[7:] + 0.05 * rng.normal(size=(5, 4))) @ turn)
    spaces("version_1", old)
    spaces("version_2", new)
    conn.execute("SELECT cvx.create_model('m', 'v1', 'version_1'), cvx.create_model('m', 'v2', 'version_2', 'v1')")
    name = monitor(condition, model="m")
    fields = "entity_id, ts, value, threshold, p_value, severity, message"
    try:
        with conn.transaction(force_rollback=True):
            before = conn.execute(f"SELECT {fields} FROM cvx.backtest_monitor(%s, now(), now())", [name]).fetchall()
            found = conn.execute(
                f"SELECT {fields} FROM cvx.evaluate_monitor(%s) WHERE alert_id IS NOT NULL", [name]).fetchall()
        assert found and before == found
        assert len(found) < 120
    finally:
        conn.execute("SELECT cvx.drop_model('m', 'v2'), cvx.drop_model('m', 'v1')")


def test_nothing_is_written(conn, spaces, monitor):
    spaces("walks", walks(13, 10, 50))
    name = monitor({"type": "silence_exceeds", "duration": "1 day"}, space="walks")
    with conn.transaction():
        conn.execute("SET TRANSACTION READ ONLY")
        assert backtest(conn, name, SINCE, UNTIL)
    assert conn.execute("SELECT count(*) FROM cvx.alert").fetchone() == (0,)


def test_the_future_is_not_known(conn, spaces, monitor):
    now, = conn.execute("SELECT now()").fetchone()
    spaces("one", {"e": ([now - 3 * DAY], np.ones((1, 2)))})
    name = monitor({"type": "silence_exceeds", "duration": "1 day"}, space="one", cooldown=HOUR, check_interval=HOUR)
    found = backtest(conn, name, now - 2 * HOUR, now + 10 * DAY)
    assert 2 <= len(found) <= 3 and all(it["fired_at"] < now + HOUR for it in found)
    assert backtest(conn, name, now + DAY, now + 2 * DAY) == []


def test_refused(conn, spaces, monitor):
    spaces("walks", walks(14, 2, 50))
    name = monitor({"type": "silence_exceeds", "duration": "1 day"}, space="walks", check_interval=timedelta(seconds=1))
    for arguments, state, message in [
        ((name, UNTIL, SINCE), "22023", "later than"),
        ((name, START, START + 20 * DAY), "54000", "more than 1000000 times"),
        ((name, None, UNTIL), "22004", "from_ts"),
        ((None, SINCE, UNTIL), "22004", "name"),
        ((name, "-infinity", UNTIL), "22023", "infinity"),
        (("none", SINCE, UNTIL), "42704", '"none"'),
    ]:
        with pytest.raises(psycopg.Error) as raised:
            backtest(conn, *arguments)
        assert raised.value.sqlstate == state, arguments
        assert message in raised.value.diag.message_primary
        assert state == "22004" or raised.value.diag.message_hint


def test_rights(conn, spaces, database):
    """A monitor is its owner's to backtest, and looks at what its owner may read."""
    points = {f"e{k}": ([START], np.ones((1, 2))) for k in range(3)}
    spaces("walks", points)
    conn.execute("""
        CREATE ROLE backtest_owner LOGIN; CREATE ROLE backtest_other LOGIN;
        SELECT cvx.grant_admin('backtest_owner'), cvx.grant_admin('backtest_other');
        ALTER TABLE cvx.embedding ENABLE ROW LEVEL SECURITY;
        CREATE POLICY shown ON cvx.embedding TO backtest_owner USING (entity_id <> 'e1')""")
    try:
        with psycopg.connect(dbname=database, user="backtest_owner", autocommit=True) as owner:
            create = "SELECT cvx.create_monitor(%s, %s, %s, space => 'walks')"
            with owner.transaction():
                owner.execute(create, ["mine", Jsonb({"type": "silence_exceeds", "duration": "1 day"}), LOG])
                owner.execute("SELECT cvx.pause_monitor('mine')")
            seen = [it["entity_id"] for it in backtest(owner, "mine", START + 2 * DAY, START + 2 * DAY)]
            assert seen == ["e0", "e2"]
            with owner.transaction():
                owner.execute("SELECT cvx.create_monitor(%s, %s, %s)",
                              ["own_sql", Jsonb({"type": "custom_query", "sql": "SELECT 1 AS value"}), LOG])
                owner.execute("SELECT cvx.pause_monitor('own_sql')")
            with pytest.raises(psycopg.errors.FeatureNotSupported, match="custom_query") as raised:
                backtest(owner, "own_sql", SINCE, UNTIL)
            assert "now()" in raised.value.diag.message_hint
        # A superuser who asks sees what the owner would have been told.
        assert [it["entity_id"] for it in backtest(conn, "mine", START + 2 * DAY, START + 2 * DAY)] == seen
        with psycopg.connect(dbname=database, user="backtest_other", autocommit=True) as other:
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="must be owner of monitor"):
                backtest(other, "mine", SINCE, UNTIL)
    finally:
        conn.execute("""
            SELECT cvx.drop_monitor(name) FROM cvx.monitors WHERE owner = 'backtest_owner';
            DROP POLICY shown ON cvx.embedding; ALTER TABLE cvx.embedding DISABLE ROW LEVEL SECURITY;
            DROP OWNED BY backtest_owner, backtest_other CASCADE; DROP ROLE backtest_owner, backtest_other""")
