"""What views must hold, in numpy, and tables of several kinds for them to read.

A source is what a view reads: `write` and `delete` change it and keep count of its points, from which `expected_...` tell
what the view must hold. Rows are dicts by key: (entity_id,), or (entity_id, window_start) or (entity_id, ts).
"""

import uuid
from datetime import datetime, timedelta, timezone

import numpy as np
import oracle
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from trajectories import DAY, Micros, Trajectory

EPOCH = datetime(2000, 1, 1, tzinfo=timezone.utc)
# 2026-01-01, where the data begin.
START = 9497 * DAY
HOUR = DAY // 24
DIMS = 5

FEATURES = {
    "drift": lambda t, x, metric, unit: oracle.drift(t, x, metric),
    "drift_l2": lambda t, x, metric, unit: oracle.drift(t, x, "l2"),
    "velocity": lambda t, x, metric, unit: oracle.velocity(t, x, None, unit),
    "speed": lambda t, x, metric, unit: oracle.speed(t, x, None, unit),
    "mean_speed": lambda t, x, metric, unit: oracle.mean_speed(t, x, unit),
    "acceleration": lambda t, x, metric, unit: oracle.acceleration(t, x, None, unit),
    "path_length": lambda t, x, metric, unit: oracle.path_length(t, x),
    "efficiency": lambda t, x, metric, unit: oracle.efficiency(t, x),
    "volatility": lambda t, x, metric, unit: oracle.volatility(t, x, unit),
    "drift_entropy": lambda t, x, metric, unit: oracle.drift_entropy(t, x),
    "stability_score": lambda t, x, metric, unit: oracle.stability_score(t, x),
    "hurst": lambda t, x, metric, unit: oracle.hurst(t, x),
}


BY_PGVECTOR = ("centroid_distance", "mean_divergence", "divergences")


def timestamp(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=int(micros))


def vector_text(x) -> str:
    return "[" + ",".join(str(value) for value in x) + "]"


def walk(rng, n: int, dims: int = DIMS) -> tuple[np.ndarray, np.ndarray]:
    """A random walk from 2026 on, minutes to three days apart."""
    t = START + np.cumsum(rng.integers(60, 3 * 86_400, n)) * 1_000_000 + rng.integers(0, 1000, n)
    x = rng.normal(0, 2, dims) + np.cumsum(rng.normal(0, 1, (n, dims)), axis=0)
    return t, x.astype(np.float32)


class Source:
    """A table with vectors, and the points in it."""

    def __init__(self, conn, table: sql.Composable, columns=("entity_id", "ts", "vec"), key=str, half=False, **arguments):
        self.conn, self.table, self.columns, self.key, self.half = conn, table, columns, key, half
        self.arguments = arguments
        self.data: dict = {}

    def write(self, entity, t, x):
        """Adds points to an entity, or replaces those of the same times."""
        entity = self.key(entity)
        x = np.asarray(x, np.float32)
        if self.half:
            x = x.astype(np.float16).astype(np.float32)
        key, ts, vec = map(sql.Identifier, self.columns)
        query = sql.SQL(
            "WITH d AS (DELETE FROM {table} WHERE {key} = %s AND {ts} = ANY (%s)) "
            "INSERT INTO {table} ({key}, {ts}, {vec}) SELECT %s, u.* FROM unnest(%s::timestamptz[], %s::{type}[]) u"
        ).format(table=self.table, key=key, ts=ts, vec=vec, type=sql.SQL("halfvec" if self.half else "vector"))
        if self.arguments.get("source_table") is None:
            # With a primary key, over which an upsert goes.
            query = sql.SQL(
                "INSERT INTO {table} ({key}, {ts}, {vec}) SELECT %s, u.* FROM unnest(%s::timestamptz[], %s::vector[]) u"
                " ON CONFLICT (space_id, entity_id, ts) DO UPDATE SET vec = EXCLUDED.vec"
            ).format(table=self.table, key=key, ts=ts, vec=vec)
            values = ()
        else:
            values = (entity, [timestamp(v) for v in t])
        self.conn.execute(query, (*values, entity, [timestamp(v) for v in t], [vector_text(v) for v in x]))
        points = self.data.setdefault(entity, {})
        points.update(zip(map(int, t), x))

    def delete(self, entity, t=None):
        """Some points of an entity, or all."""
        entity = self.key(entity)
        key, ts, _ = map(sql.Identifier, self.columns)
        times = list(self.data[entity]) if t is None else [int(v) for v in t]
        query = sql.SQL("DELETE FROM {} WHERE {} = %s AND {} = ANY (%s)").format(self.table, key, ts)
        self.conn.execute(query, (entity, [timestamp(v) for v in times]))
        for v in times:
            del self.data[entity][v]
        if not self.data[entity]:
            del self.data[entity]

    def points(self) -> dict:
        """(t, x) of each entity."""
        found = {}
        for entity, points in self.data.items():
            t = np.array(sorted(points), np.int64)
            found[entity] = t, np.stack([points[int(v)] for v in t])
        return found

    def changepoints(self, entity, t, x, options: dict):
        """What the function says of the trajectory."""
        arguments = "".join(f", {name} => %({name})s" for name in options)
        query = f"SELECT ts, index, severity FROM cvx.changepoints(%(t)s::cvx.trajectory{arguments})"
        return self.conn.execute(query, {"t": Trajectory(t, x), **options}, binary=True).fetchall()


