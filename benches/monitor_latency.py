"""From the COMMIT of an embedding that shows a change to the NOTIFY of the alert, and from the alert to its webhook.

Entities of a space with a monitor of change points get the point at which the detector reports, one entity after the other,
each alone in its transaction. Bars, for each of them: the NOTIFY within 1 s of the COMMIT's answer, the webhook at a local
listener within 500 ms of the alert. On a server of its own. CVX_BENCH_CHANGES sets how many.
"""

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import harness
import monitors
import numpy as np
from cluster import Cluster, until

CHANGES = int(os.environ.get("CVX_BENCH_CHANGES", 60))
LENGTH = 60
SHIFT_AT = 40
DIMS = 64


class Listener(BaseHTTPRequestHandler):
    """Notes when each alert arrived."""

    protocol_version = "HTTP/1.1"
    arrived: dict[str, float] = {}

    def do_POST(self):
        at = time.time()
        self.rfile.read(int(self.headers["content-length"]))
        self.arrived.setdefault(self.headers["idempotency-key"], at)
        self.send_response(204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def points(rng) -> np.ndarray:
    """A shift by three times the noise."""
    x = 3 + rng.standard_normal((LENGTH, DIMS))
    direction = rng.standard_normal(DIMS)
    x[SHIFT_AT:] += 3 * np.sqrt(DIMS) * direction / np.linalg.norm(direction)
    return x


def vector(row) -> str:
    return "[" + ",".join(f"{value:.5f}" for value in row) + "]"


def reported_at(conn, x) -> int:
    """How many points the detector has seen when it reports the first time."""
    query = """SELECT min(n) FROM generate_series(%s::int, %s::int) n
               WHERE EXISTS (SELECT FROM cvx.bocpd((
                   SELECT cvx.trajectory_agg('2026-01-01'::timestamptz + i * interval '1 hour', v::vector)
                   FROM unnest(%s::text[]) WITH ORDINALITY u(v, i) WHERE i <= n)) b WHERE b.severity > 0.5)"""
    return conn.execute(query, (SHIFT_AT, LENGTH, [vector(row) for row in x])).fetchone()[0]


def insert(conn, entity: str, x, first: int) -> None:
    """The points from one on, in one transaction; times count from 1."""
    conn.execute(
        """INSERT INTO cvx_space.s (entity_id, ts, vec)
           SELECT %s, '2026-01-01'::timestamptz + (%s + i) * interval '1 hour', v::vector
           FROM unnest(%s::text[]) WITH ORDINALITY u(v, i)""",
        (entity, first, [vector(row) for row in x]),
    )


def listen(cluster, heard: dict) -> threading.Thread:
    ready = threading.Event()

    def run():
        with cluster.connect("d") as conn:
            conn.execute("LISTEN cvx_alert")
            ready.set()
            for notice in conn.notifies(timeout=600, stop_after=CHANGES):
                alert = json.loads(notice.payload)
                heard.setdefault(alert["entity_id"], (time.time(), alert["id"]))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    ready.wait()
    return thread


def measure(cluster, conn) -> tuple[list[float], list[float]]:
    rng = np.random.default_rng(4)
    heard, committed = {}, {}
    listen(cluster, heard)
    prepared = []
    for i in range(CHANGES):
        x = points(rng)
        seen = reported_at(conn, x)
        assert seen is not None, "each of these shifts is reported"
        prepared.append((f"e{i}", x, seen))
        insert(conn, f"e{i}", x[: seen - 1], 0)
    fed = "SELECT count(*) FROM cvx.detector"
    until(lambda: conn.execute(fed).fetchone()[0] == CHANGES, 60, "all detectors have begun")
    time.sleep(2)
    assert not heard, "nothing has been reported before"
    for entity, x, seen in prepared:
        insert(conn, entity, x[seen - 1 : seen], seen - 1)
        committed[entity] = time.time()
        until(lambda: entity in heard, 30, f"the alert of {entity}", every=0.002)
        # At other phases of whatever loop there may be.
        time.sleep(rng.uniform(0.05, 0.4))
    until(lambda: len(Listener.arrived) == CHANGES, 30, "all webhooks")
    alerts = conn.execute("SELECT event_id::text, extract(epoch FROM fired_at)::float8 FROM cvx.alert").fetchall()
    assert len(alerts) == CHANGES
    notify = [heard[entity][0] - at for entity, at in committed.items()]
    webhook = [Listener.arrived[event] - fired for event, fired in alerts]
    return notify, webhook


def summary(what: str, seconds: list[float]) -> float:
    median, p95, most = (1e3 * float(np.quantile(seconds, q)) for q in (0.5, 0.95, 1))
    print(f"  {what}: median {median:.0f} ms, 95 % within {p95:.0f} ms, the longest {most:.0f} ms")
    return most


def main() -> bool:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    with Cluster({"cvx.webhook_allowed_hosts": f"127.0.0.1:{port}", "fsync": "on"}) as cluster:
        cluster.create_database("d")
        with cluster.connect("d") as conn:
            conn.execute("SELECT cvx.create_space('s', %s)", (DIMS,))
            action = [{"type": "emit_event"}, {"type": "webhook_post", "url": f"http://127.0.0.1:{port}/"}]
            change = {"type": "change_point_detected", "min_severity": 0.5}
            monitors.create(conn, "changes", change, action, paused=False)
            notify, webhook = measure(cluster, conn)
    server.shutdown()
    longest = summary(f"COMMIT to NOTIFY, {CHANGES} times", notify), summary("alert to webhook", webhook)
    holds = harness.report("COMMIT to NOTIFY, ms", longest[0], 1000, at_least=False)
    return harness.report("alert to webhook, ms", longest[1], 500, at_least=False) and holds


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
