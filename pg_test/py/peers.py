"""What sources read from, on loopback: an S3 server (moto), a Kafka broker (librdkafka's mock cluster), a PostgreSQL."""

import os
import select
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import psycopg
from cluster import Cluster


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Moto:
    """moto's S3 server. `client()` is a boto3 client with the credentials `access_key`, `secret_key`."""

    access_key = "cvx-test"
    secret_key = "cvx-test-secret"

    def __init__(self):
        self.port = free_port()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.endpoint = f"http://127.0.0.1:{self.port}"
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{self.endpoint}/moto-api/", timeout=5).close()
                return
            except (urllib.error.URLError, OSError):
                assert self.process.poll() is None, f"moto ended with {self.process.returncode}"
                assert time.monotonic() < deadline, "moto does not answer"
                time.sleep(0.1)

    def client(self):
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 3}),
        )

    def close(self):
        self.process.terminate()
        self.process.wait(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class KafkaMock:
    """The process of src/sources/examples/kafka_mock.rs, which CVX_KAFKA_MOCK names; its commands are described there.

    It keeps 5 MiB of message sets a partition: producers make as many partitions as they need.
    """

    def __init__(self, brokers: int = 1):
        self.process = subprocess.Popen(
            [os.environ["CVX_KAFKA_MOCK"], str(brokers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
        )
        words = self._line(30).split()
        assert words[:1] == ["bootstrap"], f"kafka_mock said {words}"
        self.bootstrap = words[1]

    def _line(self, seconds: float) -> str:
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        assert ready, "kafka_mock does not answer"
        return self.process.stdout.readline().strip()

    def command(self, text: str):
        self.process.stdin.write(text + "\n")
        answer = self._line(30)
        assert answer == "ok", f"{text}: {answer}"

    def create_topic(self, name: str, partitions: int):
        self.command(f"topic {name} {partitions}")

    def producer(self, **settings):
        from confluent_kafka import Producer

        return Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "linger.ms": 20,
                "queue.buffering.max.messages": 1_000_000,
                **settings,
            }
        )

    def close(self):
        # It ends with its input.
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class OtherServer:
    """A PostgreSQL without cvx, with pgvector at hand, that asks `user` for `password` (SCRAM) on a TCP port.

    `connect()` is the superuser's connection to its database `name`, through a socket.
    """

    name = "other"
    user = "reader"
    password = "cvx-test-password"

    def __init__(self, settings: dict | None = None):
        self.port = free_port()
        own = {"shared_preload_libraries": "", "listen_addresses": "127.0.0.1", "port": self.port}
        self.cluster = Cluster({**own, **(settings or {})}, start=False)
        rules = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        (self.cluster.data / "pg_hba.conf").write_text(rules)
        self.cluster.start()
        with self.connect("postgres") as conn:
            conn.execute("SET password_encryption = 'scram-sha-256'")
            conn.execute(f"CREATE ROLE {self.user} LOGIN PASSWORD '{self.password}'")
            conn.execute(f"CREATE DATABASE {self.name}")
        self.dsn = f"host=127.0.0.1 port={self.port} user={self.user} password={self.password} dbname={self.name}"

    def connect(self, dbname: str | None = None) -> psycopg.Connection:
        socket_folder = self.cluster.host
        return psycopg.connect(
            host=socket_folder, port=self.port, user="postgres", dbname=dbname or self.name, autocommit=True
        )

    def config(self, table: str, **more) -> dict:
        """What a source of type postgres needs to read a table; its password is the secret `other`."""
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "dbname": self.name,
            "user": self.user,
            "password": {"secret": "other"},
            "sslmode": "disable",
            "table": table,
            **more,
        }

    def close(self):
        self.cluster.remove()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
