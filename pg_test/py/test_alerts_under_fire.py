"""No alert lost and none with two ids, in short: a few kills under load. The long form is soak_monitors.py.

And the proof that the harness sees what is wrong: alerts, deliveries and detectors are tampered with.
"""

import os
from dataclasses import replace

import monitors_world as world
import pytest
from cluster import Cluster, until
from monitors_chaos import SETTINGS, MonitorsChaos, Plan
from monitors_inbox import Inbox
from monitors_verdict import Verdict

KILLS = int(os.environ.get("CVX_TEST_KILLS", "4"))


def test_no_alert_is_lost_and_none_has_two_ids():
    plan = Plan(kills=KILLS, seed=3, feeders=6, revisers=2, faults=(0.5, 2.0), settle=90)
    print(MonitorsChaos(plan, print).run())


@pytest.fixture(scope="module")
def quiet():
    """A server in which all has been found and sent, and nobody is at work; and where it was sent."""
    with Inbox(world.SECRET, 1.0) as inbox, Cluster(SETTINGS) as cluster:
        cluster.create_database("quiet")
        with cluster.connect("quiet") as conn:
            world.create(conn, inbox.port)
            entities = [f"feed1-{i}" for i in range(12)]
            for first in range(0, world.LENGTH, 20):
                minutes = range(first, first + 20)
                world.insert(conn, [row for name in entities for row in world.rows(name, minutes)])
            conn.execute("INSERT INTO public.incidents SELECT 'i' || i, now(), i FROM generate_series(1, 3) i")
            drifted = f"SELECT count(*) FROM ({world.DRIFTED}) d WHERE NOT EXISTS (SELECT FROM cvx.alert a WHERE"
            drifted += " a.monitor = 'drift' AND (a.entity_id, a.ts) = (d.entity_id, d.end_ts))"
            until(lambda: conn.execute(drifted).fetchone() == (0,), 60, "drift is found")
            silent = "SELECT count(*) FROM cvx.alert WHERE monitor = 'silence'"
            until(lambda: conn.execute(silent).fetchone()[0] >= 3, 60, "silence is found")
            left = "SELECT count(*) FROM (SELECT FROM cvx.invalidation UNION ALL SELECT FROM cvx.stale) x"
            until(lambda: conn.execute(left).fetchone() == (0,), 60, "changes are found")
            conn.execute("SELECT cvx.pause_monitor(name) FROM cvx.monitors WHERE name = 'silence'")
            until(lambda: conn.execute("SELECT count(*) FROM cvx.delivery").fetchone() == (0,), 60, "all is sent")
            # From now on nothing comes that a test has not done.
            conn.execute("SELECT cvx.disable()")
            until(lambda: not cluster.workers("monitor", "quiet"), 20)
        yield cluster, inbox


FIRST = "alert_id = (SELECT min(alert_id) FROM cvx.alert WHERE monitor = '{}')"
LAST = f"""alert_id = (SELECT min(alert_id) FROM cvx.alert
                       WHERE monitor = 'drift' AND ts = '{world.stamp(world.LENGTH - 1)}')"""
AGAIN = """INSERT INTO cvx.alert
               (monitor_id, monitor, owner, severity, condition, entity_id, ts, fired_at, value, message, deliveries)
           SELECT monitor_id, monitor, owner, severity, condition, entity_id, ts + interval '{}',
                  fired_at + interval '1 s', value, message, deliveries FROM cvx.alert WHERE """ + FIRST
SABOTAGE = [
    ("lost: .*feed", "DELETE FROM cvx.alert WHERE " + FIRST.format("changes")),
    # Of what an entity came to in the end: of what it passed through, not every evaluation need have seen it.
    ("lost: .*feed", "DELETE FROM cvx.alert WHERE " + LAST),
    ("lost: .*i1", "DELETE FROM cvx.alert WHERE " + FIRST.format("incidents")),
    ("alerted twice for the same", AGAIN.format("0 s", "changes")),
    ("alerted twice for the same", AGAIN.format("0 s", "drift")),
    ("alerted for nothing", AGAIN.format("1 s", "changes")),
    ("twice within the cooldown", AGAIN.format("0 s", "incidents")),
    ("rolled back", "DELETE FROM public.incidents WHERE id = 'i2'"),
    ("alerted again after", AGAIN.format("0 s", "silence")),
    ("that are no alert's", "UPDATE cvx.alert SET event_id = gen_random_uuid() WHERE " + FIRST.format("drift")),
    ("not said to be delivered", "UPDATE cvx.alert SET deliveries = '[]' WHERE " + FIRST.format("incidents")),
    (
        "detectors are not what",
        """UPDATE cvx.detector d SET state = o.state FROM cvx.detector o
           WHERE (d.entity_id, o.entity_id) = ('feed1-1', 'feed1-2')""",
    ),
]


class Seen:
    """What arrived, and something more."""

    def __init__(self, *arrivals):
        self.arrivals = arrivals


class Heard:
    checked, heard = 0, {"0": "an alert that was never committed"}


@pytest.fixture
def copy(quiet):
    """A copy of it, in which nobody acts."""
    cluster, _ = quiet
    with cluster.connect() as conn:
        conn.execute("CREATE DATABASE tampered TEMPLATE quiet")
    yield "tampered"
    with cluster.connect() as conn:
        conn.execute("DROP DATABASE tampered WITH (FORCE)")


def test_nothing_is_wrong_to_begin_with(quiet, copy):
    counts = Verdict(quiet[0], copy, quiet[1], []).counts
    assert counts["changes of trajectories in order"] > 3 and counts["alerts of drift"] > 3, counts


@pytest.mark.parametrize("match, statement", SABOTAGE)
def test_the_harness_sees(quiet, copy, match, statement):
    cluster, inbox = quiet
    with cluster.connect(copy) as conn:
        assert conn.execute(statement).rowcount == 1
    with pytest.raises(AssertionError, match=match):
        Verdict(cluster, copy, inbox, [])


def test_the_harness_sees_what_arrived(quiet, copy):
    cluster, inbox = quiet
    first, *rest = inbox.arrivals
    other = replace(first, body=first.body.replace(b"{", b"{ ", 1))
    with pytest.raises(AssertionError, match="was sent in 2 forms"):
        Verdict(cluster, copy, Seen(first, other, *rest), [])
    with pytest.raises(AssertionError, match="never taken"):
        Verdict(cluster, copy, Seen(replace(first, mood="late"), *rest), [])
    with pytest.raises(AssertionError, match="1 ids arrived that are no alert's"):
        Verdict(cluster, copy, Seen(replace(first, event_id="0"), first, *rest), [])
    with pytest.raises(AssertionError, match="heard of what is no alert"):
        Verdict(cluster, copy, inbox, [Heard])
