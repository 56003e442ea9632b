"""change_point_detected, end to end: each entity's detector is what its points make of it in the order of time,
whatever order they came in, and the alerts are those of the stated rule (src/monitors/README.md)."""

import random
import threading
import time

import numpy as np
import psycopg
import pytest
from cluster import Cluster, until
from psycopg.types.json import Jsonb

DIMS = 3
HAZARD, THRESHOLD, SEVERITY = 0.01, 0.6, 0.4
CONDITION = {"type": "change_point_detected", "min_severity": SEVERITY, "hazard": HAZARD, "threshold": THRESHOLD}
FOLD = f"""
    CREATE FUNCTION folded(t cvx.trajectory) RETURNS cvx.bocpd_state LANGUAGE plpgsql IMMUTABLE AS $$
    DECLARE
        state cvx.bocpd_state;
        point record;
    BEGIN
        FOR point IN SELECT * FROM cvx.points(t) ORDER BY ts LOOP
            state := cvx.bocpd_update(state, point.ts, point.vec, {HAZARD}, {THRESHOLD});
        END LOOP;
        RETURN state;
    END $$"""


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as it:
        yield it
        assert it.faults() == []


@pytest.fixture
def conn(cluster):
    name = f"d{time.monotonic_ns()}"
    cluster.create_database(name)
    with cluster.connect(name, options="-c timezone=UTC -c statement_timeout=120s") as it:
        it.execute(FOLD)
        it.execute("SELECT cvx.create_space('s', %s)", (DIMS,))
        yield it
    with cluster.connect() as it:
        it.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def create_monitor(conn, name="m", space="s", **more):
    arguments = {"cooldown": "0 s", "space": space, **more}
    given = ", ".join(f"{key} => %s" for key in arguments)
    query = f"""SELECT cvx.create_monitor('{name}', %s, '{{"type": "emit_event"}}', {given})"""
    conn.execute(query, (Jsonb(CONDITION), *arguments.values()))


def fed(conn, seconds=60):
    """Waits until the monitors know all that is written."""
    left = "SELECT (SELECT count(*) FROM cvx.invalidation) + (SELECT count(*) FROM cvx.stale)"
    try:
        until(lambda: conn.execute(left).fetchone()[0] == 0, seconds, "all is fed")
    except AssertionError as error:
        stale = conn.execute("SELECT s::text FROM cvx.stale s").fetchall()
        states = conn.execute("SELECT m::text FROM cvx.monitors m").fetchall()
        raise AssertionError(f"{error}; {stale}; {states}") from None


def stamp(minute: int) -> str:
    return f"2026-03-{1 + minute // 1440:02} {minute // 60 % 24:02}:{minute % 60:02}:00+00"


def literal(values) -> str:
    return "[" + ",".join(f"{x:.5f}" for x in values) + "]"


def write(conn, rows, space="s"):
    """Rows of (entity, minute, values); what is there is replaced."""
    query = f"""INSERT INTO cvx_space.{space} (entity_id, ts, vec) SELECT e, t::timestamptz, v::vector
                FROM unnest(%s::text[], %s::text[], %s::text[]) u(e, t, v)
                ON CONFLICT (space_id, entity_id, ts) DO UPDATE SET vec = excluded.vec"""
    entities, minutes, values = zip(*rows)
    conn.execute(query, (list(entities), [stamp(m) for m in minutes], [literal(v) for v in values]))


def shifting(seed: int, count: int, *shifts: int, by: float = 9.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(count, DIMS)) + 4
    for at in shifts:
        direction = rng.normal(size=DIMS)
        points[at:] += by * direction / np.linalg.norm(direction)
    return points


def reports(conn, trajectory="cvx.trajectory(e.entity_id, 's')", source="cvx_space.s") -> dict[str, list]:
    """What the batch reports of each entity: times of the change and of the point at which it was decided."""
    query = f"""SELECT e.entity_id, b.ts, b.detected_at, b.severity FROM (SELECT DISTINCT entity_id FROM {source}) e,
                LATERAL cvx.bocpd({trajectory}, {HAZARD}, {THRESHOLD}) b WHERE b.severity >= {SEVERITY} ORDER BY b.ts"""
    found = {}
    for entity, ts, detected_at, severity in conn.execute(query).fetchall():
        found.setdefault(entity, []).append((ts, detected_at, severity))
    return found


