"""What views are tested on: two spaces of one model, tables of a user's own, and views of every type on them."""

import random
from dataclasses import dataclass

import numpy as np
from psycopg import sql

DIMS = 8
ENTITIES = 40
SLOTS = 30
PARTS = (0, 14, 28, ENTITIES)
GOLD = '{"tier": "gold"}'
METHODS = ("procrustes", "affine", "cca")
FEATURES = ["drift", "drift_l2", "speed", "path_length", "volatility", "stability_score"]


@dataclass(frozen=True)
class Target:
    """A table that is written to. `space`: its rows are written as rows of cvx.embedding or of the partition."""

    name: str
    table: str
    entity: str = "id"
    ts: str = "at"
    vec: str = "v"
    type: str = "bigint"
    space: bool = False

    def entity_id(self, number: int) -> str:
        return f"e{number:02}" if self.space else str(number)


SPACE_A = Target("a", "cvx_space.a", "entity_id", "ts", "vec", "text", True)
SPACE_B = Target("b", "cvx_space.b", "entity_id", "ts", "vec", "text", True)
PLAIN = Target("plain", "public.plain")
PARTED = Target("parted", "public.parted")
TARGETS = (SPACE_A, SPACE_B, PLAIN, PARTED)


@dataclass(frozen=True)
class View:
    name: str
    type: str
    target: Target | None
    config: dict
    policy: str = "on_ingest"
    entity_filter: dict | None = None
    owner: str = "postgres"

    def declaration(self) -> tuple[str, tuple]:
        """SQL that creates it, and its parameters."""
        from psycopg.types.json import Jsonb

        given = {"name": self.name, "type": self.type, "config": Jsonb(self.config), "refresh_policy": self.policy}
        if self.entity_filter is not None:
            given["entity_filter"] = Jsonb(self.entity_filter)
        if self.policy == "scheduled":
            given["schedule"] = "* * * * *"
        if self.target is None:
            given["model"] = "m"
        elif self.target.space:
            given["space"] = self.target.name
        else:
            columns = {"entity_column": "id", "ts_column": "at", "vector_column": "v"}
            given |= {"source_table": self.target.table, **columns}
        arguments = ", ".join(f"{name} => %s" + ("::regclass" if name == "source_table" else "") for name in given)
        return f"SELECT cvx.create_view({arguments})", tuple(given.values())


CHANGES = {"penalty": 4.0, "min_size": 2}
SOME = [SPACE_B.entity_id(i) for i in range(0, ENTITIES, 2)]
VIEWS = (
    View("tf_history", "temporal_features", SPACE_A, {"features": FEATURES, "history": True}),
    View("tf_some", "temporal_features", SPACE_B, {"window": "10 days"}, "manual", {"entity_ids": SOME}),
    View("tf_model", "temporal_features", None, {"features": FEATURES}),
    View("tf_plain", "temporal_features", PLAIN, {}, owner="maker"),
    View("tf_parted", "temporal_features", PARTED, {"features": FEATURES, "window": "8 days"}, owner="maker"),
    View("ds_gold", "drift_summary", SPACE_A, {"window": "7 days"}, entity_filter={"attrs": {"tier": "gold"}}),
    View("ds_model", "drift_summary", None, {"window": "6 days", "metric": "l2"}, "scheduled"),
    View("ds_history", "drift_summary", PLAIN, {"window": "7 days", "history": True}, owner="maker"),
    View("cp_model", "changepoint_cache", None, CHANGES),
    View("cp_parted", "changepoint_cache", PARTED, CHANGES, "scheduled", owner="maker"),
    View("co_query", "cohort_snapshot", PARTED, {"query": "SELECT id FROM public.cohort"}, owner="maker"),
    View("co_some", "cohort_snapshot", SPACE_B, {"window": "10 days"}, "manual", {"entity_ids": SOME[:8]}),
)
# ATTACH waits for no reader of the parent, only for those of the partition.
LOCKED = "cvx_space.a, cvx_space.b, public.plain, public.parted, public.parted_1, public.cohort"

