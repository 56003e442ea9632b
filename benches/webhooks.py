"""Webhooks: from COMMIT to the request at a local receiver, how many a second, and what memory they take.

Bars: each of 300 requests arrives within 500 ms of the COMMIT's answer when nothing else is sent, and when 20 000 wait
for a receiver that answers after a second; the scheduler grows by less than 32 MB. On a server of its own, beside 100
monitors; the receiver is a process of its own.
"""

import asyncio
import multiprocessing
import os
import sys
import time

import harness
import numpy as np
from cluster import Cluster, until
from psycopg.types.json import Jsonb

ALERTS = int(os.environ.get("CVX_BENCH_ALERTS", 10_000))
BACKLOG = int(os.environ.get("CVX_BENCH_BACKLOG", 20_000))
SINGLE = 300
MONITORS = 100
NEVER = {"type": "reject_ratio_exceeds", "threshold": 0.99}
ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class Receiving(asyncio.Protocol):
    """Notes when each request has come whole, and answers at once, or after `delay`."""

    def __init__(self, note, delay: float):
        self.note, self.delay, self.seen = note, delay, b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data: bytes):
        self.seen += data
        while True:
            head, blank, rest = self.seen.partition(b"\r\n\r\n")
            if not blank:
                return
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            if len(rest) < length:
                return
            self.note(time.time())
            self.seen = rest[length:]
            if self.delay:
                asyncio.get_running_loop().call_later(self.delay, self.transport.write, ANSWER)
            else:
                self.transport.write(ANSWER)


def receive(ports, times, count, delay: float):
    """A process: the ports it listens on, and when requests came."""

    def note(at: float):
        times[count.value % len(times)] = at
        count.value += 1

    async def serve():
        make = lambda: Receiving(note, delay)  # noqa: E731
        loop = asyncio.get_running_loop()
        servers = [await loop.create_server(make, "127.0.0.1", 0) for _ in range(8)]
        ports.send([server.sockets[0].getsockname()[1] for server in servers])
        await asyncio.Event().wait()

    asyncio.run(serve())


class Receiver:
    def __init__(self, delay: float = 0):
        self.times = multiprocessing.Array("d", 100_000, lock=False)
        self.count = multiprocessing.Value("q", 0, lock=False)
        here, there = multiprocessing.Pipe()
        process = multiprocessing.Process(target=receive, args=(there, self.times, self.count, delay), daemon=True)
        process.start()
        self.ports = here.recv()

    def url(self, number: int = 0) -> str:
        return f"http://127.0.0.1:{self.ports[number]}/hook"


def create(conn, name: str, *urls: str):
    actions = [{"type": "webhook_post", "url": url} for url in urls]
    query = "SELECT cvx.create_monitor(%s, %s, %s, check_interval => '1 day')"
    conn.execute(query, (name, Jsonb(NEVER), Jsonb(actions)))


def private_memory(pid: int) -> float:
    """MB."""
    with open(f"/proc/{pid}/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    return int(lines["RssAnon"].split()[0]) / 1024


def latencies(conn, receiver: Receiver) -> list[float]:
    rng = np.random.default_rng(1)
    taken = []
    for _ in range(SINGLE):
        before = receiver.count.value
        conn.execute("SELECT cvx.test_monitor('one')")
        committed = time.time()
        until(lambda: receiver.count.value > before, 30, "the request", every=0.001)
        taken.append(receiver.times[before % len(receiver.times)] - committed)
        # At other phases of whatever loop there may be.
        time.sleep(rng.uniform(0.005, 0.05))
    return taken


def show(what: str, seconds: list[float]) -> float:
    median, p95, most = (1e3 * float(np.quantile(seconds, q)) for q in (0.5, 0.95, 1))
    print(f"  {what}: median {median:.1f} ms, 95 % within {p95:.1f} ms, the longest {most:.0f} ms")
    return most


def throughput(conn, hosts: int, pid: int) -> tuple[float, float]:
    """Deliveries a second, from the COMMIT of all until the last is noted; the most memory meanwhile."""
    conn.execute(f"SELECT cvx.test_monitor('host ' || i % {hosts}) FROM generate_series(1, {ALERTS}) i")
    begun, most = time.perf_counter(), 0.0
    while conn.execute("SELECT EXISTS (SELECT FROM cvx.delivery)").fetchone()[0]:
        most = max(most, private_memory(pid))
        time.sleep(0.05)
    took = time.perf_counter() - begun
    query = "SELECT count(*) FROM cvx.alert WHERE deliveries @> '[{\"status\": \"delivered\"}]'"
    assert conn.execute(query).fetchone() == (ALERTS,)
    conn.execute("TRUNCATE cvx.alert CASCADE")
    return ALERTS / took, most


def measure(conn) -> list[bool]:
    quick, slow = Receiver(), Receiver(1)
    for number in range(MONITORS):
        create(conn, f"idle {number}", quick.url())
    create(conn, "one", quick.url())
    create(conn, "slow", slow.url())
    query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'cvx scheduler' AND datname = current_database()"
    pid = until(lambda: conn.execute(query).fetchone(), what="a scheduler")[0]
    before = private_memory(pid)
    idle = show("COMMIT to the request", latencies(conn, quick))
    conn.execute("TRUNCATE cvx.alert CASCADE")
    peaks = []
    for number in range(8):
        create(conn, f"host {number}", quick.url(number))
    for hosts in (1, 8):
        rate, peak = throughput(conn, hosts, pid)
        peaks.append(peak)
        print(f"  {ALERTS} alerts to {hosts} host(s): {rate:.0f} a second")
    conn.execute(f"SELECT cvx.test_monitor('slow') FROM generate_series(1, {BACKLOG})")
    until(lambda: slow.count.value > 8, what="the slow receiver is busy")
    busy = show(f"the same while {BACKLOG} wait for a slow receiver", latencies(conn, quick))
    grown = max(*peaks, private_memory(pid)) - before
    print(f"  private memory of the scheduler: {before:.1f} MB before, at most {grown:.1f} MB more")
    return [idle < 500, busy < 500, grown < 32]


def main() -> bool:
    with Cluster({"cvx.webhook_allowed_hosts": "127.0.0.1", "fsync": "on"}) as cluster:
        cluster.create_database("d")
        with cluster.connect("d", options="-c statement_timeout=600s") as conn:
            return all(measure(conn))


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