class ModelSource(Source):
    """Two versions of a model, aligned; written to the second."""

    def __init__(self, conn, model: str):
        self.model = model
        second = sql.Identifier("cvx_space", f"{model}-2")
        super().__init__(conn, second, model=model)

    def points(self) -> dict:
        """As cvx.canonical_trajectory says."""
        spaces = sql.SQL("SELECT entity_id FROM {} UNION SELECT entity_id FROM {} ORDER BY 1")
        entities = self.conn.execute(spaces.format(sql.Identifier("cvx_space", f"{self.model}-1"), self.table)).fetchall()
        found = {}
        for (entity,) in entities:
            query = "SELECT ts, vec FROM cvx.canonical_trajectory(%s, %s) ORDER BY ts"
            t, x = zip(*self.conn.execute(query, (entity, self.model), binary=True))
            found[entity] = np.array(t, np.int64), np.stack(x)
        return found

    def changepoints(self, entity, t, x, options: dict):
        arguments = "".join(f", {name} => %({name})s" for name in options)
        columns = "ts, severity, classification, model_boundary, confidence, alignment_residual, alignment_error, model_version"
        query = f"SELECT {columns} FROM cvx.model_changepoints(%(entity)s, %(model)s{arguments})"
        return self.conn.execute(query, {"entity": entity, "model": self.model, **options}, binary=True).fetchall()


def space_source(conn, name: str) -> Source:
    conn.execute("SELECT cvx.create_space(%s, %s)", (name, DIMS))
    return Source(conn, sql.Identifier("cvx_space", name), space=name)


def model_source(conn, name: str) -> ModelSource:
    """The second space is the first one turned; 30 entities in both align them."""
    rng = np.random.default_rng(77)
    rotation = np.linalg.qr(rng.normal(size=(DIMS, DIMS)))[0]
    first = space_source(conn, f"{name}-1")
    space_source(conn, f"{name}-2")
    source = ModelSource(conn, name)
    for i in range(30):
        t, x = walk(rng, 3)
        first.write(f"both {i:02}", t, x)
        source.write(f"both {i:02}", t, x @ rotation)
    conn.execute("SELECT cvx.create_model(%s, 'v1', %s)", (name, f"{name}-1"))
    conn.execute("SELECT cvx.create_model(%s, 'v2', %s, 'v1')", (name, f"{name}-2"))
    return source


def table_source(conn, name: str, key_type="text", vector_type="vector", columns=("entity_id", "ts", "vec"), more="", key=str):
    """A table of a user's own; `more` follows its columns."""
    table = sql.Identifier("public", name)
    of_columns = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(type))
        for column, type in zip(columns, (key_type, "timestamptz", vector_type))
    )
    conn.execute(sql.SQL("CREATE TABLE {} ({}) {}").format(table, of_columns, sql.SQL(more)))
    entity_column, ts_column, vector_column = columns
    return Source(
        conn,
        table,
        columns,
        key,
        vector_type.startswith("halfvec"),
        source_table=table.as_string(conn),
        entity_column=entity_column,
        ts_column=ts_column,
        vector_column=vector_column,
    )


