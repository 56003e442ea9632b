"""Who changes what views are computed from, all at once and at random. Who else meddles: views_meddlers.py."""

import random
import threading
import time
from collections import Counter

import psycopg
import views_world as world
from psycopg import sql
from views_observer import look

# What concurrent users of a database have to expect; anything else is reported.
EXPECTED = {
    "40001": "could not serialize",
    "23505": "unique violation",
    # The row is of a partition that is detached just now.
    "23514": "no partition",
    "55P03": "lock timeout",
    "57014": "cancelled",
    # Writers whose transactions take rows in any order; views_chaos.py looks whether a refresh was part of it.
    "40P01": "deadlock",
}
LEVELS = ("READ COMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")


class Ledger:
    """What all actors did, and what was wrong."""

    def __init__(self):
        self.lock = threading.Lock()
        self.counts = Counter()
        self.wrong = []

    def count(self, what: str, by: int = 1):
        with self.lock:
            self.counts[what] += by

    def report(self, text: str):
        with self.lock:
            self.wrong.append(text)


class Actor(threading.Thread):
    """Does one thing after the other on a connection of its own until it is told to stop."""

    kind = "actor"
    pause = (0.0, 0.05)

    def __init__(self, connect, ledger: Ledger, seed: int):
        super().__init__(daemon=True, name=f"{self.kind} {seed}")
        self.open_connection, self.ledger, self.rng = connect, ledger, random.Random(seed)
        self.stopping = threading.Event()
        self.conn = None

    def run(self):
        while not self.stopping.is_set():
            try:
                self.once()
            except Exception as error:
                self.ledger.report(f"{self.name} ended: {type(error).__name__}: {error}")
                raise
            self.stopping.wait(self.rng.uniform(*self.pause))
        self.drop_connection()

    def stop(self):
        self.stopping.set()
        self.join(60)
        assert not self.is_alive(), f"{self.name} does not end"

    def once(self):
        """One action; what it may meet is counted, what it may not is reported."""
        doing = "connect"
        try:
            if self.conn is None:
                self.conn = self.open_connection(self.kind)
            doing, action = self.choose()
            action()
            self.ledger.count(doing)
        except psycopg.Error as error:
            self.met(doing, error)

    def met(self, doing: str, error: psycopg.Error):
        # Of a server that is gone psycopg knows no SQLSTATE; of one that comes or goes it is 57P01 to 57P05.
        state = error.sqlstate
        if state is None or state.startswith("57P") or self.conn is None or self.conn.closed or self.conn.broken:
            self.drop_connection()
            self.ledger.count("connections lost")
            time.sleep(0.1)
            return
        self.conn.execute("ROLLBACK") if self.in_transaction() else None
        if state in EXPECTED:
            self.ledger.count(EXPECTED[state])
        elif not self.forgives(doing, state):
            where = f"{error.diag.message_detail} {error.diag.context}"
            self.ledger.report(f"{self.name}: {doing}: {state} {error} {where}")

    def forgives(self, doing: str, state: str) -> bool:
        return False

    def in_transaction(self) -> bool:
        return self.conn.info.transaction_status != psycopg.pq.TransactionStatus.IDLE

    def drop_connection(self):
        try:
            if self.conn is not None:
                self.conn.close()
        except psycopg.Error:
            pass
        self.conn = None

    def choose(self):
        """A name and what to call."""
        actions = self.actions
        name = self.rng.choices(list(actions), list(actions.values()))[0]
        return f"{self.kind}: {name}", getattr(self, name)

    def begin(self, level: str | None = None):
        self.conn.execute(f"BEGIN ISOLATION LEVEL {level or self.rng.choice(LEVELS)}")

    def nap(self, seconds: float = 0.3):
        time.sleep(self.rng.random() ** 3 * seconds)


