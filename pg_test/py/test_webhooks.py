"""Webhooks: what arrives, when, how often and under which id, whatever becomes of receivers, sessions and servers."""

import base64
import hashlib
import hmac
import re
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from cluster import until
from receiver import Receiver, babble, drop, late, ok, status
from webhooks import (  # noqa: F401, a fixture among them
    DATABASE,
    attempted,
    connection,
    create,
    deliveries,
    event_id,
    fire,
    hurry,
    post,
    receiver,
    scheduler,
    server,
    settled,
    wake,
    waiting,
)


@pytest.fixture(scope="module")
def cluster():
    with server() as it:
        yield it


@pytest.fixture
def conn(cluster):
    yield from connection(cluster)


class TestWhatArrives:
    KEYS = [
        *("id", "alert_id", "monitor", "description", "severity", "condition", "space", "model", "entity_id", "ts"),
        *("fired_at", "value", "threshold", "p_value", "message", "details", "test"),
    ]

    def test_body_and_headers(self, conn, receiver):
        create(conn, "m", post(receiver.url("/a/b?c=d")), description="dé \"quoted\" \u2028")
        alert_id = fire(conn, "m")
        [arrival] = receiver.expect()
        assert arrival.path == "/a/b"
        assert sorted(arrival.event) == sorted(self.KEYS)
        assert (arrival.event["alert_id"], arrival.event["test"]) == (alert_id, True)
        assert arrival.event["description"] == "dé \"quoted\" \u2028"
        assert arrival.event["id"] == arrival.id == arrival.headers["idempotency-key"] == event_id(conn, alert_id)
        assert str(UUID(arrival.id)) == arrival.id
        assert arrival.headers["content-type"] == "application/json"
        assert re.fullmatch(r"cvx/\d+\.\d+\.\d+", arrival.headers["user-agent"])
        assert abs(int(arrival.headers["webhook-timestamp"]) - time.time()) < 60
        assert "webhook-signature" not in arrival.headers

    def test_outcome_stands_on_the_alert(self, conn, receiver):
        create(conn, "m", {"type": "emit_event"}, post(receiver.url()))
        alert_id = fire(conn, "m")
        [outcome] = settled(conn, alert_id)
        assert outcome.pop("at") is not None
        assert outcome == {
            **{"action": 1, "type": "webhook_post", "url": receiver.url(), "status": "delivered"},
            **{"attempts": 1, "http_status": 204, "error": None},
        }
        assert conn.execute("SELECT count(*) FROM cvx.delivery").fetchone() == (0,)

    @pytest.mark.parametrize("secret", ["plain secret é", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
    def test_signature(self, conn, receiver, secret):
        conn.execute("SELECT cvx.create_secret('signing', %s, true)", (secret,))
        create(conn, "m", post(receiver.url(), secret={"secret": "signing"}))
        fire(conn, "m")
        [arrival] = receiver.expect()
        plain = not secret.startswith("whsec_")
        key = secret.encode() if plain else base64.b64decode(secret.removeprefix("whsec_"))
        signed = f"{arrival.id}.{arrival.headers['webhook-timestamp']}.".encode() + arrival.body
        digest = hmac.new(key, signed, hashlib.sha256).digest()
        assert arrival.headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()

    def test_two_receivers_get_one_id(self, conn, receiver):
        with Receiver() as other:
            create(conn, "m", post(receiver.url("/1")), post(other.url()), post(receiver.url("/2")))
            alert_id = fire(conn, "m")
            settled(conn, alert_id)
            assert set(receiver.ids() + other.ids()) == {event_id(conn, alert_id)}
            assert sorted(it.path for it in receiver.arrivals) == ["/1", "/2"]
            assert len({it.body for it in receiver.arrivals + other.arrivals}) == 1

    def test_connections_are_kept(self, conn, receiver):
        create(conn, "m", post(receiver.url()))
        for _ in range(10):
            settled(conn, fire(conn, "m"))
        assert len(set(receiver.ids())) == 10
        assert receiver.connections == 1


class TestCommit:
    def test_within_half_a_second(self, conn, receiver):
        create(conn, "m", post(receiver.url()))
        settled(conn, fire(conn, "m"))
        for count in range(2, 12):
            fire(conn, "m")
            committed = time.monotonic()
            assert receiver.expect(count)[-1].at - committed < 0.5

    def test_a_rollback_sends_nothing(self, conn, receiver):
        create(conn, "m", post(receiver.url()))
        with pytest.raises(ZeroDivisionError), conn.transaction():
            fire(conn, "m")
            raise ZeroDivisionError
        with conn.transaction():
            with pytest.raises(ZeroDivisionError), conn.transaction():
                fire(conn, "m")
                raise ZeroDivisionError
            kept = fire(conn, "m")
            time.sleep(0.5)
            assert receiver.arrivals == []
        settled(conn, kept)
        time.sleep(0.5)
        assert receiver.ids() == [event_id(conn, kept)]

    def test_a_commit_that_wakes_nobody(self, cluster, conn, receiver):
        """Two-phase commit: the scheduler is not told, and looks by itself."""
        create(conn, "m", post(receiver.url()))
        with cluster.connect(DATABASE, autocommit=False) as two_phase:
            alert_id = fire(two_phase, "m")
            two_phase.execute("PREPARE TRANSACTION 'webhook'")
        wake(conn)
        time.sleep(0.5)
        assert receiver.arrivals == []
        conn.execute("COMMIT PREPARED 'webhook'")
        receiver.expect(seconds=35)
        assert settled(conn, alert_id)[0]["status"] == "delivered"

    def test_asynchronous_commits_are_durable_before_they_are_sent(self, cluster, conn, receiver):
        create(conn, "m", post(receiver.url()))
        conn.execute("SET synchronous_commit = off")
        alert_id = fire(conn, "m")
        receiver.expect()
        cluster.crash()
        cluster.start()
        with cluster.connect(DATABASE) as after:
            assert event_id(after, alert_id) == receiver.arrivals[0].id
            settled(after, alert_id)


class TestTroubledReceivers:
    def test_again_until_it_is_taken(self, conn, receiver):
        receiver.moods.extend([status(500), drop, status(503), babble])
        create(conn, "m", post(receiver.url()))
        alert_id = fire(conn, "m")
        for attempt in range(1, 5):
            assert attempted(conn, alert_id, attempt)["status"] == "pending"
            hurry(conn, alert_id)
        [outcome] = settled(conn, alert_id)
        assert (outcome["status"], outcome["attempts"], outcome["error"]) == ("delivered", 5, None)
        arrivals = receiver.expect(5)
        assert {it.id for it in arrivals} == {event_id(conn, alert_id)}
        assert len({it.body for it in arrivals}) == 1

    def test_the_pause_grows(self, conn, receiver):
        receiver.mood = status(500)
        create(conn, "m", post(receiver.url()))
        alert_id = fire(conn, "m")
        arrivals = receiver.expect(4)
        pauses = [after.at - before.at for before, after in zip(arrivals, arrivals[1:])]
        for pause, whole in zip(pauses, [1, 2, 4]):
            assert whole / 2 - 0.1 < pause < whole + 1
        hurry(conn, alert_id)

    def test_retry_after(self, conn, receiver):
        receiver.moods.append(status(429, Retry_After="3"))
        create(conn, "m", post(receiver.url()))
        [outcome] = settled(conn, fire(conn, "m"))
        first, second = receiver.expect(2)
        assert second.at - first.at >= 3
        assert (outcome["status"], outcome["attempts"]) == ("delivered", 2)

    def test_what_is_refused_for_good(self, conn, receiver):
        receiver.mood = status(404, b"no  such\nhook")
        create(conn, "m", post(receiver.url()))
        alert_id = fire(conn, "m")
        [outcome] = settled(conn, alert_id)
        assert (outcome["status"], outcome["attempts"], outcome["http_status"]) == ("failed", 1, 404)
        assert outcome["error"] == "status 404: no such hook"
        time.sleep(2)
        assert len(receiver.arrivals) == 1

        receiver.mood = ok
        conn.execute("SELECT cvx.resend_alert(%s)", (alert_id,))
        assert [it["status"] for it in settled(conn, alert_id)] == ["delivered"]
        first, second = receiver.expect(2)
        assert (first.id, first.body) == (second.id, second.body)

    def test_only_what_failed_is_sent_again(self, conn, receiver):
        with Receiver(status(410)) as gone:
            create(conn, "m", post(receiver.url()), post(gone.url()))
            alert_id = fire(conn, "m")
            assert [it["status"] for it in settled(conn, alert_id)] == ["delivered", "failed"]
            gone.mood = ok
            conn.execute("SELECT cvx.resend_alert(%s)", (alert_id,))
            assert [it["status"] for it in settled(conn, alert_id)] == ["delivered", "delivered"]
            assert (len(receiver.arrivals), len(gone.arrivals)) == (1, 2)

    def test_an_outage(self, conn, receiver):
        create(conn, "m", post(receiver.url()))
        receiver.close()
        alerts = [fire(conn, "m") for _ in range(50)]
        for alert_id in alerts:
            error = attempted(conn, alert_id)["error"]
            assert "refused" in error, error
        receiver.open()
        for alert_id in alerts:
            [outcome] = settled(conn, alert_id, 30)
            assert outcome["status"] == "delivered" and outcome["attempts"] >= 2
        assert sorted(receiver.ids()) == sorted(event_id(conn, it) for it in alerts)

    def test_after_a_day_it_is_given_up(self, conn, receiver):
        receiver.mood = status(500)
        create(conn, "m", post(receiver.url()))
        alert_id = fire(conn, "m")
        attempted(conn, alert_id)
        conn.execute("UPDATE cvx.delivery SET created_at = clock_timestamp() - interval '24 hours'")
        hurry(conn, alert_id)
        [outcome] = settled(conn, alert_id)
        assert outcome["status"] == "failed"
        assert re.fullmatch(r"given up after \d+ attempts: status 500", outcome["error"])

    def test_a_slow_host_holds_up_nobody(self, conn, receiver):
        with Receiver(late(1)) as slow:
            create(conn, "slow", post(slow.url()))
            create(conn, "quick", post(receiver.url()))
            settled(conn, fire(conn, "quick"))
            conn.execute("SELECT cvx.test_monitor('slow') FROM generate_series(1, 2000)")
            until(lambda: slow.at_a_time == 8, what="8 requests at a time")
            for count in range(2, 12):
                fire(conn, "quick")
                committed = time.monotonic()
                assert receiver.expect(count)[-1].at - committed < 0.5
            assert slow.most_at_a_time == 8
            conn.execute("DELETE FROM cvx.delivery")

    def test_the_log_is_not_flooded(self, cluster, conn, receiver):
        receiver.mood = status(400)
        create(conn, "m", post(receiver.url("/password")))
        conn.execute("SELECT cvx.test_monitor('m') FROM generate_series(1, 200)")
        until(lambda: waiting(conn) == 0)
        lines = [line for line in cluster.log().splitlines() if f"127.0.0.1:{receiver.port} " in line]
        assert len(lines) == 1 and " 08000 WARNING: " in lines[0], lines
        assert "/password" not in "\n".join(lines)


class TestServers:
    """Ends of the server between the commit and the answer."""

    @pytest.mark.parametrize("end", ["stop", "crash", "kill_postmaster"])
    def test_sent_again_under_the_same_id(self, cluster, conn, receiver, end):
        receiver.mood = late(60)
        create(conn, "m", post(receiver.url()))
        alerts = [fire(conn, "m") for _ in range(20)]
        until(lambda: len(receiver.arrivals) == 8, what="as many requests as go to one host")
        ids = {event_id(conn, it) for it in alerts}
        assert set(receiver.ids()) < ids
        conn.close()
        getattr(cluster, end)()
        receiver.mood = ok
        cluster.start()
        with cluster.connect(DATABASE) as after:
            for alert_id in alerts:
                assert settled(after, alert_id)[0]["status"] == "delivered"
            assert set(receiver.ids()) == ids
            assert len(receiver.arrivals) == 28
            assert len({it.body for it in receiver.arrivals}) == 20

    def test_a_scheduler_that_is_killed(self, cluster, conn, receiver):
        receiver.mood = late(60)
        create(conn, "m", post(receiver.url()))
        alert_id = fire(conn, "m")
        receiver.expect()
        pid = scheduler(conn)
        conn.execute("SELECT pg_terminate_backend(%s)", (pid,))
        receiver.mood = ok
        assert settled(conn, alert_id)[0]["status"] == "delivered"
        assert receiver.ids() == [event_id(conn, alert_id)] * 2
        assert scheduler(conn) != pid

    def test_a_server_stops_at_once_while_receivers_are_slow(self, cluster, conn, receiver):
        receiver.mood = late(60)
        create(conn, "m", post(receiver.url()))
        fire(conn, "m")
        receiver.expect()
        conn.close()
        assert cluster.restart() < 2


class TestMeanwhile:
    """What users do while webhooks are on their way."""

    def test_a_monitor_that_is_dropped(self, conn, receiver):
        with conn.transaction():
            create(conn, "m", post(receiver.url()))
            alert_id = fire(conn, "m")
            conn.execute("SELECT cvx.drop_monitor('m')")
        assert settled(conn, alert_id)[0]["status"] == "delivered"

    def test_an_alert_that_is_deleted(self, conn, receiver):
        receiver.moods.append(late(1))
        create(conn, "m", post(receiver.url()))
        fire(conn, "m")
        receiver.expect()
        conn.execute("DELETE FROM cvx.alert")
        alert_id = fire(conn, "m")
        assert settled(conn, alert_id)[0]["status"] == "delivered"
        receiver.expect(2)

    def test_alerts_that_are_locked(self, cluster, conn, receiver):
        """Their outcomes wait; those of others do not, and nothing is sent twice."""
        receiver.mood = late(0.5)
        create(conn, "m", post(receiver.url()))
        with cluster.connect(DATABASE, autocommit=False) as other:
            locked, free = fire(conn, "m"), fire(conn, "m")
            other.execute("SELECT FROM cvx.alert WHERE alert_id = %s FOR UPDATE", (locked,))
            assert settled(conn, free)[0]["status"] == "delivered"
            time.sleep(2)
            assert deliveries(conn, locked)[0]["status"] == "pending"
            other.rollback()
        assert settled(conn, locked)[0]["status"] == "delivered"
        receiver.expect(2)

    def test_tables_that_are_locked(self, cluster, conn, receiver):
        create(conn, "m", post(receiver.url()))
        receiver.mood = late(0.5)
        alerts = [fire(conn, "m") for _ in range(8)]
        receiver.expect(8)
        with cluster.connect(DATABASE, autocommit=False) as other:
            other.execute("LOCK TABLE cvx.alert")
            time.sleep(5)
            other.rollback()
        for alert_id in alerts:
            assert settled(conn, alert_id)[0]["status"] == "delivered"
        receiver.expect(8)

    def test_acknowledged_while_it_is_sent(self, conn, receiver):
        receiver.mood = late(0.5)
        create(conn, "m", post(receiver.url()))
        alert_id = fire(conn, "m")
        conn.execute("SELECT cvx.acknowledge_alert(%s, 'seen')", (alert_id,))
        assert settled(conn, alert_id)[0]["status"] == "delivered"
        query = "SELECT acknowledged_note FROM cvx.alert WHERE alert_id = %s"
        assert conn.execute(query, (alert_id,)).fetchone() == ("seen",)

    def test_the_extension_goes(self, cluster, receiver):
        receiver.mood = late(60)
        cluster.create_database("gone")
        with cluster.connect("gone") as conn:
            create(conn, "m", post(receiver.url()))
            fire(conn, "m")
            receiver.expect()
            started = time.monotonic()
            conn.execute("DROP EXTENSION cvx")
            assert time.monotonic() - started < 5
        with cluster.connect() as conn:
            conn.execute("DROP DATABASE gone")

    def test_a_disabled_database_sends_nothing(self, conn, receiver):
        create(conn, "m", post(receiver.url()))
        settled(conn, fire(conn, "m"))
        conn.execute("SELECT cvx.disable()")
        try:
            alert_id = fire(conn, "m")
            wake(conn)
            time.sleep(1)
            receiver.expect(1)
        finally:
            conn.execute("SELECT cvx.enable()")
        assert settled(conn, alert_id)[0]["status"] == "delivered"
        receiver.expect(2)


def test_a_thousand_from_many_sessions(cluster, conn, receiver):
    """Each once, as nothing fails; and none is left."""
    create(conn, "m", post(receiver.url()))

    def many(_) -> list[int]:
        with cluster.connect(DATABASE) as own:
            return [fire(own, "m") for _ in range(125)]

    with ThreadPoolExecutor(8) as sessions:
        alerts = [it for ids in sessions.map(many, range(8)) for it in ids]
    until(lambda: waiting(conn) == 0, 60)
    rows = conn.execute("SELECT event_id::text, deliveries #>> '{0,status}' FROM cvx.alert").fetchall()
    assert len(rows) == len(alerts) == 1000
    assert {state for _, state in rows} == {"delivered"}
    assert sorted(receiver.ids()) == sorted(row[0] for row in rows)
