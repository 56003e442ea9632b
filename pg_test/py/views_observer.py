"""Looks for rows of views that are wrong and say they are fresh.

A view's definition, cvx_view_definition.NAME, is what it has to be. In one snapshot: the rows of each entity that has a
fresh row are the rows of the definition, all of them and no others; and where the whole view says it is fresh, both are
equal as sets. Values are compared as text, which PostgreSQL prints so that it reads back the same: bit for bit. Storage
and definition call the same functions on the same points in the order of time, so nothing less is right.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from psycopg import sql
from psycopg.rows import dict_row
from views_world import LOCKED


@dataclass
class Rows:
    """Of one entity."""

    fresh: list = field(default_factory=list)
    stale: list = field(default_factory=list)
    definition: list = field(default_factory=list)


@dataclass
class Look:
    """What one snapshot showed of a view."""

    view: str
    entities: dict
    state: dict
    whole: bool
    fresh_rows: int = 0

    def wrong(self) -> list[str]:
        found = []
        for entity, rows in sorted(self.entities.items()):
            if rows.fresh and rows.stale:
                found.append(f"{entity} is fresh and stale at once: {rows.fresh} and {rows.stale}")
            elif rows.fresh and sorted(rows.fresh) != sorted(rows.definition):
                has = [row for row in rows.fresh if row not in rows.definition]
                lacks = [row for row in rows.definition if row not in rows.fresh]
                found.append(f"{entity} says it is fresh and has {has}, not {lacks}")
            elif self.says_fresh() and rows.stale:
                found.append(f"{entity} is stale though the view says it is fresh: {rows.stale}")
            elif self.says_fresh() and not rows.fresh and rows.definition:
                found.append(f"{entity} is missing though the view says it is fresh: {rows.definition}")
        return found

    def says_fresh(self) -> bool:
        return self.state["status"] == "fresh" and self.state["stale_entities"] == 0


def columns(conn, view: str) -> list[str]:
    query = """SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
               ORDER BY attnum"""
    return [name for (name,) in conn.execute(query, (f'cvx_view_definition."{view}"',))]


def look(conn, view: str, entities: list[str] | None = None) -> Look:
    """At some entities of a view, or at all of them, in one statement: one snapshot, whatever the isolation level."""
    values = sql.SQL(", ").join(sql.SQL("t.{}::text").format(sql.Identifier(name)) for name in columns(conn, view))
    query = sql.SQL("""
        SELECT 'state', status, stale_entities::text, NULL::text[] FROM cvx.views WHERE name = {name}
        UNION ALL
        SELECT CASE WHEN t.stale_since IS NULL THEN 'fresh' ELSE 'stale' END, t.entity_id::text, NULL, ARRAY[{values}]
        FROM cvx_view.{view} t {where}
        UNION ALL
        SELECT 'definition', t.entity_id::text, NULL, ARRAY[{values}] FROM cvx_view_definition.{view} t {where}
    """)
    where = sql.SQL("")
    if entities is not None:
        # Of the column's own type, so that the condition is one that the definition can push down.
        where = sql.SQL("WHERE t.entity_id = ANY({})").format(sql.Literal("{" + ",".join(entities) + "}"))
    query = query.format(name=sql.Literal(view), values=values, view=sql.Identifier(view), where=where)
    seen, state, count = defaultdict(Rows), None, 0
    for kind, key, stale, row in conn.execute(query):
        if kind == "state":
            state = {"status": key, "stale_entities": int(stale)}
        else:
            getattr(seen[key], kind).append(row)
            count += kind == "fresh"
    assert state is not None, f"cvx.views does not show {view}"
    return Look(view, dict(seen), state, entities is None, count)


def snapshot(conn):
    """One snapshot from here on. Locks that come first keep away TRUNCATE and DETACH, which snapshots do not see."""
    conn.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    conn.execute(f"LOCK TABLE {LOCKED} IN ACCESS SHARE MODE")
    conn.execute("SELECT 1")


def diagnosis(conn, view: str) -> str:
    """What cvx knows of a view, in the snapshot of the transaction: for whoever has to find out why it is wrong."""
    parts = []
    for what, query in {
        "view": "SELECT v.*, s.* FROM cvx.view v LEFT JOIN cvx.view_state s USING (view_id) WHERE name = %(view)s",
        "stale": """SELECT s.* FROM cvx.stale s JOIN cvx.view v USING (view_id) WHERE v.name = %(view)s
                    ORDER BY entity_id LIMIT 20""",
        "log": "SELECT *, xmin FROM cvx.invalidation ORDER BY dirty_at DESC LIMIT 30",
        "tracked": "SELECT * FROM cvx.tracked_table",
    }.items():
        rows = conn.cursor(row_factory=dict_row).execute(query, {"view": view}).fetchall()
        parts.append(f"  {what}: " + "\n        ".join(str(row) for row in rows))
    return "\n".join(parts)


# For each point of an entity, what the view's row would be if that point were the last: the current slice of a history.
HISTORY = {
    "tf_history": """
        SELECT entity_id::text, ts::text, coalesce(next, 'infinity')::text, num_points::text, drift::text,
               drift_l2::text, speed::text, path_length::text, volatility::text, stability_score::text
        FROM (SELECT p.entity_id, p.ts, lead(p.ts) OVER (PARTITION BY p.entity_id ORDER BY p.ts) AS next, f.*
              FROM cvx_space.a p,
                   LATERAL (SELECT cvx.num_points(t) AS num_points, cvx.drift(t) AS drift,
                                   cvx.drift(t, 'l2') AS drift_l2, cvx.speed(t) AS speed,
                                   cvx.path_length(t) AS path_length,
                                   cvx.volatility(t) AS volatility, cvx.stability_score(t) AS stability_score
                            FROM (SELECT cvx.trajectory_agg(q.ts, q.vec) AS t FROM cvx_space.a q
                                  WHERE q.entity_id = p.entity_id AND q.ts <= p.ts) x) f) y""",
    "ds_history": """
        SELECT id::text, at::text, coalesce(next, 'infinity')::text, start::text, finish::text, count::text, drift::text
        FROM (SELECT p.id, p.at, lead(p.at) OVER (PARTITION BY p.id ORDER BY p.at) AS next, w.*, f.*
              FROM public.plain p, LATERAL (SELECT date_bin('7 days', p.at, '2000-01-01') AS start) b,
                   LATERAL (SELECT b.start, b.start + '7 days' AS finish) w,
                   LATERAL (SELECT count(*) AS count, cvx.drift(cvx.trajectory_agg(q.at, q.v)) AS drift
                            FROM public.plain q WHERE q.id = p.id AND q.at >= b.start AND q.at <= p.at) f) y""",
}
STORED = {
    "tf_history": """SELECT entity_id::text, valid_from::text, valid_to::text, num_points::text, drift::text,
                            drift_l2::text, speed::text, path_length::text, volatility::text, stability_score::text
                     FROM cvx_view_history.tf_history WHERE known_to = 'infinity'""",
    "ds_history": """SELECT entity_id::text, valid_from::text, valid_to::text, window_start::text, window_end::text,
                            count::text, drift::text
                     FROM cvx_view_history.ds_history WHERE known_to = 'infinity'""",
}


def wrong_history(conn, view: str) -> list[str]:
    """How the current slice of a history differs from one computed from scratch, and versions that contradict."""
    wanted, found = set(conn.execute(HISTORY[view]).fetchall()), set(conn.execute(STORED[view]).fetchall())
    differs = [f"history lacks {row}" for row in sorted(wanted - found, key=str)[:5]]
    differs += [f"history has {row}" for row in sorted(found - wanted, key=str)[:5]]
    query = sql.SQL("""
        SELECT h::text FROM cvx_view_history.{view} h
        WHERE NOT (known_from < known_to AND valid_from < valid_to)
           OR EXISTS (SELECT FROM cvx_view_history.{view} o
                      WHERE o.entity_id = h.entity_id AND o.valid_from = h.valid_from AND o.known_from <> h.known_from
                        AND o.known_from < h.known_to AND h.known_from < o.known_to)""")
    found = conn.execute(query.format(view=sql.Identifier(view))).fetchall()
    return differs + [f"two versions at once: {row}" for (row,) in found[:5]]
