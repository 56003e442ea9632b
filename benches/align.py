"""Alignment at 768 dimensions: cvx.align against scipy on the same pairs; projection, canonical trajectories, quality.

Bars: align at most 1.5 times the script; project at most 0.1 ms a row over its scan; a trajectory of 1000 points at
most 3 times numpy's float32 product; canonical_trajectory over two steps under 15 ms; alignment_quality under 2 ms.
CVX_BENCH_ENTITIES and CVX_BENCH_ROWS set other sizes.
"""

import os
import statistics
import struct
import sys

import numpy as np
import scipy.linalg

import harness

ENTITIES = int(os.environ.get("CVX_BENCH_ENTITIES", 10_000))
ROWS = int(os.environ.get("CVX_BENCH_ROWS", 100_000))
DIMS = 768
POINTS = 1000
DAY = 86_400_000_000
SPREAD = np.arange(1, DIMS + 1) ** -0.5


def rotation(rng) -> np.ndarray:
    return np.linalg.qr(rng.standard_normal((DIMS, DIMS)))[0]


def vectors(rng, n: int) -> np.ndarray:
    """Unit vectors whose spectrum falls off as that of text encoders does."""
    x = rng.standard_normal((n, DIMS)) * SPREAD + 0.05
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def remade(rng, x: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """What another version of the model gives the same things: turned, and a tenth of noise."""
    y = x @ turn + 0.1 / np.sqrt(DIMS) * rng.standard_normal(x.shape)
    return (y / np.linalg.norm(y, axis=1, keepdims=True)).astype(np.float32)


def load(conn, space: str, names: list[str], ts: np.ndarray, x: np.ndarray) -> None:
    """Fills a new space by COPY BINARY."""
    conn.execute("SELECT cvx.create_space(%s, %s)", [space, x.shape[1]])
    append(conn, space, names, ts, x)
    conn.execute(f'VACUUM ANALYZE cvx_space."{space}"')


def append(conn, space: str, names: list[str], ts: np.ndarray, x: np.ndarray, inputs: str = "") -> None:
    """A row's input_hash is made of `inputs`, which tells inputs of the same entity apart, and its number."""

    def field(data: bytes) -> bytes:
        return struct.pack(">i", len(data)) + data

    statement = f'COPY cvx_space."{space}" (entity_id, ts, vec, input_hash) FROM STDIN (FORMAT binary)'
    with conn.cursor().copy(statement) as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        for i, (name, t, row) in enumerate(zip(names, ts.tolist(), x.astype(">f4"))):
            vector = struct.pack(">HH", len(row), 0) + row.tobytes()
            fields = (name.encode(), struct.pack(">q", t), vector, f"{inputs}{i:040}".encode())
            copy.write(struct.pack(">h", 4) + b"".join(map(field, fields)))
        copy.write(struct.pack(">h", -1))


def read_pairs(conn) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of both spaces as (n, DIMS) float32: the script that cvx.align replaces, as lean as it gets."""
    query = """COPY (SELECT n.vec, o.vec FROM cvx_space.new n JOIN cvx_space.old o USING (entity_id, input_hash)
                     ORDER BY entity_id) TO STDOUT (FORMAT binary)"""
    with conn.cursor().copy(query) as copy:
        data = b"".join(copy)
    vector = [("length", ">i4"), ("head", ">i4"), ("values", ">f4", DIMS)]
    row = np.dtype([("fields", ">i2"), ("new", vector), ("old", vector)])
    rows = np.frombuffer(data, row, count=(len(data) - 19 - 2) // row.itemsize, offset=19)
    return rows["new"]["values"].astype(np.float32), rows["old"]["values"].astype(np.float32)


def by_scipy(conn, dtype) -> float:
    """Fits to four fifths, measures on the others, fits to all; returns the mean residual."""
    x, y = (a.astype(dtype, copy=False) for a in read_pairs(conn))
    held = np.zeros(len(x), bool)
    held[np.random.default_rng(0).permutation(len(x))[: len(x) // 5]] = True
    residual = 0.0
    for chosen in (~held, np.ones(len(x), bool)):
        at_x, at_y = x[chosen].mean(axis=0), y[chosen].mean(axis=0)
        centred = x[chosen] - at_x
        turn, total = scipy.linalg.orthogonal_procrustes(centred, y[chosen] - at_y)
        scale = total / (centred**2).sum()
        if not chosen.all():
            off = scale * (x[held] - at_x) @ turn + at_y - y[held]
            residual = float(np.linalg.norm(off, axis=1).mean())
    return residual


def bench_align(conn, rng) -> bool:
    names = [f"entity-{i:06}" for i in range(ENTITIES)]
    old, ts = vectors(rng, ENTITIES), np.zeros(ENTITIES, np.int64)
    load(conn, "old", names, ts, old)
    load(conn, "new", names, ts, remade(rng, old, rotation(rng)))
    conn.execute("SELECT cvx.create_model('m', 'old', 'old')")
    conn.execute("SELECT cvx.create_model('m', 'new', 'new', 'old', auto_align => false)")

    def align():
        return conn.execute("SELECT mean_residual, pairs, recall_at_10 FROM cvx.align('m', 'new')").fetchone()

    residual, pairs, recall = align()
    print(
        f"  {pairs} pairs; mean held-out residual {residual:.4f}, the script's {by_scipy(conn, np.float64):.4f};"
        f" recall@10 {recall:.3f}"
    )
    ours, script = harness.alternate(align, lambda: by_scipy(conn, np.float32), rounds=5)
    double = statistics.median(harness.seconds(lambda: by_scipy(conn, np.float64)) for _ in range(3))
    reading = statistics.median(harness.seconds(lambda: read_pairs(conn)) for _ in range(3))
    for method in ("affine", "cca", "auto"):
        took = harness.seconds(lambda: conn.execute("SELECT cvx.align('m', 'new', %s)", [method]))
        print(f"  align, {method}: {took:.2f} s")
    conn.execute("SELECT cvx.align('m', 'new')")
    print(
        f"  align {ours:.2f} s; script {script:.2f} s in float32 ({double:.2f} s in float64),"
        f" of that reading {reading:.2f} s"
    )
    return harness.report("align over the script in float32", ours / script, 1.5, at_least=False)


def bench_vector(conn, rng) -> bool:
    names = [f"entity-{i:06}" for i in range(ROWS)]
    conn.execute("SELECT cvx.create_space('bulk', %s)", [DIMS])
    for start in range(0, ROWS, 10_000):
        part = names[start : start + 10_000]
        append(conn, "bulk", part, np.zeros(len(part), np.int64), vectors(rng, len(part)))
    conn.execute("VACUUM ANALYZE cvx_space.bulk")
    plain, projecting = harness.alternate(
        lambda: conn.execute("SELECT sum(vector_dims(vec)) FROM cvx_space.bulk"),
        lambda: conn.execute("SELECT sum(vector_dims(cvx.project(vec, 'new', 'old'))) FROM cvx_space.bulk"),
        rounds=3,
    )
    print(f"  {ROWS} rows: scan {plain:.2f} s, with project {projecting:.2f} s")
    return harness.report("project, ms a row", (projecting - plain) / ROWS * 1000, 0.1, at_least=False)


def bench_trajectory(conn) -> bool:
    conn.execute(
        "CREATE TABLE walk AS SELECT cvx.trajectory_agg(ts + n * interval '1 day', vec) AS t FROM"
        " (SELECT ts, vec, row_number() OVER (ORDER BY entity_id) AS n FROM cvx_space.bulk LIMIT %s) s",
        [POINTS],
    )
    x = vectors(np.random.default_rng(1), POINTS)
    w = np.random.default_rng(2).standard_normal((DIMS, DIMS)).astype(np.float32)
    ours, numpy = harness.alternate(
        lambda: conn.execute("SELECT cvx.num_points(cvx.project(t, 'new', 'old')) FROM walk"),
        lambda: x @ w,
        rounds=31,
    )
    print(f"  trajectory of {POINTS} points: {ours * 1000:.1f} ms; numpy's product {numpy * 1000:.1f} ms")
    return harness.report("project of a trajectory over numpy's product", ours / numpy, 3, at_least=False)


def bench_canonical(conn, rng) -> bool:
    overlap = [f"overlap-{i:06}" for i in range(2000)]
    old = vectors(rng, len(overlap))
    zeros = np.zeros(len(overlap), np.int64)
    times = np.arange(POINTS) * DAY
    before = None
    for place, version in enumerate(("v1", "v2", "v3")):
        load(conn, version, overlap, zeros, old)
        own = times[place * POINTS // 3 : (place + 1) * POINTS // 3]
        append(conn, version, ["mixed"] * len(own), own, vectors(rng, len(own)), version)
        if version == "v3":
            append(conn, version, ["third"] * POINTS, times, vectors(rng, POINTS))
        if version != "v1":
            half = times[: POINTS // 2] + place * POINTS * DAY
            append(conn, version, ["paired"] * len(half), half, vectors(rng, len(half)))
        conn.execute("SELECT cvx.create_model('chain', %s, %s, %s)", [version, version, before])
        old, before = remade(rng, old, rotation(rng)), version
    conn.execute("VACUUM ANALYZE")
    met = True
    # All points in the third version; a third of them in each; and, without a bar, every input of the third version in
    # the second too, so that the distance of each to its pair is measured.
    for entity in ("third", "mixed", "paired"):
        query = "SELECT count(alignment_error), max(vector_dims(vec)) FROM cvx.canonical_trajectory(%s, 'chain')"
        assert conn.execute(query, [entity]).fetchone() == (POINTS, DIMS)
        took, alone = harness.alternate(
            lambda: conn.execute(query, [entity]),
            lambda: conn.execute("SELECT cvx.num_points(cvx.canonical(%s, 'chain'))", [entity]),
            rounds=31,
        )
        print(f"  {entity}: canonical_trajectory {took * 1000:.1f} ms, canonical {alone * 1000:.1f} ms")
        if entity != "paired":
            name = f"canonical_trajectory of {POINTS} points ({entity}), ms"
            met &= harness.report(name, took * 1000, 15, at_least=False)
    return met


def bench_quality(conn) -> bool:
    query = "SELECT * FROM cvx.alignment_quality('chain')"
    times = [harness.seconds(lambda: conn.execute(query).fetchall()) for _ in range(101)]
    return harness.report("alignment_quality, ms", statistics.median(times[1:]) * 1000, 2, at_least=False)


def main() -> bool:
    rng = np.random.default_rng(3)
    conn = harness.connect()
    conn.execute("SET max_parallel_workers_per_gather = 0")
    conn.execute("SET jit = off")
    met = [
        bench_align(conn, rng),
        bench_vector(conn, rng),
        bench_trajectory(conn),
        bench_canonical(conn, rng),
        bench_quality(conn),
    ]
    return all(met)


if __name__ == "__main__":
    sys.exit(not main())
