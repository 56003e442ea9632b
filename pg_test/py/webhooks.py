"""What tests of webhooks share: a server that may send to loopback, monitors with webhooks, and their outcomes."""

import json
from contextlib import contextmanager

import psycopg
import pytest
from cluster import Cluster, until
from psycopg.types.json import Jsonb
from receiver import Receiver

DATABASE = "d"
# Never met by itself; test alerts go through all actions all the same.
NEVER = {"type": "reject_ratio_exceeds", "threshold": 0.99}
SETTINGS = {
    "cvx.webhook_allowed_hosts": "127.0.0.1, localhost",
    "cvx.webhook_timeout": "2s",
    "max_prepared_transactions": "5",
}


@contextmanager
def server(settings: dict | None = None, env: dict | None = None):
    with Cluster({**SETTINGS, **(settings or {})}, env) as cluster:
        cluster.create_database(DATABASE)
        yield cluster
        assert cluster.faults() == []


@pytest.fixture
def receiver():
    with Receiver() as it:
        yield it


def connection(cluster: Cluster):
    """For a fixture. What a test leaves behind is taken away: it is not sent to the receiver of the next."""
    with cluster.connect(DATABASE) as conn:
        yield conn
    with cluster.connect(DATABASE) as conn:
        for (name,) in conn.execute("SELECT name FROM cvx.monitor").fetchall():
            conn.execute("SELECT cvx.drop_monitor(%s)", (name,))
        conn.execute("TRUNCATE cvx.alert CASCADE")


def post(url: str, **more) -> dict:
    return {"type": "webhook_post", "url": url, **more}


def create(conn: psycopg.Connection, name: str, *actions: dict, **more):
    conn.execute(
        "SELECT cvx.create_monitor(%s, %s, %s, check_interval => '1 day', description => %s)",
        (name, Jsonb(NEVER), Jsonb(list(actions)), more.get("description", "")),
    )


def fire(conn: psycopg.Connection, name: str) -> int:
    return conn.execute("SELECT cvx.test_monitor(%s)", (name,)).fetchone()[0]


def deliveries(conn: psycopg.Connection, alert_id: int) -> list[dict]:
    return conn.execute("SELECT deliveries FROM cvx.alert WHERE alert_id = %s", (alert_id,)).fetchone()[0]


def event_id(conn: psycopg.Connection, alert_id: int) -> str:
    return str(conn.execute("SELECT event_id FROM cvx.alert WHERE alert_id = %s", (alert_id,)).fetchone()[0])


def settled(conn: psycopg.Connection, alert_id: int, seconds: float = 20) -> list[dict]:
    """Its deliveries, once none is pending."""

    def done():
        found = deliveries(conn, alert_id)
        return all(it["status"] != "pending" for it in found) and found

    return until(done, seconds, f"outcome of alert {alert_id}: {json.dumps(deliveries(conn, alert_id))}")


def attempted(conn: psycopg.Connection, alert_id: int, attempts: int = 1, seconds: float = 20) -> dict:
    """Its first delivery, once there have been so many attempts."""
    return until(
        lambda: next((it for it in deliveries(conn, alert_id)[:1] if it["attempts"] >= attempts), None),
        seconds,
        f"{attempts} attempts",
    )


def waiting(conn: psycopg.Connection) -> int:
    """Deliveries that are still to be made."""
    return conn.execute("SELECT count(*) FROM cvx.delivery WHERE next_attempt_at < 'infinity'").fetchone()[0]


def hurry(conn: psycopg.Connection, alert_id: int):
    """What waits for its next attempt waits no longer."""
    conn.execute("UPDATE cvx.delivery SET next_attempt_at = clock_timestamp() WHERE alert_id = %s", (alert_id,))
    wake(conn)


def wake(conn: psycopg.Connection):
    """Has the scheduler look, as every change of a monitor does."""
    create(conn, "wake", {"type": "emit_event"})
    conn.execute("SELECT cvx.drop_monitor('wake')")


def scheduler(conn: psycopg.Connection) -> int:
    """The process that sends."""
    query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'cvx scheduler' AND datname = current_database()"
    return until(lambda: conn.execute(query).fetchone(), what="a scheduler")[0]
