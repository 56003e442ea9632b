"""The examples of README.md's section on monitors, taken from there and run."""

import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from datetime import datetime

import numpy as np
import pytest
from cluster import until
from monitor_oracle import HOUR, SOON, connect, examples, listening, monitor_row, now, readme_section, server
from psycopg import sql
from trajectories import DAY
from view_oracle import Source, timestamp

SECTION = "Monitors"
MOVED = "moved far"


@pytest.fixture(scope="module")
def cluster():
    """A database in which the section's SQL has been run: the spaces of a model, of which the second is followed."""
    with server() as it:
        with connect(it) as conn:
            conn.execute("SELECT cvx.create_space('bert-v1', 8), cvx.create_space('bert-v2', 8)")
            rng = np.random.default_rng(1)
            both, then = rng.normal(size=(40, 8)), now() - 40 * DAY
            for space in ("bert-v1", "bert-v2"):
                source = Source(conn, sql.Identifier("cvx_space", space), space=space)
                for i, x in enumerate(both):
                    source.write(f"e{i}", [then], [x])
            conn.execute("SELECT cvx.create_model('bert', 'v1', 'bert-v1'), cvx.create_model('bert', 'v2', 'bert-v2', 'v1')")
            for block in examples(SECTION, "sql"):
                conn.execute(block)
        yield it


@pytest.fixture
def conn(cluster):
    with connect(cluster) as it:
        yield it


def test_what_they_declare(cluster, conn):
    """Both look; and a listener hears, without a test, of an entity that moves and of one that turns."""
    assert {name for (name,) in conn.execute("SELECT name FROM cvx.monitors")} == {MOVED, "turned"}
    source = Source(conn, sql.Identifier("cvx_space", "bert-v2"), space="bert-v2")
    rng = np.random.default_rng(2)
    x = 5 + rng.normal(size=(60, 8))
    x[40:] -= 12
    t = now() - HOUR * np.arange(60)[::-1] - HOUR
    with listening(cluster) as arrived:
        source.write("alice", t, x)
        heard = arrived(1, SOON)
        # Not to wait for five minutes.
        conn.execute("SELECT cvx.alter_monitor(%s, check_interval => '1 second')", (MOVED,))
        heard = {alert["monitor"]: alert for alert in heard + arrived(1, SOON)}
    assert heard[MOVED]["entity_id"] == heard["turned"]["entity_id"] == "alice"
    assert heard[MOVED]["severity"] == "high" and heard["turned"]["model"] == "bert"
    assert datetime.fromisoformat(heard["turned"]["ts"]) == timestamp(t[40])
    row = monitor_row(conn, "turned")
    assert row["alerts"] == 1 and row["last_error"] is None


@contextmanager
def running(cluster, *command, **environment):
    """A program that listens; a function that returns what it says of the next test alert."""
    env = {**os.environ, "PGHOST": cluster.host, "PGPORT": str(cluster.port), "PGUSER": "postgres", "PGDATABASE": "d", **environment}
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    with cluster.connect("d") as conn:

        def line() -> str:
            listens = "SELECT count(*) FROM pg_stat_activity WHERE query = 'LISTEN cvx_alert' AND state = 'idle'"
            until(lambda: conn.execute(listens).fetchone()[0] == 1 or process.poll() is not None, SOON, "it listens")
            assert process.poll() is None, f"it has ended with {process.returncode}"
            conn.execute("SELECT cvx.test_monitor(%s)", (MOVED,))
            return process.stdout.readline()

        try:
            yield line
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            gone = "SELECT count(*) FROM pg_stat_activity WHERE query = 'LISTEN cvx_alert'"
            until(lambda: conn.execute(gone).fetchone()[0] == 0, SOON, "its session has ended")


def test_psql(cluster, conn):
    (block,) = examples(SECTION, "psql")
    said = cluster.run("psql", "-X", "-d", "d", "-c", block.split("\n")[0], "-c", block.split("\n")[1])
    found = re.search(r'Asynchronous notification "cvx_alert" with payload "(.*)" received from server process', said)
    assert found, said
    alert = json.loads(found[1])
    assert alert["monitor"] == MOVED and alert["test"] is True


def test_python(cluster):
    (block,) = examples(SECTION, "python")
    with running(cluster, sys.executable, "-c", block) as line:
        assert line().startswith(f"high {MOVED} ")
        assert line().startswith(f"high {MOVED} "), "it goes on listening"


def test_rust(cluster):
    """What the README shows is what src/sources/examples/listen_alerts.rs is, which the tests build."""
    (block,) = examples(SECTION, "rust")
    program = os.environ.get("CVX_LISTEN_ALERTS")
    assert program, "CVX_LISTEN_ALERTS names the program"
    root = os.path.join(os.path.dirname(__file__), "..", "..")
    with open(os.path.join(root, "src", "sources", "examples", "listen_alerts.rs")) as source:
        assert block in source.read()
    with running(cluster, program, f"host={cluster.host} port={cluster.port} user=postgres dbname=d") as line:
        assert line().startswith(f'"high" "{MOVED}" ')
        assert line().startswith(f'"high" "{MOVED}" ')


def test_what_was_missed(conn):
    """The query for a listener that was away."""
    (query,) = re.findall(r"`(SELECT \* FROM cvx\.alert WHERE alert_id > \$1 .*)`", readme_section(SECTION))
    raised = conn.execute("SELECT cvx.test_monitor(%s)", (MOVED,)).fetchone()
    found = conn.execute(query.replace("$1", "%s"), (raised[0] - 1,)).fetchall()
    assert [it[0] for it in found] == [raised[0]]


def test_every_condition_and_action_is_listed(conn):
    """The tables of the section name what create_monitor takes, no more and no less."""
    section = readme_section(SECTION)
    for key, heading in (("condition", "| condition | finds | keys |"), ("action", "| action | |")):
        table = section[section.index(heading) :].split("\n\n")[0]
        named = set(re.findall(r"^\| `(\w+)`", table, re.M))
        with pytest.raises(Exception) as caught:
            wrong = {"condition": '{"type": "custom_query", "sql": "SELECT 1"}', "action": '{"type": "log"}'}
            wrong[key] = '{"type": "zzzzzzzzzzzz"}'
            conn.execute("SELECT cvx.create_monitor('x', %s, %s)", (wrong["condition"], wrong["action"]))
        known = caught.value.diag.message_hint.removeprefix("The types are ").rstrip(".").split(", ")
        assert named == set(known)
