"""No alert is lost and none has two ids: writers feed what monitors look at, a receiver drops, delays, refuses and
fails, processes and the server are killed; at the end the alerts are those that follow from what is stored, each sent
under one id until it was taken (monitors_verdict.py).

Used by test_alerts_under_fire.py (short) and soak_monitors.py (long). Every random choice comes from the plan's seed;
what time does to them does not.
"""

import random
import time
from dataclasses import dataclass, field

import monitors_world as world
import psycopg
from cluster import Cluster, until
from monitors_actors import Feeder, Listener, Reviser
from monitors_inbox import Inbox
from monitors_verdict import Verdict
from psycopg import sql
from views_actors import Ledger

DATABASE = "chaos"
PATIENCE = 1.0
SETTINGS = {
    "max_prepared_transactions": "40",
    "max_connections": "80",
    "max_worker_processes": "24",
    "autovacuum_naptime": "1s",
    "cvx.webhook_allowed_hosts": "127.0.0.1",
    "cvx.webhook_timeout": f"{PATIENCE * 1000:.0f}ms",
}


@dataclass
class Plan:
    # The run ends when so many processes have been killed, the server among them.
    kills: int
    seed: int
    feeders: int = 8
    revisers: int = 3
    listeners: int = 2
    # Seconds between two faults.
    faults: tuple = (1.0, 6.0)
    # How long everything may take to be found and sent when all is quiet.
    settle: float = 120
    settings: dict = field(default_factory=dict)