def alerts(conn, monitor="m") -> dict[tuple, float]:
    found = conn.execute("SELECT entity_id, ts, value FROM cvx.alert WHERE monitor = %s", (monitor,)).fetchall()
    assert len({row[:2] for row in found}) == len(found), f"the same evidence twice: {found}"
    return {(entity, ts): value for entity, ts, value in found}


def assert_detectors(conn, trajectory="cvx.trajectory(e.entity_id, 's')", source="cvx_space.s", monitor="m") -> int:
    """Bit for bit: the text form is lossless. Returns how many there are."""
    query = f"""SELECT coalesce(e.entity_id, d.entity_id), e.entity_id IS NOT NULL, d.last_ts,
                       cvx.end_ts({trajectory}), d.state::text = folded({trajectory})::text
                FROM (SELECT DISTINCT entity_id FROM {source}) e
                FULL JOIN (SELECT d.* FROM cvx.detector d JOIN cvx.monitor m USING (monitor_id) WHERE m.name = %s) d
                USING (entity_id)"""
    found = conn.execute(query, (monitor,)).fetchall()
    wrong = [row for row in found if row[1] and (row[4] is not True or row[2] != row[3])]
    assert not wrong, f"{len(wrong)} of {len(found)} detectors are not what their points make: {wrong[:5]}"
    left = [row[0] for row in found if not row[1]]
    assert not left, f"detectors of entities that have no points: {left[:5]}"
    return len(found)


class Rule:
    """The stated rule, applied to what the batch reports after each change."""

    def __init__(self, conn):
        self.conn = conn
        # By entity, the last change alerted; and all that has to have been.
        self.reported, self.expected = {}, {}

    def changed(self, touched: dict):
        """Entities with the least time at which they changed."""
        found = reports(self.conn)
        present = {name for (name,) in self.conn.execute("SELECT DISTINCT entity_id FROM cvx_space.s").fetchall()}
        for entity, since in touched.items():
            known = self.reported.get(entity)
            for ts, detected_at, severity in found.get(entity, []):
                if detected_at < since or (known is not None and ts <= known):
                    continue
                self.expected.setdefault((entity, ts), severity)
                self.reported[entity] = max(ts, self.reported.get(entity, ts))
            if entity not in present:
                self.reported.pop(entity, None)


class World:
    """Entities that are written to in any order, one transaction after the other."""

    def __init__(self, conn, seed: int, entities: int = 12, count: int = 70):
        self.conn, self.rng, self.rule = conn, random.Random(seed), Rule(conn)
        shifts = [(), (30,), (25, 50), (15, 35, 55), (40,), ()]
        self.points = {f"e{i}": shifting(100 * seed + i, count, *shifts[i % 6]) for i in range(entities)}
        self.next = dict.fromkeys(self.points, 0)
        self.count = count

    def some(self, entity: str) -> list[int]:
        return sorted(self.rng.sample(range(self.next[entity] + 1), min(self.next[entity] + 1, self.rng.randint(1, 6))))

    def in_order(self, entity: str) -> list[int]:
        first = self.next[entity]
        # Some are left out, and come late.
        self.next[entity] = min(self.count - 1, first + self.rng.randint(1, 8))
        minutes = [m for m in range(first, self.next[entity]) if self.rng.random() < 0.85]
        return self.put(entity, minutes)

    def put(self, entity: str, minutes: list[int]) -> list[int]:
        if minutes:
            write(self.conn, [(entity, m, self.points[entity][m]) for m in minutes])
        return minutes

    def late(self, entity: str) -> list[int]:
        return self.put(entity, self.some(entity))

    def where(self, statement: str, entity: str, minutes: list[int]) -> list[int]:
        found = self.conn.execute(
            f"{statement} WHERE entity_id = %s AND ts = ANY(%s::timestamptz[]) RETURNING ts",
            (entity, [stamp(m) for m in minutes]),
        ).fetchall()
        return [(ts.day - 1) * 1440 + ts.hour * 60 + ts.minute for (ts,) in found]

    def update(self, entity: str) -> list[int]:
        return self.where("UPDATE cvx_space.s SET vec = vec + '[7,0,-7]'", entity, self.some(entity))

    def delete(self, entity: str) -> list[int]:
        return self.where("DELETE FROM cvx_space.s", entity, self.some(entity))

    def forget(self, entity: str) -> list[int]:
        return self.where("DELETE FROM cvx_space.s", entity, list(range(self.count)))

    ACTIONS = {"in_order": 10, "late": 3, "update": 2, "delete": 2, "forget": 0.3}

    def step(self):
        """One transaction about some entities, and what has to come of it."""
        touched = {}
        with self.conn.transaction():
            for entity in self.rng.sample(sorted(self.points), self.rng.randint(2, 8)):
                name = self.rng.choices(list(self.ACTIONS), list(self.ACTIONS.values()))[0]
                minutes = getattr(self, name)(entity)
                if minutes:
                    touched[entity] = min(minutes)
        fed(self.conn)
        times = {entity: self.time(minute) for entity, minute in touched.items()}
        self.rule.changed(times)
        assert alerts(self.conn) == self.rule.expected
        assert_detectors(self.conn)

    def time(self, minute: int):
        return self.conn.execute("SELECT %s::timestamptz", (stamp(minute),)).fetchone()[0]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_any_order(conn, seed):
    create_monitor(conn)
    world = World(conn, seed)
    for _ in range(60):
        world.step()
    assert len(world.rule.expected) >= 8, "too few changes prove nothing"


