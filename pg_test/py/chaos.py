"""Exactly once under fire: Kafka records and Parquet files are ingested while processes are killed and networks fail.

Used by test_exactly_once.py (short) and soak.py (long). Every random choice comes from the plan's seed; what time does to
them does not.
"""

import json
import random
import time
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from cluster import Cluster, until
from faults import Proxy
from peers import KafkaMock, Moto
from sources import EPOCH, create_source, kafka_config, runs, source, vector_of

DIMS = 8
TOPIC = "events"
BUCKET = "chaos"
SECRET = "secret-of-chaos"
# How long all faults together may have slowed the sources down, after the last one: backoff goes up to 300 s.
CATCH_UP = 420

# What a malformed message is; `i` makes it one of its kind.
MALFORMED = [
    lambda i: b'{"id": "k%d", "ts": %d, "vec": [1, 2,' % (i, i),
    lambda i: b'{"id": "k%d", "ts": %d, "vec": [1, 2, 3]}' % (i, i),
    lambda i: b'{"id": "k%d", "ts": %d}' % (i, i),
    lambda i: b'{"id": null, "ts": %d, "vec": [1, 2, 3, 4, 5, 6, 7, 8]}' % i,
    lambda i: b'{"id": "k%d", "ts": "yesterday", "vec": [1, 2, 3, 4, 5, 6, 7, 8]}' % i,
    lambda i: b'{"id": "k%d", "ts": %d, "vec": [0, 0, 0, 0, 0, 0, 0, 0]}' % (i, i),
    lambda i: b'{"id": "k%d", "ts": %d, "vec": [1, 2, 3, "4", 5, 6, 7, 8]}' % (i, i),
    lambda i: b"\xff\xfe not JSON %d" % i,
]


@dataclass
class Plan:
    rounds: int
    records: int
    files: int
    seed: int
    file_rows: int = 1000
    partitions: int = 24
    malformed: float = 0.01
    settings: dict = field(default_factory=dict)


