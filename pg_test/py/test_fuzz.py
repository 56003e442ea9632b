"""Hostile input: 200 000 values through each of trajectory_recv and trajectory_in, from a fixed seed.

Whatever comes in, the server answers with the value or with an error of the classes that say what is wrong with the
data. It never answers with an internal error, and it never falls.
"""

import random
import struct
from collections import Counter

import numpy as np
import pytest
from psycopg.pq import ExecStatus
from trajectories import HEADER, Trajectory, random_walk

COUNT = 200_000
RECV_CODES = {
    "22000",  # equal or decreasing times, NaN, infinite values
    "22P03",  # not the binary form, or a time that PostgreSQL does not hold
}
TEXT_CODES = {
    "22000",  # mixed dimensions, equal or decreasing times
    "22007",
    "22008",
    "22009",
    "22023",  # PostgreSQL's own of a timestamp: form, range, offset, zone
    "22P02",  # not the text form
}
CHUNK = 40  # small enough for the buffers of a socket: neither side ever waits for the other to read


@pytest.fixture
def quiet(typed):
    """A connection whose expected errors do not fill the log."""
    typed.execute("SET log_min_messages = panic")
    return typed


def seeds():
    rng = np.random.default_rng(99)
    for _ in range(200):
        yield random_walk(rng, int(rng.integers(0, 12)), int(rng.integers(1, 9)))


SPECIAL_FLOATS = [
    struct.pack(">I", v) for v in (0x7FC00000, 0x7F800000, 0xFF800000, 0x80000000, 1, 0x7F7FFFFF, 0xFFFFFFFF)
]
SPECIAL_INTS = [struct.pack(">q", v) for v in (2**63 - 1, -(2**63), 0, -1, -211813488000000001, 9223371331200000000)]


def mutate_bytes(rng, data, other):
    """One change, of the kinds that a broken or hostile client makes."""
    data = bytearray(data)
    kind = rng.randrange(10)
    at = rng.randrange(len(data))
    if kind == 0:
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        data += rng.randbytes(rng.randrange(1, 20))
    elif kind == 3:
        data[at:at] = rng.randbytes(rng.randrange(1, 9))
    elif kind == 4:
        del data[at : at + rng.randrange(1, 9)]
    elif kind == 5:
        data[at:] = other[at:]
    elif kind == 6 and len(data) > 16:
        at = 8 + (at - 8) // 4 * 4 if at >= 8 else 8
        data[at : at + 4] = rng.choice(SPECIAL_FLOATS)
    elif kind == 7 and len(data) >= 16:
        at = 8 + (at - 8) // 8 * 8 if at >= 8 else 8
        data[at : at + 8] = rng.choice(SPECIAL_INTS)
    elif kind == 8:
        dims, n = rng.choice([0, 1, 2, 16_000, 16_001, 65_535]), rng.choice([0, 1, 2, 2**31 - 1, 2**31, 2**32 - 1])
        data[:8] = HEADER.pack(rng.choice([0, 1, 1, 1, 2]), rng.choice([0, 0, 0, 1]), dims, n)
    else:
        data[at : at + 4] = rng.randbytes(4)
    return bytes(data)


def binary_inputs():
    rng = random.Random(20260101)
    real = [walk.encode() for walk in seeds()]
    for i in range(COUNT):
        if i % 10 == 0:
            yield rng.randbytes(rng.randrange(120))
        elif i % 10 == 1:
            # A true header before random points: ends in value checks rather than in length checks.
            n, dims = rng.randrange(1, 5), rng.randrange(1, 5)
            yield HEADER.pack(1, 0, dims, n) + rng.randbytes(n * (8 + 4 * dims))
        else:
            data = rng.choice(real)
            for _ in range(rng.choice([1, 1, 1, 2, 5])):
                data = mutate_bytes(rng, data, rng.choice(real)) or b"\x01"
            yield data


def send_all(pgconn, inputs):
    """Each input as a binary parameter, dozens in flight; yields (input, SQLSTATE or None, output)."""
    pgconn.prepare(b"fuzz", b"SELECT $1::cvx.trajectory")
    pgconn.enter_pipeline_mode()
    while chunk := [data for _, data in zip(range(CHUNK), inputs)]:
        for data in chunk:
            pgconn.send_query_prepared(b"fuzz", [data], param_formats=[1], result_format=1)
            pgconn.pipeline_sync()
            pgconn.flush()
        for data in chunk:
            result = pgconn.get_result()
            if result.status == ExecStatus.TUPLES_OK:
                yield data, None, result.get_value(0, 0)
            else:
                yield data, result.error_field(ord("C")).decode(), None
            assert pgconn.get_result() is None
            assert pgconn.get_result().status == ExecStatus.PIPELINE_SYNC
    pgconn.exit_pipeline_mode()