def test_what_was_there_before_the_monitor_is_not_reported(conn):
    write(conn, [("old", m, v) for m, v in enumerate(shifting(1, 60, 30))])
    create_monitor(conn)
    fed(conn)
    assert alerts(conn) == {}
    write(conn, [("old", 60, shifting(1, 61, 30)[60])])
    fed(conn)
    assert assert_detectors(conn) == 1 and alerts(conn) == {}
    write(conn, [("old", m, v + 20) for m, v in enumerate(shifting(1, 75, 30)) if m > 60])
    fed(conn)
    ((entity, ts),) = alerts(conn)
    assert entity == "old" and ts.hour == 1 and ts.minute == 1


def test_one_alert_a_change_in_many_small_transactions(conn):
    create_monitor(conn)
    for m, v in enumerate(shifting(7, 60, 20, 40)):
        write(conn, [("e", m, v)])
    fed(conn)
    found = reports(conn)
    assert len(found["e"]) == 2
    assert alerts(conn) == {("e", ts): severity for ts, _, severity in found["e"]}
    assert_detectors(conn)


def test_copy_of_many_entities(conn):
    """100 000 rows of 1 000 entities, in the order of time and not of entities."""
    create_monitor(conn)
    points = np.stack([shifting(i, 100, *((50,) if i % 2 else ())) for i in range(1000)])
    started = time.monotonic()
    with conn.cursor().copy("COPY cvx_space.s (entity_id, ts, vec) FROM STDIN") as copy:
        for m in range(100):
            when = stamp(m)
            for i in range(1000):
                copy.write_row((f"e{i}", when, literal(points[i, m])))
    copied = time.monotonic()
    fed(conn, 120)
    print(f"COPY {copied - started:.1f} s, fed {time.monotonic() - copied:.1f} s after it")
    assert assert_detectors(conn) == 1000
    found = reports(conn)
    assert sum(f"e{i}" in found for i in range(1, 1000, 2)) > 450
    wanted = {(entity, ts): severity for entity, of in found.items() for ts, _, severity in of}
    assert alerts(conn) == wanted


def test_truncate(conn):
    create_monitor(conn)
    points = shifting(3, 60, 30)
    write(conn, [("a", m, v) for m, v in enumerate(points[:50])] + [("b", m, v) for m, v in enumerate(points[:20])])
    fed(conn)
    before = alerts(conn)
    assert [entity for entity, _ in before] == ["a"]
    conn.execute("TRUNCATE cvx_space.s")
    fed(conn)
    assert assert_detectors(conn) == 0 and alerts(conn) == before
    write(conn, [("b", m, v) for m, v in enumerate(points)])
    fed(conn)
    assert assert_detectors(conn) == 1
    assert {entity for entity, _ in alerts(conn)} == {"a", "b"}


