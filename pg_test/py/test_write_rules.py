"""What a source's records become: which of two wins, what is refused and kept, when reading stops."""

import time

import numpy as np
import pyarrow as pa
import pytest
from cluster import Cluster, until
from sources import (  # noqa: F401, fixtures among them
    EPOCH,
    conn,
    create_source,
    dead_letters,
    files_config,
    folder,
    has_rows,
    in_state,
    rows,
    runs,
    source,
    space,
    sync,
    vector_of,
    write_parquet,
)


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as it:
        it.create_database("d")
        yield it
        assert it.faults() == []


def table(records) -> pa.Table:
    """Of (entity, second, vector, produced_at second or None)."""
    return pa.table(
        {
            "entity_id": pa.array([entity for entity, *_ in records]),
            "ts": pa.array([EPOCH + 1_000_000 * second for _, second, *_ in records], pa.timestamp("us", tz="UTC")),
            "vec": pa.array([vector for _, _, vector, _ in records], pa.list_(pa.float32())),
            "produced": pa.array(
                [None if at is None else EPOCH + 1_000_000 * at for *_, at in records], pa.timestamp("us", tz="UTC")
            ),
        }
    )


def stored(conn, space) -> dict:
    """First element and source of each entity's row."""
    query = "SELECT entity_id, (vec::real[])[1], source FROM cvx.embedding WHERE space_id = cvx.space_id(%s)"
    return {entity: (x, of) for entity, x, of in conn.execute(query, (space,)).fetchall()}


class TestWhoWins:
    """One key from two sources, or twice from one."""

    def bring(self, conn, space, folder, name, records, **options):
        write_parquet(folder, f"{name}/{len(runs(conn, name))}.parquet", table=table(records))
        if conn.execute("SELECT count(*) FROM cvx.source WHERE name = %s", (name,)).fetchone() == (0,):
            create_source(
                conn, name, "s3_parquet", space, files_config(folder / name, produced_at_column="produced"), **options
            )
        run = sync(conn, name)
        assert run["state"] == "done", run
        return run

    def test_priority(self, conn, space, folder):
        record = lambda x, at=None: ("e", 0, [x, 1, 1, 1], at)
        self.bring(conn, space, folder, "low", [record(1, 100)], priority=200)
        assert stored(conn, space) == {"e": (1, "low")}
        # Lower number: wins although it was produced before.
        self.bring(conn, space, folder, "high", [record(2, 50)], priority=10)
        assert stored(conn, space) == {"e": (2, "high")}
        run = self.bring(conn, space, folder, "low", [record(3, 500)])
        assert (run["records_written"], run["records_skipped"]) == (0, 1)
        assert stored(conn, space) == {"e": (2, "high")}
        # The winner goes on replacing what it said.
        self.bring(conn, space, folder, "high", [record(4, 60)])
        assert stored(conn, space) == {"e": (4, "high")}
        # Judged by the priority that the other source has now.
        conn.execute("SELECT cvx.alter_source('high', priority => 300)")
        self.bring(conn, space, folder, "low", [record(5, 1)])
        assert stored(conn, space) == {"e": (5, "low")}

    def test_produced_later_wins_among_equals(self, conn, space, folder):
        self.bring(
            conn,
            space,
            folder,
            "a",
            [("e", 0, [1, 1, 1, 1], 100), ("f", 0, [1, 1, 1, 1], None), ("g", 0, [1, 1, 1, 1], 5)],
        )
        self.bring(
            conn, space, folder, "b", [("e", 0, [2, 1, 1, 1], 99), ("f", 0, [2, 1, 1, 1], 1), ("g", 0, [2, 1, 1, 1], 5)]
        )
        # Older; later than never; a tie: the row of another source stays.
        assert stored(conn, space) == {"e": (1, "a"), "f": (2, "b"), "g": (1, "a")}

    def test_a_source_replaces_what_it_said(self, conn, space, folder):
        self.bring(conn, space, folder, "a", [("e", 0, [1, 1, 1, 1], 5), ("f", 0, [1, 1, 1, 1], 9)])
        self.bring(conn, space, folder, "a", [("e", 0, [2, 1, 1, 1], 5), ("f", 0, [2, 1, 1, 1], 8)])
        assert stored(conn, space) == {"e": (2, "a"), "f": (1, "a")}

    def test_within_a_batch(self, conn, space, folder):
        self.bring(
            conn, space, folder, "a",
            [("e", 0, [1, 1, 1, 1], 9), ("e", 0, [2, 1, 1, 1], 8), ("f", 0, [1, 1, 1, 1], 8), ("f", 0, [2, 1, 1, 1], 8)],
        )  # fmt: skip
        assert stored(conn, space) == {"e": (1, "a"), "f": (2, "a")}

    def test_rows_of_users(self, conn, space, folder):
        conn.execute(
            f"INSERT INTO cvx_space.{space} (entity_id, ts, vec) VALUES ('e', '2026-01-01Z', '[9,9,9,9]'), ('f', '2026-01-01Z', '[9,9,9,9]')"
        )
        self.bring(conn, space, folder, "a", [("e", 0, [1, 1, 1, 1], None), ("f", 0, [1, 1, 1, 1], 1)])
        assert stored(conn, space) == {"e": (9, None), "f": (1, "a")}


