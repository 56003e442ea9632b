"""Trajectories between Python and the server, in binary: no digit is lost and none is parsed.

A trajectory is a pair (t, x): int64 microseconds since 2000-01-01 UTC, strictly increasing, and float32 of
shape (n, D).
"""

import struct

import numpy as np
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format
from psycopg.types import TypeInfo

DAY = 86_400_000_000
HEADER = struct.Struct(">BBHI")


class Trajectory:
    """An argument or a result of type cvx.trajectory."""

    def __init__(self, t, x):
        self.t = np.asarray(t, np.int64)
        self.x = np.asarray(x, np.float32)

    def encode(self) -> bytes:
        n, dims = self.x.shape if len(self.t) else (0, 0)
        return HEADER.pack(1, 0, dims, n) + self.t.astype(">i8").tobytes() + self.x.astype(">f4").tobytes()

    @staticmethod
    def decode(data) -> "Trajectory":
        data = bytes(data)
        version, reserved, dims, n = HEADER.unpack_from(data)
        assert (version, reserved, len(data)) == (1, 0, HEADER.size + n * (8 + 4 * dims))
        t = np.frombuffer(data, ">i8", n, HEADER.size)
        x = np.frombuffer(data, ">f4", n * dims, HEADER.size + 8 * n)
        return Trajectory(t, x.reshape(n, dims))

    def __eq__(self, other):
        return np.array_equal(self.t, other.t) and np.array_equal(self.x, other.x)

    def __repr__(self):
        return f"Trajectory(n={len(self.t)}, dims={self.x.shape[1:]})"


class Micros(int):
    """An argument of type timestamptz: microseconds since 2000-01-01 UTC."""


def register(conn) -> None:
    """Lets a connection send and receive Trajectory and Micros, and receive vectors as float32 arrays.

    Results come so with `binary=True` only.
    """
    trajectory, vector = (TypeInfo.fetch(conn, name) for name in ("cvx.trajectory", "vector"))

    class TrajectoryDumper(Dumper):
        format, oid = Format.BINARY, trajectory.oid

        def dump(self, obj):
            return obj.encode()

    class MicrosDumper(Dumper):
        format, oid = Format.BINARY, conn.adapters.types["timestamptz"].oid

        def dump(self, obj):
            return struct.pack(">q", obj)

    class TrajectoryLoader(Loader):
        format = Format.BINARY

        def load(self, data):
            return Trajectory.decode(data)

    class VectorLoader(Loader):
        format = Format.BINARY

        def load(self, data):
            return np.frombuffer(bytes(data)[4:], ">f4").astype(np.float32)

    class MicrosLoader(Loader):
        format = Format.BINARY

        def load(self, data):
            return Micros(struct.unpack(">q", data)[0])

    conn.adapters.register_dumper(Trajectory, TrajectoryDumper)
    conn.adapters.register_dumper(Micros, MicrosDumper)
    conn.adapters.register_loader(trajectory.oid, TrajectoryLoader)
    conn.adapters.register_loader(vector.oid, VectorLoader)
    conn.adapters.register_loader("timestamptz", MicrosLoader)


def one(conn, query, *args):
    """The only row of a query, fetched in binary."""
    rows = conn.execute(query, args, binary=True).fetchall()
    assert len(rows) == 1, rows
    return rows[0]


def random_walk(rng, n, dims):
    """A random walk on uneven times, minutes to months apart, and within 250 years, so that float64 tells them apart."""
    gaps = np.clip(np.exp(rng.normal(0, 3, n)) * DAY, 1, 300 * DAY).astype(np.int64)
    t = np.cumsum(gaps) + int(rng.integers(-25, 25)) * 365 * DAY
    x = np.cumsum(rng.normal(0, 1, (n, dims)), axis=0) + rng.normal(0, 3, dims)
    return Trajectory(t, x)