class Writer(Actor):
    kind = "write"
    actions = {
        "alone": 20,
        "transaction": 6,
        "savepoints": 4,
        "prepared": 2,
        "as_replica": 1,
        "look_at_own": 3,
    }
    changes = {
        "insert_one": 6,
        "upsert_many": 4,
        "delete_some": 3,
        "delete_entity": 1,
        "update_values": 3,
        "move_entities": 2,
        "copy": 2,
        "merge": 1,
        "delete_and_insert": 1,
    }

    def change(self, target=None) -> list[str]:
        """One random statement (COPY: two); the entities that it was about, of `target`."""
        target = target or self.rng.choice(world.TARGETS)
        name = self.rng.choices(list(self.changes), list(self.changes.values()))[0]
        numbers = sorted(self.rng.sample(range(world.ENTITIES), self.rng.randint(1, 5)))
        getattr(self, name)(target, numbers)
        self.changed = name
        self.ledger.count(f"write: {name} into {target.name}")
        return [target.entity_id(number) for number in numbers]

    def rows(self, target, numbers, slots: int = 4) -> list:
        """In the order of the key: two who write many rows must not wait for each other."""
        return [
            (target.entity_id(n), world.stamp(slot), world.vector(target, n, slot, self.rng.random()))
            for n in numbers
            for slot in sorted(self.rng.sample(range(world.SLOTS), self.rng.randint(1, slots)))
        ]

    def attrs(self) -> str | None:
        return self.rng.choice([world.GOLD, '{"tier": "tin"}', None])

    def insert_one(self, target, numbers):
        world.insert(self.conn, target, self.rows(target, numbers[:1], 1), self.attrs(), self.rng.random() < 0.5)

    def upsert_many(self, target, numbers):
        world.insert(self.conn, target, self.rows(target, numbers), self.attrs(), self.rng.random() < 0.5, upsert=True)

    def of(self, target, numbers) -> tuple[str, list]:
        """A condition for some slots of entities, and its parameters."""
        slots = [world.stamp(slot) for slot in self.rng.sample(range(world.SLOTS), 5)]
        ids = [target.entity_id(n) for n in numbers]
        condition = f"{target.entity} = ANY(%s::{target.type}[]) AND {target.ts} = ANY(%s::timestamptz[])"
        return condition, [ids, slots]

    def delete_some(self, target, numbers):
        condition, parameters = self.of(target, numbers)
        self.conn.execute(f"DELETE FROM {target.table} WHERE {condition}", parameters)

    def delete_entity(self, target, numbers):
        query = f"DELETE FROM {target.table} WHERE {target.entity} = %s::{target.type}"
        self.conn.execute(query, (target.entity_id(numbers[0]),))

    def update_values(self, target, numbers):
        condition, parameters = self.of(target, numbers)
        table, also = target.table, ""
        if target.space and self.rng.random() < 0.5:
            table, also = "cvx.embedding", f" AND space_id = cvx.space_id('{target.name}')"
        half = "[" + ",".join(["0.01"] * world.DIMS) + "]"
        query = f"UPDATE {table} SET {target.vec} = {target.vec} + %s::vector WHERE {condition}{also}"
        self.conn.execute(query, [half, *parameters])

    def move_entities(self, target, numbers):
        """To another entity, which may be in another partition; the place may be taken."""
        condition, parameters = self.of(target, numbers[:1])
        to = target.entity_id(self.rng.randrange(world.ENTITIES))
        query = f"UPDATE {target.table} SET {target.entity} = %s::{target.type} WHERE {condition}"
        self.conn.execute(query, [to, *parameters])

    def copy(self, target, numbers):
        rows, own = self.rows(target, numbers), not self.in_transaction()
        if own:
            self.begin()
        keys = f"""({target.entity}, {target.ts}) IN (
            SELECT e::{target.type}, t::timestamptz FROM unnest(%s::text[], %s::text[]) u(e, t))"""
        columns = [list(column) for column in zip(*rows)]
        self.conn.execute(f"DELETE FROM {target.table} WHERE {keys}", columns[:2])
        table = target.table
        if target is world.PARTED and all(int(e) < world.PARTS[1] for e, _, _ in rows):
            table = self.rng.choice([table, "public.parted_0"])
        with self.conn.cursor() as cursor:
            with cursor.copy(f"COPY {table} ({target.entity}, {target.ts}, {target.vec}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        if own:
            self.conn.execute("COMMIT")

    def merge(self, target, numbers):
        entities, times, vectors = (list(column) for column in zip(*self.rows(target, numbers)))
        query = f"""
            MERGE INTO {target.table} t
            USING (SELECT e::{target.type} AS e, t::timestamptz AS t, v::vector AS v
                   FROM unnest(%s::text[], %s::text[], %s::text[]) u(e, t, v)) s
            ON t.{target.entity} = s.e AND t.{target.ts} = s.t
            WHEN MATCHED AND extract(day FROM s.t)::int %% 3 = 0 THEN DELETE
            WHEN MATCHED THEN UPDATE SET {target.vec} = s.v
            WHEN NOT MATCHED THEN INSERT ({target.entity}, {target.ts}, {target.vec}) VALUES (s.e, s.t, s.v)"""
        self.conn.execute(query, [entities, times, vectors])

    def delete_and_insert(self, target, numbers):
        """In one statement, of which the trigger of each part sees its own rows."""
        condition, parameters = self.of(target, numbers[:1])
        other = target.entity_id(self.rng.randrange(world.ENTITIES))
        returning = f"{target.ts} AS t, {target.vec} AS v"
        query = f"""WITH gone AS (DELETE FROM {target.table} WHERE {condition} RETURNING {returning})
                    INSERT INTO {target.table} ({target.entity}, {target.ts}, {target.vec})
                    SELECT %s::{target.type}, t, v FROM gone"""
        self.conn.execute(query, [*parameters, other])

    def alone(self):
        self.change()

    def transaction(self):
        self.begin()
        target = self.rng.choice(world.TARGETS)
        for _ in range(self.rng.randint(1, 4)):
            self.change(target)
            self.nap()
        self.conn.execute(self.rng.choice(["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"]))

    def savepoints(self):
        """A long transaction, parts of which are undone."""
        self.begin()
        target = self.rng.choice(world.TARGETS)
        for _ in range(self.rng.randint(2, 6)):
            self.conn.execute("SAVEPOINT s")
            try:
                self.change(target)
            except psycopg.errors.UniqueViolation:
                self.conn.execute("ROLLBACK TO s")
            self.nap(1.0)
            if self.rng.random() < 0.4:
                self.conn.execute("ROLLBACK TO s")
            elif self.rng.random() < 0.5:
                self.conn.execute("RELEASE s")
        self.conn.execute(self.rng.choice(["COMMIT", "COMMIT", "ROLLBACK"]))

    def prepared(self):
        self.begin()
        self.change()
        name = f"chaos-{self.rng.randrange(10**9)}"
        self.conn.execute(f"PREPARE TRANSACTION '{name}'")

    def as_replica(self):
        """What fires no ordinary trigger."""
        self.begin()
        self.conn.execute("SET LOCAL session_replication_role = replica")
        self.change()
        self.conn.execute("COMMIT")

    def look_at_own(self):
        """What the writer itself sees before it commits: rows are not fresh that its own change has put out of date."""
        self.begin("READ COMMITTED")
        target = self.rng.choice(world.TARGETS)
        self.conn.execute(f"LOCK TABLE {target.table} IN ROW EXCLUSIVE MODE")
        entities = self.change(target)
        view = self.rng.choice([view for view in world.VIEWS if view.target is target])
        seen = look(self.conn, view.name, entities)
        for wrong in seen.wrong():
            self.ledger.report(f"{self.name} sees after its own {self.changed} of {view.name}: {wrong}")
        self.ledger.count("fresh rows checked by writers", seen.fresh_rows)
        self.conn.execute(self.rng.choice(["COMMIT", "ROLLBACK"]))


class Finisher(Actor):
    """Ends prepared transactions, whoever prepared them and before whichever crash."""

    kind = "finish"
    pause = (0.1, 0.8)
    actions = {"finish": 1}

    def finish(self):
        found = self.conn.execute("SELECT gid FROM pg_prepared_xacts ORDER BY random() LIMIT 1").fetchone()
        if found:
            how = self.rng.choice(["COMMIT", "COMMIT", "ROLLBACK"])
            self.conn.execute(sql.SQL(how + " PREPARED {}").format(sql.Literal(found[0])))
            self.ledger.count(f"{how.lower()} prepared")