def with_bad_rows(count: int, bad: set) -> pa.Table:
    vectors = vector_of(np.arange(count)).copy()
    vectors[sorted(bad), 1] = np.nan
    return table([(f"e{i}", i, vectors[i].tolist(), None) for i in range(count)])


class TestRefusals:
    def test_bad_rows_become_dead_letters_once(self, conn, space, folder):
        bad = {3, 500, 999}
        write_parquet(folder, "a.parquet", table=with_bad_rows(1000, bad))
        create_source(conn, "bad", "s3_parquet", space, files_config(folder, batch_rows=100))
        for _ in range(2):
            sync(conn, "bad")
            letters = dead_letters(conn, "bad")
            assert sorted(it["position"] for it in letters) == [f"a.parquet#{i}" for i in sorted(bad)]
            assert {it["reason"] for it in letters} == {"not_a_number"}
            assert all(it["payload"]["entity_id"] for it in letters)
        assert rows(conn, space) == 997
        assert source(conn, "bad")["dead_letters"] == 3

    def test_replayed_from_a_file_that_was_mended(self, conn, space, folder):
        write_parquet(folder, "a.parquet", table=with_bad_rows(100, {7, 8}))
        create_source(conn, "mend", "s3_parquet", space, files_config(folder))
        sync(conn, "mend")
        write_parquet(folder, "a.parquet", table=with_bad_rows(100, {8}))
        assert conn.execute("SELECT cvx.replay_dead_letters('mend')").fetchone() == (2,)
        has_rows(conn, space, 99)
        letters = until(lambda: len(found := dead_letters(conn, "mend")) == 1 and found, 10)
        assert [it["position"] for it in letters] == ["a.parquet#8"]
        (run,) = [run for run in runs(conn, "mend") if run["kind"] == "replay"]
        assert run["records_written"] == 1 and run["records_rejected"] == 1

    def test_replay_chooses_by_reason(self, conn, space, folder):
        records = [("e", 0, [1, 2, 3], None), ("f", 0, [0, 0, 0, 0], None), ("g", 0, [1, 1, 1, 1], None)]
        write_parquet(folder, "a.parquet", table=table(records))
        create_source(conn, "choose", "s3_parquet", space, files_config(folder, max_reject_ratio=1))
        sync(conn, "choose")
        assert {it["reason"] for it in dead_letters(conn, "choose")} == {"wrong_dimension", "zero_vector"}
        call = "SELECT cvx.replay_dead_letters('choose', %s)"
        assert conn.execute(call, (["zero_vector"],)).fetchone() == (1,)
        assert conn.execute(call, (["no_such_reason"],)).fetchone() == (0,)
        until(lambda: [run for run in runs(conn, "choose") if run["kind"] == "replay" and run["state"] == "done"], 20)
        assert len(dead_letters(conn, "choose")) == 2

    def test_what_is_gone_says_so(self, conn, space, folder):
        write_parquet(folder, "a.parquet", table=with_bad_rows(100, {7}))
        create_source(conn, "gone", "s3_parquet", space, files_config(folder))
        sync(conn, "gone")
        (folder / "a.parquet").unlink()
        conn.execute("SELECT cvx.replay_dead_letters('gone')")
        until(
            lambda: [it["reason"] for it in dead_letters(conn, "gone")] == ["gone"],
            20,
            "the dead letter says it is gone",
        )

    def test_constraint_of_a_user(self, conn, space, folder):
        """T19: found by halves; its neighbours are written, and it is read again when the constraint has gone."""
        write_parquet(folder, "a.parquet", table=with_bad_rows(1000, set()))
        conn.execute(f"ALTER TABLE cvx_space.{space} ADD CONSTRAINT ours CHECK (entity_id NOT IN ('e7', 'e700'))")
        create_source(conn, "strict", "s3_parquet", space, files_config(folder))
        run = sync(conn, "strict")
        assert (run["records_written"], run["records_rejected"]) == (998, 2)
        letters = dead_letters(conn, "strict")
        assert [it["reason"] for it in letters] == ["refused_by_table"] * 2
        assert all("ours" in it["message"] and "23514" in it["message"] for it in letters)
        conn.execute(f"ALTER TABLE cvx_space.{space} DROP CONSTRAINT ours")
        assert conn.execute("SELECT cvx.replay_dead_letters('strict')").fetchone() == (2,)
        has_rows(conn, space, 1000)
        until(lambda: not dead_letters(conn, "strict"), 10)
        values = conn.execute(f"SELECT vec::real[] FROM cvx_space.{space} WHERE entity_id = 'e700'").fetchone()[0]
        assert np.array_equal(np.array(values, np.float32), vector_of([700])[0])

    def test_trigger_of_a_user(self, conn, space, folder):
        write_parquet(folder, "a.parquet", table=with_bad_rows(300, set()))
        conn.execute(f"""
            CREATE FUNCTION no_e5() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN IF new.entity_id = 'e5' THEN RAISE 'not this one: %', new.entity_id; END IF; RETURN new; END $$;
            CREATE TRIGGER no_e5 BEFORE INSERT ON cvx_space.{space} FOR EACH ROW EXECUTE FUNCTION no_e5()""")
        try:
            create_source(conn, "triggered", "s3_parquet", space, files_config(folder))
            run = sync(conn, "triggered")
            assert (run["records_written"], run["records_rejected"]) == (299, 1)
            (letter,) = dead_letters(conn, "triggered")
            assert "not this one: e5" in letter["message"]
        finally:
            conn.execute("DROP FUNCTION no_e5 CASCADE")

    def test_registered_model(self, conn, space, folder):
        """Rows that name another model are refused; those that name none get the space's."""
        records = table([("e", 0, [1, 1, 1, 1], None), ("f", 0, [1, 1, 1, 1], None), ("g", 0, [1, 1, 1, 1], None)])
        records = records.append_column("model", pa.array(["v1", "v2", None]))
        write_parquet(folder, "a.parquet", table=records)
        conn.execute("SELECT cvx.create_model(%s, 'v1', %s)", (space, space))
        create_source(
            conn, "modelled", "s3_parquet", space, files_config(folder, model_version_column="model"), model=space
        )
        sync(conn, "modelled")
        found = conn.execute(f"SELECT entity_id, model_version FROM cvx_space.{space} ORDER BY 1").fetchall()
        assert found == [("e", "v1"), ("g", "v1")]
        assert [it["reason"] for it in dead_letters(conn, "modelled")] == ["model_mismatch"]


