"""Where webhooks may not go, what receivers can do to the server, and where secrets are never seen."""

import os
import secrets as random_secrets
import socket
import ssl
import subprocess
import threading
import time

import psycopg
import pytest
from cluster import until
from psycopg import errors
from receiver import Receiver, bomb, echo, endless_header, gigabyte, redirect
from webhooks import (  # noqa: F401, a fixture among them
    DATABASE,
    attempted,
    connection,
    create,
    deliveries,
    fire,
    hurry,
    post,
    receiver,
    scheduler,
    server,
    settled,
)

CANARY = "S3CR3T" + random_secrets.token_hex(8)
ENVIRONMENT_CANARY = "3NV" + random_secrets.token_hex(8)
OTHER_SECRET = "0TH3R" + random_secrets.token_hex(8)


class Trap:
    """Counts who connects."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self.count, daemon=True).start()

    def count(self):
        while True:
            try:
                self.socket.accept()[0].close()
            except OSError:
                return
            self.connections += 1


@pytest.fixture(scope="module")
def proxy():
    return Trap()


class Authority:
    """A certificate authority that the server trusts, and certificates of every kind."""

    def __init__(self, folder):
        self.folder = folder
        self.run("req", "-x509", "-days", "2", "-subj", "/CN=test", *self.key("ca"), "-out", self.path("ca.crt"))
        self.sign("good", "IP:127.0.0.1,DNS:localhost")
        self.sign("other", "DNS:other.example")
        self.sign("expired", "IP:127.0.0.1", "0")
        alone = ["-addext", "subjectAltName=IP:127.0.0.1", "-out", self.path("alone.crt")]
        self.run("req", "-x509", "-days", "2", "-subj", "/CN=127.0.0.1", *self.key("alone"), *alone)
        for file in folder.iterdir():
            file.chmod(0o644)

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def run(self, *arguments: str):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)

    def key(self, name: str) -> list[str]:
        return ["-newkey", "rsa:2048", "-nodes", "-keyout", self.path(f"{name}.key")]

    def sign(self, name: str, names: str, days: str = "2"):
        request, extensions = self.path(f"{name}.csr"), self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={names}\n")
        self.run("req", "-subj", f"/CN={name}", *self.key(name), "-out", request)
        signer = ["-CA", self.path("ca.crt"), "-CAkey", self.path("ca.key"), "-CAcreateserial"]
        more = ["-days", days, "-extfile", str(extensions), "-out", self.path(f"{name}.crt")]
        self.run("x509", "-req", "-in", request, *signer, *more)

    def context(self, name: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path(f"{name}.crt"), self.path(f"{name}.key"))
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    for it in (folder, folder.parent, folder.parent.parent):
        it.chmod(0o755)
    return Authority(folder)


@pytest.fixture(scope="module")
def cluster(authority, proxy):
    env = {
        "SSL_CERT_FILE": authority.path("ca.crt"),
        "CVX_TOKEN": ENVIRONMENT_CANARY,
        "OTHER_TOKEN": OTHER_SECRET,
        **{
            name: f"http://127.0.0.1:{proxy.port}"
            for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        },
    }
    settings = {"log_statement": "all", "log_parameter_max_length": "0", "log_min_messages": "debug2"}
    with server(settings, env) as it:
        with it.connect(DATABASE) as conn:
            for role in ("alice", "bob", "reader"):
                conn.execute(f"CREATE ROLE {role} LOGIN")
            conn.execute("SELECT cvx.grant_admin('alice'), cvx.grant_admin('bob'), cvx.grant_read('reader')")
        yield it


@pytest.fixture
def conn(cluster):
    yield from connection(cluster)


@pytest.fixture
def alice(cluster, conn):
    with cluster.connect(DATABASE, user="alice") as it:
        yield it


@pytest.fixture
def allow(cluster, conn):
    """Sets the list of allowed hosts; it is as it was afterwards."""

    def set_to(hosts: str):
        conn.execute(f"ALTER SYSTEM SET cvx.webhook_allowed_hosts = '{hosts}'")
        reload()

    def reload():
        loaded = conn.execute("SELECT pg_conf_load_time()").fetchone()
        conn.execute("SELECT pg_reload_conf()")
        until(lambda: conn.execute("SELECT pg_conf_load_time()").fetchone() != loaded)
        # The scheduler heeds a signal before it does anything else.
        time.sleep(0.2)

    yield set_to
    conn.execute("ALTER SYSTEM RESET cvx.webhook_allowed_hosts")
    reload()


INTERNAL = [
    *("127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "0", "0.0.0.0", "[::]", "[::1]"),
    *("[::ffff:127.0.0.1]", "169.254.169.254", "[fd00:ec2::254]", "100.64.0.1", "10.0.0.1", "192.168.1.1"),
    *("x@127.0.0.1", "u:p@127.0.0.1", "localhost", "localhost.", "a.localhost", "127.0.0.1."),
]


class TestTargets:
    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_nothing_internal_by_default(self, conn, receiver, allow, scheme):
        allow("")
        for host in INTERNAL:
            with pytest.raises((errors.InsufficientPrivilege, errors.InvalidParameterValue)):
                create(conn, "m", post(f"{scheme}://{host}:{receiver.port}/"))
        for url in ["file:///etc/passwd", "gopher://x/", "unix:/run/x.sock", "http+unix://x/", "http://x.example/"]:
            with pytest.raises((errors.InsufficientPrivilege, errors.InvalidParameterValue)):
                create(conn, "m", post(url))
        assert receiver.connections == 0

    def test_what_was_declared_when_it_was_allowed(self, conn, receiver, allow):
        """The list counts when a webhook is sent; it may have been cut since."""
        urls = [receiver.url(), receiver.url(host="localhost")]
        create(conn, "m", *map(post, urls))
        assert [it["status"] for it in settled(conn, fire(conn, "m"))] == ["delivered", "delivered"]
        for hosts in ["", "hooks.example.com", "127.0.0.1:1, localhost:1", "10.0.0.0/8"]:
            allow(hosts)
            for outcome in settled(conn, fire(conn, "m")):
                assert outcome["status"] == "failed" and outcome["http_status"] is None, (hosts, outcome)
                assert f":{receiver.port}" in outcome["error"]
        assert len(receiver.arrivals) == 2

    def test_names_that_lead_inside(self, conn, receiver, allow):
        """Such a name is looked up, and its address is what counts. The text does not tell it."""
        create(conn, "m", post(receiver.url(host="localhost")))
        allow("192.0.2.1, *.localdomain")
        [outcome] = settled(conn, fire(conn, "m"))
        assert outcome["status"] == "failed" and "127.0.0.1" not in outcome["error"], outcome
        assert receiver.connections == 0
        allow("127.0.0.0/8, ::1")
        assert settled(conn, fire(conn, "m"))[0]["status"] == "delivered"

    def test_redirects(self, conn, receiver):
        with Receiver() as target:
            create(conn, "m", post(receiver.url()))
            urls = [target.url(), target.url(host="localhost"), "http://169.254.169.254/", "file:///etc/passwd"]
            for code in (301, 302, 303, 307, 308):
                for url in urls:
                    receiver.mood = redirect(url, code)
                    [outcome] = settled(conn, fire(conn, "m"))
                    assert (outcome["status"], outcome["http_status"]) == ("failed", code)
            assert target.connections == 0

    def test_the_environments_proxies_are_not_used(self, conn, receiver, proxy):
        with Trap().socket as closed:
            port = closed.getsockname()[1]
        create(conn, "m", post(receiver.url()), post(f"http://127.0.0.1:{port}/"))
        alert_id = fire(conn, "m")
        until(lambda: all(it["attempts"] for it in deliveries(conn, alert_id)))
        assert len(receiver.arrivals) == 1
        assert proxy.connections == 0

    def test_a_malformed_list(self, cluster, conn, receiver):
        with pytest.raises(errors.InvalidParameterValue) as caught:
            conn.execute("ALTER SYSTEM SET cvx.webhook_allowed_hosts = '127.0.0.1, 10.0.0.1/8'")
        assert caught.value.diag.message_detail == '"10.0.0.1/8" has bits set to the right of its network'

    def test_a_list_that_is_malformed_at_the_start(self, cluster, conn, receiver):
        """Nothing is sent, rather than more than was meant."""
        create(conn, "m", post(receiver.url()))
        settled(conn, fire(conn, "m"))
        cluster.configure({"cvx.webhook_allowed_hosts": "127.0.0.1,"})
        try:
            cluster.restart()
            with cluster.connect(DATABASE) as conn:
                alert_id = fire(conn, "m")
                time.sleep(1)
                assert deliveries(conn, alert_id)[0]["status"] == "pending"
                with pytest.raises(errors.InvalidParameterValue):
                    create(conn, "n", post(receiver.url()))
            assert len(receiver.arrivals) == 1
            until(lambda: "is not sent: cvx.webhook_allowed_hosts" in cluster.log())
        finally:
            cluster.configure({"cvx.webhook_allowed_hosts": "127.0.0.1, localhost"})
            cluster.restart()
        with cluster.connect(DATABASE) as conn:
            assert settled(conn, alert_id)[0]["status"] == "delivered"


class TestCertificates:
    def test_trusted(self, conn, authority):
        with Receiver(tls=authority.context("good")) as receiver:
            create(conn, "m", post(receiver.url()), post(receiver.url(host="localhost")))
            assert [it["status"] for it in settled(conn, fire(conn, "m"))] == ["delivered", "delivered"]

    @pytest.mark.parametrize("name", ["alone", "expired", "other"])
    def test_not_trusted(self, conn, authority, name):
        with Receiver(tls=authority.context(name)) as receiver:
            create(conn, "m", post(receiver.url()))
            outcome = attempted(conn, fire(conn, "m"))
            assert outcome["status"] == "pending" and "certificate" in outcome["error"], outcome
            assert receiver.arrivals == []

    def test_no_https_there(self, conn, receiver):
        create(conn, "m", post(receiver.url().replace("http:", "https:")))
        assert attempted(conn, fire(conn, "m"))["status"] == "pending"
        assert receiver.arrivals == []


def rss(pid: int) -> int:
    """Bytes of a process's memory that are not shared with others."""
    with open(f"/proc/{pid}/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    return int(lines["RssAnon"].split()[0]) * 1024


@pytest.mark.parametrize("mood", [gigabyte, bomb, endless_header], ids=lambda it: it.__name__)
def test_answers_without_end(conn, receiver, mood):
    create(conn, "m", post(receiver.url()))
    settled(conn, fire(conn, "m"))
    pid = scheduler(conn)
    before = most = rss(pid)
    receiver.mood = mood
    alerts = [fire(conn, "m") for _ in range(8)]

    def all_tried() -> bool:
        nonlocal most
        most = max(most, rss(pid))
        return all(deliveries(conn, it)[0]["attempts"] for it in alerts)

    until(all_tried, every=0.01)
    assert scheduler(conn) == pid
    assert most - before < 8 << 20, f"{(most - before) >> 10} kB"
    for alert_id in alerts:
        assert len(deliveries(conn, alert_id)[0]["error"]) < 500


class TestSecrets:
    def test_headers_by_reference(self, alice, receiver):
        alice.execute("SELECT cvx.create_secret('alices', %s, true)", (f"Bearer {CANARY}",))
        headers = {"Authorization": {"secret": "alices"}, "X-Env": {"env": "CVX_TOKEN"}, "X-Plain": "as it is"}
        create(alice, "m", post(receiver.url(), headers=headers))
        settled(alice, fire(alice, "m"))
        [arrival] = receiver.expect()
        assert arrival.headers["authorization"] == f"Bearer {CANARY}"
        assert arrival.headers["x-env"] == ENVIRONMENT_CANARY
        assert arrival.headers["x-plain"] == "as it is"

    def test_missing_and_made_later(self, alice, receiver):
        create(alice, "m", post(receiver.url(), secret={"secret": "later"}))
        alert_id = fire(alice, "m")
        [outcome] = settled(alice, alert_id)
        assert outcome["status"] == "failed" and 'secret "later" does not exist' in outcome["error"]
        assert receiver.connections == 0
        alice.execute("SELECT cvx.create_secret('later', %s)", (CANARY,))
        alice.execute("SELECT cvx.resend_alert(%s)", (alert_id,))
        assert settled(alice, alert_id)[0]["status"] == "delivered"
        alice.execute("SELECT cvx.drop_secret('later')")

    def test_many_that_cannot_be_sent(self, alice, receiver):
        """None of them waits for an answer of another."""
        create(alice, "m", post(receiver.url(), secret={"secret": "later"}))
        alice.execute("SELECT cvx.test_monitor('m') FROM generate_series(1, 100)")
        query = "SELECT count(*) FROM cvx.alert WHERE deliveries @> '[{\"status\": \"failed\"}]'"
        until(lambda: alice.execute(query).fetchone() == (100,), 5)
        assert receiver.connections == 0

    def test_of_somebody_else(self, cluster, alice, receiver):
        with cluster.connect(DATABASE, user="bob") as bob:
            bob.execute("SELECT cvx.create_secret('bobs', %s)", (OTHER_SECRET,))
        create(alice, "m", post(receiver.url(), headers={"X-A": {"secret": "bobs"}}))
        create(alice, "n", post(receiver.url(), headers={"X-A": {"env": "OTHER_TOKEN"}}))
        for name, problem in [("m", 'must be owner of secret "bobs"'), ("n", "is not one that sources may refer to")]:
            [outcome] = settled(alice, fire(alice, name))
            assert outcome["status"] == "failed" and problem in outcome["error"], outcome
        assert receiver.connections == 0

    def test_an_owner_that_is_gone(self, cluster, conn, receiver):
        conn.execute("CREATE ROLE leaver LOGIN; SELECT cvx.grant_admin('leaver')")
        with cluster.connect(DATABASE, user="leaver") as leaver:
            create(leaver, "m", post(receiver.url()))
        receiver.close()
        alert_id = fire(conn, "m")
        attempted(conn, alert_id)
        conn.execute("DROP OWNED BY leaver; DROP ROLE leaver")
        receiver.open()
        hurry(conn, alert_id)
        [outcome] = settled(conn, alert_id)
        assert outcome["status"] == "failed" and '"leaver"' in outcome["error"]

    def test_a_header_that_breaks_out(self, alice, receiver):
        alice.execute("SELECT cvx.create_secret('broken', %s, true)", ("a\r\nX-Injected: b",))
        create(alice, "m", post(receiver.url(), headers={"X-A": {"secret": "broken"}}))
        [outcome] = settled(alice, fire(alice, "m"))
        assert outcome["status"] == "failed" and "Injected" not in outcome["error"]
        assert receiver.connections == 0

    def test_seen_nowhere(self, cluster, conn, alice, receiver):
        """Not when an answer repeats it, nor after a crash: not in logs, dumps, views and lists of processes, nor in
        any table but cvx.secret, which nobody reads."""
        alice.execute("SELECT cvx.create_secret('canary', %s, true)", (CANARY,))
        reference = {"secret": "canary"}
        headers = {"Authorization": reference, "X-Env": {"env": "CVX_TOKEN"}}
        create(alice, "m", post(receiver.url("/echo"), headers=headers, secret=reference))
        receiver.mood = echo
        alert_id = fire(alice, "m")
        outcome = attempted(alice, alert_id)
        assert "********" in outcome["error"]
        pid = scheduler(conn)
        seen = [
            cluster.log(),
            cluster.run("pg_dump", "-d", DATABASE),
            open(f"/proc/{pid}/cmdline").read(),
            *(str(conn.execute(f"SELECT * FROM {view}").fetchall()) for view in self.views(conn)),
        ]
        cluster.crash()
        cluster.start()
        seen.append(cluster.log())
        assert all(seen)
        for canary in (CANARY, ENVIRONMENT_CANARY):
            assert [it[:200] for it in seen if canary in it] == []
        self.files_hold_it_once(cluster)

    @staticmethod
    def views(conn) -> list[str]:
        query = """SELECT c.oid::regclass::text FROM pg_class c WHERE c.relnamespace = 'cvx'::regnamespace
            AND c.relkind IN ('r', 'v', 'm', 'p') AND c.relname <> 'secret'"""
        return ["pg_stat_activity", *(name for (name,) in conn.execute(query).fetchall())]

    @staticmethod
    def files_hold_it_once(cluster):
        with cluster.connect(DATABASE) as conn:
            conn.execute("CHECKPOINT")
            query = "SELECT pg_relation_filepath('cvx.secret')"
            path = conn.execute(query).fetchone()[0]
        search = ["grep", "-rlF", CANARY, "base", "global"]
        found = subprocess.run(search, cwd=cluster.data, capture_output=True, text=True)
        assert found.stdout.split() == [path], found


def test_what_readers_see(cluster, alice, receiver):
    """A URL may be as good as a password: it is not for everybody."""
    create(alice, "m", post(receiver.url("/as-good-as-a-password")))
    settled(alice, fire(alice, "m"))
    with cluster.connect(DATABASE, user="reader") as reader:
        with pytest.raises(errors.InsufficientPrivilege):
            reader.execute("TABLE cvx.delivery")
        assert reader.execute("SELECT count(*) FROM cvx.alert").fetchone() == (0,)


def test_settings_are_not_the_users(cluster, alice):
    for name, value in [("webhook_allowed_hosts", "127.0.0.1"), ("webhook_timeout", "1s")]:
        with pytest.raises(psycopg.Error):
            alice.execute(f"SET cvx.{name} = '{value}'")
        with pytest.raises(errors.InsufficientPrivilege):
            alice.execute(f"ALTER SYSTEM SET cvx.{name} = '{value}'")
    assert alice.execute("SELECT current_setting('cvx.webhook_timeout')").fetchone() == ("2s",)
    with pytest.raises(errors.InsufficientPrivilege):
        alice.execute("SHOW cvx.webhook_allowed_hosts")


def test_threads_are_left_alone_by_signals(conn, receiver):
    """Every signal goes to the main thread: all others have all of them blocked."""
    create(conn, "m", post(receiver.url()))
    settled(conn, fire(conn, "m"))
    pid = scheduler(conn)
    names = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status") as status:
            lines = dict(line.split(":", 1) for line in status)
        if int(task) == pid:
            continue
        names.append(lines["Name"].strip())
        # Two cannot be blocked, and two belong to the C library.
        wanted = set(range(1, 32)) - {9, 19}
        blocked = int(lines["SigBlk"], 16)
        assert {it for it in wanted if blocked >> (it - 1) & 1} == wanted
    assert "cvx webhook" in names
