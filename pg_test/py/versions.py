"""Model versions for the tests: the changelogs, which three encoders embedded, and quick ways into spaces and back."""

import os
import struct
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psycopg
import pyarrow.parquet as pq
from psycopg import sql

POSTGRES_EPOCH = np.datetime64("2000-01-01", "us")
COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TRAILER = struct.pack(">h", -1)


@dataclass
class Rows:
    """Embeddings: `entity` (n text), `ts` (n int64 microseconds since 2000-01-01), `x` (n, D float32), and `hash`
    (n text, None for no input_hash)."""

    entity: np.ndarray
    ts: np.ndarray
    x: np.ndarray
    hash: np.ndarray

    def __len__(self) -> int:
        return len(self.ts)

    def __getitem__(self, which) -> "Rows":
        return Rows(self.entity[which], self.ts[which], self.x[which], self.hash[which])

    def with_vectors(self, x) -> "Rows":
        return replace(self, x=np.asarray(x, np.float32))

    def with_hashes(self, hashes) -> "Rows":
        return replace(self, hash=np.asarray(hashes, object))


def rows(entity, ts, x, hashes=None) -> Rows:
    """Copies of these columns."""
    entity, ts = np.array(entity, object), np.array(ts, np.int64)
    hashes = np.full(len(ts), None) if hashes is None else np.array(hashes, object)
    return Rows(entity, ts, np.array(x, np.float32), hashes)


def concatenate(*parts: Rows) -> Rows:
    return Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("entity", "ts", "x", "hash")))


def folder() -> Path:
    """CVX_DATA, the large data, where it is set; else the repository's."""
    return Path(os.environ.get("CVX_DATA") or os.environ["CVX_TEST_DATA"])


def changelogs(data: Path | None = None) -> dict[str, Rows]:
    """The same texts under 'v1', 'v2' and 'v3'; row i is one text in all of them, in order of package and time."""
    versions = {}
    for version in ("v1", "v2", "v3"):
        table = pq.read_table((data or folder()) / f"changelog_{version}.parquet")
        table = table.sort_by([("package", "ascending"), ("uploaded_at", "ascending")])
        uploaded = table["uploaded_at"].to_numpy().astype("datetime64[us]")
        versions[version] = rows(
            table["package"].to_pylist(),
            (uploaded - POSTGRES_EPOCH).astype(np.int64),
            np.stack(table["embedding"].to_numpy()),
            table["text_sha256"].to_pylist(),
        )
    return versions


def packages(of: Rows) -> np.ndarray:
    return np.unique(of.entity.astype(str)).astype(object)


def vector_bytes(x) -> bytes:
    """The binary form of pgvector's type."""
    return struct.pack(">HH", len(x), 0) + np.asarray(x).astype(">f4").tobytes()


def _field(data: bytes | None) -> bytes:
    return b"\xff\xff\xff\xff" if data is None else struct.pack(">i", len(data)) + data


def copy(conn, target: sql.Composable, of: Rows) -> None:
    """COPY BINARY into the columns entity_id, ts, vec, input_hash of a table."""
    statement = sql.SQL("COPY {} (entity_id, ts, vec, input_hash) FROM STDIN (FORMAT binary)").format(target)
    with conn.cursor().copy(statement) as stream:
        stream.write(COPY_HEADER)
        for entity, ts, x, digest in zip(of.entity, of.ts, of.x, of.hash):
            fields = (entity.encode(), struct.pack(">q", ts), vector_bytes(x), digest and digest.encode())
            stream.write(struct.pack(">h", 4) + b"".join(map(_field, fields)))
        stream.write(COPY_TRAILER)


def load(conn, space: str, of: Rows) -> None:
    """Makes a space, with these embeddings in it."""
    conn.execute("SELECT cvx.create_space(%s, %s)", [space, of.x.shape[1]])
    copy(conn, sql.Identifier("cvx_space", space), of)
    conn.execute(sql.SQL("ANALYZE {}").format(sql.Identifier("cvx_space", space)))


def register(conn, model: str, *versions: tuple) -> None:
    """Registers (version, space) pairs, each the predecessor of the next, without aligning them."""
    before = None
    for version, space in versions:
        conn.execute("SELECT cvx.create_model(%s, %s, %s, %s, auto_align => false)", [model, version, space, before])
        before = version


def align(conn, model: str, version: str, method: str) -> dict:
    """Aligns; returns the row of cvx.alignment but for its maps."""
    conn.execute("SELECT cvx.align(%s, %s, %s)", [model, version, method])
    with conn.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        cursor.execute(
            "SELECT status, method, overlap_entities, pairs, pairs_by_input, pairs_by_time, pairs_by_mean,"
            " held_out_entities, held_out_pairs, mean_residual, p95_residual, p99_residual, mean_cosine, recall_at_10,"
            " scale, ridge, correlations, rank FROM cvx.alignment WHERE model = %s AND version = %s",
            [model, version],
        )
        return cursor.fetchone()


def stored_map(typed, model: str, version: str, inverse: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """(B, c) of y = x B + c, float64; `typed` is a connection that reads vectors in binary."""
    found = typed.execute(
        'SELECT weights, "offset" FROM cvx.alignment_map(%s, %s, %s) ORDER BY element',
        [model, version, inverse],
        binary=True,
    ).fetchall()
    weights, offset = zip(*found)
    return np.stack(weights).astype(np.float64).T, np.array(offset, np.float64)
