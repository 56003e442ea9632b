"""The type's forms: what goes in comes out, whatever the session's settings, and limits are errors, not crashes."""

import numpy as np
import psycopg
import pytest
from trajectories import DAY, Micros, Trajectory, one, random_walk

ZONES = [
    "UTC",
    "Europe/London",
    "America/St_Johns",
    "Asia/Kathmandu",
    "Pacific/Kiritimati",
    "Africa/Monrovia",
    "<+07>-7",
    "<-13:59>13:59",
]
STYLES = ["ISO, MDY", "SQL, DMY", "Postgres, MDY", "German, DMY", "ISO, YMD"]
FIRST, LAST = -211_813_488_000_000_000, 9_223_371_331_199_999_999  # 4714-11-24 BC, 294276-12-31 23:59:59.999999


def samples(count=60):
    """Trajectories of many shapes, among them extreme times and values."""
    rng = np.random.default_rng(77)
    for i in range(count):
        yield random_walk(rng, int(rng.integers(0, 60)), [1, 2, 3, 17, 384][i % 5])
    bits = rng.integers(0, 2**32, 4000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    yield Trajectory(np.arange(400), np.where(np.isfinite(bits), bits, 0).reshape(400, 10))
    extreme = [0.0, -0.0, 1e-45, -1e-45, 3.4028235e38, -3.4028235e38, 1.1754944e-38, 0.1, 1 / 3, 16777217]
    yield Trajectory([FIRST, -1, 0, 1, LAST], np.resize(np.array(extreme, np.float32), (5, 10)))
    # Both sides of clock changes, local mean times with seconds, the end of the 32-bit epoch.
    instants = [
        "1840-01-01 00:00:00.000001",
        "1883-11-18 12:03:58",
        "1947-04-13 01:30",
        "2026-03-29 00:59:59.999999",
        "2026-03-29 01:00",
        "2026-10-25 00:30",
        "2026-10-25 01:30",
        "2038-01-19 03:14:08",
    ]
    t = (np.array(instants, "datetime64[us]") - np.datetime64("2000-01-01", "us")).astype(np.int64)
    yield Trajectory(t, np.arange(len(t))[:, None])


def bits(walk):
    return walk.t.tolist(), walk.x.view(np.uint32).tolist()


def test_binary_round_trip(typed):
    for walk in samples():
        assert bits(one(typed, "SELECT %s::cvx.trajectory", walk)[0]) == bits(walk)


def test_binary_copy_round_trip(typed):
    typed.execute("CREATE TEMP TABLE a (id int, t cvx.trajectory); CREATE TEMP TABLE b (LIKE a)")
    with typed.cursor() as cursor:
        for i, walk in enumerate(samples()):
            cursor.execute("INSERT INTO a VALUES (%s, %s)", (i, walk))
        with cursor.copy("COPY a TO STDOUT (FORMAT binary)") as out:
            data = b"".join(bytes(part) for part in out)
        with cursor.copy("COPY b FROM STDIN (FORMAT binary)") as into:
            into.write(data)
        with cursor.copy("COPY b TO STDOUT (FORMAT binary)") as out:
            assert b"".join(bytes(part) for part in out) == data


def test_text_round_trip_under_any_settings(typed):
    """Written under one TimeZone and DateStyle, read under another."""
    typed.execute("CREATE TEMP TABLE a (id int, t cvx.trajectory, said text)")
    for i, walk in enumerate(samples()):
        typed.execute("INSERT INTO a VALUES (%s, %s)", (i, walk))
    settings = "SELECT set_config('TimeZone', %s, false), set_config('DateStyle', %s, false), set_config('extra_float_digits', %s, false)"
    rng = np.random.default_rng(3)
    for zone in ZONES:
        typed.execute(settings, (zone, str(rng.choice(STYLES)), str(rng.integers(-15, 4))))
        typed.execute("UPDATE a SET said = t::text")
        typed.execute(settings, (str(rng.choice(ZONES)), str(rng.choice(STYLES)), "1"))
        # Send, since = takes -0 for 0.
        changed = typed.execute(
            "SELECT id FROM a WHERE cvx.trajectory_send(said::cvx.trajectory) <> cvx.trajectory_send(t)"
        ).fetchall()
        assert changed == [], zone


def test_text_form(typed):
    walk = Trajectory([0, 1_500_000], [[0.1, -2], [1e-45, 16777216]])
    typed.execute("SET TimeZone = 'Asia/Kathmandu'")
    (text,) = typed.execute("SELECT %s::cvx.trajectory::text", (walk,)).fetchone()
    assert text == "{[0.1,-2]@2000-01-01 05:45:00+05:45, [1e-45,1.6777216e+07]@2000-01-01 05:45:01.5+05:45}"


@pytest.mark.parametrize(
    "text",
    [
        "{[1,2]@2026-01-01 00:00:00+00,[3,4]@2026-01-02 00:00:00+00}",
        "  { [ 1 , 2e0 ] @ 2026-01-01 01:00:00+01 ,\n [3.0,+4]@2026-01-02T00:00:00Z } ",
        "{[1,2]@January 1 2026 UTC, [3,.4e1]@20260102 00:00 UTC}",
    ],
)
def test_text_is_read_leniently(typed, text):
    expected = Trajectory([9497 * DAY, 9498 * DAY], [[1, 2], [3, 4]])
    assert one(typed, "SELECT %s::cvx.trajectory", text)[0] == expected


@pytest.mark.parametrize(
    "text, code",
    [
        ("", "22P02"),
        ("{", "22P02"),
        ("}", "22P02"),
        ("{}x", "22P02"),
        ("{[]@2026-01-01}", "22P02"),
        ("{[1]}", "22P02"),
        ("{[1]@}", "22P02"),
        ("{[1]@2026-01-01,}", "22P02"),
        ("{[1,]@2026-01-01}", "22P02"),
        ("{[1 2]@2026-01-01}", "22P02"),
        ("{[0x1]@2026-01-01}", "22P02"),
        ("{[NaN]@2026-01-01}", "22P02"),
        ("{[1e39]@2026-01-01}", "22P02"),
        ("{[-inf]@2026-01-01}", "22P02"),
        ("{[1]@infinity}", "22008"),
        ("{[1]@yesterdayish}", "22007"),
        ("{[1]@2026-02-30}", "22008"),
        ("{[1]@2026-01-01 00:00 Mars/Phobos}", "22023"),
        ("{[1]@400000-01-01}", "22008"),
        ("{[1]@2026-01-01, [1]@2026-01-01}", "22000"),
        ("{[1]@2026-01-02, [1]@2026-01-01}", "22000"),
        ("{[1]@2026-01-01, [1,2]@2026-01-02}", "22000"),
    ],
)
def test_bad_text(typed, text, code):
    with pytest.raises(psycopg.Error) as error:
        typed.execute("SELECT %s::cvx.trajectory", (text,))
    assert error.value.sqlstate == code
    if code == "22P02":
        assert error.value.diag.message_detail.startswith("At byte ") and error.value.diag.message_hint


def test_sixteen_thousand_dimensions(typed):
    rng = np.random.default_rng(16)
    walk = Trajectory([0, DAY, 3 * DAY], rng.normal(size=(3, 16_000)))
    typed.execute("CREATE TEMP TABLE wide (t cvx.trajectory)")
    typed.execute("INSERT INTO wide VALUES (%s)", (walk,))
    back, text, dims, length = one(
        typed, "SELECT t, t::text::cvx.trajectory, cvx.dims(t), cvx.path_length(t) FROM wide"
    )
    assert bits(back) == bits(walk) == bits(text) and dims == 16_000
    assert length == pytest.approx(np.linalg.norm(np.diff(walk.x.astype(float), axis=0), axis=1).sum())
    (count,) = one(typed, "SELECT count(*) FROM wide, cvx.points(t) WHERE vector_dims(vec) = 16000")
    assert count == 3
    with pytest.raises(psycopg.Error) as error:
        typed.execute("SELECT ('{[' || repeat('1,', 16000) || '1]@2026-01-01}')::cvx.trajectory")
    assert error.value.sqlstate in ("22P02", "54000") and "16000" in str(error.value.diag.message_detail)
    too_wide = Trajectory([0], np.ones((1, 16_001)))
    with pytest.raises(psycopg.errors.InvalidBinaryRepresentation, match="16001 dimensions"):
        one(typed, "SELECT %s::cvx.trajectory", too_wide)


WIDE = "array_fill(0.1234567, ARRAY[16000])::vector"
MOST = (0x3FFFFFFF - 16) // (8 + 4 * 16_000)  # points of 16 000 dimensions in 1 GB


def test_aggregate_past_one_gigabyte(typed):
    query = f"SELECT cvx.num_points(cvx.trajectory_agg(to_timestamp(i), v)) FROM generate_series(1, %s) i, (SELECT {WIDE}) q(v)"
    assert one(typed, query, MOST) == (MOST,)
    with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="exceeds 1 GB") as error:
        one(typed, query, MOST + 1)
    assert error.value.diag.message_hint
    assert one(typed, "SELECT 1") == (1,)


