"""What views read, and every way in which it changes: the cases of test_watch.py.

A case is the SQL of one change and the entities that it touches. Names in braces are those of the target: `root` and
`leaf`, a table that a statement may name instead of it; `into` and `leaf_into` with the columns of a point, `key` what
stands before its values when they go into the root; `mine` the condition under which a row of the root is the target's.
"""

from dataclasses import dataclass, field

ENTITIES = ("a0", "a1", "a2", "m0", "m1", "m2")
ALL = set(ENTITIES)
# January's points of the entities that begin with m are those of the leaf, in a table with partitions.
POINTS = """SELECT e AS id, t AS at,
        format('[%s,%s,1]', extract(day FROM t), length(e) + ascii(right(e, 1)))::public.vector AS vec
    FROM unnest('{a0,a1,a2,m0,m1,m2}'::text[]) e,
         unnest('{2026-01-01,2026-01-02,2026-01-03,2026-01-04,2026-02-01,2026-02-02}'::timestamptz[]) t"""


@dataclass
class Target:
    """Something that a view reads, filled."""

    kind: str
    name: str
    root: str
    leaf: str
    # Arguments of cvx.create_view that name it.
    source: str
    id: str = "id"
    at: str = "at"
    key: str = ""
    mine: str = "true"
    extra: dict = field(default_factory=dict)

    def names(self) -> dict:
        columns = f"{self.id}, {self.at}, vec"
        return {
            "root": self.root,
            "leaf": self.leaf,
            "into": f"{self.root} ({'space_id, ' if self.key else ''}{columns})",
            "leaf_into": f"{self.leaf} ({columns})",
            "key": self.key,
            "mine": self.mine,
            "id": self.id,
            "at": self.at,
            "columns": columns,
            "n": self.name,
            "conflict": f"{'space_id, ' if self.key else ''}{self.id}, {self.at}",
            "dot": "cvx_space." if self.key else "",
            "march": "FOR VALUES FROM ('2026-03-01') TO ('2026-04-01')",
            **self.extra,
        }

    def sql(self, text: str) -> str:
        return text.format(**self.names())


def space(conn, name: str) -> Target:
    (number,) = conn.execute("SELECT cvx.create_space(%s, 3)", (name,)).fetchone()
    (other,) = conn.execute("SELECT cvx.create_space(%s, 3)", (f"{name}_other",)).fetchone()
    target = Target(
        "space",
        name,
        "cvx.embedding",
        f'cvx_space."{name}"',
        f"space => '{name}'",
        "entity_id",
        "ts",
        f"{number}, ",
        f"space_id = {number}",
        {"other": other, "number": number},
    )
    conn.execute(f"INSERT INTO {target.leaf} (entity_id, ts, vec) {POINTS}")
    return target


COLUMNS = "id text NOT NULL, at timestamptz NOT NULL, vec public.vector(3), note int DEFAULT 0, PRIMARY KEY (id, at)"


def table_source(relation: str) -> str:
    return f"source_table => '{relation}', entity_column => 'id', ts_column => 'at', vector_column => 'vec'"


def table(conn, name: str) -> Target:
    conn.execute(f"CREATE TABLE {name} ({COLUMNS})")
    conn.execute(f"INSERT INTO {name} (id, at, vec) {POINTS}")
    return Target("table", name, name, name, table_source(name))


def make_tree(conn, name: str):
    """Partitions at two levels: by entity, and those of m by month."""
    conn.execute(f"""
        CREATE TABLE {name} ({COLUMNS}) PARTITION BY RANGE (id);
        CREATE TABLE {name}_a PARTITION OF {name} FOR VALUES FROM (MINVALUE) TO ('m');
        CREATE TABLE {name}_m PARTITION OF {name} FOR VALUES FROM ('m') TO ('z') PARTITION BY RANGE (at);
        CREATE TABLE {name}_m1 PARTITION OF {name}_m FOR VALUES FROM (MINVALUE) TO ('2026-02-01');
        CREATE TABLE {name}_m2 PARTITION OF {name}_m FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
        INSERT INTO {name} (id, at, vec) {POINTS}""")


def tree(conn, name: str) -> Target:
    make_tree(conn, name)
    return Target("tree", name, name, f"{name}_m1", table_source(name))


