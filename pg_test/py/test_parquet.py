"""cvx.ingest_parquet against pyarrow: what is read, what is refused and why, and what a failure leaves (nothing)."""

import itertools
import json
import struct
from collections import Counter

import numpy as np
import parquet_cases as cases
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg import sql

CASES = list(cases.cases())
NUMBERS = itertools.count()
# SQLSTATE of each sort of error, by a part of its message.
CODES = {
    "is of type": "42703",
    "has no column": "42703",
    "cannot be told": "42703",
    "holds no Parquet file": "42703",
    "is not a Parquet file": "22P04",
    "is damaged": "22P04",
    "does not exist": "58P01",
}
STORED = """SELECT entity_id, (extract(epoch FROM ts) * 1000000)::bigint, vec::real[]::float8[]
            FROM cvx.embedding WHERE space_id = cvx.space_id(%s) ORDER BY 2, 1"""


@pytest.fixture
def space(conn):
    """A new space of four dimensions."""
    name = f"space {next(NUMBERS)}"
    conn.execute("SELECT cvx.create_space(%s, %s)", (name, cases.DIMS))
    yield name
    conn.execute("ROLLBACK")
    conn.execute("SELECT cvx.drop_space(%s, true)", (name,))


def ingest(conn, path, space, **arguments) -> dict:
    """One call; its row as a dict."""
    names = "".join(f", {name} => %({name})s" for name in arguments)
    query = f"SELECT * FROM cvx.ingest_parquet(%(path)s, %(space)s{names})"
    cursor = conn.execute(query, {"path": str(path), "space": space, **arguments})
    (row,) = cursor.fetchall()
    return dict(zip([c.name for c in cursor.description], row))


def stored(conn, space):
    return conn.execute(STORED, (space,)).fetchall()


def in_order(rows):
    return sorted(((i, t, list(v)) for i, t, v in rows), key=lambda row: (row[1], row[0]))


def assert_nothing_written(conn, space):
    for table in ("embedding", "dead_letter", "sync_run"):
        query = sql.SQL("SELECT count(*) FROM cvx.{} WHERE space_id = cvx.space_id(%s)").format(sql.Identifier(table))
        assert conn.execute(query, (space,)).fetchone() == (0,), table


