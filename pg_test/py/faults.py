"""Bad networks on loopback: a TCP proxy that fails on command, and a peer that takes connections and never answers."""

import selectors
import socket
import threading

UNAVAILABLE = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: 71\r\nConnection: close\r\n\r\n"
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message/></Error>    "
)


class SilentPeer:
    """Accepts connections, reads what comes and says nothing. `connections` counts them."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.connections = 0
        self.open: list[socket.socket] = []
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self.open.append(connection)

    def close(self):
        # shutdown wakes accept(), which close alone does not.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.open:
            connection.close()
        self.thread.join(5)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Proxy:
    """Forwards connections to a port of loopback. `mode` may be changed at any time:

    pass         forwards
    unavailable  answers every new connection's first bytes with HTTP 503 and closes it
    cut          closes every connection after `cut_after` more bytes of answers
    refuse       closes new connections at once, and those that are open
    hang         forwards nothing and closes nothing

    `connections` and `bytes_down` (answers) count from the beginning.
    """

    def __init__(self, target: int):
        self.target = target
        self.mode = "pass"
        self.cut_after = 0
        self.connections = 0
        self.bytes_down = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.closed = False
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self):
        while not self.closed:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket):
        with client:
            if self.mode == "refuse":
                return
            if self.mode == "unavailable":
                self._answer_unavailable(client)
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                return
            with server:
                try:
                    self._forward(client, server)
                except OSError:
                    pass

    def _answer_unavailable(self, client: socket.socket):
        try:
            client.settimeout(5)
            client.recv(65536)
            client.sendall(UNAVAILABLE)
        except OSError:
            pass

    def _forward(self, client: socket.socket, server: socket.socket):
        with selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while not self.closed:
                for key, _ in selector.select(timeout=0.05):
                    if self.mode == "hang":
                        self._wait_while_hanging()
                    data = key.fileobj.recv(65536)
                    if not data:
                        return
                    if self.mode == "unavailable" and key.fileobj is client:
                        client.sendall(UNAVAILABLE)
                        return
                    if key.fileobj is server:
                        if self.mode == "cut":
                            client.sendall(data[: max(self.cut_after, 0)])
                            self.cut_after -= len(data)
                            if self.cut_after <= 0:
                                return
                            continue
                        self.bytes_down += len(data)
                    key.data.sendall(data)
                if self.mode == "refuse":
                    return

    def _wait_while_hanging(self):
        pause = threading.Event()
        while self.mode == "hang" and not self.closed:
            pause.wait(0.05)

    def close(self):
        self.closed = True
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(5)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