class TestCircuitBreaker:
    def test_opens_and_says_why(self, conn, space, folder):
        """Most of what comes is refused: the source stops before it has filled the dead letters."""
        for number in range(10):
            write_parquet(folder, f"{number}.parquet", table=with_bad_rows(100, set(range(60))))
        create_source(conn, "broken", "s3_parquet", space, files_config(folder, batch_rows=100))
        conn.execute("SELECT cvx.sync_source('broken')")
        row = in_state(conn, "broken", "paused")
        assert "max_reject_ratio" in row["pause_reason"] and "60" in row["pause_reason"], row["pause_reason"]
        count = len(dead_letters(conn, "broken"))
        assert 60 <= count < 600
        time.sleep(1)
        assert len(dead_letters(conn, "broken")) == count
        # It goes on where it stopped when it is told to, with another idea of what is too much.
        conn.execute(
            "SELECT cvx.alter_source('broken', config => config || '{\"max_reject_ratio\": 1}') FROM cvx.source WHERE name = 'broken'"
        )
        conn.execute("SELECT cvx.resume_source('broken'), cvx.sync_source('broken')")
        until(lambda: len(dead_letters(conn, "broken")) == 600, 30, "all dead letters")
        letters = [it["position"] for it in dead_letters(conn, "broken")]
        assert len(set(letters)) == 600
        has_rows(conn, space, 40)

    def test_stays_closed_below(self, conn, space, folder):
        write_parquet(folder, "a.parquet", table=with_bad_rows(1000, set(range(0, 1000, 3))))
        create_source(conn, "mostly", "s3_parquet", space, files_config(folder, batch_rows=100))
        run = sync(conn, "mostly")
        assert run["state"] == "done" and run["records_rejected"] == 334
        assert source(conn, "mostly")["state"] == "waiting"

    def test_none_is_allowed(self, conn, space, folder):
        write_parquet(folder, "a.parquet", table=with_bad_rows(100, {50}))
        create_source(conn, "pure", "s3_parquet", space, files_config(folder, max_reject_ratio=0))
        conn.execute("SELECT cvx.sync_source('pure')")
        row = in_state(conn, "pure", "paused")
        assert "1 of 100" in row["pause_reason"]
        assert len(dead_letters(conn, "pure")) == 1


def test_a_locked_row_of_a_user_is_waited_for(cluster, conn, space, folder):
    """A transaction of somebody else holds a key that the source brings."""
    write_parquet(folder, "a.parquet", table=with_bad_rows(10, set()))
    create_source(conn, "waits", "s3_parquet", space, files_config(folder))
    with cluster.connect("d", autocommit=False) as other:
        other.execute(
            f"INSERT INTO cvx_space.{space} (entity_id, ts, vec, produced_at) VALUES ('e3', '2026-01-01 00:00:03Z', '[7,7,7,7]', now())"
        )
        conn.execute("SELECT cvx.sync_source('waits')")
        in_state(conn, "waits", "running", "backing off")
        time.sleep(1)
        other.commit()
    has_rows(conn, space, 10)
    assert stored(conn, space)["e3"] == (7, None)
