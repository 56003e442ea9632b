"""What three views cost whoever writes: COPY of 200 000 rows of 128 dimensions (20 000 entities), and single rows.

Bars: COPY into a space with three views at most 1.15 times the time of the same without, into the partition and through
cvx.embedding, of text (COPY's default) and of its binary form; a single-row INSERT, a transaction of its own, at most 30 microseconds more. The views are refreshed by
hand between the rounds, so that a worker's use of the processors is not taken for the writer's; what COPY takes while
the worker follows is printed as well. CVX_BENCH_ENTITIES sets another number of entities.
"""

import os
import statistics
import sys

import harness

ENTITIES = int(os.environ.get("CVX_BENCH_ENTITIES", 20_000))
POINTS, DIMS = 10, 128
ROUNDS = 5
INSERTS = 4_000
VIEWS = {
    "f": ("temporal_features", "{}"),
    "d": ("drift_summary", '{"window": "7 days"}'),
    "w": ("temporal_features", '{"window": "3 days", "features": ["drift", "speed"]}'),
}

INSERT = """
DO $$
BEGIN
    FOR i IN 1..%(count)s LOOP
        INSERT INTO cvx_space.bench (entity_id, ts, vec)
        VALUES ('e' || i %% 1000, timestamptz '2027-01-01' + i * interval '1 minute', '%(vector)s');
        %(commit)s
    END LOOP;
END $$"""


def create_views(conn, policy: str) -> None:
    for name, (type, config) in VIEWS.items():
        conn.execute("SELECT cvx.create_view(%s, %s, 'bench', refresh_policy => %s, config => %s)", [name, type, policy, config])


def drop_views(conn) -> None:
    conn.execute("SELECT cvx.drop_view(name) FROM cvx.view")


def empty(conn) -> None:
    conn.execute("TRUNCATE cvx_space.bench")
    for (name,) in conn.execute("SELECT name FROM cvx.view").fetchall():
        conn.execute("SELECT cvx.refresh_view(%s)", [name])
    conn.execute("VACUUM cvx.invalidation, cvx.stale")
    conn.execute("CHECKPOINT")


def alternate(conn, action, rounds: int, policy: str = "manual") -> tuple[float, float]:
    """Median times of the action with the three views and without, in turns; the first round does not count."""
    times = []
    for _ in range(rounds + 1):
        create_views(conn, policy)
        empty(conn)
        with_views = harness.seconds(action)
        (marked,) = conn.execute("SELECT coalesce(sum(entries), 0) FROM cvx.invalidation_log").fetchone()
        assert marked or policy != "manual"
        drop_views(conn)
        empty(conn)
        times.append((with_views, harness.seconds(action)))
    with_views, without = zip(*times[1:])
    return statistics.median(with_views), statistics.median(without)


def copies(conn, file) -> bool:
    (space_id,) = conn.execute("SELECT cvx.space_id('bench')").fetchone()
    # A file has no space_id, so that through the parent it comes by a default.
    conn.execute(f"ALTER TABLE cvx.embedding ALTER COLUMN space_id SET DEFAULT {space_id}")
    holds = True
    text = file.with_suffix(".text")
    conn.execute(f"COPY cvx_space.bench (entity_id, ts, vec) FROM '{file}' (FORMAT binary)")
    with text.open("wb") as out, conn.cursor().copy("COPY cvx_space.bench (entity_id, ts, vec) TO STDOUT") as rows:
        for data in rows:
            out.write(data)
    for name, target in (("the partition", "cvx_space.bench"), ("cvx.embedding", "cvx.embedding")):
        for form, source in (("text", text), ("binary", file)):
            copy = lambda: conn.execute(f"COPY {target} (entity_id, ts, vec) FROM '{source}' (FORMAT {form})")
            with_views, without = alternate(conn, copy, ROUNDS)
            print(f"  COPY of {form} into {name}: {with_views:.3f} s with three views, {without:.3f} s without")
            holds &= harness.report(f"times the time, COPY of {form} into {name}", with_views / without, 1.15, at_least=False)
    text.unlink()
    with_worker, without = alternate(conn, copy, ROUNDS, "on_ingest")
    print(f"  while the worker follows: {with_worker / without:.2f} times")
    return holds


def inserts(conn) -> bool:
    vector = "[" + ",".join(str(i % 7 + 1) for i in range(DIMS)) + "]"
    longest = 0.0
    for name, commit in (("in one transaction", ""), ("a transaction each", "COMMIT;")):
        statement = INSERT % {"count": INSERTS, "vector": vector, "commit": commit}
        with_views, without = alternate(conn, lambda: conn.execute(statement), ROUNDS)
        more = (with_views - without) / INSERTS * 1e6
        print(f"  INSERT, {name}: {with_views / INSERTS * 1e6:.1f} us with three views, {without / INSERTS * 1e6:.1f} us without")
        longest = max(longest, more)
    return harness.report("microseconds more of a single-row INSERT", longest, 30, at_least=False)


def main() -> bool:
    conn = harness.connect()
    conn.execute("SELECT cvx.create_space('bench', %s)", [DIMS])
    file = harness.files() / "marking.copy"
    with file.open("wb") as out:
        harness.copy_points(out.write, ENTITIES, POINTS, DIMS)
    holds = copies(conn, file) & inserts(conn)
    file.unlink()
    harness.drop_database(conn)
    return holds


if __name__ == "__main__":
    sys.exit(not main())
