"""What the benches of monitors share: a space of many entities, views that fit, monitors, what processes have used."""

import os
from pathlib import Path

import harness
from psycopg.types.json import Jsonb

ENTITIES = int(os.environ.get("CVX_BENCH_ENTITIES", 100_000))
POINTS = int(os.environ.get("CVX_BENCH_POINTS", 5))
DIMS = 32
# The points are of January 2026: the window reaches them whatever the date.
WINDOW = "36500 days"
TICKS = os.sysconf("SC_CLK_TCK")
# A value that no entity reaches: drift of the cosine is at most 2.
NONE = {"drift_exceeds": 2.5, "velocity_exceeds": 1e6}


def load(conn) -> None:
    """A space `s` with the points."""
    conn.execute("SELECT cvx.create_space('s', %s)", (DIMS,))
    with conn.cursor().copy("COPY cvx_space.s (entity_id, ts, vec) FROM STDIN (FORMAT binary)") as copy:
        harness.copy_points(copy.write, ENTITIES, POINTS, DIMS)
    conn.execute("VACUUM ANALYZE cvx_space.s")


def views(conn) -> None:
    """One that fits drift over the window, one that fits velocity and silence."""
    for name, config in (("drift", {"features": ["drift"], "window": WINDOW}), ("speed", {"features": ["speed"]})):
        conn.execute(
            "SELECT cvx.create_view(%s, 'temporal_features', space => 's', refresh_policy => 'manual', config => %s)",
            (name, Jsonb(config)),
        )
        conn.execute("SELECT cvx.refresh_view(%s)", (name,))
        conn.execute(f"VACUUM ANALYZE cvx_view_data.{name}")


def condition(type: str, threshold: float | None = None) -> dict:
    if type == "silence_exceeds":
        return {"type": type, "duration": WINDOW}
    it = {"type": type, "threshold": NONE[type] if threshold is None else threshold}
    return {**it, "window": WINDOW} if type == "drift_exceeds" else it


def create(conn, name: str, condition: dict, action=None, interval: str = "1 day", paused: bool = True, **more) -> None:
    """Paused: only the bench evaluates it."""
    action = {"type": "emit_event"} if action is None else action
    listed = "".join(f", {key} => %({key})s" for key in more)
    with conn.transaction():
        conn.execute(
            "SELECT cvx.create_monitor(%(name)s, %(condition)s, %(action)s, check_interval => %(interval)s::interval,"
            f" space => 's'{listed})",
            {"name": name, "condition": Jsonb(condition), "action": Jsonb(action), "interval": interval, **more},
        )
        if paused:
            conn.execute("SELECT cvx.pause_monitor(%s)", (name,))


def cpu_seconds(pid: int, ended: bool = False) -> float:
    """Of a process and its threads, in user and system mode; or of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    first = 13 if ended else 11
    return (int(fields[first]) + int(fields[first + 1])) / TICKS
