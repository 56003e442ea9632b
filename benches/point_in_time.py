"""cvx.create_training_set over 3 views, against LEFT JOIN LATERAL ... LIMIT 1 on the same histories.

100 000 rows of a spine, 20 000 entities of 20 points. Bar: no slower, by what is known now and by what was known then.
Also what the histories cost: their first computation, a point more for 1 % of the entities, cvx.features_as_of.
"""

import sys

import harness

ENTITIES, POINTS, DIMS, SPINE = 20_000, 20, 8, 100_000
ROUNDS = 5
VIEWS = {
    "features": ("temporal_features", '{"history": true}'),
    "recent": ("temporal_features", '{"history": true, "window": "7 days"}'),
    "weekly": ("drift_summary", '{"history": true, "window": "7 days"}'),
}


def load(conn) -> None:
    conn.execute("SELECT setseed(0.5), cvx.create_space('bench', %s)", [DIMS])
    conn.execute(f"""
        INSERT INTO cvx_space.bench (entity_id, ts, vec, ingested_at)
        SELECT 'user-' || e, ts, (SELECT array_agg(random() + 0 * (e + d)) FROM generate_series(1, {DIMS}) d)::vector,
            ts
        FROM generate_series(1, {ENTITIES}) e, generate_series(0, {POINTS - 1}) i,
            LATERAL (SELECT '2026-01-01'::timestamptz + (i + random()) * interval '1 day'
                + 0 * e * interval '1 s') t(ts)""")
    conn.execute(f"""
        CREATE TABLE spine AS SELECT 'user-' || (1 + floor(random() * {ENTITIES}))::int AS entity_id,
            '2026-01-01'::timestamptz + random() * interval '{POINTS} days' AS ts, random() < 0.1 AS label
        FROM generate_series(1, {SPINE})""")
    conn.execute("VACUUM (ANALYZE) cvx.embedding, spine")


def features(conn, view: str) -> list[str]:
    """The columns of a view that a training set has."""
    query = """SELECT attname FROM pg_attribute
        WHERE attrelid = %s::regclass AND attnum > 0 AND attname <> ALL (%s) ORDER BY attnum"""
    others = ["entity_id", "valid_from", "valid_to", "known_from", "known_to", "computed_at"]
    others += ["num_points", "start_ts", "end_ts", "window_start", "window_end"]
    rows = conn.execute(query, [f"cvx_view_history.{view}", others])
    return [it for (it,) in rows] + ["valid_from"]


def idiom(conn, bitemporal: bool) -> str:
    selected, joined = [], []
    known = "h.known_from <= s.ts AND h.known_to > s.ts" if bitemporal else "h.known_to = 'infinity'"
    for view in VIEWS:
        columns = features(conn, view)
        selected += [f"{view}.{it} AS {view}_{it}" for it in columns]
        joined.append(f"""
            LEFT JOIN LATERAL (SELECT {", ".join(columns)} FROM cvx_view_history.{view} h
                WHERE h.entity_id = s.entity_id AND h.valid_from <= s.ts AND {known}
                ORDER BY h.valid_from DESC LIMIT 1) {view} ON true""")
    return f"SELECT s.*, {', '.join(selected)} FROM spine s {' '.join(joined)}"


def compare(conn, bitemporal: bool) -> bool:
    query = idiom(conn, bitemporal)

    def ours():
        conn.execute("SELECT cvx.create_training_set('bench', 'spine', %s, %s)", [list(VIEWS), bitemporal])
        conn.execute("SELECT cvx.drop_training_set('bench')")

    def theirs():
        conn.execute(f"CREATE TABLE theirs AS {query}")
        conn.execute("DROP TABLE theirs")

    first, second = harness.alternate(ours, theirs, ROUNDS)
    conn.execute("SELECT cvx.create_training_set('bench', 'spine', %s, %s)", [list(VIEWS), bitemporal])
    differences = conn.execute(f"""
        SELECT count(*) FROM ((SELECT * FROM cvx_training.bench EXCEPT ALL {query})
                              UNION ALL (({query}) EXCEPT ALL SELECT * FROM cvx_training.bench)) d""").fetchone()
    assert differences == (0,), differences
    conn.execute("SELECT cvx.drop_training_set('bench')")
    name = "what was known then" if bitemporal else "what is known now"
    print(f"  {name}: create_training_set {first:.2f} s, LEFT JOIN LATERAL {second:.2f} s")
    return harness.report(f"training set, {name}, over the idiom", first / second, 1, at_least=False)


def main() -> bool:
    conn = harness.connect()
    conn.execute("SET timezone = 'UTC'")
    load(conn)
    for view, (kind, config) in VIEWS.items():
        conn.execute(
            "SELECT cvx.create_view(%s, %s, space => 'bench', refresh_policy => 'manual', config => %s)",
            [view, kind, config],
        )
        took = harness.seconds(lambda: conn.execute("SELECT cvx.refresh_view(%s)", [view]))
        rows, size = conn.execute(
            f"""SELECT count(*), pg_total_relation_size('cvx_view_history.{view}') / count(*)
                FROM cvx_view_history.{view}"""
        ).fetchone()
        print(f"  {view}: {rows} versions in {took:.1f} s, {1e6 * took / rows:.0f} us and {size} bytes each")
    conn.execute("VACUUM (ANALYZE) cvx_view_history.features, cvx_view_history.recent, cvx_view_history.weekly")
    met = [compare(conn, bitemporal) for bitemporal in (False, True)]
    more = ENTITIES // 100
    conn.execute(f"""
        INSERT INTO cvx_space.bench (entity_id, ts, vec, ingested_at)
        SELECT DISTINCT ON (entity_id) entity_id, ts + interval '1 hour', vec, ingested_at + interval '1 hour'
        FROM cvx.embedding WHERE entity_id IN (SELECT 'user-' || e * 100 FROM generate_series(1, {more}) e)
        ORDER BY entity_id, ts DESC""")
    for view in VIEWS:
        took = harness.seconds(lambda: conn.execute("SELECT cvx.refresh_view(%s)", [view]))
        print(f"  {view}: a point more for {more} entities in {1000 * took:.0f} ms")
    calls = 20_000
    took = harness.seconds(
        lambda: conn.execute(
            f"""SELECT count(cvx.features_as_of('features', 'user-' || n, '2026-01-10'))
                FROM generate_series(1, {calls}) n"""
        )
    )
    print(f"  features_as_of: {1e6 * took / calls:.0f} us a call")
    return all(met)


if __name__ == "__main__":
    sys.exit(not main())