def test_what_is_rolled_back_is_not_seen(conn):
    create_monitor(conn)
    points = shifting(5, 60, 30)
    write(conn, [("e", m, v) for m, v in enumerate(points[:30])])
    fed(conn)
    with pytest.raises(psycopg.errors.DivisionByZero), conn.transaction():
        write(conn, [("e", m, v) for m, v in enumerate(points) if m >= 30])
        conn.execute("SELECT 1 / 0")
    time.sleep(1)
    fed(conn)
    assert alerts(conn) == {} and assert_detectors(conn) == 1
    with conn.transaction():
        with pytest.raises(psycopg.errors.DivisionByZero), conn.transaction():
            write(conn, [("e", m, v + 50) for m, v in enumerate(points) if m >= 30])
            conn.execute("SELECT 1 / 0")
        write(conn, [("e", 30, points[30])])
    fed(conn)
    assert alerts(conn) == {} and assert_detectors(conn) == 1


def test_more_points_than_a_detector_is_made_from(conn):
    """A late point has it made anew from the last 2 000: what came before them is not read again."""
    create_monitor(conn)
    points = shifting(9, 2500, 2400)
    write(conn, [("e", m, v) for m, v in enumerate(points) if m != 2300])
    fed(conn)
    before = alerts(conn)
    assert len(before) == 1
    write(conn, [("e", 2300, points[2300])])
    fed(conn)
    since = "(SELECT ts FROM cvx_space.s WHERE entity_id = e.entity_id ORDER BY ts DESC OFFSET 1999 LIMIT 1)"
    assert assert_detectors(conn, f"cvx.trajectory(e.entity_id, 's', {since})") == 1
    assert alerts(conn) == before


def test_entity_filter(conn):
    create_monitor(conn, entity_filter=Jsonb({"entity_ids": ["a", "c"]}))
    points = shifting(11, 60, 30)
    write(conn, [(entity, m, v) for entity in "abc" for m, v in enumerate(points)])
    fed(conn)
    assert {entity for entity, _ in alerts(conn)} == {"a", "c"}
    assert conn.execute("SELECT array_agg(entity_id ORDER BY 1) FROM cvx.detector").fetchone() == (["a", "c"],)


def test_two_monitors_and_one_that_goes(conn):
    create_monitor(conn)
    create_monitor(conn, "other")
    points = shifting(13, 80, 30, 60)
    write(conn, [("e", m, v) for m, v in enumerate(points[:50])])
    fed(conn)
    assert alerts(conn) == alerts(conn, "other") != {}
    conn.execute("SELECT cvx.drop_monitor('other')")
    until(lambda: conn.execute("SELECT count(*) FROM cvx.detector").fetchone() == (1,), 30)
    write(conn, [("e", m, v) for m, v in enumerate(points) if m >= 50])
    fed(conn)
    assert len(alerts(conn)) == 2 and len(alerts(conn, "other")) == 1 and assert_detectors(conn) == 1


def test_paused_and_resumed(conn):
    """What is written while it is paused is fed when it goes on."""
    create_monitor(conn)
    points = shifting(17, 60, 30)
    write(conn, [("e", m, v) for m, v in enumerate(points[:25])])
    fed(conn)
    conn.execute("SELECT cvx.pause_monitor('m')")
    write(conn, [("e", m, v) for m, v in enumerate(points) if m >= 25])
    time.sleep(1.5)
    assert alerts(conn) == {}
    conn.execute("SELECT cvx.resume_monitor('m')")
    until(lambda: alerts(conn), 20, "the change is found")
    fed(conn)
    assert assert_detectors(conn) == 1 and len(alerts(conn)) == 1


