"""What the tests of monitors share: a server of their own, calls, and what conditions must find, in numpy.

Findings are dicts by entity. Data lie around now, since conditions look back from the clock.
"""

import json
import re
import time
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import oracle
from cluster import Cluster, until
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from trajectories import DAY, register
from view_oracle import EPOCH, timestamp

HOUR = DAY // 24
SOON = 30
EVENT = {"type": "emit_event"}
# The columns of cvx.monitors but muted_until.
MONITORS = """name description condition action space model entity_filter severity check_interval schedule time_zone cooldown owner
    status next_check_at last_evaluated_at last_duration findings suppressed alerts unacknowledged last_alert_at last_error
    last_error_at hint""".split()


@contextmanager
def server(settings: dict | None = None, env: dict | None = None):
    """A server with a database `d` that has cvx, whose log must hold nothing bad at the end."""
    with Cluster({"log_min_messages": "info", **(settings or {})}, env) as it:
        it.create_database("d")
        yield it
        assert it.faults() == []


def connect(cluster, user: str = "postgres"):
    conn = cluster.connect("d", user=user)
    register(conn)
    return conn


def clean(cluster):
    """Drops what a test has left: the next one uses the same names."""
    with cluster.connect("d") as it:
        it.execute("SELECT cvx.drop_monitor(name) FROM cvx.monitor")
        it.execute("DELETE FROM cvx.alert")
        it.execute("SELECT cvx.drop_view(name) FROM cvx.view")
        it.execute("DELETE FROM cvx.sync_run")
        for (name,) in it.execute("SELECT name FROM cvx.source").fetchall():
            it.execute("SELECT cvx.drop_source(%s)", (name,))
        for (model,) in it.execute("SELECT DISTINCT model FROM cvx.model_version").fetchall():
            it.execute("SELECT cvx.drop_model(%s)", (model,))
        for (name,) in it.execute("SELECT name FROM cvx.space").fetchall():
            it.execute("SELECT cvx.drop_space(%s, true)", (name,))


def now() -> int:
    """Microseconds since 2000, as timestamps are."""
    return round((datetime.now(timezone.utc) - EPOCH) / timedelta(microseconds=1))


def create(conn, name: str, condition: dict, action=EVENT, paused: bool = True, **options):
    """Makes a monitor; paused, so that cvx.evaluate_monitor alone evaluates it."""
    arguments = {"name": name, "condition": condition, "action": action, **options}
    for key in ("condition", "action", "entity_filter"):
        if isinstance(arguments.get(key), (dict, list)):
            arguments[key] = Jsonb(arguments[key])
    for key in ("check_interval", "cooldown"):
        if key in arguments:
            arguments[key] = str(arguments[key])
    listed = ", ".join(f"{key} => %({key})s" + ("::interval" if key in ("check_interval", "cooldown") else "") for key in arguments)
    with conn.transaction():
        (monitor_id,) = conn.execute(f"SELECT cvx.create_monitor({listed})", arguments).fetchone()
        if paused:
            conn.execute("SELECT cvx.pause_monitor(%s)", (name,))
    return monitor_id


def alter(conn, name: str, **options):
    for key in ("condition", "action", "entity_filter"):
        if key in options:
            options[key] = Jsonb(options[key])
    listed = ", ".join(f"{key} => %({key})s" + ("::interval" if key in ("check_interval", "cooldown") else "") for key in options)
    conn.execute(f"SELECT cvx.alter_monitor(%(name)s, {listed})", {"name": name, **options})


def evaluate(conn, name: str) -> list[dict]:
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute("SELECT * FROM cvx.evaluate_monitor(%s)", (name,)).fetchall()


def found(conn, name: str) -> dict:
    """Findings by entity; none is found twice."""
    findings = evaluate(conn, name)
    by_entity = {it["entity_id"]: it for it in findings}
    assert len(by_entity) == len(findings), findings
    return by_entity


def fired(conn, name: str) -> set:
    """The entities of which an evaluation raised an alert."""
    return {it["entity_id"] for it in evaluate(conn, name) if it["alert_id"] is not None}


def alerts(conn, name: str) -> list[dict]:
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute("SELECT * FROM cvx.alert WHERE monitor = %s ORDER BY alert_id", (name,)).fetchall()


