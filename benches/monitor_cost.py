"""Processor time of 100 monitors with 15-minute intervals on 100 000 entities.

Bar: under 5 % of one core. So as not to wait for hours they are evaluated every 9 s, a hundredth of the interval: a
hundredth of what that takes over an idle database is counted, and what the idle database takes. Counted are cvx's processes
from /proc, and every process of the server that ended meanwhile, the evaluators among them; a third of the monitors each
looks at drift, velocity and silence, by views that fit. On a server of its own. CVX_BENCH_ENTITIES sets another number,
CVX_BENCH_S the seconds of each measurement.
"""

import os
import sys
import time

import harness
import monitors
from cluster import Cluster, until

MONITORS = 100
INTERVAL = 900
FASTER = 100
SECONDS = int(os.environ.get("CVX_BENCH_S", 60))
TYPES = ("drift_exceeds", "velocity_exceeds", "silence_exceeds")


def used(cluster, conn) -> float:
    """Seconds of processor time so far. Of the server's processes that live, cvx's; of the ended ones, all."""
    postmaster = cluster.postmaster()
    total = monitors.cpu_seconds(postmaster, ended=True)
    query = "SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'cvx %'"
    for (pid,) in conn.execute(query).fetchall():
        try:
            total += monitors.cpu_seconds(pid)
        except OSError:
            # It has ended since, and counts at the next look.
            pass
    return total


def share(cluster, conn) -> float:
    """Of one core."""
    before, start = used(cluster, conn), time.monotonic()
    time.sleep(SECONDS)
    return (used(cluster, conn) - before) / (time.monotonic() - start)


def evaluations(conn) -> int:
    """How many monitors have been evaluated within the last interval."""
    query = "SELECT count(*) FROM cvx.monitors WHERE last_evaluated_at > now() - interval '1 second' * %s AND last_error IS NULL"
    return conn.execute(query, (1.5 * INTERVAL / FASTER,)).fetchone()[0]


def main() -> bool:
    with Cluster({"shared_buffers": "512MB", "autovacuum_naptime": "10s"}) as cluster:
        cluster.create_database("d")
        with cluster.connect("d", options="-c statement_timeout=0") as conn:
            monitors.load(conn)
            monitors.views(conn)
            for i in range(MONITORS):
                interval = f"{INTERVAL / FASTER} s"
                monitors.create(conn, f"m{i}", monitors.condition(TYPES[i % len(TYPES)]), interval=interval)
            conn.execute("CHECKPOINT")
            time.sleep(10)
            idle = share(cluster, conn)
            conn.execute("SELECT cvx.resume_monitor(name) FROM cvx.monitor")
            until(lambda: evaluations(conn) == MONITORS, 60, "every monitor has been evaluated")
            busy = share(cluster, conn)
            assert evaluations(conn) == MONITORS, "all have kept up"
            (took,) = conn.execute("SELECT avg(last_duration) FROM cvx.monitors").fetchone()
    cost = idle + (busy - idle) / FASTER
    print(f"  {MONITORS} monitors every {INTERVAL / FASTER:g} s on {monitors.ENTITIES} entities: {busy:.1%} of a core; idle: {idle:.2%}")
    print(f"  an evaluation took {took.total_seconds() * 1e3:.1f} ms")
    return harness.report(f"every {INTERVAL} s, % of a core", 100 * cost, 5, at_least=False)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