def test_operations_past_one_gigabyte(typed):
    """Two halves of 0.6 GB each: together too large, and no text is written of them."""
    typed.execute("SET search_path = public, cvx")
    half = f"""SELECT resample(trajectory_agg(to_timestamp(%s + i * 9000), {WIDE}), '1 second') FROM generate_series(0, 1) i"""
    for expression in ["a || b", "b || a"]:
        with pytest.raises(
            psycopg.errors.ProgramLimitExceeded, match="18002 points with 16000 dimensions exceeds 1 GB"
        ):
            one(typed, f"SELECT num_points({expression}) FROM ({half}) x(a), ({half}) y(b)", 0, 20_000)
    with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="exceeds 1 GB"):
        one(typed, f"SELECT length(textin(trajectory_out(a))) FROM ({half}) x(a)", 0)
    with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="would have 10000000001 points") as error:
        one(typed, "SELECT resample('{[1]@2026-01-01 00:00+00, [2]@2026-01-01 02:46:40+00}', '0.000001 s')")
    assert error.value.diag.message_hint
    assert one(typed, "SELECT 1") == (1,)


def test_infinite_and_extreme_times(typed):
    query = "SELECT cvx.trajectory_agg(ts, '[1]') FROM unnest(ARRAY[%s::timestamptz, now()]) ts"
    for infinite in ("infinity", "-infinity"):
        with pytest.raises(psycopg.errors.DatetimeFieldOverflow) as error:
            one(typed, query, infinite)
        assert error.value.diag.message_hint
    walk = Trajectory([FIRST, LAST], [[1, 2], [3, 4]])
    found = one(
        typed,
        """SELECT cvx.value_at(t, '2000-01-01 00:00+00'), cvx.slice(t, '-infinity', 'infinity'), cvx.path_length(t),
                          cvx.velocity(t, '-infinity', '1000 years'), cvx.value_at(t, 'infinity'), cvx.num_points(cvx.resample(t, '1000000 days'))
                          FROM (SELECT %s::cvx.trajectory) q(t)""",
        walk,
    )
    share = -FIRST / (LAST - FIRST)
    np.testing.assert_allclose(found[0], [1 + 2 * share, 2 + 2 * share], rtol=1e-6)
    assert found[1] == walk and found[2] == pytest.approx(8**0.5) and found[4:] == (None, 110)
    np.testing.assert_allclose(found[3], np.full(2, 2 / (LAST - FIRST) * 360_000 * DAY), rtol=1e-6)


