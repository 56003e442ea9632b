"""An HTTP receiver for webhooks that keeps what it was sent and answers in every bad way there is.

It speaks HTTP on bare sockets, since no library would break the rules that it has to break.
"""

import gzip
import json
import socket
import socketserver
import ssl
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from cluster import until

GIGABYTE = 1 << 30
CHUNK = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
REASONS = {200: "OK", 204: "No Content", 302: "Found", 429: "Too Many Requests", 500: "Internal Server Error"}


@dataclass
class Arrival:
    path: str
    # Names in lower case.
    headers: dict
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict:
        return json.loads(self.body)


class Peer:
    """A connection, as a mood sees it."""

    def __init__(self, sock: socket.socket, arrival: Arrival):
        self.sock, self.arrival = sock, arrival

    def write(self, data: bytes) -> bool:
        try:
            self.sock.sendall(data)
            return True
        except OSError:
            return False

    def answer(self, status: int, body: bytes = b"", **headers) -> bool:
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Something')}", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        return self.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


# Moods: what is done with a request; the connection is kept when they return true.


def ok(peer: Peer) -> bool:
    return peer.write(b"HTTP/1.1 204 No Content\r\n\r\n")


def drop(_: Peer) -> bool:
    """Takes the request and says nothing."""
    return False


def status(code: int, body: bytes = b"", **headers):
    return lambda peer: peer.answer(code, body, **headers)


def late(seconds: float, then=ok):
    def mood(peer: Peer) -> bool:
        time.sleep(seconds)
        return then(peer)

    return mood


def redirect(url: str, code: int = 302):
    return status(code, Location=url)


def echo(peer: Peer) -> bool:
    """An error that repeats all that was sent."""
    return peer.answer(500, json.dumps([peer.arrival.headers, peer.arrival.body.decode()]).encode())


def gigabyte(peer: Peer) -> bool:
    """A chunked error of a gigabyte."""
    peer.write(b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n")
    sent = 0
    while sent < GIGABYTE and peer.write(CHUNK):
        sent += len(CHUNK)
    peer.write(b"0\r\n\r\n")
    return False


BOMB = gzip.compress(b"\0" * (64 << 20))


def bomb(peer: Peer) -> bool:
    peer.answer(500, BOMB, Content_Encoding="gzip")
    return False


def endless_header(peer: Peer) -> bool:
    peer.write(b"HTTP/1.1 200 OK\r\n")
    while peer.write(b"X-Filler: abcdefghijklmnopqrstuvwxyz\r\n" * 1000):
        pass
    return False


def babble(peer: Peer) -> bool:
    peer.write(b"220 mail.example.com ESMTP\r\n")
    return False


class Receiver:
    """`moods` are those of the next requests, `mood` that of all after them. With `tls` (an ssl.SSLContext) it speaks
    https. `close` and `open` are an outage: the port stays the same."""

    def __init__(self, mood=ok, tls: ssl.SSLContext | None = None):
        self.mood, self.tls = mood, tls
        self.moods = deque()
        self.arrivals: list[Arrival] = []
        self.connections = 0
        self.at_a_time = self.most_at_a_time = 0
        self.lock = threading.Lock()
        self.port, self.server = 0, None
        self.open()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def open(self):
        self.server = Server(("127.0.0.1", self.port), self)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        server, self.server = self.server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{path}"

    def ids(self) -> list[str]:
        return [arrival.id for arrival in list(self.arrivals)]

    def expect(self, count: int = 1, seconds: float = 20) -> list[Arrival]:
        """So many arrivals, and no more at that moment."""
        until(lambda: len(self.arrivals) >= count, seconds, f"{count} requests at the receiver", 0.01)
        assert len(self.arrivals) == count, self.ids()
        return list(self.arrivals)

    def take(self, sock: socket.socket):
        """A connection, request after request."""
        self.connections += 1
        with sock.makefile("rb") as stream:
            while True:
                arrival = read(stream)
                if arrival is None:
                    return
                with self.lock:
                    mood = self.moods.popleft() if self.moods else self.mood
                    self.arrivals.append(arrival)
                    self.at_a_time += 1
                    self.most_at_a_time = max(self.most_at_a_time, self.at_a_time)
                try:
                    if not mood(Peer(sock, arrival)):
                        return
                finally:
                    with self.lock:
                        self.at_a_time -= 1


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address, receiver: Receiver):
        self.receiver = receiver
        self.socks = set()
        super().__init__(address, Handler)

    def server_close(self):
        super().server_close()
        # Connections that are kept would outlive an outage.
        for sock in list(self.socks):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        receiver, sock = self.server.receiver, self.request
        self.server.socks.add(sock)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if receiver.tls:
                sock = receiver.tls.wrap_socket(sock, server_side=True)
            receiver.take(sock)
            sock.close()
        except OSError:
            # The peer has gone, or does not trust us.
            pass
        finally:
            self.server.socks.discard(self.request)


def read(stream) -> Arrival | None:
    first = stream.readline().decode("latin-1").split()
    if len(first) != 3:
        return None
    headers = {}
    while True:
        line = stream.readline().decode("latin-1").rstrip("\r\n")
        if not line:
            break
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = stream.read(int(headers.get("content-length", 0)))
    assert first[0] == "POST", first
    return Arrival(urlsplit(first[1]).path, headers, body)
