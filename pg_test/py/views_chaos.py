"""Never wrong under fire: tables are written to by all means at once, views on them are refreshed, processes and the
server are killed; all the while observers look for a row that is out of date and says it is fresh, and at the end every
view is what is computed from scratch, row for row.

Used by test_never_wrong.py (short) and soak_views.py (long). Every random choice comes from the plan's seed; what time
does to them does not.
"""

import random
import re
import time
from dataclasses import dataclass, field

import psycopg
import views_world as world
from cluster import Cluster, until
from psycopg import sql
from views_actors import Actor, Finisher, Ledger, Writer
from views_meddlers import Definer, Modeler, Refresher
from views_observer import HISTORY, diagnosis, look, snapshot, wrong_history

SETTINGS = {
    "max_prepared_transactions": "30",
    "max_connections": "80",
    "max_worker_processes": "24",
    # A crash forgets what is to be vacuumed: it has to come between two of them.
    "autovacuum_naptime": "1s",
}
DATABASE = "chaos"
# What the server logs of each deadlock: the statements of those who are part of it.
DEADLOCK = re.compile(r"DETAIL:  Process \d+ waits for .*\n(?:\t.*\n)*")
PART = re.compile(r"^\tProcess \d+: \s*(.*)", re.MULTILINE)
WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE|MERGE|COPY|WITH gone)\b")


@dataclass
class Plan:
    seconds: float
    seed: int
    writers: int = 8
    refreshers: int = 2
    observers: int = 2
    # Seconds between two faults.
    faults: tuple = (2.0, 8.0)
    # How long views may take to be fresh when all is quiet.
    settle: float = 120
    settings: dict = field(default_factory=dict)
    # More kinds of actors.
    extra: tuple = ()


class Observer(Actor):
    kind = "observe"
    pause = (0.0, 0.05)
    actions = {"sample": 6, "sample_old_snapshot": 2, "whole": 2, "history": 1, "blocked_writers": 3}

    def see(self, view: str, entities, patience: float = 0.0):
        snapshot(self.conn)
        time.sleep(patience)
        seen = look(self.conn, view, entities)
        wrong = seen.wrong()
        if wrong:
            self.ledger.report(f"{view}: " + "\n  ".join(wrong[:5]) + "\n" + diagnosis(self.conn, view))
        self.conn.execute("COMMIT")
        self.ledger.count("looks")
        self.ledger.count("fresh rows checked", seen.fresh_rows)
        self.ledger.count("looks at a whole view that said it was fresh", seen.whole and seen.says_fresh())

    def some(self, view: world.View) -> list[str]:
        target = view.target or world.SPACE_A
        return [target.entity_id(n) for n in self.rng.sample(range(world.ENTITIES), 8)]

    def sample(self, patience: float = 0.0):
        view = self.rng.choice(world.VIEWS)
        self.see(view.name, self.some(view), patience)

    def sample_old_snapshot(self):
        self.sample(self.rng.uniform(0.0, 0.5))

    def whole(self):
        self.see(self.rng.choice(world.VIEWS).name, None)

    def history(self):
        """Of a view that is fresh as a whole; as a view, its history is what is computed from scratch."""
        view = self.rng.choice(list(HISTORY))
        snapshot(self.conn)
        state = "SELECT status = 'fresh' AND stale_entities = 0 FROM cvx.views WHERE name = %s"
        if self.conn.execute(state, (view,)).fetchone()[0]:
            wrong = wrong_history(self.conn, view)
            if wrong:
                self.ledger.report(f"{view}: " + "\n  ".join(wrong[:5]) + "\n" + diagnosis(self.conn, view))
            self.ledger.count("looks at a history")
        self.conn.execute("COMMIT")

    def blocked_writers(self):
        """Nobody who writes waits for somebody who refreshes."""
        query = """
            SELECT w.pid, w.query, b.pid, b.backend_type, b.query, l.locktype, l.mode, l.relation::regclass
            FROM pg_stat_activity w, LATERAL unnest(pg_blocking_pids(w.pid)) blocking
                 JOIN pg_stat_activity b ON b.pid = blocking, pg_locks l
            WHERE w.application_name = 'write' AND w.wait_event_type = 'Lock' AND l.pid = w.pid AND NOT l.granted
              AND (b.backend_type LIKE 'cvx %' OR b.application_name = 'refresh' AND b.query LIKE '%refresh_view%')"""
        for row in self.conn.execute(query).fetchall():
            self.ledger.report(f"a writer waits for a refresh: {row}")