def test_recv(quiet, server_log):
    codes = Counter()
    for data, code, back in send_all(quiet.pgconn, iter(binary_inputs())):
        codes[code] += 1
        assert code is None or code in RECV_CODES, (code, data.hex())
        if code is None:
            assert back == data
            Trajectory.decode(data)
    assert codes.total() == COUNT
    assert codes[None] > 5_000 and all(codes[code] > 5_000 for code in RECV_CODES), codes
    assert quiet.execute("SELECT 1").fetchone() == (1,)
    assert "XX0" not in server_log()


ALPHABET = "{}[]@,, . 0123456789eE+-naifNTZ:/ \t\n\x01\"'\\éあ"
SNIPPETS = [
    "infinity",
    "-infinity",
    "NaN",
    "inf",
    "1e39",
    "1e-60",
    "-0",
    "BC",
    "epoch",
    "now",
    "today",
    "+15:59:59",
    "+16",
    "Europe/London",
    "PST8PDT",
    "[]",
    "{}",
    "@@",
    "},{",
    "[[",
    "0x10",
    "1_000",
    "9" * 40,
    "294277-01-01",
    "4714-11-23 BC",
    "2026-02-30",
    "2026-01-01T00:00:60Z",
    "24:00:00",
    "J2451545",
    "٣",
    "\u202e",
    "[" * 50,
    "a" * 200,
]


def mutate_text(rng, text, other):
    kind = rng.randrange(7)
    at = rng.randrange(len(text) + 1)
    if kind == 0:
        return text[:at] + rng.choice(ALPHABET) + text[at:]
    if kind == 1:
        return text[:at] + text[at + rng.randrange(1, 6) :]
    if kind == 2:
        return text[:at] + rng.choice(SNIPPETS) + text[at + rng.randrange(6) :]
    if kind == 3:
        return text[:at]
    if kind == 4:
        return text[:at] + other[rng.randrange(len(other) + 1) :]
    if kind == 5:
        return text[:at] + rng.choice(ALPHABET) + text[at + 1 :]
    points = text.strip("{}").split(", ")
    rng.shuffle(points)
    return "{" + ", ".join(points) + "}"


def text_inputs(real):
    rng = random.Random(20260102)
    for i in range(COUNT):
        if i % 10 == 0:
            yield "".join(rng.choices(ALPHABET, k=rng.randrange(80)))
        else:
            text = rng.choice(real)
            for _ in range(rng.choice([1, 1, 1, 2, 5])):
                text = mutate_text(rng, text, rng.choice(real))
            yield text


TRY_ALL = """
DO $$
DECLARE
    r record;
    t cvx.trajectory;
BEGIN
    FOR r IN SELECT id, said FROM fuzz ORDER BY id LOOP
        BEGIN
            t := r.said::cvx.trajectory;
            INSERT INTO verdict VALUES (r.id, NULL, cvx.trajectory_send(t::text::cvx.trajectory) = cvx.trajectory_send(t));
        EXCEPTION WHEN OTHERS THEN
            INSERT INTO verdict VALUES (r.id, SQLSTATE, NULL);
        END;
    END LOOP;
END
$$
"""


def test_in(quiet, server_log):
    real = [quiet.execute("SELECT %s::cvx.trajectory::text", (walk,)).fetchone()[0] for walk in seeds()]
    quiet.execute(
        "CREATE TEMP TABLE fuzz (id int, said text); CREATE TEMP TABLE verdict (id int, code text, same bool)"
    )
    with quiet.cursor() as cursor, cursor.copy("COPY fuzz FROM STDIN") as copy:
        for row in enumerate(text_inputs(real)):
            copy.write_row(row)
    quiet.execute(TRY_ALL)
    codes = dict(quiet.execute("SELECT code, count(*) FROM verdict GROUP BY 1").fetchall())
    assert sum(codes.values()) == COUNT
    assert set(codes) <= {None, *TEXT_CODES}, codes
    assert codes[None] > 5_000 and all(codes[code] > 20 for code in TEXT_CODES), codes
    assert quiet.execute("SELECT count(*) FROM verdict WHERE NOT same").fetchone() == (0,)
    assert "XX0" not in server_log()
