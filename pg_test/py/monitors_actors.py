"""Who feeds the monitors of the harness, all at once and at random, and who listens to them."""

import json
import time

import monitors_world as world
import psycopg
from views_actors import Actor

TABLES = ("cvx_space.m", "cvx_space.m", "cvx.embedding")


class Feeder(Actor):
    """Writes one walk after the other, each in the order of its times, in every kind of transaction. What it has not
    been told is committed it looks up, so that the order holds whatever is killed."""

    kind = "feed"
    pause = (0.0, 0.05)
    actions = {"alone": 8, "copied": 3, "transaction": 4, "rolled_back": 2, "savepoints": 2, "prepared": 2}

    def __init__(self, connect, ledger, seed):
        super().__init__(connect, ledger, seed)
        self.number, self.written, self.transactions = 0, None, 0

    @property
    def entity(self) -> str:
        return f"{self.kind}{self.name.split()[-1]}-{self.number}"

    def choose(self):
        if self.written is None:
            self.catch_up()
        if self.written >= world.LENGTH:
            self.number, self.written = self.number + 1, 0
            self.ledger.count(f"{self.kind}: walks written")
        name, action = super().choose()
        return name, lambda: self.attempt(action)

    def attempt(self, action):
        # Only what ends well says how far it is.
        before, self.written = self.written, None
        self.written = action(before)

    def catch_up(self):
        for (gid,) in self.conn.execute(
            "SELECT gid FROM pg_prepared_xacts WHERE gid LIKE %s", (f"{self.name}:%",)
        ).fetchall():
            self.finish(gid)
        count = "SELECT count(*) FROM cvx_space.m WHERE entity_id = %s"
        self.written = self.conn.execute(count, (self.entity,)).fetchone()[0]

    def finish(self, gid: str):
        outcome = self.rng.choice(["COMMIT", "COMMIT", "ROLLBACK"])
        self.conn.execute(f"{outcome} PREPARED '{gid}'")

    def next(self, written: int) -> range:
        return range(written, min(written + self.rng.randint(1, 6), world.LENGTH))

    def append(self, written: int) -> int:
        new = self.next(written)
        world.insert(self.conn, world.rows(self.entity, new), self.rng.choice(TABLES))
        if self.rng.random() < 0.1:
            query = "INSERT INTO public.incidents VALUES (%s, now(), %s) ON CONFLICT DO NOTHING"
            self.conn.execute(query, (f"{self.entity}:{new.stop}", float(new.stop)))
        return new.stop

    def alone(self, written: int) -> int:
        new = self.next(written)
        world.insert(self.conn, world.rows(self.entity, new), self.rng.choice(TABLES))
        return new.stop

    def copied(self, written: int) -> int:
        new = self.next(written)
        with self.conn.cursor().copy("COPY cvx_space.m (entity_id, ts, vec) FROM STDIN") as copy:
            for row in world.rows(self.entity, new):
                copy.write_row(row)
        return new.stop

    def transaction(self, written: int) -> int:
        self.begin()
        for _ in range(self.rng.randint(1, 3)):
            written = self.append(written)
            self.nap()
        self.conn.execute("COMMIT")
        return written

    def rolled_back(self, written: int) -> int:
        """With a shift that nobody planned, and an incident that never was."""
        self.begin()
        far = [(self.entity, world.stamp(i), "[99,-99,99,-99]") for i in range(written, world.LENGTH)]
        world.insert(self.conn, far)
        self.conn.execute("INSERT INTO public.incidents VALUES (%s, now(), 0)", (f"{self.entity}:never",))
        self.nap()
        self.conn.execute("ROLLBACK")
        return written

    def savepoints(self, written: int) -> int:
        self.begin("READ COMMITTED")
        written = self.append(written)
        self.conn.execute("SAVEPOINT s")
        if written < world.LENGTH:
            world.insert(self.conn, [(self.entity, world.stamp(world.LENGTH - 1), "[99,-99,99,-99]")])
        self.conn.execute("INSERT INTO public.incidents VALUES (%s, now(), 0)", (f"{self.entity}:never",))
        self.conn.execute("ROLLBACK TO s")
        written = self.append(written)
        self.conn.execute("COMMIT")
        return written

    def prepared(self, written: int):
        self.transactions += 1
        gid = f"{self.name}:{self.transactions}:{time.monotonic_ns()}"
        self.begin("READ COMMITTED")
        self.append(written)
        self.conn.execute(f"PREPARE TRANSACTION '{gid}'")
        self.nap(0.5)
        self.finish(gid)
        self.ledger.count(f"{self.kind}: prepared and ended")