class Prober(Actor):
    """How long a row takes from its commit until the view shows it and says it is fresh."""

    kind = "probe"
    pause = (0.2, 1.0)
    actions = {"probe": 1}
    entity = 700

    def __init__(self, connect, ledger, seed):
        super().__init__(connect, ledger, seed)
        self.times, self.disturbed = [], []
        self.faults = lambda: 0

    def probe(self):
        number = self.rng.randrange(self.entity, self.entity + 10)
        query = """INSERT INTO public.plain VALUES (%s, %s, '[1,2,3,4,5,6,7,8]')
                   ON CONFLICT (id, at) DO UPDATE SET v = plain.v + '[1,0,0,0,0,0,0,0]' """
        row = (number, world.stamp(self.rng.randrange(world.SLOTS)))
        faults = self.faults()
        self.conn.execute(query, row)
        committed = time.monotonic()
        fresh = "SELECT stale_since IS NULL FROM cvx_view.tf_plain WHERE entity_id = %s"
        while time.monotonic() - committed < 60 and not self.stopping.is_set():
            try:
                if self.conn.execute(fresh, (number,)).fetchone() == (True,):
                    took = time.monotonic() - committed
                    (self.times if faults == self.faults() else self.disturbed).append(took)
                    return
            except psycopg.errors.LockNotAvailable:
                pass
            time.sleep(0.01)


