"""A Kafka source of 128-dimensional JSON records against a Python consumer (confluent-kafka, orjson, COPY BINARY).

Both read the same topic of the same broker in a new group of their own and write into the same partition with its
primary key and checks. Bar: at least 3 times the records per second, from the first batch visible to the last: a
broker lets a new group wait for more members (group.initial.rebalance.delay.ms, 3 s), and with that wait the whole
time is printed as well. COPY of the same rows from a file is timed beside them. CVX_BENCH_RECORDS sets another number
of records, CVX_BENCH_ROUNDS of rounds.
"""

import os
import statistics
import struct
import sys
import time
from datetime import datetime, timezone

import harness
import numpy as np
import orjson
from confluent_kafka import Consumer, KafkaException
from peers import KafkaMock
from psycopg.types.json import Jsonb

RECORDS = int(os.environ.get("CVX_BENCH_RECORDS", 500_000))
ROUNDS = int(os.environ.get("CVX_BENCH_ROUNDS", 3))
DIMS = 128
POINTS_PER_ENTITY = 50
TOPIC = "embeddings"
# The mock broker keeps 5 MiB a partition.
PARTITION_BYTES = 3_500_000
BATCH = 5_000
COLUMNS = "entity_id, ts, vec, source, model_version"
PG_EPOCH = datetime(2000, 1, 1, tzinfo=timezone.utc)


def messages():
    """JSON as services write it: id, time in ISO 8601, model, and the shortest digits that give each float32."""
    rng = np.random.default_rng(4)
    start = datetime(2026, 1, 1, tzinfo=timezone.utc).timestamp()
    entities = RECORDS // POINTS_PER_ENTITY
    for point in range(POINTS_PER_ENTITY):
        vectors = harness.random_walks(rng, entities, 1, DIMS)[:, 0]
        for entity in range(entities):
            seconds = start + 3600 * point + entity
            record = {
                "content_id": f"content-{entity:08}",
                "created_at": datetime.fromtimestamp(seconds, timezone.utc),
                "model": "bench-1",
                "embedding": vectors[entity],
            }
            yield orjson.dumps(record, option=orjson.OPT_SERIALIZE_NUMPY)


def produce(broker: KafkaMock) -> tuple[int, int]:
    """Fills the topic; the number of records and of their bytes."""
    records = list(messages())
    size = sum(map(len, records))
    partitions = size // PARTITION_BYTES + 1
    broker.create_topic(TOPIC, partitions)
    failed = []
    producer = broker.producer(**{"linger.ms": 100, "batch.size": 1_000_000, "batch.num.messages": 100_000})
    for number, record in enumerate(records):
        partition = number * partitions // len(records)
        while True:
            try:
                producer.produce(TOPIC, record, partition=partition, on_delivery=lambda e, _: e and failed.append(e))
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    producer.flush(60)
    assert not failed and not len(producer), f"not produced: {failed[:1]}, {len(producer)} left"
    print(f"  {len(records)} records of {size / len(records):.0f} bytes in {partitions} partitions")
    return len(records), size


def python_consumer(conn, bootstrap: str, records: int, group: str) -> list[tuple[float, int]]:
    """What one writes without cvx: a batch of messages is one COPY, and its offsets are committed afterwards.

    Returns when how many records were visible.
    """
    settings = {
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
    consumer = Consumer(settings)
    consumer.subscribe([TOPIC])
    pack_vector = struct.Struct(f">HH{DIMS}f").pack
    seen = [(time.perf_counter(), 0)]
    while seen[-1][1] < records:
        batch = consumer.consume(BATCH, 0.25)
        if not batch:
            continue
        with conn.transaction(), conn.cursor() as cursor:
            with cursor.copy(f"COPY cvx_space.bench ({COLUMNS}) FROM STDIN (FORMAT binary)") as copy:
                copy.set_types(["text", "timestamptz", "bytea", "text", "text"])
                for message in batch:
                    if message.error():
                        raise KafkaException(message.error())
                    record = orjson.loads(message.value())
                    copy.write_row(
                        (
                            record["content_id"],
                            datetime.fromisoformat(record["created_at"]),
                            pack_vector(DIMS, 0, *record["embedding"]),
                            "python",
                            record["model"],
                        )
                    )
        consumer.commit(asynchronous=False)
        seen.append((time.perf_counter(), seen[-1][1] + len(batch)))
    consumer.close()
    return seen


def cvx_source(conn, bootstrap: str, records: int, group: str) -> list[tuple[float, int]]:
    """As above."""
    config = {
        "brokers": bootstrap.split(","),
        "topic": TOPIC,
        "group_id": group,
        "entity_id_field": "content_id",
        "vector_field": "embedding",
        "timestamp_field": "created_at",
        "model_version_field": "model",
        "properties": {"security.protocol": "plaintext"},
    }
    conn.execute("SELECT cvx.create_source(%s, 'kafka', 'bench', %s)", [group, Jsonb(config)])
    return harness.wait_written(conn, group, records)


def rate(seen: list[tuple[float, int]]) -> float:
    """Records per second from the first batch visible to the last."""
    (start, first), (end, last) = seen[1], seen[-1]
    return (last - first) / (end - start)


def main() -> bool:
    conn = harness.connect()
    conn.execute("SELECT cvx.create_space('bench', %s)", [DIMS])
    binary = harness.files() / "bench.copy"

    def empty():
        conn.execute("TRUNCATE cvx.embedding")
        conn.execute("CHECKPOINT")

    def consumed(consumer, group: str) -> tuple[float, float]:
        """Records per second, and the seconds from start to end."""
        empty()
        seen = consumer(conn, broker.bootstrap, records, group)
        (rows,) = conn.execute("SELECT count(*) FROM cvx.embedding").fetchone()
        assert rows == records, f"{rows} rows of {records} records"
        return rate(seen), seen[-1][0] - seen[0][0]

    with KafkaMock() as broker:
        records, size = produce(broker)
        results = {"cvx": [], "python": []}
        copies = []
        for number in range(ROUNDS + 1):
            group = f"cvx-{number}-{time.time_ns()}"
            results["cvx"].append(consumed(cvx_source, group))
            conn.execute("SELECT cvx.drop_source(%s)", [group])
            results["python"].append(consumed(python_consumer, f"python-{number}-{time.time_ns()}"))
            harness.copy_out(conn, f"cvx_space.bench ({COLUMNS})", binary)
            empty()
            copy_in = f"COPY cvx_space.bench ({COLUMNS}) FROM '{binary}' (FORMAT binary)"
            copies.append(records / harness.seconds(lambda: conn.execute(copy_in)))
    # The first round warms up.
    copy = statistics.median(copies[1:])
    (cvx, cvx_time), (python, python_time) = ([statistics.median(x) for x in zip(*r[1:])] for r in results.values())
    for name, each, took in (("cvx", cvx, cvx_time), ("python", python, python_time), ("COPY", copy, records / copy)):
        speed = f"{each:.0f} records/s, {each * size / records / 1e6:.0f} MB/s of JSON"
        print(f"  {name}: {speed}, {each / copy:.2f} of COPY; in all {took:.2f} s")
    whole = python_time / cvx_time
    print(f"  whole time of the Python consumer over cvx's, the wait for the group in both: {whole:.2f}")
    return harness.report("records per second over the Python consumer's", cvx / python, 3, at_least=True)


if __name__ == "__main__":
    sys.exit(not main())
