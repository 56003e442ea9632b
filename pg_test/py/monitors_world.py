"""What monitors are tested on: entities that stand still, and entities that shift where it was planned; monitors that
look at them, and what these have to have found, computed in one piece from what is stored."""

import functools
import zlib

import numpy as np
from psycopg.types.json import Jsonb

DIMS = 4
LENGTH = 60
SECRET = "whsec_Y3Z4IHRlc3RzIHNpZ24gd2l0aCB0aGlz"
HAZARD, THRESHOLD, SEVERITY = 0.004, 0.5, 0.5
DRIFT = 6.0

TABLES = """
    CREATE ROLE watcher LOGIN;
    CREATE TABLE public.incidents (id text PRIMARY KEY, seen timestamptz NOT NULL, weight float8 NOT NULL);
    GRANT SELECT ON public.incidents TO watcher;
"""
# The detector that a monitor must have kept: its points in the order of time, one by one.
FOLD = """
    CREATE FUNCTION public.folded(id text) RETURNS cvx.bocpd_state LANGUAGE plpgsql STABLE AS $$
    DECLARE
        state cvx.bocpd_state;
        point record;
    BEGIN
        FOR point IN SELECT ts, vec FROM cvx_space.m WHERE entity_id = id ORDER BY ts LOOP
            state := cvx.bocpd_update(state, point.ts, point.vec, %s, %s);
        END LOOP;
        RETURN state;
    END $$
""" % (HAZARD, THRESHOLD)

REPORTS = f"""
    SELECT e.entity_id, b.ts, b.detected_at, b.severity
    FROM (SELECT DISTINCT entity_id FROM cvx_space.m) e,
         LATERAL cvx.bocpd(cvx.trajectory(e.entity_id, 'm'), {HAZARD}, {THRESHOLD}) b
    WHERE b.severity >= {SEVERITY}"""
DRIFTED = f"""
    SELECT e.entity_id, cvx.end_ts(e.t), cvx.drift(e.t, 'l2')
    FROM (SELECT entity_id, cvx.trajectory(entity_id, 'm') AS t FROM cvx_space.m GROUP BY 1) e
    WHERE cvx.drift(e.t, 'l2') > {DRIFT}"""


@functools.lru_cache(10_000)
def walk(entity: str) -> np.ndarray:
    """The points of an entity. Every second one shifts, and half of those again, by four times the noise."""
    number = zlib.crc32(entity.encode())
    rng = np.random.default_rng(number)
    points = 5 + rng.normal(size=(LENGTH, DIMS))
    shifts = (0, 0, 1, 2)[number % 4]
    for at in (20 + number // 4 % 8, 40 + number // 32 % 8)[:shifts]:
        direction = rng.normal(size=DIMS)
        points[at:] += 8 * direction / np.linalg.norm(direction)
    return points


def stamp(minute: int) -> str:
    return f"2026-01-01 {minute // 60:02}:{minute % 60:02}:00+00"


def vector(values) -> str:
    return "[" + ",".join(f"{x:.4f}" for x in values) + "]"


def rows(entity: str, minutes) -> list[tuple[str, str, str]]:
    """Of a walk, so that what a point is does not depend on who writes it or how often."""
    points = walk(entity)
    return [(entity, stamp(i), vector(points[i])) for i in minutes]


def create(conn, port: int):
    """Fills an empty database with the extension; alerts go to a port of loopback."""
    conn.execute("SELECT cvx.create_space('m', %s), cvx.create_space('quiet', %s)", (DIMS, DIMS))
    conn.execute(TABLES)
    conn.execute(FOLD)
    conn.execute("SELECT cvx.grant_admin('watcher')")
    insert(conn, [row for i in range(3) for row in rows(f"q{i}", range(2))], "cvx_space.quiet")
    conn.execute("SELECT cvx.create_secret('hook', %s)", (SECRET,))
    url = f"http://127.0.0.1:{port}"
    changes = {"type": "change_point_detected", "min_severity": SEVERITY, "hazard": HAZARD, "threshold": THRESHOLD}
    drift = {"type": "drift_exceeds", "threshold": DRIFT, "window": "36500 days", "metric": "l2"}
    create_monitor(conn, "changes", changes, actions(f"{url}/changes"), "1 s", "0", "m")
    # The monitor reads a view, where it is up to date.
    config = {"features": ["drift"], "metric": "l2", "window": "36500 days"}
    conn.execute("SELECT cvx.create_view('v', 'temporal_features', space => 'm', config => %s)", (Jsonb(config),))
    create_monitor(conn, "drift", drift, actions(f"{url}/drift"), "3 s", "2 s", "m")
    silence = {"type": "silence_exceeds", "duration": "1 hour"}
    create_monitor(conn, "silence", silence, {"type": "emit_event"}, "1 s", "2 s", "quiet")
    conn.execute("SET ROLE watcher")
    conn.execute("SELECT cvx.create_secret('their hook', %s)", (SECRET,))
    query = "SELECT id AS entity_id, seen AS ts, weight AS value FROM public.incidents"
    action = actions(f"{url}/incidents", "their hook")
    create_monitor(conn, "incidents", {"type": "custom_query", "sql": query}, action, "1 s", "1000 days", None)
    conn.execute("RESET ROLE")


WITH_WEBHOOK = ("changes", "drift", "incidents")


def actions(url: str, secret: str = "hook") -> list[dict]:
    return [{"type": "emit_event"}, {"type": "webhook_post", "url": url, "secret": {"secret": secret}}]


def create_monitor(conn, name: str, condition: dict, action, interval: str, cooldown: str, space: str | None):
    query = """SELECT cvx.create_monitor(%s, %s, %s, check_interval => %s::interval, cooldown => %s::interval,
                                         space => %s)"""
    conn.execute(query, (name, Jsonb(condition), Jsonb(action), interval, cooldown, space))


def insert(conn, points: list, table: str = "cvx_space.m", upsert: bool = False):
    columns, values = "entity_id, ts, vec", "e, t::timestamptz, v::vector"
    if table == "cvx.embedding":
        columns, values = f"space_id, {columns}", f"cvx.space_id('m'), {values}"
    action = "DO UPDATE SET vec = excluded.vec" if upsert else "DO NOTHING"
    query = f"""INSERT INTO {table} ({columns}) SELECT {values}
                FROM unnest(%s::text[], %s::text[], %s::text[]) u(e, t, v)
                ON CONFLICT (space_id, entity_id, ts) {action}"""
    return conn.execute(query, [list(column) for column in zip(*points)])