def bigint_source(conn, name):
    return table_source(conn, name, "bigint", key=lambda entity: int(str(entity), 36))


def uuid_source(conn, name):
    return table_source(conn, name, "uuid", key=lambda entity: uuid.uuid5(uuid.NAMESPACE_URL, str(entity)))


def halfvec_source(conn, name):
    return table_source(conn, name, vector_type=f"halfvec({DIMS})")


def quoted_source(conn, name):
    return table_source(conn, f'{name} "Up" \'per\'', "varchar(40)", columns=('Who "is" it', "When", "Vec'tor"))


def partitioned_source(conn, name):
    """By time; one of the two partitions has partitions itself."""
    source = table_source(conn, name, "int", key=lambda entity: int(str(entity), 36) % 2**31, more="PARTITION BY RANGE (ts)")
    for statement in (
        "CREATE TABLE {0} PARTITION OF {table} FOR VALUES FROM (MINVALUE) TO ('2026-01-08')",
        "CREATE TABLE {1} PARTITION OF {table} FOR VALUES FROM ('2026-01-08') TO (MAXVALUE) PARTITION BY HASH (entity_id)",
        "CREATE TABLE {2} PARTITION OF {1} FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        "CREATE TABLE {3} PARTITION OF {1} FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    ):
        parts = [sql.Identifier("public", f"{name}_{i}") for i in range(4)]
        conn.execute(sql.SQL(statement).format(*parts, table=source.table))
    return source


SOURCES = {
    "space": space_source,
    "model": model_source,
    "bigint": bigint_source,
    "uuid": uuid_source,
    "halfvec": halfvec_source,
    "quoted": quoted_source,
    "partitioned": partitioned_source,
}


def create_view(conn, name, type, source: Source | None = None, **options):
    """Calls cvx.create_view; config and entity_filter are Python values."""
    arguments = {"name": name, "type": type, **(source.arguments if source else {}), **options}
    for key in ("config", "entity_filter"):
        if isinstance(arguments.get(key), (dict, list)):
            arguments[key] = Jsonb(arguments[key])
    listed = ", ".join(f"{key} => %({key})s" for key in arguments)
    conn.execute(f"SELECT cvx.create_view({listed})", arguments)


def refresh(conn, name, entities=None, force=False) -> int:
    return conn.execute("SELECT cvx.refresh_view(%s, %s, %s)", (name, entities, force)).fetchone()[0]


KEYS = {
    "temporal_features": ("entity_id",),
    "drift_summary": ("entity_id", "window_start"),
    "changepoint_cache": ("entity_id", "ts"),
    "cohort_snapshot": ("entity_id",),
}


def rows_of(conn, name, type, schema="cvx_view") -> dict:
    """The view's rows by key, as dicts. `conn` reads in binary (trajectories.register)."""
    with conn.cursor(row_factory=dict_row, binary=True) as cursor:
        # A name may be that of another view by now, with other columns.
        cursor.execute(sql.SQL("TABLE {}").format(sql.Identifier(schema, name)), prepare=False)
        found = {}
        for row in cursor:
            key = tuple(row.pop(column) for column in KEYS[type])
            assert key not in found, f"twice: {key}"
            found[key] = row
        return found


def view_row(conn, name) -> dict:
    """The row of cvx.views."""
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute("SELECT * FROM cvx.views WHERE name = %s", (name,)).fetchone()
    assert row is not None, f"no view {name}"
    return row


def stale_entities(conn, name) -> set:
    query = sql.SQL("SELECT DISTINCT entity_id FROM {} WHERE stale_since IS NOT NULL")
    return {entity for (entity,) in conn.execute(query.format(sql.Identifier("cvx_view", name)), prepare=False)}


def assert_rows(found: dict, expected: dict, fresh: bool = True) -> None:
    assert found.keys() == expected.keys(), (sorted(found.keys() ^ expected.keys(), key=str)[:10], len(found), len(expected))
    for key, row in found.items():
        row = dict(row)
        stale_since, computed_at = row.pop("stale_since"), row.pop("computed_at")
        assert computed_at is not None and (stale_since is None) == fresh, (key, stale_since)
        assert row.keys() == expected[key].keys(), (list(row), list(expected[key]))
        for column, value in expected[key].items():
            assert_value(row[column], value, (key, column))