class ViewsChaos:
    """One run of a plan: `run()` plays it and returns its figures, or fails with an AssertionError."""

    CALM = ("cancel_refresh", "cancel_worker", "terminate_worker", "checkpoint")
    ROUGH = ("kill_worker", "kill_backend", "stop_at_once", "kill_postmaster", "restart")

    def __init__(self, plan: Plan, say=lambda text: None):
        self.plan, self.say = plan, say
        self.rng = random.Random(plan.seed)
        self.ledger = Ledger()
        self.fault_number = 0
        self.disturbances = 0

    def run(self) -> dict:
        started = time.monotonic()
        with Cluster({**SETTINGS, **self.plan.settings}) as self.cluster:
            self.cluster.create_database(DATABASE)
            with self.cluster.connect(DATABASE) as conn:
                world.create(conn, self.rng)
            self.say(f"{len(world.VIEWS)} views were created")
            try:
                figures = self.play()
                figures |= self.verify()
            except BaseException:
                self.say(self.cluster.log()[-6000:])
                raise
        figures["seconds"] = round(time.monotonic() - started, 1)
        return figures

    def connect(self, kind: str) -> psycopg.Connection:
        limits = "-c statement_timeout=30s -c lock_timeout=3s -c idle_in_transaction_session_timeout=60s"
        return self.cluster.connect(DATABASE, application_name=kind, options=limits, connect_timeout=5)

    def play(self) -> dict:
        plan = self.plan
        kinds = [Writer] * plan.writers + [Refresher] * plan.refreshers + [Observer] * plan.observers
        kinds += [*plan.extra, Finisher, Modeler, Definer, Prober]
        actors = [kind(self.connect, self.ledger, plan.seed * 1000 + i) for i, kind in enumerate(kinds)]
        prober = actors[-1]
        prober.faults = lambda: self.disturbances
        for actor in actors:
            actor.start()
        deadline = time.monotonic() + plan.seconds
        try:
            next_fault = time.monotonic() + self.rng.uniform(*plan.faults)
            while time.monotonic() < deadline and not self.ledger.wrong:
                time.sleep(0.1)
                if time.monotonic() > next_fault:
                    self.fault()
                    next_fault = time.monotonic() + self.rng.uniform(*plan.faults)
        finally:
            for actor in actors:
                actor.stopping.set()
            for actor in actors:
                actor.stop()
        self.no_wrong()
        definer = next(actor for actor in actors if isinstance(actor, Definer))
        until(self.cluster.is_ready, 60, "the server is up")
        self.settle(definer)
        times = sorted(prober.times) or [float("nan")]
        return {
            "from commit to fresh, ms: median": round(1000 * times[len(times) // 2]),
            "from commit to fresh, ms: worst": round(1000 * times[-1]),
            "commits timed": len(prober.times),
            "from commit to fresh over a fault, s: worst": round(max(prober.disturbed, default=0.0), 1),
        }

    def no_wrong(self):
        found = self.ledger.wrong
        assert not found, f"{len(found)} wrong:\n" + "\n\n".join(found[:10])

    def fault(self):
        order = self.CALM + self.ROUGH
        if self.fault_number % len(order) == 0:
            self.order = self.rng.sample(order, len(order))
        kind = self.order[self.fault_number % len(order)]
        self.fault_number += 1
        self.disturbances += 1
        started = time.monotonic()
        try:
            getattr(self, kind)()
        except psycopg.OperationalError:
            # It fell on a server that was not there; the next one will find it.
            pass
        until(self.cluster.is_ready, 60, "the server is up")
        self.disturbances += 1
        self.ledger.count(f"fault: {kind}")
        checked = self.ledger.counts["fresh rows checked"]
        self.say(f"{kind}, {time.monotonic() - started:.1f} s; {checked} fresh rows checked so far")

    def backends(self, condition: str) -> list[int]:
        with self.cluster.connect() as conn:
            return [pid for (pid,) in conn.execute(f"SELECT pid FROM pg_stat_activity WHERE {condition} ORDER BY pid")]

    def signal(self, function: str, condition: str):
        with self.cluster.connect() as conn:
            conn.execute(f"SELECT {function}(pid) FROM pg_stat_activity WHERE {condition}")

    def cancel_refresh(self):
        self.signal("pg_cancel_backend", "application_name = 'refresh' AND state = 'active'")

    def cancel_worker(self):
        self.signal("pg_cancel_backend", "backend_type LIKE 'cvx refresh%'")

    def terminate_worker(self):
        self.signal("pg_terminate_backend", "backend_type LIKE 'cvx refresh%'")

    def checkpoint(self):
        with self.cluster.connect() as conn:
            conn.execute("CHECKPOINT")

    def kill_worker(self):
        for pid in self.backends("backend_type LIKE 'cvx refresh%'")[:1]:
            self.cluster.kill(pid)

    def kill_backend(self):
        found = self.backends("application_name IN ('write', 'refresh', 'define') AND state <> 'idle'")
        if found:
            self.cluster.kill(self.rng.choice(found))

    def stop_at_once(self):
        self.cluster.crash()
        self.cluster.start()

    def kill_postmaster(self):
        # Observers compute for seconds on a busy machine.
        self.cluster.kill_postmaster(patience=60)
        self.cluster.start()

    def restart(self):
        self.cluster.restart()

    def settle(self, definer: Definer):
        """All is put in place, and every view is brought up to date by whoever has to."""
        with self.cluster.connect(DATABASE) as conn:
            for (gid,) in conn.execute("SELECT gid FROM pg_prepared_xacts").fetchall():
                conn.execute(sql.SQL("COMMIT PREPARED {}").format(sql.Literal(gid)))
            definer.mend(conn)
            started = time.monotonic()
            stale = """SELECT name, status, stale_entities, last_error, hint FROM cvx.views
                       WHERE refresh_policy = 'on_ingest' AND (status <> 'fresh' OR stale_entities > 0)"""
            try:
                until(lambda: not conn.execute(stale).fetchall(), self.plan.settle, "all is fresh", every=0.2)
            except AssertionError as error:
                left = conn.execute(stale).fetchall()
                raise AssertionError(f"{error}: {left}\n{diagnosis(conn, left[0][0]) if left else ''}") from None
            self.ledger.count("seconds until all was fresh", round(time.monotonic() - started))
            for view in world.VIEWS:
                if view.policy != "on_ingest":
                    conn.execute("SELECT cvx.refresh_view(%s)", (view.name,))

    def verify(self) -> dict:
        """Every view is its definition, and nothing is left over."""
        assert self.cluster.faults() == []
        self.no_deadlock()
        rows = {}
        with self.cluster.connect(DATABASE) as conn:
            for view in world.VIEWS:
                seen = look(conn, view.name)
                wrong = seen.wrong()
                why = f"{view.name}: {seen.state} {wrong[:5]}\n{diagnosis(conn, view.name)}"
                assert seen.says_fresh() and not wrong, why
                rows[view.name] = seen.fresh_rows
            for view in HISTORY:
                wrong = wrong_history(conn, view)
                assert not wrong, f"{view}: {wrong}"
            count = "SELECT (SELECT count(*) FROM cvx.invalidation), (SELECT count(*) FROM cvx.stale)"
            left = conn.execute(count).fetchone()
            assert left == (0, 0), f"rows left in the log and among what is stale: {left}"
        self.cluster.run("pg_amcheck", "--all", "--heapallindexed", "--install-missing")
        assert self.cluster.faults() == []
        self.not_vacuous(rows)
        return {"rows at the end": rows, "done": dict(sorted(self.ledger.counts.items()))}

    def no_deadlock(self):
        """But of writers with each other, whose transactions change the same rows in one order and the other."""
        found = DEADLOCK.findall(self.cluster.log())
        bad = [text for text in found if not all(WRITES.match(query) for query in PART.findall(text))]
        assert not bad, f"{len(bad)} deadlocks: {bad[:5]}"

    def not_vacuous(self, rows: dict):
        counts = self.ledger.counts
        assert all(rows.values()), f"views without rows prove nothing: {rows}"
        needed = ["fresh rows checked", "looks", "looks at a history", "write: alone", "write: transaction"]
        needed += ["write: prepared", "refresh: whole", "refresh: with_rollback", "model: align", "commit prepared"]
        missing = [name for name in needed if not counts[name]]
        assert not missing, f"never done: {missing}"