class Chaos:
    """One run of a plan: `run()` plays it and returns its figures, or fails with an AssertionError."""

    def __init__(self, plan: Plan, say=lambda text: None):
        self.plan, self.say = plan, say
        self.rng = random.Random(plan.seed)
        self.bad = set(self.rng.sample(range(plan.records), round(plan.records * plan.malformed)))
        self.bad_positions = {}
        self.done = {}

    def run(self) -> dict:
        plan, started = self.plan, time.monotonic()
        with KafkaMock() as self.kafka, Moto() as self.moto, Proxy(self.moto.port) as self.proxy:
            with Cluster(plan.settings) as self.cluster:
                self.prepare()
                # The last tenth of the rounds brings nothing new: what they break has to mend without being asked.
                feeding = max(1, plan.rounds - max(1, plan.rounds // 10))
                for number in range(plan.rounds):
                    if number < feeding:
                        before = self.written()
                        self.feed(number, feeding)
                        # In the middle of the work, not before it: a consumer takes its time to join its group again.
                        self.until_all(lambda: self.written() > before, 120, "something new is written")
                    self.fault(number)
                self.heal()
                caught_up = time.monotonic()
                self.wait_for_all()
                figures = self.verify()
                figures["catch-up after the last fault, s"] = round(time.monotonic() - caught_up, 1)
        figures["seconds"] = round(time.monotonic() - started, 1)
        figures["faults"] = dict(sorted(self.done.items()))
        return figures

    def prepare(self):
        self.kafka.create_topic(TOPIC, self.plan.partitions)
        self.producer = self.kafka.producer()
        self.s3 = self.moto.client()
        self.s3.create_bucket(Bucket=BUCKET)
        self.cluster.create_database("chaos")
        with self.cluster.connect("chaos") as conn:
            conn.execute("SELECT cvx.create_space('k', %s), cvx.create_space('p', %s)", (DIMS, DIMS))
            conn.execute("SELECT cvx.create_secret('s3', %s)", (SECRET,))
            # Small batches: more moments at which a fault can fall between two of them.
            small = {"batch_rows": 200, "batch_interval_ms": 20}
            # A consumer that was killed has not left its group: the broker waits so long for it.
            soon = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 1000}
            config = kafka_config(self.kafka.bootstrap, TOPIC, timestamp_unit="ms", properties=soon, **small)
            create_source(conn, "kafka", "kafka", "k", config)
            config = {
                "bucket": BUCKET,
                "prefix": "in/",
                "endpoint": f"http://127.0.0.1:{self.proxy.port}",
                "allow_http": True,
                "path_style": True,
                "access_key_id": "cvx-test",
                "secret_access_key": {"secret": "s3"},
                **small,
            }
            create_source(conn, "s3", "s3_parquet", "p", config)

    def feed(self, number: int, feeding: int):
        """A share of the records and of the files, and a word to the source of files that there are some."""
        plan = self.plan
        self.produce(range(plan.records * number // feeding, plan.records * (number + 1) // feeding))
        new = range(plan.files * number // feeding, plan.files * (number + 1) // feeding)
        for file in new:
            self.upload(file)
        if new:
            self.ask("SELECT cvx.sync_source('s3')")

    def produce(self, records: range):
        failed = []

        def delivered(i):
            def report(error, message):
                if error is not None:
                    failed.append(error)
                elif i in self.bad:
                    self.bad_positions[f"{TOPIC}/{message.partition()}/{message.offset()}"] = i

            return report

        vectors = vector_of(records, DIMS)
        for i, vector in zip(records, vectors):
            if i in self.bad:
                value = MALFORMED[i % len(MALFORMED)](i)
            else:
                value = json.dumps({"id": f"k{i % 1000}", "ts": EPOCH // 1000 + i, "vec": vector.tolist()}).encode()
            self.producer.produce(TOPIC, value, partition=i % self.plan.partitions, on_delivery=delivered(i))
            if i % 1000 == 0:
                self.producer.poll(0)
        assert self.producer.flush(60) == 0 and not failed, failed[:3]

    def upload(self, file: int):
        first = file * self.plan.file_rows
        rows = np.arange(first, first + self.plan.file_rows)
        vectors = vector_of(rows, DIMS)
        # One row of each file is not a number.
        vectors[file % self.plan.file_rows, 3] = np.nan
        table = pa.table(
            {
                "entity_id": pa.array([f"p{i % 300}" for i in rows]),
                "ts": pa.array(EPOCH + rows * 1000, pa.timestamp("us", tz="UTC")),
                "vec": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIMS),
            }
        )
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, row_group_size=max(1, self.plan.file_rows // 4))
        body = sink.getvalue().to_pybytes()
        self.s3.put_object(Bucket=BUCKET, Key=f"in/{file:05}.parquet", Body=body)

    def until_all(self, condition, seconds: float, what: str):
        """`until`, whose error says how the sources are."""
        try:
            return until(condition, seconds, what, every=0.2)
        except AssertionError as error:
            with self.cluster.connect("chaos") as conn:
                states = [source(conn, name) for name in ("kafka", "s3")]
                last = [runs(conn, name)[-3:] for name in ("kafka", "s3")]
            raise AssertionError(f"{error}; {states}; {last}; {self.cluster.log()[-4000:]}") from None

    def written(self) -> int:
        """Records of the topic that became rows or dead letters."""
        query = "SELECT 1 + (SELECT count(*) FROM cvx_space.k) + (SELECT count(*) FROM cvx.dead_letter WHERE source = 'kafka')"

        def look():
            with self.cluster.connect("chaos") as conn:
                return conn.execute(query).fetchone()[0]

        return until(look, 60, "the server answers")

    def ask(self, query: str):
        """Runs a statement, again as long as the server is not there to take it."""

        def once():
            with self.cluster.connect("chaos") as conn:
                conn.execute(query)
            return True

        until(once, 60, query)

    def fault(self, number: int):
        # At whatever moment of it.
        time.sleep(self.rng.uniform(0, 0.8))
        # Each kind in turn, in an order of chance: short plans have all of them as well.
        kinds = self.KINDS
        if number % len(kinds) == 0:
            self.order = self.rng.sample(kinds, len(kinds))
        kind = self.order[number % len(kinds)]
        self.done[kind] = self.done.get(kind, 0) + 1
        started = time.monotonic()
        getattr(self, kind)()
        self.say(f"round {number + 1}: {kind}, {time.monotonic() - started:.1f} s")

    KINDS = [
        "kill_ingest_worker",
        "stop_server_at_once",
        "broker_down",
        "s3_unavailable",
        "kill_ingest_worker_soon_again",
        "s3_cuts_connections",
        "broker_errors",
        "terminate_ingest_worker",
        "kill_postmaster",
        "s3_refuses",
    ]

    def ingest_worker(self) -> int:
        return until(lambda: self.cluster.workers("ingest", "chaos"), 60, "an ingest worker")[0]

    def kill_ingest_worker(self):
        self.cluster.kill(self.ingest_worker())

    def kill_ingest_worker_soon_again(self):
        killed = self.ingest_worker()
        self.cluster.kill(killed)
        until(lambda: self.ingest_worker() != killed, 60)
        time.sleep(self.rng.uniform(0, 0.3))
        self.cluster.kill(self.ingest_worker())

    def terminate_ingest_worker(self):
        with self.cluster.connect() as conn:
            assert conn.execute("SELECT pg_terminate_backend(%s, 5000)", (self.ingest_worker(),)).fetchone()[0]

    def stop_server_at_once(self):
        until(self.cluster.is_ready, 60, "the server is up")
        self.cluster.crash()
        self.cluster.start()

    def kill_postmaster(self):
        until(self.cluster.is_ready, 60, "the server is up")
        self.cluster.kill_postmaster()
        self.cluster.start()

    def broker_down(self):
        self.kafka.command("down -1")
        time.sleep(self.rng.uniform(0.2, 2))
        self.kafka.command("up -1")

    def broker_errors(self):
        # Storage error, not leader, timed out, and the connection closed: after each of those a client waits longer, up to
        # 10 s, before it connects again.
        for code in self.rng.sample([56, 6, 7, -195], 2):
            self.kafka.command(f"error Fetch {code} {self.rng.randint(1, 3 if code == -195 else 20)}")
        self.kafka.command(f"error OffsetCommit {self.rng.choice([16, 27, 22])} 2")

    def s3_unavailable(self):
        self.network("unavailable")

    def s3_refuses(self):
        self.network("refuse")

    def s3_cuts_connections(self):
        self.proxy.cut_after = self.rng.randint(0, 60_000)
        self.network("cut")

    def network(self, mode: str):
        self.proxy.mode = mode
        time.sleep(self.rng.uniform(0.2, 2))
        self.proxy.mode = "pass"

    def heal(self):
        self.proxy.mode = "pass"
        self.kafka.command("up -1")
        until(self.cluster.is_ready, 60, "the server is up")

    def expected(self) -> tuple[int, int, int, int]:
        """Rows and dead letters of Kafka, rows and dead letters of the files."""
        plan = self.plan
        return plan.records - len(self.bad), len(self.bad), plan.files * (plan.file_rows - 1), plan.files

    def wait_for_all(self):
        count = """SELECT (SELECT count(*) FROM cvx_space.k), (SELECT count(*) FROM cvx.dead_letter WHERE source = 'kafka'),
                          (SELECT count(*) FROM cvx_space.p), (SELECT count(*) FROM cvx.dead_letter WHERE source = 's3')"""
        wanted, found = self.expected(), None

        def all_there():
            nonlocal found
            with self.cluster.connect("chaos") as conn:
                found = conn.execute(count).fetchone()
                # More than wanted will not become right by waiting.
                return all(have >= want for have, want in zip(found, wanted))

        try:
            self.until_all(all_there, CATCH_UP, "all is there")
        except AssertionError as error:
            raise AssertionError(f"rows and dead letters are {found}, not {wanted}; {error}") from None

    def verify(self) -> dict:
        """The tables hold what the sources hold, value by value; every malformed record is a dead letter, once."""
        with self.cluster.connect("chaos") as conn:
            assert self.records_in_topic() == self.plan.records, "the mock broker has not kept the records"
            self.verify_space(conn, "k", lambda i: f"k{i % 1000}", lambda i: i in self.bad, self.plan.records)
            rows = self.plan.file_rows
            bad_row = lambda i: i % rows == i // rows % rows
            self.verify_space(conn, "p", lambda i: f"p{i % 300}", bad_row, self.plan.files * rows)
            self.verify_dead_letters(conn, "kafka", set(self.bad_positions))
            files = {f"in/{file:05}.parquet#{file % rows}" for file in range(self.plan.files)}
            self.verify_dead_letters(conn, "s3", files)
            # Nobody was asked to do anything: no pause, no error to be mended.
            self.until_all(lambda: source(conn, "kafka")["state"] == "running", 60, "the stream runs")
            self.until_all(lambda: source(conn, "s3")["state"] == "waiting", 60, "the files have been read")
            figures = {
                "rows": self.expected()[0] + self.expected()[2],
                "dead letters": self.expected()[1] + self.expected()[3],
            }
            for name in ("kafka", "s3"):
                of = runs(conn, name)
                figures[f"runs of {name}"] = len(of)
                written = sum(run["records_written"] for run in of)
                rejected = sum(run["records_rejected"] for run in of)
                good, bad = (self.expected()[:2], self.expected()[2:])[name == "s3"]
                assert (written, rejected) == (good, bad), (
                    f"{name}: runs say {written} and {rejected}, not {good} and {bad}"
                )
        assert self.cluster.faults() == []
        return figures

    def records_in_topic(self) -> int:
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self.kafka.bootstrap, "group.id": "looks-on"})
        try:
            marks = [consumer.get_watermark_offsets(TopicPartition(TOPIC, p), 30) for p in range(self.plan.partitions)]
        finally:
            consumer.close()
        assert all(low == 0 for low, _ in marks), "the mock broker has dropped records"
        return sum(high for _, high in marks)

    def verify_space(self, conn, space: str, entity, is_bad, count: int):
        """Row i stands i milliseconds after EPOCH, with the values of vector_of(i)."""
        query = f"""SELECT (extract(epoch FROM ts) * 1000000)::bigint, entity_id, vector_send(vec)
                    FROM cvx_space.{space} ORDER BY ts"""
        found = conn.cursor(binary=True).execute(query).fetchall()
        numbers = np.array([ts for ts, _, _ in found])
        wanted = np.array([i for i in range(count) if not is_bad(i)])
        assert np.array_equal(numbers, EPOCH + wanted * 1000), f"{space}: {len(numbers)} rows, wanted {len(wanted)}"
        assert [name for _, name, _ in found] == [entity(i) for i in wanted.tolist()]
        values = np.frombuffer(b"".join(vec[4:] for _, _, vec in found), ">f4").reshape(-1, DIMS)
        assert np.array_equal(values, vector_of(wanted, DIMS)), f"{space}: values differ"

    def verify_dead_letters(self, conn, name: str, wanted: set):
        query = "SELECT position, count(*) FROM cvx.dead_letter WHERE source = %s GROUP BY 1"
        found = dict(conn.execute(query, (name,)).fetchall())
        assert set(found) == wanted, f"{name}: {sorted(set(found) ^ wanted)[:5]}"
        twice = {position: n for position, n in found.items() if n != 1}
        assert not twice, f"{name}: {twice}"