class MonitorsChaos:
    """One run of a plan: `run()` plays it and returns its figures, or fails with an AssertionError."""

    CALM = ("terminate_monitor", "terminate_scheduler", "terminate_refresh", "cancel_monitor", "refuse", "checkpoint")
    ROUGH = (
        "kill_monitor", "kill_postmaster", "kill_refresh", "stop_at_once", "kill_scheduler", "kill_backend",
        "restart", "kill_launcher",
    )  # fmt: skip

    def __init__(self, plan: Plan, say=lambda text: None):
        self.plan, self.say = plan, say
        self.rng = random.Random(plan.seed)
        self.ledger = Ledger()
        self.kills = 0

    def run(self) -> dict:
        started = time.monotonic()
        with Inbox(world.SECRET, PATIENCE, self.plan.seed) as self.inbox:
            with Cluster({**SETTINGS, **self.plan.settings}) as self.cluster:
                self.cluster.create_database(DATABASE)
                with self.cluster.connect(DATABASE) as conn:
                    world.create(conn, self.inbox.port)
                try:
                    self.play()
                    figures = Verdict(self.cluster, DATABASE, self.inbox, self.listeners).counts
                    self.cluster.run("pg_amcheck", "--all", "--heapallindexed", "--install-missing", timeout=300)
                    assert self.cluster.faults() == []
                except BaseException:
                    self.say(self.cluster.log()[-6000:])
                    raise
        self.not_vacuous(figures)
        moods = dict(sorted(self.inbox.moods.items()))
        done = dict(sorted(self.ledger.counts.items()))
        return {"kills": self.kills, **figures, "moods": moods, "done": done, "seconds": time.monotonic() - started}

    def not_vacuous(self, figures: dict):
        kinds = self.CALM + self.ROUGH if self.plan.kills >= 2 * len(self.ROUGH) else ()
        needed = [f"fault: {kind}" for kind in kinds]
        needed += ["feed: prepared and ended", "feed: rolled_back", "feed: savepoints", "revise: delete"]
        needed += ["listen: checks"]
        missing = [name for name in needed if not self.ledger.counts[name]]
        missing += [mood for mood in Inbox.ROUGH if not self.inbox.moods[mood]]
        missing += [name for name, count in figures.items() if not count]
        assert not missing, f"never done or seen: {missing}"

    def connect(self, kind: str) -> psycopg.Connection:
        limits = "-c statement_timeout=30s -c lock_timeout=5s -c idle_in_transaction_session_timeout=60s"
        return self.cluster.connect(DATABASE, application_name=kind, options=limits, connect_timeout=5)

    def play(self):
        plan = self.plan
        kinds = [Feeder] * plan.feeders + [Reviser] * plan.revisers + [Listener] * plan.listeners
        actors = [kind(self.connect, self.ledger, plan.seed * 1000 + i) for i, kind in enumerate(kinds)]
        self.listeners = [actor for actor in actors if isinstance(actor, Listener)]
        feeders = [actor for actor in actors if not isinstance(actor, Listener)]
        for actor in actors:
            actor.start()
        self.inbox.weights = Inbox.ROUGH
        try:
            while self.kills < plan.kills and not self.problems():
                time.sleep(self.rng.uniform(*plan.faults))
                self.fault()
        finally:
            for actor in feeders:
                actor.stopping.set()
            for actor in feeders:
                actor.stop()
        self.no_problems()
        self.settle()
        for actor in self.listeners:
            actor.stop()
        self.no_problems()

    def problems(self) -> list[str]:
        return self.ledger.wrong + self.inbox.wrong

    def no_problems(self):
        found = self.problems()
        assert not found, f"{len(found)} wrong:\n" + "\n\n".join(found[:10])

    # Faults, each kind in turn in an order of chance; after each the server is up.

    def fault(self):
        order = self.CALM + self.ROUGH
        number = sum(count for what, count in self.ledger.counts.items() if what.startswith("fault: "))
        if number % len(order) == 0:
            self.order = self.rng.sample(order, len(order))
        kind = self.order[number % len(order)]
        started = time.monotonic()
        try:
            getattr(self, kind)()
            self.kills += kind in self.ROUGH
        except psycopg.OperationalError:
            # It fell on a server that was not there; the next one will find it.
            pass
        until(self.cluster.is_ready, 60, "the server is up")
        self.ledger.count(f"fault: {kind}")
        self.say(f"{kind}, {time.monotonic() - started:.1f} s; {self.counted()}")

    def counted(self) -> str:
        query = "SELECT count(*), (SELECT count(*) FROM cvx.delivery) FROM cvx.alert"
        try:
            with self.cluster.connect(DATABASE) as conn:
                alerts, queued = conn.execute(query).fetchone()
        except psycopg.OperationalError:
            return "the server has gone again"
        return f"{self.kills} kills, {alerts} alerts, {queued} deliveries queued, {len(self.inbox.arrivals)} arrivals"

    def pids(self, condition: str) -> list[int]:
        with self.cluster.connect() as conn:
            return [pid for (pid,) in conn.execute(f"SELECT pid FROM pg_stat_activity WHERE {condition} ORDER BY pid")]

    def worker(self, role: str) -> int:
        """Of a process that comes and goes: at its next coming. It may be late after a fault."""
        return until(lambda: self.pids(f"backend_type LIKE 'cvx {role}%'"), 60, f"a process {role}", every=0.005)[0]

    def terminate(self, role: str):
        pid = self.worker(role)
        with self.cluster.connect() as conn:
            conn.execute("SELECT pg_terminate_backend(%s)", (pid,))

    def kill(self, role: str):
        pid = self.worker(role)
        time.sleep(self.rng.random() ** 3 * 0.1)
        self.cluster.kill(pid)

    def terminate_monitor(self):
        self.terminate("monitor")

    def terminate_scheduler(self):
        self.terminate("scheduler")

    def terminate_refresh(self):
        self.terminate("refresh")

    def cancel_monitor(self):
        with self.cluster.connect() as conn:
            conn.execute("SELECT pg_cancel_backend(%s)", (self.worker("monitor"),))

    def refuse(self):
        self.inbox.refuse(self.rng.uniform(0.5, 3))

    def checkpoint(self):
        with self.cluster.connect() as conn:
            conn.execute("CHECKPOINT")

    def kill_monitor(self):
        self.kill("monitor")

    def kill_scheduler(self):
        self.kill("scheduler")

    def kill_refresh(self):
        self.kill("refresh")

    def kill_launcher(self):
        self.kill("launcher")

    def kill_backend(self):
        active = "application_name IN ('feed', 'revise', 'listen') AND state <> 'idle'"
        found = until(lambda: self.pids(active), 60, "a backend at work", every=0.005)
        self.cluster.kill(self.rng.choice(found))

    def stop_at_once(self):
        self.cluster.crash()
        self.cluster.start()

    def kill_postmaster(self):
        self.cluster.kill_postmaster(patience=60)
        self.cluster.start()

    def restart(self):
        self.cluster.restart()

    def settle(self):
        """Nothing is written any more, and the receiver takes everything: until all is found and sent."""
        self.inbox.weights = Inbox.CALM
        with self.cluster.connect(DATABASE) as conn:
            for (gid,) in conn.execute("SELECT gid FROM pg_prepared_xacts").fetchall():
                conn.execute(sql.SQL("COMMIT PREPARED {}").format(sql.Literal(gid)))
            (quiet,) = conn.execute("SELECT clock_timestamp()").fetchone()
            conn.execute("SELECT cvx.pause_monitor('silence')")
            # Who was killed in the middle of its evaluation again and again is not tried for ever.
            for (name,) in conn.execute(
                "SELECT name FROM cvx.monitors WHERE status = 'paused' AND name <> 'silence'"
            ).fetchall():
                conn.execute("SELECT cvx.resume_monitor(%s)", (name,))
                self.ledger.count(f"resumed: {name}")
            started = time.monotonic()
            self.until_none(
                conn,
                "what was written is seen",
                """SELECT 'log', source, entity_id FROM cvx.invalidation
                   UNION ALL SELECT 'mark', view_id, entity_id FROM cvx.stale LIMIT 5""",
            )
            # The cooldown of `drift` may have held one back: twice, the second time when it is over.
            for _ in range(2):
                self.until_none(
                    conn,
                    "all have looked",
                    """SELECT name, status, last_evaluated_at, next_check_at, last_error FROM cvx.monitors
                       WHERE name IN ('drift', 'incidents') AND
                             (status NOT IN ('ok', 'running') OR last_evaluated_at > %s IS NOT TRUE)""",
                    quiet,
                )
                time.sleep(2.5)
                (quiet,) = conn.execute("SELECT clock_timestamp()").fetchone()
            self.until_none(
                conn, "all is sent", "SELECT alert_id, attempts, next_attempt_at, last_error FROM cvx.delivery LIMIT 5"
            )
            self.ledger.count("seconds until all was quiet", round(time.monotonic() - started))
        # Those who listen look once more.
        time.sleep(4)

    def until_none(self, conn, what: str, query: str, *parameters):
        try:
            until(lambda: not conn.execute(query, parameters).fetchall(), self.plan.settle, what, every=0.2)
        except AssertionError as error:
            states = conn.execute("SELECT m::text FROM cvx.monitors m").fetchall()
            workers = conn.execute("SELECT w::text FROM cvx.workers w").fetchall()
            left = conn.execute(query, parameters).fetchall()
            raise AssertionError(f"{error}: {left}\n{states}\n{workers}") from None