def test_stored_in_every_way(typed):
    """Short headers, out of line, compressed, in arrays and rows: all read alike."""
    typed.execute('CREATE TEMP TABLE s (id int, pad "char", t cvx.trajectory, u cvx.trajectory[])')
    typed.execute("ALTER TABLE s ALTER t SET STORAGE main")
    walks = [w for w in samples() if len(w.t)]
    for i, walk in enumerate(walks):
        constant = Trajectory(np.arange(500) * DAY, np.ones((500, 3)))
        typed.execute(
            "INSERT INTO s SELECT %s, 'x', t, ARRAY[t, %s, t] FROM (SELECT %s::cvx.trajectory) q(t)",
            (i, constant, walk),
        )
    rows = typed.execute(
        "SELECT t, u[1], u[3], cvx.path_length(u[2]), (ROW(1, t)).f2 FROM s ORDER BY id", binary=True
    ).fetchall()
    assert len(rows) == len(walks)
    for walk, (t, first, third, length, field) in zip(walks, rows):
        assert bits(walk) == bits(t) == bits(first) == bits(third) == bits(field) and length == 0


def test_equality_and_hash(typed):
    typed.execute("CREATE TEMP TABLE e (id int, t cvx.trajectory)")
    walks = list(samples(25))
    for i, walk in enumerate(walks * 2):
        typed.execute("INSERT INTO e VALUES (%s, %s)", (i % len(walks), walk))
    typed.execute("SET enable_sort = off")
    assert one(typed, "SELECT count(DISTINCT id), count(*) FROM e") == (len(walks), 2 * len(walks))
    distinct = len({str(bits(w)) for w in walks})
    assert one(typed, "SELECT count(*) FROM (SELECT t FROM e GROUP BY t) q") == (distinct,)
    typed.execute("SET search_path = public, cvx")
    typed.execute("SET enable_nestloop = off")
    same = sum(str(bits(a)) == str(bits(b)) for a in walks for b in walks)
    assert one(typed, "SELECT count(*) FROM e a JOIN e b ON a.t = b.t") == (4 * same,)
    zeros = one(
        typed,
        """SELECT a = b, a <> b, trajectory_hash(a) = trajectory_hash(b), trajectory_hash_extended(a, 7) = trajectory_hash_extended(b, 7)
                          FROM (SELECT '{[0,1]@2026-01-01}'::trajectory, '{[-0,1]@2026-01-01}'::trajectory) q(a, b)""",
    )
    assert zeros == (True, False, True, True)
    typed.execute("CREATE TEMP TABLE p (t trajectory) PARTITION BY HASH (t)")
    for i in range(4):
        typed.execute(f"CREATE TEMP TABLE p{i} PARTITION OF p FOR VALUES WITH (MODULUS 4, REMAINDER {i})")
    typed.execute("INSERT INTO p SELECT t FROM e")
    assert one(typed, "SELECT count(*), count(DISTINCT tableoid) FROM p") == (2 * len(walks), 4)
    typed.execute("CREATE INDEX ON e USING hash (t); SET enable_seqscan = off")
    assert one(typed, "SELECT count(*) FROM e WHERE t = %s", walks[3])[0] >= 2


def test_accessors(typed):
    for walk in samples(20):
        if len(walk.t) < 2:
            continue
        query = """SELECT cvx.num_points(t), cvx.dims(t), cvx.start_ts(t), cvx.end_ts(t), extract(epoch FROM cvx.duration(t)),
                          ARRAY(SELECT ts FROM cvx.points(t)), cvx.slice(t, %s, %s), cvx.append(cvx.slice(t, NULL, %s), %s, %s)
                   FROM (SELECT %s::cvx.trajectory) q(t)"""
        middle = Micros(walk.t[len(walk.t) // 2])
        before, last = Micros(walk.t[-1] - 1), Micros(walk.t[-1])
        vector = "[" + ",".join(repr(float(v)) for v in walk.x[-1]) + "]"
        found = one(typed, query, middle, last, before, last, vector, walk)
        assert found[:4] == (len(walk.t), walk.x.shape[1], walk.t[0], walk.t[-1])
        assert int(found[4] * 1_000_000) == int(walk.t[-1]) - int(walk.t[0])
        assert found[5] == walk.t.tolist() and found[7] == walk
        half = len(walk.t) // 2
        assert found[6] == Trajectory(walk.t[half:], walk.x[half:])