def assert_value(found, expected, what) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), what
        for key in expected:
            assert_value(found[key], expected[key], (*what, key))
    elif isinstance(expected, (float, np.ndarray)) or (isinstance(expected, list) and expected and isinstance(expected[0], float)):
        assert found is not None, what
        # Vectors are float4, pgvector adds in float4 as well; elsewhere only the order of summation is another one.
        by_pgvector = isinstance(expected, np.ndarray) or what[-1] in BY_PGVECTOR
        relative = 1e-5 if by_pgvector else 1e-9
        scale = float(np.abs(expected).max(initial=0)) + (1 if by_pgvector else 0)
        np.testing.assert_allclose(found, expected, rtol=relative, atol=1e-3 * relative * scale, err_msg=str(what))
    else:
        assert found == expected, (what, found, expected)


def in_window(t, x, window):
    """The last points, from `window` microseconds before the last one."""
    if window is None:
        return t, x
    kept = t >= t[-1] - window
    return t[kept], x[kept]


def expected_features(points: dict, features, window=None, metric="cosine", unit=DAY, top=10) -> dict:
    expected = {}
    for entity, (t, x) in points.items():
        t, x = in_window(t, x, window)
        row = {"num_points": len(t), "start_ts": Micros(t[0]), "end_ts": Micros(t[-1])}
        for name in features:
            row[name] = report(t, x, top) if name == "drift_report" else FEATURES[name](t, x, metric, unit)
        expected[(entity,)] = row
    return expected


def report(t, x, top):
    found = oracle.drift_report(t, x, top)
    if found is None:
        return None
    l2, cosine, dims, changes = found
    return {"l2": l2, "cosine": cosine, "dimensions": [int(d) + 1 for d in dims], "changes": [float(v) for v in changes]}


def expected_summary(points: dict, width: int, origin: int = 0, metric="cosine", unit=DAY) -> dict:
    expected = {}
    for entity, (t, x) in points.items():
        starts = (t - origin) // width * width + origin
        for start in np.unique(starts):
            inside = starts == start
            t_in, x_in = t[inside], x[inside]
            drift = oracle.drift(t_in, x_in, metric)
            expected[entity, Micros(start)] = {
                "window_end": Micros(start + width),
                "count": len(t_in),
                "drift": drift,
                "rate": None if drift is None else drift / float(t_in[-1] - t_in[0]) * unit,
                "trend": oracle.drift_trend(t_in, x_in, metric, unit),
            }
    return expected


def expected_changepoints(source: Source, points: dict, options: dict) -> dict:
    names = ("index", "severity")
    if isinstance(source, ModelSource):
        names = ("severity", "classification", "model_boundary", "confidence")
        names += ("alignment_residual", "alignment_error", "model_version")
    expected = {}
    for entity, (t, x) in points.items():
        for ts, *values in source.changepoints(entity, t, x, options):
            expected[entity, ts] = dict(zip(names, values))
    return expected


def expected_cohort(points: dict, members, window=None, metric="cosine") -> dict:
    cohort = {entity: points[entity] for entity in members if entity in points}
    if not cohort:
        return {}
    if window is not None:
        end = max(int(t[-1]) for t, _ in cohort.values())
        cohort = {entity: (t[t >= end - window], x[t >= end - window]) for entity, (t, x) in cohort.items()}
        cohort = {entity: (t, x) for entity, (t, x) in cohort.items() if len(t)}
    means = {entity: x.astype(np.float64).mean(axis=0) for entity, (t, x) in cohort.items()}
    centroid = np.mean(list(means.values()), axis=0)
    expected = {}
    for entity, mean in means.items():
        others = sorted((other for other in means if other != entity), key=str if isinstance(entity, uuid.UUID) else None)
        apart = [distance(mean, means[other], metric) for other in others]
        expected[(entity,)] = {
            "num_points": len(cohort[entity][0]),
            "centroid_distance": distance(mean, centroid, metric),
            "mean_divergence": float(np.mean(apart)) if apart else None,
            "others": others or None,
            "divergences": apart or None,
        }
    return expected


def distance(a, b, metric) -> float:
    if metric == "l2":
        return float(np.linalg.norm(a - b))
    return float(1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