def test_a_dimension_that_cannot_be_followed_stops_nobody_else(conn):
    """An entity whose points cannot be fed keeps its mark, and the others go on."""
    conn.execute("SELECT cvx.create_space('other', 2)")
    create_monitor(conn, "of_other", "other")
    create_monitor(conn)
    points = shifting(19, 60, 30)
    write(conn, [("e", m, v) for m, v in enumerate(points)])
    write(conn, [("e", m, v[:2]) for m, v in enumerate(points)], "other")
    fed(conn)
    assert len(alerts(conn)) == len(alerts(conn, "of_other")) == 1
    conn.execute("SELECT cvx.drop_space('other', true)")
    write(conn, [("f", m, v) for m, v in enumerate(points)])
    until(lambda: len(alerts(conn)) == 2, 30, "the monitor of the other space goes on")


class TestModel:
    """On canonical trajectories: a retrain moves every vector, and nobody."""

    TURN = np.linalg.qr(np.random.default_rng(4).normal(size=(DIMS, DIMS)))[0]
    ENTITIES = 130

    def rows(self, points, minutes, turned=False):
        turn = self.TURN if turned else np.eye(DIMS)
        return [(f"e{i}", m, turn @ points[i][m]) for i in range(self.ENTITIES) for m in minutes]

    @pytest.fixture
    def points(self):
        # Entity 7 shifts at minute 50, when the new version is in use.
        return [shifting(1000 + i, 70, *((50,) if i == 7 else ())) for i in range(self.ENTITIES)]

    def assert_canonical(self, conn) -> int:
        return assert_detectors(conn, "cvx.canonical(e.entity_id, 'm')", "cvx.embedding")

    def test_a_registered_retrain(self, conn, points):
        conn.execute("SELECT cvx.create_model('m', 'v1', 's')")
        create_monitor(conn, space=None, model="m")
        write(conn, self.rows(points, range(40)))
        fed(conn)
        assert self.assert_canonical(conn) == self.ENTITIES
        before = alerts(conn)
        conn.execute("SELECT cvx.create_space('b', %s)", (DIMS,))
        # Both versions for a while, as long as it takes to align them.
        write(conn, self.rows(points, range(35, 40), True), "b")
        conn.execute("SELECT cvx.create_model('m', 'v2', 'b', 'v1')")
        conn.execute("DELETE FROM cvx_space.b")
        fed(conn)
        for first in range(40, 70, 10):
            write(conn, self.rows(points, range(first, first + 10), True), "b")
            fed(conn)
        self.assert_canonical(conn)
        found = {key for key in alerts(conn) if key not in before}
        boundary = {entity for entity, ts in found if ts.minute == 40}
        assert not boundary, f"the retrain alerted: {sorted(boundary)[:5]}"
        assert ("e7", 50) in {(entity, ts.minute) for entity, ts in found}


def test_what_commits_while_an_evaluation_waits(cluster, conn):
    """The evaluation has begun before the points are there, and takes their mark: it has to see them."""
    for name in ("m", "other"):
        create_monitor(conn, name)
        conn.execute("SELECT cvx.pause_monitor(%s)", (name,))
    look = "SELECT entity_id FROM cvx.evaluate_monitor(%s)"
    points = shifting(5, 60, 40)
    rows = [("e", minute, values) for minute, values in enumerate(points)]
    write(conn, rows[:40])
    for name in ("m", "other"):
        conn.execute(look, (name,))
    database, found = conn.info.dbname, []
    with cluster.connect(database) as holder, cluster.connect(database) as looker:
        holder.execute("BEGIN")
        holder.execute("SELECT FROM cvx.view_state WHERE view_id = (SELECT -monitor_id FROM cvx.monitor WHERE name = 'm') FOR UPDATE")
        thread = threading.Thread(target=lambda: found.extend(looker.execute(look, ("m",)).fetchall()))
        thread.start()
        waits = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"
        until(lambda: conn.execute(waits, (looker.info.backend_pid,)).fetchone() == (1,), 30, "the evaluation waits")
        write(conn, rows[40:])
        # Moves what is in the log to marks.
        conn.execute(look, ("other",))
        holder.execute("COMMIT")
        thread.join(60)
    assert found == [("e",)] and set(alerts(conn)) == set(alerts(conn, "other")) and len(alerts(conn)) == 1
    assert assert_detectors(conn) == 1
