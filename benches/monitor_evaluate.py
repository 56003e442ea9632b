"""One evaluation of a monitor over 100 000 entities, and what each alert of it costs.

Bars: with a view that fits, under 10 ms, beside a plain scan of what the view stores; the check for earlier alerts, the
alert's row and its NOTIFY under 0.1 ms an alert, with 200 000 alerts in the history. What it takes to compute the condition
without a view is stated. CVX_BENCH_ENTITIES sets another number.
"""

import statistics
import sys

import harness
import monitors

EVALUATIONS = 60
ROUNDS = 15
ALERTS = 1000
HISTORY = 200_000


def evaluation(conn, type: str, view: str, column: str) -> float:
    """Milliseconds, with a view."""
    name = f"with a view: {type}"
    monitors.create(conn, name, monitors.condition(type))
    query = "SELECT count(*) FROM cvx.evaluate_monitor(%s)"
    assert conn.execute(query, (name,)).fetchone() == (0,)
    scan = f"SELECT count(*) FROM cvx_view_data.{view} WHERE {column}"
    evaluated, scanned = harness.alternate(
        lambda: conn.execute(query, (name,)).fetchone(), lambda: conn.execute(scan).fetchone(), EVALUATIONS
    )
    print(f"  {type}: {evaluated * 1e3:.2f} ms; a plain scan of the view's table: {scanned * 1e3:.2f} ms")
    return evaluated * 1e3


def computed(conn) -> None:
    for type in ("drift_exceeds", "velocity_exceeds", "silence_exceeds"):
        name = f"without: {type}"
        monitors.create(conn, name, monitors.condition(type))
        took = min(harness.seconds(lambda: conn.execute("SELECT * FROM cvx.evaluate_monitor(%s)", (name,))) for _ in range(2))
        print(f"  {type} computed from {monitors.POINTS} points of each: {took * 1e3:.0f} ms")


def alert(conn) -> float:
    """Milliseconds: an evaluation that raises alerts less the same one right after it, when each finding has had its
    alert, divided by the alerts."""
    (threshold,) = conn.execute("SELECT drift FROM cvx_view_data.drift ORDER BY drift DESC OFFSET %s LIMIT 1", (ALERTS,)).fetchone()
    monitors.create(conn, "fires", monitors.condition("drift_exceeds", threshold))
    conn.execute("""
        INSERT INTO cvx.alert (monitor_id, monitor, owner, severity, condition, entity_id, ts, fired_at, message)
        SELECT m.monitor_id, m.name, m.owner, 'low', 'drift_exceeds', 'e' || lpad((i %% 100000)::text, 7, '0'),
               '2025-01-01'::timestamptz + i * interval '1 s', '2025-01-01'::timestamptz + i * interval '1 s', 'long ago'
        FROM cvx.monitor m, generate_series(1, %s) i WHERE m.name = 'fires'""", (HISTORY,))  # fmt: skip
    conn.execute("VACUUM ANALYZE cvx.alert")
    query = "SELECT count(alert_id) FROM cvx.evaluate_monitor('fires')"
    times = []
    for _ in range(ROUNDS):
        raised = []
        evaluate = lambda: raised.append(conn.execute(query).fetchone()[0])
        first, again = harness.seconds(evaluate), harness.seconds(evaluate)
        assert raised == [ALERTS, 0], raised
        times.append((first - again) / ALERTS)
        conn.execute("DELETE FROM cvx.alert WHERE fired_at > '2026-01-01'")
        conn.execute("VACUUM cvx.alert")
    return statistics.median(times) * 1e3


def main() -> bool:
    conn = harness.connect()
    monitors.load(conn)
    print(f"  {monitors.ENTITIES} entities")
    computed(conn)
    monitors.views(conn)
    holds = True
    for type, view, column in (
        ("drift_exceeds", "drift", "drift > 2.5"),
        ("velocity_exceeds", "speed", "speed > 1e6"),
        ("silence_exceeds", "speed", "end_ts < '1999-01-01'"),
    ):
        holds &= harness.report(f"{type}, ms", evaluation(conn, type, view, column), 10, at_least=False)
    holds &= harness.report("an alert, ms", alert(conn), 0.1, at_least=False)
    harness.drop_database(conn)
    return holds


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