def write(folder, name, rows=100, dims=cases.DIMS, entity="e", seed=1, **columns):
    """A good file of `rows` rows, an entity of its own; returns its path."""
    vectors = np.random.default_rng(seed).normal(size=(rows, dims)).astype(np.float32)
    table = pa.table(
        {
            "entity_id": pa.array([entity] * rows),
            "ts": pa.array(np.arange(rows, dtype=np.int64) * cases.SECOND + cases.START).cast(
                pa.timestamp("us", tz="UTC")
            ),
            "vec": pa.FixedSizeListArray.from_arrays(vectors.ravel(), dims),
            **columns,
        }
    )
    pq.write_table(table, folder / name, row_group_size=max(rows // 4, 1))
    return folder / name


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(conn, space, server_dir, case):
    path = case.write(server_dir)
    if case.error:
        with pytest.raises(psycopg.Error) as error:
            ingest(conn, path, space, **case.arguments)
        diagnosis = error.value.diag
        assert case.error in diagnosis.message_primary
        assert (case.hint or "") in (diagnosis.message_hint or "")
        assert diagnosis.sqlstate == next(code for part, code in CODES.items() if part in case.error)
        assert str(server_dir) in diagnosis.message_primary
        assert_nothing_written(conn, space)
        return
    row = ingest(conn, path, space, **case.arguments)
    refused = sum(case.rejects.values())
    counts = {"records_read": len(case.rows) + refused, "written": len(case.rows), "rejected": refused, "skipped": 0}
    assert {name: row[name] for name in counts} == counts
    assert row["reject_reasons"] == case.rejects
    assert stored(conn, space) == in_order(case.rows)
    letters = conn.execute(
        "SELECT reason, count(*) FROM cvx.dead_letter WHERE run_id = %s GROUP BY 1", (row["run_id"],)
    )
    assert dict(letters.fetchall()) == case.rejects
    run = conn.execute(
        """SELECT records_read, records_written, records_rejected, records_skipped, source, error,
                  finished_at >= started_at, bytes > 0 FROM cvx.sync_run WHERE run_id = %s""",
        (row["run_id"],),
    )
    assert run.fetchone() == (*counts.values(), f"parquet:{path}", None, True, len(case.rows) > 0)


def test_provenance_columns(conn, space, server_dir):
    case = cases.provenance()
    ingest(conn, case.write(server_dir), space, source="nightly", **case.arguments)
    rows = conn.execute(
        """SELECT source, model_version, model_hash, input_hash, pipeline_hash, produced_at = ts, attrs
           FROM cvx.embedding WHERE space_id = cvx.space_id(%s) ORDER BY ts""",
        (space,),
    ).fetchall()
    hashes = [None, *"abcdefghi"]
    attrs = [{"lang": "en", "score": 0.5} if i % 2 == 0 else {"score": 0.5} for i in range(10)]
    assert rows == [("nightly", "2", "w", h, "c", True, a) for h, a in zip(hashes, attrs)]


def broken_table(rows, share):
    """A table in which each `share`-th row is broken in the next of all the ways a row can be; with the reasons."""
    ids = [f"e{i}".encode() for i in range(rows)]
    ts = [cases.START + i * cases.SECOND for i in range(rows)]
    vec = [[float(i % 7) + 1, 1.0, 2.0, 3.0] for i in range(rows)]
    produced = list(ts)
    note = [b"fine"] * rows
    ways = {
        "null_entity_id": (ids, None),
        "empty_entity_id": (ids, b""),
        "entity_id_too_long": (ids, b"x" * 1025),
        "nul_character": (ids, b"a\0b"),
        "invalid_utf8": (ids, b"\xff\xfe"),
        "null_timestamp": (ts, None),
        "infinite_timestamp": (ts, 2**63 - 1),
        "timestamp_out_of_range": (ts, -(2**63) + 5),
        "null_vector": (vec, None),
        "null_element": (vec, [1.0, None, 2.0, 3.0]),
        "not_a_number": (vec, [1.0, 2.0, float("nan"), 3.0]),
        "infinite_element": (vec, [float("-inf"), 1.0, 2.0, 3.0]),
        "element_overflow": (vec, [1e39, 1.0, 2.0, 3.0]),
        "wrong_dimension": (vec, [1.0] * 5),
        "too_many_dimensions": (vec, [1.0] * 16_001),
        "zero_vector": (vec, [0.0, -0.0] * 2),
        "text_too_long": (note, b"x" * (2**20 + 1)),
    }
    reasons = {}
    for n, i in enumerate(range(share // 2, rows, share)):
        reason = list(ways)[n % len(ways)]
        column, value = ways[reason]
        column[i] = value
        reasons[i] = reason
    table = pa.table(
        {
            "entity_id": pa.array(ids, pa.binary()),
            "ts": pa.array(ts, pa.int64()).cast(pa.timestamp("us", tz="UTC")),
            "vec": pa.array(vec, pa.list_(pa.float64())),
            "produced": pa.array(produced, pa.int64()).cast(pa.timestamp("us")),
            "note": pa.array(note, pa.binary()),
        }
    )
    good = [(ids[i].decode(), ts[i], vec[i]) for i in range(rows) if i not in reasons]
    return table, reasons, good


def test_one_percent_broken_of_every_reason(conn, space, server_dir):
    table, reasons, good = broken_table(5100, 100)
    path = server_dir / "broken.parquet"
    pq.write_table(table, path, row_group_size=700)
    row = ingest(conn, path, space, batch_size=333, pipeline_hash_column="note", produced_at_column="produced")
    counts = Counter(reasons.values())
    assert len(counts) == 17 and set(counts.values()) == {3}
    assert row["reject_reasons"] == counts
    assert (row["records_read"], row["written"], row["rejected"]) == (5100, 5049, 51)
    assert stored(conn, space) == in_order(good)
    letters = conn.execute(
        """SELECT position, reason, message, payload, source FROM cvx.dead_letter
           WHERE run_id = %s ORDER BY dead_letter_id""",
        (row["run_id"],),
    ).fetchall()
    assert [(position, reason) for position, reason, *_ in letters] == [(f"{path}#{i}", r) for i, r in reasons.items()]
    for position, reason, message, payload, source in letters:
        i = int(position.rsplit("#", 1)[1])
        assert message and source == f"parquet:{path}" and len(json.dumps(payload)) < 4000
        if reason not in ("null_entity_id", "empty_entity_id", "entity_id_too_long", "nul_character", "invalid_utf8"):
            assert payload["entity_id"] == f"e{i}"
        if "vector" not in reason and "element" not in reason and "dimension" not in reason and "number" not in reason:
            assert payload["vector"] == table["vec"][i].as_py() and payload["dims"] == 4
    assert "1025 bytes" in letters[2][2] and "element 2 is NaN" in letters[10][2] and "1e39" in letters[12][2]


def test_all_rows_broken(conn, space, server_dir):
    path = write(server_dir, "f.parquet", rows=50, dims=3)
    row = ingest(conn, path, space)
    assert (row["written"], row["rejected"], row["reject_reasons"]) == (0, 50, {"wrong_dimension": 50})


def test_bit_flips(conn, space, server_dir):
    """Ten of the damaged bytes may be in values, where nothing can tell; else there is an error that says damaged."""
    path = write(server_dir, "f.parquet", rows=64)
    whole = bytearray(path.read_bytes())
    rng = np.random.default_rng(6)
    outcomes = Counter()
    for _ in range(400):
        data = whole.copy()
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(data)
        try:
            with conn.transaction(force_rollback=True):
                row = ingest(conn, path, space)
                assert row["written"] + row["rejected"] + row["skipped"] == row["records_read"]
                outcomes["read"] += 1
        except psycopg.Error as error:
            outcomes[error.sqlstate] += 1
            assert error.sqlstate in ("22P04", "42703", "0A000"), error
    assert outcomes["read"] > 20 and outcomes["22P04"] > 20, outcomes
    assert_nothing_written(conn, space)


def test_truncations(conn, space, server_dir):
    path = write(server_dir, "f.parquet", rows=64)
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 97), *range(len(whole) - 12, len(whole))]:
        path.write_bytes(whole[:length])
        with pytest.raises(psycopg.errors.BadCopyFileFormat) as error:
            ingest(conn, path, space)
        assert error.value.diag.message_hint
    # A footer that promises what is not there.
    for length in (0, 2**31 - 1, 2**32 - 1, len(whole)):
        path.write_bytes(whole[:-8] + struct.pack("<I", length) + b"PAR1")
        with pytest.raises(psycopg.errors.BadCopyFileFormat):
            ingest(conn, path, space)
    assert_nothing_written(conn, space)


def test_second_file_of_a_folder_is_damaged(conn, space, server_dir):
    """Its footer is whole, so that the first file has been written when the damage is met."""
    write(server_dir, "a.parquet", rows=3000, entity="a")
    second = write(server_dir, "b.parquet", rows=3000, entity="b")
    data = bytearray(second.read_bytes())
    data[4:24] = b"\xff" * 20
    second.write_bytes(data)
    with pytest.raises(psycopg.errors.BadCopyFileFormat, match=r"b\.parquet.* is damaged"):
        ingest(conn, server_dir, space, batch_size=100)
    assert_nothing_written(conn, space)
    second.unlink()
    assert ingest(conn, server_dir, space)["written"] == 3000


def test_folder_of_differing_schemas(conn, space, server_dir):
    vectors = [[1.0, 2.0, 3.0, 4.0]]
    for i, (ids, ts, vec) in enumerate(
        [
            (pa.array(["7"]), pa.array([1_767_225_600], pa.int64()), pa.array(vectors, pa.list_(pa.float64()))),
            (
                pa.array([7], pa.uint16()),
                pa.array([1_767_225_601], pa.int64()),
                pa.array(vectors, pa.list_(pa.float32(), 4)),
            ),
            (
                pa.array(["7"]).dictionary_encode(),
                cases.times(pa.timestamp("ns"), [cases.START + 2 * cases.SECOND]),
                pa.array([np.array(vectors[0], np.float16)], pa.large_list(pa.float16())),
            ),
        ]
    ):
        table = pa.table(
            {"vec": vec, "ts": ts, "entity_id": ids} if i % 2 else {"entity_id": ids, "ts": ts, "vec": vec}
        )
        pq.write_table(table, server_dir / f"{i}.parquet")
    row = ingest(conn, server_dir, space)
    assert (row["files"], row["written"]) == (3, 3)
    assert stored(conn, space) == [("7", cases.START + i * cases.SECOND, vectors[0]) for i in range(3)]
    pq.write_table(pa.table({"entity_id": ["x"], "ts": pa.array([1.5]), "vec": vectors}), server_dir / "3.parquet")
    with pytest.raises(psycopg.errors.UndefinedColumn, match=r"3\.parquet.*float64"):
        ingest(conn, server_dir, space)
    assert len(stored(conn, space)) == 3


@pytest.mark.parametrize("batch_size", [1, 7, 100, 100_000])
def test_batch_sizes_give_the_same(conn, space, server_dir, batch_size):
    path = write(server_dir, "f.parquet", rows=100)
    assert ingest(conn, path, space, batch_size=batch_size)["written"] == 100
    table = pq.read_table(path)
    expected = zip(table["entity_id"].to_pylist(), table["ts"].cast(pa.int64()).to_pylist(), table["vec"].to_pylist())
    assert stored(conn, space) == in_order(expected)


@pytest.mark.parametrize("batch_size", [0, -1, 100_001, 2**31 - 1])
def test_batch_size_out_of_range(conn, space, server_dir, batch_size):
    path = write(server_dir, "f.parquet", rows=3)
    with pytest.raises(psycopg.errors.InvalidParameterValue) as error:
        ingest(conn, path, space, batch_size=batch_size)
    assert "number of rows" in error.value.diag.message_hint or "100000 rows" in error.value.diag.message_hint


@pytest.mark.parametrize("unit", ["", "S", "seconds", "ms "])
def test_unknown_timestamp_unit(conn, space, server_dir, unit):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="timestamp_unit") as error:
        ingest(conn, write(server_dir, "f.parquet", rows=3), space, timestamp_unit=unit)
    assert "'ms'" in error.value.diag.message_hint


def test_null_arguments(conn, space, server_dir):
    path = write(server_dir, "f.parquet", rows=3)
    for name in ["entity_id_column", "timestamp_column", "vector_column"]:
        with pytest.raises(psycopg.errors.NullValueNotAllowed, match=name):
            ingest(conn, path, space, **{name: None})
    with pytest.raises(psycopg.errors.NullValueNotAllowed, match="path"):
        conn.execute("SELECT * FROM cvx.ingest_parquet(NULL, %s)", (space,))
    with pytest.raises(psycopg.errors.NullValueNotAllowed, match="space"):
        conn.execute("SELECT * FROM cvx.ingest_parquet(%s, NULL)", (str(path),))
    with pytest.raises(psycopg.errors.UndefinedObject, match="nowhere"):
        ingest(conn, path, "nowhere")
    assert ingest(conn, path, space, batch_size=None, source=None, attrs_columns=None)["written"] == 3


def test_vectors_of_sixteen_thousand_dimensions(conn, server_dir):
    conn.execute("SELECT cvx.create_space('wide', 16000)")
    path = write(server_dir, "wide.parquet", rows=40, dims=16_000)
    assert ingest(conn, path, "wide")["written"] == 40
    (total,) = conn.execute("SELECT sum(vector_norm(vec)) FROM cvx_space.wide").fetchone()
    expected = np.linalg.norm(np.stack(pq.read_table(path)["vec"].to_numpy()), axis=1).sum()
    assert total == pytest.approx(float(expected), rel=1e-5)
    conn.execute("SELECT cvx.drop_space('wide', true)")


def produced(rows, offset):
    """A column produced_at, `offset` hours after the event; None is NULL."""
    if offset is None:
        return pa.nulls(rows, pa.timestamp("us"))
    at = np.arange(rows, dtype=np.int64) * cases.SECOND + cases.START + offset * 3600 * cases.SECOND
    return pa.array(at).cast(pa.timestamp("us"))


@pytest.mark.parametrize(
    "first, second, replaced",
    [
        (None, None, False),
        (None, 1, True),
        (1, None, False),
        (1, 1, False),
        (1, 2, True),
        (2, 1, False),
    ],
)
def test_later_produced_wins(conn, space, server_dir, first, second, replaced):
    for name, offset in [("first", first), ("second", second)]:
        write(server_dir, f"{name}.parquet", seed=len(name), at=produced(100, offset))
    arguments = {"produced_at_column": "at", "batch_size": 30}
    assert ingest(conn, server_dir / "first.parquet", space, source="first", **arguments)["written"] == 100
    row = ingest(conn, server_dir / "second.parquet", space, source="second", **arguments)
    assert (row["written"], row["skipped"]) == ((100, 0) if replaced else (0, 100))
    winner = "second" if replaced else "first"
    vectors = [v for _, _, v in stored(conn, space)]
    assert vectors == pq.read_table(server_dir / f"{winner}.parquet")["vec"].to_pylist()
    sources = conn.execute("SELECT DISTINCT source FROM cvx.embedding WHERE space_id = cvx.space_id(%s)", (space,))
    assert sources.fetchall() == [(winner,)]


@pytest.mark.parametrize("batch_size", [2, 3, 1000])
def test_duplicates_within_a_file(conn, space, server_dir, batch_size):
    """Of each key the one produced last wins, the first of equals, whichever batches they fall into."""
    rng = np.random.default_rng(12)
    rows = 300
    keys, made = rng.integers(0, 40, rows), rng.integers(0, 6, rows)
    vectors = rng.normal(size=(rows, 4)).astype(np.float32)
    table = cases.table(
        pa.array([f"e{k % 5}" for k in keys]),
        cases.times(pa.timestamp("us"), [cases.START + int(k) * cases.SECOND for k in keys]),
        pa.array(vectors.tolist(), pa.list_(pa.float32())),
        at=cases.times(pa.timestamp("us"), [cases.START + int(m) * cases.SECOND if m else None for m in made]),
    )
    pq.write_table(table, server_dir / "f.parquet")
    row = ingest(conn, server_dir / "f.parquet", space, produced_at_column="at", batch_size=batch_size)
    best = {}
    for i, k in enumerate(keys):
        if k not in best or made[i] > made[best[k]]:
            best[k] = i
    expected = [(f"e{k % 5}", cases.START + int(k) * cases.SECOND, vectors[i].tolist()) for k, i in best.items()]
    assert stored(conn, space) == in_order(expected)
    assert row["written"] + row["skipped"] == rows and row["rejected"] == 0
    again = ingest(conn, server_dir / "f.parquet", space, produced_at_column="at", batch_size=batch_size)
    assert (again["written"], again["skipped"]) == (0, rows)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "WIN1251", "EUC_JP"])