def branch(conn, name: str) -> Target:
    """A view of one partition only, which is written through the table that it is part of as well."""
    make_tree(conn, name)
    return Target("branch", name, name, f"{name}_m1", table_source(f"{name}_m"), mine="id >= 'm'")


TARGETS = {"space": space, "table": table, "tree": tree, "branch": branch}
EVERY = tuple(TARGETS)
WHOLE = ("space", "table", "tree")
OWN = ("table", "tree", "branch")
TREES = ("tree", "branch")


@dataclass
class Case:
    name: str
    kinds: tuple
    statements: list
    touched: set
    prepare: list = field(default_factory=list)


def case(name, kinds, statements, touched, prepare=()):
    def as_list(it):
        return [it] if isinstance(it, str) else list(it)

    return Case(name, kinds, as_list(statements), set(touched), as_list(prepare))


FK = [
    "CREATE TABLE {n}_owner (id text PRIMARY KEY)",
    "INSERT INTO {n}_owner SELECT DISTINCT {id} FROM {root}",
    "ALTER TABLE {root} ADD FOREIGN KEY ({id}) REFERENCES {n}_owner ON DELETE CASCADE ON UPDATE CASCADE",
]
NEW_PARTITION = "CREATE TABLE {n}_m3 (LIKE {n}_m1 INCLUDING ALL)"
CHILD = [
    "CREATE TABLE {n}_child () INHERITS ({root})",
    "INSERT INTO {leaf_into} VALUES ('m0', '2026-01-20', '[1,1,1]')",
]
INTO_CHILD = (
    "INSERT INTO {n}_child (id, at, vec) VALUES ('m1', '2026-01-21', '[1,1,1]'), ('m2', '2026-01-21', '[1,1,1]')"
)