def monitor_row(conn, name: str) -> dict:
    with conn.cursor(row_factory=dict_row) as cursor:
        # For ever muted is a time that Python does not know.
        query = "SELECT *, muted_until::text AS muted_until FROM cvx.monitors WHERE name = %s"
        cursor.execute(query.replace("*", ", ".join(MONITORS)), (name,))
        return cursor.fetchone()


def evaluated(conn, name: str, since: datetime | None = None) -> dict:
    """The row of a monitor once a worker has evaluated it, without or with an error, after a time."""

    def is_done():
        row = monitor_row(conn, name)
        times = [it for it in (row["last_evaluated_at"], row["last_error_at"]) if it is not None]
        return times and (since is None or max(times) > since) and row["status"] != "running" and row

    return until(is_done, SOON, f"{name} has been evaluated")


@contextmanager
def listening(cluster, user: str = "postgres"):
    """A function that returns the payloads that have arrived: all within some seconds, or so many as soon as they are
    there."""
    with cluster.connect("d", user=user) as conn:
        conn.execute("LISTEN cvx_alert")

        def arrived(count: int | None = None, seconds: float = 10) -> list[dict]:
            notices = conn.notifies(timeout=seconds, stop_after=count)
            return [json.loads(it.payload) for it in notices]

        yield arrived


def alike(found: dict, expected: dict, threshold: float, tolerance: float = 1e-9):
    """Findings are those entities, with those (ts, value)."""
    assert set(found) == set(expected), (sorted(found), sorted(expected))
    for entity, (ts, value) in expected.items():
        it = found[entity]
        assert it["ts"] == timestamp(ts), (entity, it)
        np.testing.assert_allclose(it["value"], value, rtol=tolerance, err_msg=entity)
        assert it["threshold"] == threshold and it["value"] > it["threshold"]


def drifts(points: dict, window: int, metric: str = "cosine", at: int | None = None) -> dict:
    """(ts, value) of each entity whose last point is at most `window` old."""
    values = {}
    for entity, (t, x) in points.items():
        if t[-1] < (at or now()) - window:
            continue
        within = t >= t[-1] - window
        value = oracle.drift(t[within], x[within], metric)
        if value is not None:
            values[entity] = int(t[-1]), value
    return values


def speeds(points: dict, window: int | None = None) -> dict:
    values = {}
    for entity, (t, x) in points.items():
        value = oracle.speed(t, x)
        if value is not None and (window is None or t[-1] >= now() - window):
            values[entity] = int(t[-1]), value
    return values


def above(values: dict, threshold: float) -> dict:
    kept = {entity: it for entity, it in values.items() if it[1] > threshold}
    assert 0 < len(kept) < len(values), "a threshold that parts them"
    return kept


def middle(values: dict) -> float:
    """A threshold that parts the values in halves, and equals none of them."""
    of = sorted(value for _, value in values.values())
    return float((of[len(of) // 2 - 1] + of[len(of) // 2]) / 2)


def benjamini_hochberg(p_values: dict, rate: float) -> set:
    """The keys that are rejected at a false-discovery rate."""
    ordered = sorted(p_values.items(), key=lambda it: it[1])
    passed = [i for i, (_, p) in enumerate(ordered, 1) if p <= rate * i / len(ordered)]
    return {key for key, _ in ordered[: max(passed, default=0)]}


def readme_section(title: str) -> str:
    """The text of README.md under a heading."""
    text = (Path(__file__).parents[2] / "README.md").read_text()
    start = re.search(rf"^(#+) {re.escape(title)}\n", text, re.M)
    assert start, f"README.md has no section {title!r}"
    end = re.search(rf"^#{{1,{len(start[1])}}} ", text[start.end() :], re.M)
    return text[start.end() :][: end.start() if end else None]


def examples(title: str, language: str) -> list[str]:
    """The blocks of code of a section of README.md."""
    return re.findall(rf"^```{language}\n(.*?)^```", readme_section(title), re.M | re.S)


def wait_detectors(conn, monitor: str, last: dict):
    """Until the detectors of a monitor have been fed up to these times."""

    def fed():
        query = "SELECT d.entity_id, d.last_ts FROM cvx.detector d JOIN cvx.monitor m USING (monitor_id) WHERE m.name = %s"
        state = dict(conn.execute(query, (monitor,)).fetchall())
        return all(state.get(entity) == timestamp(ts) for entity, ts in last.items())

    until(fed, SOON, f"detectors of {monitor} at {last}")


def seconds_since(start: float) -> float:
    return time.monotonic() - start
