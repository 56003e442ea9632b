"""Where webhooks of the harness arrive: an HTTP receiver on loopback that keeps everything that it was sent, and treats
who sends in every way there is."""

import base64
import hashlib
import hmac
import random
import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Arrival:
    path: str
    event_id: str
    body: bytes
    # What the receiver did; only of `ok` can the sender know that it arrived.
    mood: str


class Inbox:
    """`weights` says how often which mood is: ok, error (500), busy (429), drop (no answer), late (an answer after the
    sender's patience), reset (closed before anything is read). `refuse()` closes the port for a while."""

    CALM = {"ok": 1}
    ROUGH = {"ok": 6, "error": 2, "busy": 1, "drop": 1, "late": 1, "reset": 1}

    def __init__(self, secret: str, patience: float, seed: int = 1):
        self.key = base64.b64decode(secret.removeprefix("whsec_"))
        self.patience, self.rng = patience, random.Random(seed)
        self.lock = threading.Lock()
        self.weights = self.CALM
        self.arrivals: list[Arrival] = []
        self.wrong: list[str] = []
        self.moods = Counter()
        self.port = 0
        self.server = None
        self.open()

    def open(self):
        # Closed at the end of a test, its threads may wait for keep-alive connections for ever: nobody waits for them.
        self.server = Server(("127.0.0.1", self.port), self)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        server, self.server = self.server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def refuse(self, seconds: float):
        self.close()
        time.sleep(seconds)
        self.open()

    def take(self, path: str, headers, body: bytes) -> str:
        with self.lock:
            mood = self.rng.choices(list(self.weights), list(self.weights.values()))[0]
            self.moods[mood] += 1
            if mood != "reset":
                self.arrivals.append(Arrival(path, headers["idempotency-key"], body, mood))
                problem = self.problem(headers, body)
                if problem:
                    self.wrong.append(f"{path}: {problem}: {dict(headers)} {body[:500]!r}")
        return mood

    def problem(self, headers, body: bytes) -> str | None:
        event_id, sent = headers["webhook-id"], headers["webhook-timestamp"]
        if headers["idempotency-key"] != event_id:
            return "two ids"
        signed = f"{event_id}.{sent}.".encode() + body
        wanted = "v1," + base64.b64encode(hmac.digest(self.key, signed, hashlib.sha256)).decode()
        if headers["webhook-signature"] != wanted:
            return "not the signature of what was sent"
        if abs(time.time() - int(sent)) > 120:
            return "signed for another time"
        if headers["content-type"] != "application/json":
            return "not JSON"
        return None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address, inbox: Inbox):
        self.inbox, self.connections, self.guard = inbox, set(), threading.Lock()
        super().__init__(address, Handler)

    def process_request(self, request, client_address):
        with self.guard:
            self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        with self.guard:
            self.connections.discard(request)
        super().shutdown_request(request)

    def server_close(self):
        super().server_close()
        with self.guard:
            for connection in self.connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def handle_error(self, request, client_address):
        """Who sends may be killed at any time."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    ANSWERS = {"ok": 204, "late": 204, "error": 500, "busy": 429}

    def do_POST(self):
        inbox = self.server.inbox
        body = self.rfile.read(int(self.headers["content-length"]))
        if len(body) != int(self.headers["content-length"]):
            self.close_connection = True
            return
        mood = inbox.take(self.path, self.headers, body)
        if mood in ("drop", "reset"):
            self.close_connection = True
            if mood == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        if mood == "late":
            time.sleep(1.5 * inbox.patience)
            self.close_connection = True
        self.send_response(self.ANSWERS[mood])
        if mood == "busy":
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Its tests say what they need to."""