CASES = [
    case("insert", EVERY, "INSERT INTO {into} VALUES ({key}'m0', '2026-01-20', '[1,2,3]')", {"m0"}),
    case(
        "insert of many",
        WHOLE,
        "INSERT INTO {into} SELECT {key}{id}, {at} + interval '1 hour', vec FROM {root}"
        " WHERE {mine} AND {id} IN ('a1', 'm2')",
        {"a1", "m2"},
    ),
    case("insert of a new entity", EVERY, "INSERT INTO {into} VALUES ({key}'mnew', '2026-01-20', '[1,2,3]')", {"mnew"}),
    case("insert, leaf", EVERY, "INSERT INTO {leaf_into} VALUES ('m0', '2026-01-20', '[1,2,3]')", {"m0"}),
    case("update", EVERY, "UPDATE {root} SET vec = '[9,9,9]' WHERE {mine} AND {id} = 'm1'", {"m1"}),
    case("update, leaf", EVERY, "UPDATE {leaf} SET vec = '[9,9,9]' WHERE {id} = 'm1'", {"m1"}),
    case(
        "update of the entity to a new one",
        EVERY,
        "UPDATE {root} SET {id} = 'mnew' WHERE {mine} AND {id} = 'm1'",
        {"m1", "mnew"},
    ),
    case(
        "update of the entity to another",
        EVERY,
        "UPDATE {root} SET {id} = 'm2', {at} = {at} + interval '1 minute' WHERE {mine} AND {id} = 'm1'",
        {"m1", "m2"},
    ),
    case(
        "update of the time",
        EVERY,
        "UPDATE {root} SET {at} = {at} + interval '2 hours' WHERE {mine} AND {id} = 'm1'",
        {"m1"},
    ),
    case(
        "update into another partition",
        ("tree",),
        "UPDATE {root} SET id = 'm0', at = at + interval '1 minute' WHERE id = 'a0'",
        {"a0", "m0"},
    ),
    case(
        "update from partition to partition of a partition",
        TREES,
        "UPDATE {root} SET at = at + interval '40 days' WHERE id = 'm1' AND at < '2026-01-03'",
        {"m1"},
    ),
    case(
        "update out of the view's partition",
        ("branch",),
        "UPDATE {root} SET id = 'a0', at = at + interval '1 minute' WHERE id = 'm0'",
        {"m0", "a0"},
    ),
    case(
        "update into another space",
        ("space",),
        "UPDATE cvx.embedding SET space_id = {other} WHERE {mine} AND entity_id = 'a0'",
        {"a0"},
    ),
    case(
        "update of the whole key by a partition's name",
        ("space",),
        "UPDATE {leaf} SET entity_id = 'a1', ts = ts + interval '1 minute' WHERE entity_id = 'a0'",
        {"a0", "a1"},
    ),
    case(
        "upsert",
        EVERY,
        "INSERT INTO {into} VALUES ({key}'m0', '2026-01-01', '[5,5,5]'), ({key}'m1', '2026-01-20', '[5,5,5]')"
        " ON CONFLICT ({conflict}) DO UPDATE SET vec = excluded.vec",
        {"m0", "m1"},
    ),
    case(
        "upsert, leaf",
        EVERY,
        "INSERT INTO {leaf_into} VALUES ('m0', '2026-01-01', '[5,5,5]')"
        " ON CONFLICT ({conflict}) DO UPDATE SET vec = excluded.vec",
        {"m0"},
    ),
    case(
        "upsert that does nothing",
        EVERY,
        "INSERT INTO {into} VALUES ({key}'m0', '2026-01-01', '[5,5,5]') ON CONFLICT DO NOTHING",
        set(),
    ),
    case(
        "merge",
        EVERY,
        """MERGE INTO {leaf} t USING (VALUES ('m0', '2026-01-01'::timestamptz), ('m1', '2026-01-02'),
            ('m2', '2026-01-20')) s(e, t) ON s.e = t.{id} AND s.t = t.{at}
         WHEN MATCHED AND s.e = 'm0' THEN UPDATE SET vec = '[7,7,7]'
         WHEN MATCHED THEN DELETE
         WHEN NOT MATCHED THEN INSERT ({columns}) VALUES (s.e, s.t, '[8,8,8]')""",
        {"m0", "m1", "m2"},
    ),
    case(
        "merge into all",
        OWN,
        """MERGE INTO {root} t USING (VALUES ('m0', '2026-01-01'::timestamptz), ('m1', '2026-01-02'),
            ('m2', '2026-01-20')) s(e, t) ON s.e = t.id AND s.t = t.at
         WHEN MATCHED AND s.e = 'm0' THEN UPDATE SET vec = '[7,7,7]'
         WHEN MATCHED THEN DELETE
         WHEN NOT MATCHED THEN INSERT ({columns}) VALUES (s.e, s.t, '[8,8,8]')""",
        {"m0", "m1", "m2"},
    ),
    case("delete", EVERY, "DELETE FROM {root} WHERE {mine} AND {id} = 'm2' AND {at} < '2026-01-03'", {"m2"}),
    case("delete of an entity", EVERY, "DELETE FROM {root} WHERE {mine} AND {id} = 'm2'", {"m2"}),
    case("delete, leaf", EVERY, "DELETE FROM {leaf} WHERE {id} = 'm2'", {"m2"}),
    case("truncate", EVERY, "TRUNCATE {root}", ALL),
    case("truncate, leaf", EVERY, "TRUNCATE {leaf}", ALL),
    case("truncate by cascade", OWN, "TRUNCATE {n}_owner CASCADE", ALL, FK),
    case("foreign key: delete", OWN, "DELETE FROM {n}_owner WHERE id IN ('m1', 'm2')", {"m1", "m2"}, FK),
    case("foreign key: update", ("table", "tree"), "UPDATE {n}_owner SET id = 'm9' WHERE id = 'm1'", {"m1", "m9"}, FK),
    case(
        "writable CTEs",
        EVERY,
        """WITH gone AS (DELETE FROM {root} WHERE {mine} AND {id} = 'm0' RETURNING vec),
            came AS (INSERT INTO {into} SELECT {key}'m1', '2026-01-25', vec FROM gone LIMIT 1 RETURNING 1)
         UPDATE {leaf} SET vec = '[3,3,3]' WHERE {id} = 'm2'""",
        {"m0", "m1", "m2"},
    ),
    case(
        "through a view",
        EVERY,
        "UPDATE {n}_through SET vec = '[3,3,3]' WHERE {id} = 'm2'",
        {"m2"},
        "CREATE VIEW {n}_through AS SELECT * FROM {root} WHERE {mine}",
    ),
    case(
        "by a rule",
        OWN,
        "INSERT INTO {n}_ruled VALUES (1)",
        {"m2"},
        [
            "CREATE TABLE {n}_ruled (i int)",
            "CREATE RULE r AS ON INSERT TO {n}_ruled DO INSTEAD UPDATE {root} SET vec = '[3,3,3]' WHERE id = 'm2'",
        ],
    ),
    case(
        "by another table's trigger",
        OWN,
        "INSERT INTO {n}_other VALUES (1)",
        {"m2"},
        [
            "CREATE TABLE {n}_other (i int)",
            "CREATE FUNCTION {n}_act() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN DELETE FROM {root} WHERE id = 'm2'; RETURN NULL; END $$",
            "CREATE TRIGGER t AFTER INSERT ON {n}_other FOR EACH ROW EXECUTE FUNCTION {n}_act()",
        ],
    ),
    case(
        "a trigger that changes the row",
        ("table", "tree"),
        "INSERT INTO {into} VALUES ('m0', '2026-01-20', '[1,2,3]')",
        {"m1"},
        [
            "CREATE FUNCTION {n}_change() RETURNS trigger LANGUAGE plpgsql"
            " AS $$ BEGIN NEW.id := 'm1'; RETURN NEW; END $$",
            "CREATE TRIGGER t BEFORE INSERT ON {leaf} FOR EACH ROW EXECUTE FUNCTION {n}_change()",
        ],
    ),
    case(
        "no rows",
        EVERY,
        [
            "UPDATE {root} SET vec = '[1,1,1]' WHERE {mine} AND {id} = 'nobody'",
            "DELETE FROM {leaf} WHERE false",
            "INSERT INTO {leaf_into} SELECT {columns} FROM {leaf} WHERE false",
        ],
        set(),
    ),
    case(
        "a savepoint that is rolled back",
        EVERY,
        [
            "BEGIN",
            "UPDATE {root} SET vec = '[1,1,2]' WHERE {mine} AND {id} = 'm0'",
            "SAVEPOINT s",
            "UPDATE {root} SET vec = '[1,1,2]' WHERE {mine} AND {id} = 'm1'",
            "ROLLBACK TO s",
            "COMMIT",
        ],
        {"m0"},
    ),
    case(
        "a transaction that is rolled back",
        EVERY,
        ["BEGIN", "TRUNCATE {leaf}", "DELETE FROM {root} WHERE {mine}", "ROLLBACK"],
        set(),
    ),
    case(
        "a prepared transaction",
        EVERY,
        [
            "BEGIN",
            "UPDATE {root} SET vec = '[1,1,2]' WHERE {mine} AND {id} = 'm0'",
            "PREPARE TRANSACTION '{n}'",
            "COMMIT PREPARED '{n}'",
        ],
        {"m0"},
    ),
    case(
        "a prepared transaction that is rolled back",
        EVERY,
        [
            "BEGIN",
            "DELETE FROM {root} WHERE {mine} AND {id} = 'm0'",
            "PREPARE TRANSACTION '{n}'",
            "ROLLBACK PREPARED '{n}'",
        ],
        set(),
    ),
    case(
        "as a replica",
        EVERY,
        [
            "SET session_replication_role = replica",
            "UPDATE {root} SET vec = '[4,4,4]' WHERE {mine} AND {id} = 'm0'",
            "INSERT INTO {leaf_into} VALUES ('m1', '2026-01-20', '[1,2,3]')",
            "DELETE FROM {leaf} WHERE {id} = 'm2'",
            "RESET session_replication_role",
        ],
        {"m0", "m1", "m2"},
    ),
    case(
        "as a replica: truncate",
        EVERY,
        ["SET session_replication_role = replica", "TRUNCATE {leaf}", "RESET session_replication_role"],
        ALL,
    ),
    # Rows that are moved, not changed.
    case(
        "rewritten as it is",
        OWN,
        [
            "VACUUM FULL {root}",
            "CLUSTER {leaf} USING {leaf}_pkey",
            "ANALYZE {root}",
            "REINDEX TABLE {root}",
            "ALTER TABLE {leaf} SET (fillfactor = 50)",
        ],
        set(),
    ),
    case("an index", WHOLE, ["CREATE INDEX {n}_i ON {leaf} ({at})", "DROP INDEX {dot}{n}_i"], set()),
    case("a type that is rewritten", OWN, "ALTER TABLE {root} ALTER note TYPE bigint USING note * 2", ALL),
    # Partitions.
    case("a new partition", TREES, ["CREATE TABLE {n}_m3 PARTITION OF {n}_m {march}"], set()),
    case(
        "a new partition, written to",
        TREES,
        [
            "CREATE TABLE {n}_m3 PARTITION OF {n}_m {march}",
            "INSERT INTO {n}_m3 (id, at, vec) VALUES ('m1', '2026-03-10', '[1,2,1]')",
            "INSERT INTO {into} VALUES ('m2', '2026-03-10', '[1,2,1]')",
        ],
        {"m1", "m2"},
    ),
    case("attach of an empty table", TREES, "ALTER TABLE {n}_m ATTACH PARTITION {n}_m3 {march}", set(), NEW_PARTITION),
    case(
        "attach",
        TREES,
        "ALTER TABLE {n}_m ATTACH PARTITION {n}_m3 {march}",
        {"m1", "m2"},
        [
            NEW_PARTITION,
            "INSERT INTO {n}_m3 (id, at, vec) VALUES ('m1', '2026-03-10', '[1,2,1]'), ('m2', '2026-03-10', '[1,2,1]')",
        ],
    ),
    case(
        "as a replica: attach",
        TREES,
        [
            "SET session_replication_role = replica",
            "ALTER TABLE {n}_m ATTACH PARTITION {n}_m3 {march}",
            "RESET session_replication_role",
        ],
        {"m1"},
        [NEW_PARTITION, "INSERT INTO {n}_m3 (id, at, vec) VALUES ('m1', '2026-03-10', '[1,2,1]')"],
    ),
    case(
        "attach that is rolled back, and again",
        TREES,
        [
            "BEGIN",
            "ALTER TABLE {n}_m ATTACH PARTITION {n}_m3 {march}",
            "ROLLBACK",
            "INSERT INTO {n}_m3 (id, at, vec) VALUES ('m2', '2026-03-10', '[1,2,1]')",
            "ALTER TABLE {n}_m ATTACH PARTITION {n}_m3 {march}",
        ],
        {"m2"},
        NEW_PARTITION,
    ),
    case(
        "attach, and then a write",
        TREES,
        [
            "ALTER TABLE {n}_m ATTACH PARTITION {n}_m3 {march}",
            "INSERT INTO {n}_m3 (id, at, vec) VALUES ('m0', '2026-03-10', '[1,2,1]')",
        ],
        {"m0"},
        NEW_PARTITION,
    ),
    case(
        "attach of a table with partitions",
        ("tree",),
        [
            "ALTER TABLE {root} ATTACH PARTITION {n}_z FOR VALUES FROM ('z') TO ('zz')",
            "INSERT INTO {n}_z1 (id, at, vec) VALUES ('z1', '2026-03-10', '[1,2,1]')",
            "UPDATE {n}_z SET vec = '[2,2,2]' WHERE id = 'z0'",
        ],
        {"z0", "z1"},
        [
            "CREATE TABLE {n}_z (LIKE {root} INCLUDING ALL) PARTITION BY RANGE (at)",
            "CREATE TABLE {n}_z1 PARTITION OF {n}_z DEFAULT",
            "INSERT INTO {n}_z (id, at, vec) VALUES ('z0', '2026-03-10', '[1,2,1]')",
        ],
    ),
    case("detach", TREES, ["ALTER TABLE {n}_m DETACH PARTITION {n}_m2"], {"m0", "m1", "m2"}),
    case(
        "detach of a table with partitions",
        ("tree",),
        [
            "ALTER TABLE {root} DETACH PARTITION {n}_m",
            "TRUNCATE {n}_m",
            "INSERT INTO {n}_m VALUES ('m5', '2026-01-01', '[1,1,1]')",
        ],
        {"m0", "m1", "m2"},
    ),
    case("detach concurrently", TREES, ["ALTER TABLE {n}_m DETACH PARTITION {n}_m2 CONCURRENTLY"], ALL),
    case("drop of a partition", TREES, ["DROP TABLE {n}_m2"], ALL),
    case(
        "detach of a space's partition, and back",
        ("space",),
        [
            "ALTER TABLE cvx.embedding DETACH PARTITION {leaf}",
            "UPDATE {leaf} SET vec = '[9,9,9]' WHERE entity_id = 'a0'",
            "ALTER TABLE cvx.embedding ATTACH PARTITION {leaf} FOR VALUES IN ({number})",
        ],
        ALL,
    ),
    case(
        "a table above",
        ("tree",),
        [
            "ALTER TABLE {n}_above ATTACH PARTITION {root} FOR VALUES FROM (MINVALUE) TO (MAXVALUE)",
            "UPDATE {n}_above SET vec = '[5,5,5]' WHERE id = 'a1'",
            "INSERT INTO {n}_above (id, at, vec) VALUES ('m1', '2026-01-20', '[1,1,1]')",
            "DELETE FROM {n}_above WHERE id = 'm2'",
        ],
        {"a1", "m1", "m2"},
        ["CREATE TABLE {n}_above (LIKE {root} INCLUDING ALL) PARTITION BY RANGE (id)"],
    ),
    # Inheritance.
    case("a child", ("table",), ["CREATE TABLE {n}_child () INHERITS ({root})", INTO_CHILD], {"m1", "m2"}),
    case(
        "a child, through the parent",
        ("table",),
        "UPDATE {root} SET vec = '[2,2,2]' WHERE id = 'm1'",
        {"m1"},
        [*CHILD, INTO_CHILD],
    ),
    case("a child, truncated", ("table",), "TRUNCATE {n}_child", ALL, [*CHILD, INTO_CHILD]),
    case(
        "a child that leaves",
        ("table",),
        ["ALTER TABLE {n}_child NO INHERIT {root}", "DELETE FROM {n}_child"],
        {"m1", "m2"},
        [*CHILD, INTO_CHILD],
    ),
    case(
        "a child that comes",
        ("table",),
        "ALTER TABLE {n}_child INHERIT {root}",
        {"m1", "m2"},
        ["CREATE TABLE {n}_child (LIKE {root})", INTO_CHILD],
    ),
    case(
        "a grandchild",
        ("table",),
        [
            "CREATE TABLE {n}_grandchild () INHERITS ({n}_child)",
            "INSERT INTO {n}_grandchild (id, at, vec) VALUES ('m1', '2026-01-23', '[1,1,1]')",
        ],
        {"m1"},
        CHILD,
    ),
    case("drop of a child", ("table",), "DROP TABLE {n}_child", ALL, [*CHILD, INTO_CHILD]),
    case(
        "a parent",
        ("table",),
        ["ALTER TABLE {root} INHERIT {n}_parent", "UPDATE {n}_parent SET vec = '[2,2,2]' WHERE id = 'm1'"],
        {"m1"},
        "CREATE TABLE {n}_parent (LIKE {root})",
    ),
    # Names.
    case(
        "a column renamed",
        OWN,
        [
            "ALTER TABLE {root} RENAME id TO who",
            'ALTER TABLE {root} RENAME at TO "when ever"',
            "UPDATE {root} SET vec = '[2,2,2]' WHERE who = 'm1'",
            "SET session_replication_role = replica",
            "UPDATE {leaf} SET vec = '[2,2,2]' WHERE who = 'm2'",
            "RESET session_replication_role",
        ],
        {"m1", "m2"},
    ),
    case(
        "columns that change names",
        ("table", "tree"),
        [
            "ALTER TABLE {root} ADD spare text",
            "ALTER TABLE {root} RENAME id TO x",
            "ALTER TABLE {root} RENAME spare TO id",
            "UPDATE {root} SET vec = '[2,2,2]', id = 'm2' WHERE x = 'm1'",
        ],
        {"m1"},
    ),
    case(
        "a table renamed and moved",
        TREES,
        [
            'CREATE SCHEMA "{n} S"',
            'ALTER TABLE {leaf} RENAME TO "leaf "" {n}"',
            'ALTER TABLE "leaf "" {n}" SET SCHEMA "{n} S"',
            'UPDATE "{n} S"."leaf "" {n}" SET vec = \'[2,2,2]\' WHERE id = \'m1\'',
        ],
        {"m1"},
    ),
    case(
        "the table renamed and moved, and back",
        OWN,
        [
            "CREATE SCHEMA {n}_s",
            "ALTER TABLE {root} RENAME TO x",
            "ALTER TABLE x SET SCHEMA {n}_s",
            "UPDATE {n}_s.x SET vec = '[2,2,2]' WHERE id = 'm1'",
            "ALTER TABLE {n}_s.x SET SCHEMA public",
            "ALTER TABLE x RENAME TO {root}",
        ],
        {"m1"},
    ),
]
