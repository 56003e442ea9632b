"""No view is wrong, in short: half a minute of everything at once. The long form is soak_views.py.

And the proof that the harness sees what is wrong: the log, the triggers and the stored rows are tampered with.
"""

import os
import random

import psycopg
import pytest
import views_world as world
from cluster import Cluster
from views_actors import Actor
from views_chaos import Plan, ViewsChaos
from views_observer import look

SECONDS = float(os.environ.get("CVX_TEST_VIEWS_SECONDS", "35"))


def test_no_row_that_is_out_of_date_says_it_is_fresh():
    plan = Plan(seconds=SECONDS, seed=1, writers=6, faults=(1.0, 5.0))
    figures = ViewsChaos(plan, print).run()
    print(figures)


class Saboteur(Actor):
    """Throws away what writers have logged."""

    kind = "sabotage"
    pause = (0.0, 0.02)
    actions = {"forget": 1}

    def forget(self):
        self.conn.execute("DELETE FROM cvx.invalidation")


def test_the_harness_sees_that_the_log_is_lost():
    plan = Plan(seconds=30, seed=2, writers=4, faults=(100, 100), extra=(Saboteur,))
    with pytest.raises(AssertionError, match="says it is fresh and has"):
        ViewsChaos(plan).run()


@pytest.fixture(scope="module")
def quiet():
    """A server with the views of the harness and nobody at work."""
    with Cluster({"max_prepared_transactions": 4}) as cluster:
        cluster.create_database("quiet")
        with cluster.connect("quiet") as conn:
            world.create(conn, random.Random(3))
        yield cluster


@pytest.fixture
def conn(quiet):
    with quiet.connect("quiet") as connection:
        connection.execute("SELECT cvx.refresh_view(%s)", (VIEW.name,))
        seen = look(connection, VIEW.name)
        assert seen.says_fresh() and not seen.wrong()
        yield connection


VIEW = next(view for view in world.VIEWS if view.name == "tf_some")
ENTITY = VIEW.entity_filter["entity_ids"][3]
ROW = (ENTITY, world.stamp(29), world.vector(world.SPACE_B, 6, 29, 0.7))
SABOTAGE = {
    "the log": [("DELETE FROM cvx.invalidation", None), ("DELETE FROM cvx.stale", None)],
    "a deleted entity": [
        ("DELETE FROM cvx_space.b WHERE entity_id = %s", (ENTITY,)),
        ("DELETE FROM cvx.invalidation", None),
        ("DELETE FROM cvx.stale", None),
    ],
    "the last bit of a value": [
        (
            "UPDATE cvx_view_data.tf_some SET path_length = path_length * (1 + 2.3e-16::float8) WHERE entity_id = %s",
            (ENTITY,),
        ),
    ],
    "a row that is not stored": [("DELETE FROM cvx_view_data.tf_some WHERE entity_id = %s", (ENTITY,))],
}


@pytest.mark.parametrize("what", SABOTAGE)
def test_the_observer_sees(conn, what):
    with conn.transaction():
        if what == "the log":
            world.insert(conn, world.SPACE_B, [ROW], upsert=True)
            assert not look(conn, VIEW.name).wrong() and not look(conn, VIEW.name).says_fresh()
        for statement, parameters in SABOTAGE[what]:
            conn.execute(statement, parameters)
        wrong = look(conn, VIEW.name).wrong()
        assert len(wrong) == 1 and wrong[0].startswith(ENTITY), wrong
        raise psycopg.Rollback


def test_the_observer_sees_a_trigger_that_is_off(conn):
    """And whose going cvx's event trigger has not seen, since that is off as well."""
    with conn.transaction():
        conn.execute("ALTER EVENT TRIGGER cvx_watch_ddl DISABLE")
        conn.execute("ALTER TABLE cvx_space.b DISABLE TRIGGER USER")
        world.insert(conn, world.SPACE_B, [ROW], upsert=True)
        wrong = look(conn, VIEW.name).wrong()
        assert len(wrong) == 1 and wrong[0].startswith(ENTITY), wrong
        raise psycopg.Rollback


def test_a_prepared_transaction_across_a_crash(quiet):
    """It was begun before three refreshes and a crash, and is committed after them."""

    def says(conn) -> tuple:
        seen = look(conn, VIEW.name, [ENTITY])
        assert not seen.wrong()
        rows = seen.entities[ENTITY]
        return bool(rows.fresh), bool(rows.stale)

    with quiet.connect("quiet") as conn:
        conn.execute("BEGIN")
        world.insert(conn, world.SPACE_B, [ROW], upsert=True)
        conn.execute("PREPARE TRANSACTION 'long'")
        for _ in range(3):
            conn.execute("SELECT cvx.refresh_view(%s, force => true)", (VIEW.name,))
        assert says(conn) == (True, False)
    quiet.crash()
    quiet.start()
    with quiet.connect("quiet") as conn:
        assert says(conn) == (True, False)
        conn.execute("COMMIT PREPARED 'long'")
        assert says(conn) == (False, True)
        conn.execute("SELECT cvx.refresh_view(%s)", (VIEW.name,))
        assert says(conn) == (True, False)
        assert look(conn, VIEW.name).says_fresh()


@pytest.mark.parametrize("collation", ["C", "en-x-icu", "default"])
def test_ids_in_whatever_order(quiet, collation):
    """A sweep goes through the ids in the order of the column, which need not be the database's."""
    with quiet.connect("quiet") as conn:
        if not conn.execute("SELECT count(*) FROM pg_collation WHERE collname = %s", (collation,)).fetchone()[0]:
            pytest.skip(f"the server has no collation {collation}")
        conn.execute(f"""
            CREATE TABLE mixed (id text COLLATE "{collation}", at timestamptz, v vector(3), PRIMARY KEY (id, at));
            INSERT INTO mixed
            SELECT CASE WHEN i % 2 = 0 THEN upper(md5(i::text)) ELSE md5(i::text) END,
                   '2026-01-01'::timestamptz + j * interval '1 day', ARRAY[i, j, 1]::real[]::vector
            FROM generate_series(1, 6000) i, generate_series(1, 2) j;
            ANALYZE mixed""")
        of_table = "source_table => 'mixed', entity_column => 'id', ts_column => 'at', vector_column => 'v'"
        conn.execute(f"SELECT cvx.create_view('mixed', 'temporal_features', {of_table}, refresh_policy => 'manual')")
        assert conn.execute("SELECT cvx.refresh_view('mixed')").fetchone()[0] == 6000
        conn.execute("DELETE FROM mixed WHERE id < 'A'; UPDATE mixed SET v = v + '[1,0,0]' WHERE at > '2026-01-02'")
        conn.execute("SELECT cvx.refresh_view('mixed', force => true)")
        seen = look(conn, "mixed")
        assert seen.says_fresh() and not seen.wrong() and 0 < seen.fresh_rows < 6000
        conn.execute("DROP TABLE mixed CASCADE")
        assert conn.execute("SELECT count(*) FROM cvx.view WHERE name = 'mixed'").fetchone()[0] == 0