class Reviser(Feeder):
    """Writes its walks in any order, changes and deletes what it wrote."""

    kind = "revise"
    actions = {"some": 8, "update": 2, "delete": 2, "forget": 1, "rolled_back": 1, "next_walk": 1}

    def some(self, _):
        minutes = sorted(self.rng.sample(range(world.LENGTH), self.rng.randint(1, 15)))
        world.insert(self.conn, world.rows(self.entity, minutes), self.rng.choice(TABLES), upsert=True)
        return 0

    def change(self, statement: str):
        minutes = [world.stamp(i) for i in self.rng.sample(range(world.LENGTH), self.rng.randint(1, 10))]
        where = "WHERE entity_id = %s AND ts = ANY(%s::timestamptz[])"
        self.conn.execute(f"{statement} {where}", (self.entity, minutes))
        return 0

    def update(self, _):
        return self.change("UPDATE cvx_space.m SET vec = vec + '[6,0,-6,0]'")

    def delete(self, _):
        return self.change("DELETE FROM cvx_space.m")

    def forget(self, _):
        self.conn.execute("DELETE FROM cvx_space.m WHERE entity_id = %s", (self.entity,))
        return 0

    def rolled_back(self, _):
        return super().rolled_back(0)

    def next_walk(self, _):
        self.number += 1
        return 0


class Listener(Actor):
    """Hears cvx_alert. While its connection lives it must hear of every alert that commits, and only of those."""

    kind = "listen"
    pause = (0.0, 0.0)
    KEYS = {
        "id", "alert_id", "monitor", "description", "severity", "condition", "space", "model", "entity_id", "ts",
        "fired_at", "value", "threshold", "p_value", "message", "details", "test",
    }  # fmt: skip

    def __init__(self, connect, ledger, seed):
        super().__init__(connect, ledger, seed)
        self.heard: dict[str, str] = {}
        self.checked = 0

    listening = False

    def choose(self):
        if not self.listening:
            # Called as notifications come, during whatever statement.
            self.queue = []
            self.conn.add_notify_handler(lambda notice, queue=self.queue: queue.append(notice.payload))
            self.conn.execute("LISTEN cvx_alert")
            self.before = self.visible()
            self.since, self.due = set(), time.monotonic() + 2
            self.listening = True
        return "listen: rounds", self.hear

    def drop_connection(self):
        self.listening = False
        super().drop_connection()

    def visible(self) -> set[str]:
        return {name for (name,) in self.conn.execute("SELECT event_id::text FROM cvx.alert").fetchall()}

    def hear(self):
        self.drain()
        if time.monotonic() > self.due:
            self.check()
            self.due = time.monotonic() + 2

    def drain(self, seconds: float = 0.1):
        time.sleep(seconds)
        self.conn.execute("SELECT 1")
        while self.queue:
            self.note(self.queue.pop(0))

    def note(self, payload: str):
        event = json.loads(payload)
        lacks = self.KEYS - set(event) if "truncated" not in event else set()
        if lacks or len(payload.encode()) >= 8000:
            self.ledger.report(f"{self.name}: a payload of {len(payload)} lacks {lacks}: {payload[:300]}")
        if event["id"] in self.since:
            self.ledger.report(f"{self.name}: heard twice: {payload[:300]}")
        self.since.add(event["id"])
        self.heard[event["id"]] = payload
        query = "SELECT event_id::text FROM cvx.alert WHERE alert_id = %s"
        if self.conn.execute(query, (event["alert_id"],)).fetchone() != (event["id"],):
            self.ledger.report(f"{self.name}: heard of an alert that is not there: {payload[:300]}")

    def check(self):
        """What committed since it began to listen, but for the last moments: a notification follows its commit."""
        committed = self.visible() - self.before
        self.drain(1.0)
        lost = committed - self.since
        if lost:
            self.ledger.report(f"{self.name}: {len(lost)} alerts were not heard of: {sorted(lost)[:3]}")
        self.checked += len(committed)
        self.ledger.count("listen: checks")
