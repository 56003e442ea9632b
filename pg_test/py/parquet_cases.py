"""Parquet files of every kind that cvx.ingest_parquet takes or refuses, as pyarrow writes them.

`cases()` yields them, each with what is to be expected: a test writes one with `case.write(folder)` and
compares what it reads with `case.rows`, `case.rejects` and `case.error`. As a program it writes all of them:
`python parquet_cases.py FOLDER`.
"""

from __future__ import annotations

import datetime as dt
import pathlib
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

DIMS = 4
START = 1_767_225_600_000_000  # 2026-01-01 00:00:00 UTC in microseconds
SECOND = 1_000_000

VECTORS = (np.arange(1, 41, dtype=np.float32).reshape(10, DIMS) / 8).tolist()  # exact in float16 too
IDS = [f"entity-{i % 3}" for i in range(len(VECTORS))]
TIMES = [START + i * SECOND for i in range(len(VECTORS))]

Row = tuple[str, int, list[float]]
ROWS: list[Row] = list(zip(IDS, TIMES, VECTORS, strict=True))


@dataclass
class Case:
    """One call: the path to give (relative to the folder written to), its arguments and its outcome."""

    name: str
    make: Callable[[pathlib.Path], None]
    rows: list[Row] = field(default_factory=lambda: list(ROWS))  # entity id, microseconds since 1970, vector
    rejects: dict[str, int] = field(default_factory=dict)  # reason code -> how many
    error: str | None = None  # a part of the message of the error that the call ends in
    hint: str | None = None
    arguments: dict[str, object] = field(default_factory=dict)

    def write(self, folder: pathlib.Path) -> pathlib.Path:
        """Writes the case below the folder and returns the path to ingest."""
        path = folder / self.name
        self.make(path)
        return path


def table(ids=None, ts=None, vec=None, **more) -> pa.Table:
    """The ten rows, with columns replaced by those given."""
    return pa.table(
        {
            "entity_id": pa.array(IDS) if ids is None else ids,
            "ts": times(pa.timestamp("us", tz="UTC")) if ts is None else ts,
            "vec": pa.array(VECTORS, pa.list_(pa.float32())) if vec is None else vec,
            **more,
        }
    )