def test_text_does_not_depend_on_the_clients_encoding(conn, space, server_dir, encoding):
    names = ["é", "Ω-ж", "日本", "🦀"]
    table = cases.table(note=pa.array(["ü"] * 10)).slice(0, 4).set_column(0, "entity_id", pa.array(names))
    pq.write_table(table, server_dir / "é.parquet")
    with psycopg.connect(dbname=conn.info.dbname, autocommit=True) as other:
        other.execute(f"SET client_encoding = '{encoding}'")
        query = "SELECT written FROM cvx.ingest_parquet(%s, %s, pipeline_hash_column => 'note', attrs_columns => ARRAY['note'])"
        folder = str(server_dir)
        assert other.execute(query, (folder, space)).fetchone() == (4,)
        assert other.info.parameter_status("client_encoding") == encoding
    rows = conn.execute(
        "SELECT entity_id, pipeline_hash, attrs->>'note' FROM cvx.embedding WHERE space_id = cvx.space_id(%s) ORDER BY ts",
        (space,),
    )
    assert rows.fetchall() == [(name, "ü", "ü") for name in names]


def test_trajectory_of_what_was_read(conn, space, server_dir):
    path = write(server_dir, "f.parquet", rows=200)
    ingest(conn, path, space)
    x = np.stack(pq.read_table(path)["vec"].to_numpy()).astype(float)
    length, points = conn.execute(
        "SELECT cvx.path_length(t), cvx.num_points(t) FROM cvx.trajectory('e', %s) t", (space,)
    ).fetchone()
    assert points == 200 and length == pytest.approx(np.linalg.norm(np.diff(x, axis=0), axis=1).sum())