TABLES = """
    CREATE ROLE maker;
    CREATE TABLE public.plain (id bigint, at timestamptz, v vector(8) NOT NULL, PRIMARY KEY (id, at));
    CREATE TABLE public.parted (id bigint, at timestamptz, v vector(8) NOT NULL, PRIMARY KEY (id, at))
        PARTITION BY RANGE (id);
    CREATE TABLE public.parted_0 PARTITION OF public.parted FOR VALUES FROM (0) TO (14);
    CREATE TABLE public.parted_1 PARTITION OF public.parted FOR VALUES FROM (14) TO (28);
    CREATE TABLE public.parted_2 PARTITION OF public.parted FOR VALUES FROM (28) TO (1000) PARTITION BY RANGE (at);
    CREATE TABLE public.parted_20 PARTITION OF public.parted_2 FOR VALUES FROM (MINVALUE) TO ('2026-01-15');
    CREATE TABLE public.parted_21 PARTITION OF public.parted_2 DEFAULT;
    CREATE TABLE public.cohort (id bigint PRIMARY KEY);
    INSERT INTO public.cohort SELECT i FROM generate_series(0, 39, 5) i;
    ALTER TABLE public.plain OWNER TO maker;
    ALTER TABLE public.parted OWNER TO maker;
    ALTER TABLE public.parted_0 OWNER TO maker;
    ALTER TABLE public.parted_1 OWNER TO maker;
    ALTER TABLE public.parted_2 OWNER TO maker;
    ALTER TABLE public.parted_20 OWNER TO maker;
    ALTER TABLE public.parted_21 OWNER TO maker;
    ALTER TABLE public.cohort OWNER TO maker;
"""

_base = np.random.default_rng(7)
DIRECTIONS = _base.normal(size=(ENTITIES, DIMS))
STEPS = _base.normal(size=(ENTITIES, SLOTS, DIMS)).cumsum(axis=1) * 0.15
TURN = np.linalg.qr(_base.normal(size=(DIMS, DIMS)))[0]


def stamp(slot: int) -> str:
    return f"2026-01-{slot + 1:02} 12:00:00+00"


def vector(target: Target, number: int, slot: int, noise: float) -> str:
    """A point of an entity's walk. Those of space b are those of space a, turned: there is something to align."""
    value = DIRECTIONS[number % ENTITIES] + STEPS[number % ENTITIES, slot % SLOTS]
    if target is SPACE_B:
        value = TURN @ value
    value = value + noise * np.sin(np.arange(1, DIMS + 1) * (1 + 100 * noise))
    return "[" + ",".join(f"{x:.5f}" for x in value) + "]"


def create(conn, rng: random.Random):
    """Fills an empty database with the extension."""
    conn.execute("SELECT cvx.create_space('a', %s), cvx.create_space('b', %s)", (DIMS, DIMS))
    conn.execute(TABLES)
    conn.execute("SELECT cvx.grant_admin('maker')")
    for target in TARGETS:
        rows = []
        for number in range(ENTITIES):
            for slot in rng.sample(range(SLOTS), 12):
                rows.append((target.entity_id(number), stamp(slot), vector(target, number, slot, 0.01)))
        insert(conn, target, rows, GOLD)
    conn.execute("SELECT cvx.create_model('m', 'v1', 'a')")
    conn.execute("SELECT cvx.create_model('m', 'v2', 'b', 'v1')")
    for view in VIEWS:
        create_view(conn, view)


def create_view(conn, view: View):
    """As its owner, who is then who computes it."""
    conn.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(view.owner)))
    try:
        conn.execute(*view.declaration())
    finally:
        if not conn.closed and not conn.broken:
            conn.execute("RESET ROLE")


def insert(conn, target: Target, rows: list, attrs: str | None = None, parent: bool = False, upsert: bool = False):
    """One statement; `parent`: of cvx.embedding, where the target is a space."""
    columns, values = [target.entity, target.ts, target.vec], ["e", "t::timestamptz", "v::vector"]
    values[0] = f"e::{target.type}"
    if target.space:
        columns, values = [*columns, "attrs"], [*values, "%(attrs)s::jsonb"]
    if parent and target.space:
        columns, values = ["space_id", *columns], [f"cvx.space_id('{target.name}')", *values]
    table = "cvx.embedding" if parent and target.space else target.table
    key = f"{'space_id, ' if target.space else ''}{target.entity}, {target.ts}"
    changed = f"{target.vec} = excluded.{target.vec}" + (", attrs = excluded.attrs" if target.space else "")
    action = f"DO UPDATE SET {changed}" if upsert else "DO NOTHING"
    query = f"""INSERT INTO {table} ({", ".join(columns)}) SELECT {", ".join(values)}
                FROM unnest(%(e)s::text[], %(t)s::text[], %(v)s::text[]) u(e, t, v) ON CONFLICT ({key}) {action}"""
    entities, times, vectors = (list(column) for column in zip(*rows))
    return conn.execute(query, {"e": entities, "t": times, "v": vectors, "attrs": attrs})