def times(kind: pa.DataType, values=None) -> pa.Array:
    """Microseconds since 1970 as a timestamp type, cut to its unit."""
    micros = pa.array(TIMES if values is None else values, pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    return micros.cast(kind, safe=False)


def one_file(name: str, content: pa.Table, options: dict | None = None, **expected) -> Case:
    """A case of a single file."""
    return Case(name, lambda path: pq.write_table(content, path, **(options or {})), **expected)


def entity_ids() -> Iterator[Case]:
    """Entity ids of every type."""
    for kind in [pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary()]:
        yield one_file(f"id_{kind}.parquet", table(ids=pa.array(IDS).cast(kind)))
    yield one_file("id_dictionary.parquet", table(ids=pa.array(IDS).dictionary_encode()))
    signed = [pa.int8(), pa.int16(), pa.int32(), pa.int64()]
    for kind in [*signed, pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]:
        bits = kind.bit_width - (kind in signed)
        numbers = [2**bits - 1, 0, 7, -(2**bits) if kind in signed else 1]
        rows = [(str(i), t, v) for i, (_, t, v) in zip(numbers, ROWS)]
        yield one_file(f"id_{kind}.parquet", table(ids=pa.array(numbers + [None] * 6, kind)),
                       rows=rows, rejects={"null_entity_id": 6})
    uuids = [uuid.uuid5(uuid.NAMESPACE_URL, str(i)) for i in range(10)]
    rows = [(str(u), t, v) for u, (_, t, v) in zip(uuids, ROWS, strict=True)]
    storage = pa.array([u.bytes for u in uuids], pa.binary(16))
    ids = pa.ExtensionArray.from_storage(pa.uuid(), storage)
    yield one_file("id_uuid.parquet", table(ids=ids), rows=rows)
    wrong = {"float64": pa.float64(), "decimal(10, 2)": pa.decimal128(10, 2), "bool": pa.bool_()}
    for name, kind in wrong.items():
        ids = pa.array([1] * 10, pa.int8()).cast(kind)
        yield one_file(f"id_wrong_{name[:5]}.parquet", table(ids=ids), rows=[], error=f"is of type {name}")
    error = "is of type fixed_size_binary(16)"
    yield one_file("id_wrong_fixed.parquet", table(ids=storage), rows=[], error=error)


def timestamps() -> Iterator[Case]:
    """Timestamps of every unit, with and without zone; dates; integers; text."""
    for unit in ["s", "ms", "us", "ns"]:
        for zone in [None, "UTC", "Asia/Tokyo"]:
            kind = pa.timestamp(unit, tz=zone)
            yield one_file(f"ts_{unit}_{zone or 'none'}.parquet".replace("/", "_"), table(ts=times(kind)))
    early = [(i, t - START - 1_500_001, v) for i, t, v in ROWS]
    ts = times(pa.timestamp("us"), [t for _, t, _ in early])
    yield one_file("ts_before_1970.parquet", table(ts=ts), rows=early)
    nanos = pa.array([t * 1000 + 999 for t in TIMES], pa.int64()).cast(pa.timestamp("ns"))
    yield one_file("ts_nanoseconds_are_rounded_down.parquet", table(ts=nanos))
    yield one_file("ts_int96.parquet", table(), {"use_deprecated_int96_timestamps": True})
    days = [dt.date(2026, 1, 1) + dt.timedelta(i) for i in range(10)]
    rows = [(i, START + day * 86_400 * SECOND, v) for day, (i, _, v) in enumerate(ROWS)]
    yield one_file("ts_date32.parquet", table(ts=pa.array(days, pa.date32())), rows=rows)
    yield one_file("ts_date64.parquet", table(ts=pa.array(days, pa.date64())), rows=rows)
    seconds = {"s": pa.int64(), "s32": pa.int32(), "u32": pa.uint32()}
    epochs = [(name, SECOND, kind) for name, kind in seconds.items()]
    epochs += [("ms", 1000, pa.int64()), ("us", 1, pa.int64()), ("u64", 1000, pa.uint64())]
    for name, divisor, kind in epochs:
        ts = pa.array([t // divisor for t in TIMES], kind)
        yield one_file(f"ts_epoch_{name}.parquet", table(ts=ts))
        yield one_file(f"ts_epoch_{name}_no_statistics.parquet", table(ts=ts), {"write_statistics": False})
    mixed = pa.array([1, *(t // 1000 for t in TIMES[1:])], pa.int64())
    unclear = {"error": "cannot be told", "hint": "timestamp_unit"}
    yield one_file("ts_epoch_ambiguous.parquet", table(ts=mixed), rows=[], **unclear)
    rows = [(IDS[0], 1000, VECTORS[0]), *ROWS[1:]]
    yield one_file("ts_epoch_told.parquet", table(ts=mixed), rows=rows, arguments={"timestamp_unit": "ms"})
    text = [dt.datetime.fromtimestamp(t / SECOND, dt.UTC).isoformat() for t in TIMES]
    yield one_file("ts_text.parquet", table(ts=pa.array(text)))
    text[3] = "the other day"
    yield one_file("ts_text_bad.parquet", table(ts=pa.array(text)), rows=ROWS[:3] + ROWS[4:],
                   rejects={"invalid_timestamp": 1})
    far = pa.array([2**63 - 1, -(2**63) + 1, *TIMES[2:]], pa.int64()).cast(pa.timestamp("us"))
    yield one_file("ts_infinite.parquet", table(ts=far), rows=ROWS[2:], rejects={"infinite_timestamp": 2})
    for name, value in [("float64", 0.5), ("time", dt.time(1))]:
        content = table(ts=pa.array([value] * 10))
        yield one_file(f"ts_wrong_{name}.parquet", content, rows=[], error=f"is of type {name}")


def vectors() -> Iterator[Case]:
    """Vectors of every element and list type."""
    half, single, double = pa.float16(), pa.float32(), pa.float64()
    for element in [half, single, double]:
        for kind in [pa.list_(element), pa.large_list(element), pa.list_(element, DIMS)]:
            name = f"vec_{kind}.parquet".translate(str.maketrans("<>[]: ", "______"))
            data = [np.array(v, np.float16) for v in VECTORS] if element == half else VECTORS
            yield one_file(name, table(vec=pa.array(data, kind)))
    solid = pa.list_(pa.field("item", single, nullable=False))
    yield one_file("vec_without_nulls.parquet", table(vec=pa.array(VECTORS, solid)))
    wrong = {
        "int": (pa.array([[1, 2, 3, 4]] * 10), "list<int64>"),
        "text": (pa.array([["a"]] * 10), "list<string>"),
        "nested": (pa.array([[[1.0]]] * 10), "list of list<float64>"),
        "struct": (pa.array([{"x": 1.0, "y": 2.0}] * 10), "struct"),
        "plain": (pa.array([1.0] * 10), "float64"),
        "string": (pa.array(["[1,2,3,4]"] * 10), "string"),
    }
    for name, (column, kind) in wrong.items():
        yield one_file(f"vec_wrong_{name}.parquet", table(vec=column), rows=[], error=f"is of type {kind}")


def layouts() -> Iterator[Case]:
    """What a writer may choose: codecs, page versions, encodings, row groups, checksums."""
    for codec in ["none", "snappy", "gzip", "brotli", "zstd", "lz4"]:
        for version in ["1.0", "2.0"]:
            options = {"compression": codec, "data_page_version": version}
            yield one_file(f"layout_{codec}_{version}.parquet", table(), options)
    plain = {"use_dictionary": False}
    for encoding in ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"]:
        options = plain | {"column_encoding": {"entity_id": encoding}}
        yield one_file(f"layout_{encoding}.parquet".lower(), table(), options)
    delta = plain | {"column_encoding": {"ts": "DELTA_BINARY_PACKED"}}
    yield one_file("layout_delta_times.parquet", table(), delta)
    split = plain | {"column_encoding": {"vec.list.element": "BYTE_STREAM_SPLIT"}}
    yield one_file("layout_byte_stream_split.parquet", table(), split)
    yield one_file("layout_row_groups.parquet", table(), {"row_group_size": 3})
    # So small that pyarrow puts a page without values between others.
    yield one_file("layout_small_pages.parquet", table(), {"data_page_size": 16, "write_batch_size": 2})
    yield one_file("layout_checksums.parquet", table(), {"write_page_checksum": True})
    yield one_file("layout_page_index.parquet", table(), {"write_page_index": True})
    yield one_file("layout_no_arrow_schema.parquet", table(), {"store_schema": False})
    more = table(extra=pa.array([{"a": [1]}] * 10), image=pa.array([b"\xff"] * 10))
    yield one_file("layout_more_columns.parquet", more)
    yield one_file("layout_no_rows.parquet", table().slice(0, 0), rows=[])


def broken_rows(rows: int = 1000) -> Case:
    """One row in a hundred is broken, in turn in five ways."""
    ids = [f"e{i}" for i in range(rows)]
    vec: list = [[float(i), 1.0, 2.0, 3.0] for i in range(rows)]
    ts: list = [START + i * SECOND for i in range(rows)]
    rejects: dict[str, int] = {}
    broken = {
        "null_vector": None,
        "not_a_number": [float("nan")] * DIMS,
        "wrong_dimension": [1.0],
        "zero_vector": [0.0] * DIMS,
    }
    for n, i in enumerate(range(50, rows, 100)):
        reason = [*broken, "null_timestamp"][n % 5]
        rejects[reason] = rejects.get(reason, 0) + 1
        ts[i] = None if reason == "null_timestamp" else ts[i]
        vec[i] = broken.get(reason, vec[i])
    good = [(a, t, v) for i, (a, t, v) in enumerate(zip(ids, ts, vec, strict=True)) if i % 100 != 50]
    stamps = times(pa.timestamp("us", tz="UTC"), ts)
    content = table(pa.array(ids), stamps, pa.array(vec, pa.list_(pa.float32())))
    return one_file("broken_rows.parquet", content, {"row_group_size": 300}, rows=good, rejects=rejects)


def damaged() -> Iterator[Case]:
    """Files that are no Parquet file, or not a whole one, or not one with the columns asked for."""

    def cut(name: str, keep: Callable[[bytes], bytes], error: str) -> Case:
        def make(path: pathlib.Path) -> None:
            pq.write_table(table(), path)
            path.write_bytes(keep(path.read_bytes()))

        return Case(name, make, rows=[], error=error)

    yield cut("damaged_empty.parquet", lambda b: b"", "is not a Parquet file")
    yield cut("damaged_text.parquet", lambda b: b"entity_id,ts,vec\n" * 10, "is not a Parquet file")
    yield cut("damaged_half.parquet", lambda b: b[: len(b) // 2], "is damaged")
    yield cut("damaged_last_byte.parquet", lambda b: b[:-1], "is damaged")
    yield cut("damaged_hole.parquet", lambda b: b[:200] + b[300:], "is damaged")
    yield cut("damaged_pages.parquet", lambda b: b[:4] + b"\xff" * 64 + b[68:], "is damaged")
    yield one_file("missing_column.parquet", table().rename_columns(["entity_id", "ts", "vecs"]), rows=[],
                   error='has no column "vec"', hint='"vecs"')


def folders() -> Iterator[Case]:
    """Folders: nested, with what is skipped, of differing schemas, empty."""

    def nested(path: pathlib.Path) -> None:
        for i, name in enumerate(["b.parquet", "a/dt=2026-01-01/x.parquet", "c/d/e/f.parquet"]):
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            part = table().slice(i * 4, 4)
            if i == 0:
                part = part.set_column(2, "vec", part["vec"].cast(pa.list_(pa.float64())))
            pq.write_table(part, path / name)
        for name in ["_temporary.parquet", ".hidden.parquet", "notes.txt"]:
            (path / name).write_text("not Parquet")

    yield Case("folder", nested, rows=ROWS[4:8] + ROWS[:4] + ROWS[8:])
    yield Case("folder_empty", lambda path: path.mkdir(), rows=[], error="holds no Parquet file")
    yield Case("nowhere.parquet", lambda path: None, rows=[], error="does not exist")


def provenance() -> Case:
    """All columns of provenance, and two packed into attrs."""
    made = times(pa.timestamp("ms"))
    content = table(
        model=pa.array([2] * 10),
        weights=pa.array(["w"] * 10),
        text_sha256=pa.array([None, *"abcdefghi"]),
        code=pa.array(["c"] * 10),
        made_at=made,
        lang=pa.array(["en", None] * 5),
        score=pa.array([0.5] * 10),
    )
    arguments = {
        "model_version_column": "model",
        "model_hash_column": "weights",
        "input_hash_column": "text_sha256",
        "pipeline_hash_column": "code",
        "produced_at_column": "made_at",
        "attrs_columns": ["lang", "score"],
    }
    return one_file("provenance.parquet", content, arguments=arguments)


def cases() -> Iterator[Case]:
    """All of them."""
    for group in [entity_ids, timestamps, vectors, layouts, damaged, folders]:
        yield from group()
    yield broken_rows()
    yield provenance()


if __name__ == "__main__":
    target = pathlib.Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for each in cases():
        print(each.write(target))
