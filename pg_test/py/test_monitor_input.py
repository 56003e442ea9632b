"""What cvx.create_monitor and its companions refuse, with which SQLSTATE, and that every refusal shows the value and says what
to do instead."""

import uuid

import psycopg
import pytest
from monitor_oracle import EVENT, alerts, evaluate, server
from psycopg import sql
from psycopg.types.json import Jsonb


@pytest.fixture(scope="module")
def cluster():
    with server({"cvx.superuser_monitors": "on"}) as it:
        with it.connect("d") as conn:
            conn.execute("SELECT cvx.create_space('s', 4)")
            conn.execute("SELECT cvx.create_model('m', 'v1', 's')")
            conn.execute("SELECT cvx.create_monitor('taken', %s, %s)", (Jsonb(QUERY), Jsonb(EVENT)))
        yield it


@pytest.fixture
def conn(cluster):
    with cluster.connect("d") as it:
        yield it


QUERY = {"type": "custom_query", "sql": "SELECT 1 WHERE false"}
DRIFT = {"type": "drift_exceeds", "threshold": 0.3, "window": "7 days"}
HOOK = {"type": "webhook_post", "url": "https://192.0.2.1/"}
GOOD = {"name": "m", "condition": QUERY, "action": EVENT}
SPACE = {"name": "m", "condition": DRIFT, "action": EVENT, "space": "s"}
POPULATION = {"type": "population_drift_exceeds", "method": "psi", "threshold": 0.2, "baseline": "30 days", "window": "7 days"}


def drift(**changes):
    return {**SPACE, "condition": {**DRIFT, **changes}}


def sql_of(text):
    return {**GOOD, "condition": {"type": "custom_query", "sql": text}}


def hook(**changes):
    return {**GOOD, "action": {**HOOK, **changes}}


# What is asked for, the SQLSTATE of the refusal, and what its message says.
REFUSED = {
    "no name": ({**GOOD, "name": None}, "22004", "name"),
    "empty name": ({**GOOD, "name": ""}, "42602", ""),
    "long name": ({**GOOD, "name": "n" * 256}, "42602", "256"),
    "taken name": ({**GOOD, "name": "taken"}, "42710", "taken"),
    "no condition": ({**GOOD, "condition": None}, "22004", "condition"),
    "condition is null": ({**GOOD, "condition": Jsonb(None)}, "22023", "condition"),
    "condition is a text": ({**GOOD, "condition": Jsonb("drift")}, "22023", "condition"),
    "no type": ({**GOOD, "condition": {"threshold": 1}}, "22023", "condition.type"),
    "unknown type": ({**GOOD, "condition": {"type": "drift_exceed"}}, "22023", "drift_exceed"),
    "no threshold": ({**SPACE, "condition": {"type": "velocity_exceeds"}}, "22023", "condition.threshold"),
    "threshold of nothing": (drift(threshold=0), "22023", "condition.threshold"),
    "threshold a text": (drift(threshold="0.3"), "22023", "condition.threshold"),
    "threshold null": (drift(threshold=None), "22023", "condition.threshold"),
    "unknown key": (drift(treshold=1), "22023", "treshold"),
    "unknown metric": (drift(metric="manhattan"), "22023", "manhattan"),
    "window not an interval": (drift(window="long"), "22023", "long"),
    "window negative": (drift(window="-1 day"), "22023", "-1 day"),
    "window a number": (drift(window=7), "22023", "condition.window"),
    "window out of range": (drift(window="999999999999 years"), "22015", "999999999999 years"),
    "fdr of more than all": (drift(fdr=1.01), "22023", "condition.fdr"),
    "severity of more than all": (
        {**SPACE, "condition": {"type": "change_point_detected", "min_severity": 2}}, "22023", "min_severity"),
    "hazard of one": (
        {**SPACE, "condition": {"type": "change_point_detected", "min_severity": 0.5, "hazard": 1}}, "22023", "hazard"),
    "a schedule of change points": (
        {**SPACE, "condition": {"type": "change_point_detected", "min_severity": 0.5}, "schedule": "@daily"}, "22023", "schedule"),
    "unknown method": ({**SPACE, "condition": {**POPULATION, "method": "ks"}}, "22023", "ks"),
    "baseline that is no range": ({**SPACE, "condition": {**POPULATION, "baseline": "[a,b)"}}, "22007", "a"),
    "baseline upside down": (
        {**SPACE, "condition": {**POPULATION, "baseline": "[2026-02-01,2026-01-01)"}}, "22000", "range"),
    "population of a model": ({**SPACE, "space": None, "model": "m", "condition": POPULATION}, "22023", "space"),
    "population of nothing": ({**SPACE, "space": None, "condition": POPULATION}, "22023", "space"),
    "change points of nothing": (
        {**SPACE, "space": None, "condition": {"type": "change_point_detected", "min_severity": 0.5}}, "22023", "space"),
    "freshness of nothing": (
        {**SPACE, "space": None, "condition": {"type": "freshness_exceeds", "duration": "1 h"}}, "22023", "source"),
    "a query of a space": ({**GOOD, "space": "s"}, "22023", "custom_query"),
    "a filter of rows": ({**GOOD, "entity_filter": {"entity_ids": ["a"]}}, "22023", "custom_query"),
    "window in months": (drift(window="1 month"), "22023", "1 month"),
    "of a space and a model": ({**SPACE, "model": "m"}, "22023", "model"),
    "unknown space": ({**SPACE, "space": "nowhere"}, "42704", "nowhere"),
    "unknown model": ({**SPACE, "space": None, "model": "nothing"}, "42704", "nothing"),
    # The query.
    "no query": (sql_of(""), "22023", "condition.sql"),
    "a query that cannot be read": (sql_of("SELEC 1"), "42601", "SELEC"),
    "two statements": (sql_of("SELECT 1; SELECT 2"), "22023", ""),
    "two statements in a trench coat": (sql_of("SELECT 1; COMMIT; DROP TABLE x"), "22023", ""),
    "no statement": (sql_of("-- nothing"), "22023", ""),
    "a parameter": (sql_of("SELECT $1"), "42P02", "$1"),
    "DDL": (sql_of("CREATE TABLE x (y int)"), "22023", "SELECT"),
    "COMMIT": (sql_of("COMMIT"), "22023", "SELECT"),
    "COPY": (sql_of("COPY pg_class TO PROGRAM 'true'"), "22023", "SELECT"),
    "INSERT": (sql_of("INSERT INTO x VALUES (1) RETURNING 1"), "22023", "SELECT"),
    "DO": (sql_of("DO $$BEGIN END$$"), "22023", "SELECT"),
    "SET ROLE": (sql_of("SET ROLE postgres"), "22023", "SELECT"),
    # Actions.
    "no action": ({**GOOD, "action": None}, "22004", "action"),
    "no actions": ({**GOOD, "action": []}, "22023", "action"),
    "too many actions": ({**GOOD, "action": [EVENT] * 17}, "22023", "17"),
    "unknown action": ({**GOOD, "action": {"type": "email"}}, "22023", "email"),
    "unknown level": ({**GOOD, "action": {"type": "log", "level": "panic"}}, "22023", "panic"),
    "no url": ({**GOOD, "action": {"type": "webhook_post"}}, "22023", "action.url"),
    "another scheme": (hook(url="gopher://192.0.2.1/"), "22023", "action.url"),
    "a password in the url": (hook(url="https://u:p@192.0.2.1/"), "22023", "action.url"),
    "a literal secret": (hook(secret="hunter2"), "22023", "action.secret"),
    "a literal credential": (hook(headers={"Authorization": "hunter2"}), "22023", "Authorization"),
    "a header that is cvx's own": (hook(headers={"Host": "x"}), "22023", "Host"),
    "a header of two lines": (hook(headers={"x": "a\r\nb: c"}), "22023", "action.headers.x"),
    # When.
    "no time between": ({**GOOD, "check_interval": "0"}, "22023", "check_interval"),
    "too often": ({**GOOD, "check_interval": "0.9 s"}, "22023", "check_interval"),
    "backwards": ({**GOOD, "check_interval": "-1 h"}, "22023", "check_interval"),
    "cooldown backwards": ({**GOOD, "cooldown": "-1 h"}, "22023", "cooldown"),
    "no cron expression": ({**GOOD, "schedule": "every now and then"}, "22023", "every now and then"),
    "a cron expression of seconds": ({**GOOD, "schedule": "* * * * * *"}, "22023", "* * * * * *"),
    "unknown time zone": ({**GOOD, "schedule": "@daily", "time_zone": "Mars/Olympus"}, "22023", "Mars/Olympus"),
    "unknown severity": ({**GOOD, "severity": "worst"}, "22023", "worst"),
    # Which entities.
    "filter is a list": ({**SPACE, "entity_filter": ["a"]}, "22023", "entity_filter"),
    "filter of nothing": ({**SPACE, "entity_filter": {}}, "22023", "entity_filter"),
    "unknown filter": ({**SPACE, "entity_filter": {"ids": ["a"]}}, "22023", "ids"),
    "ids not texts": ({**SPACE, "entity_filter": {"entity_ids": [True]}}, "22023", "entity_ids"),
    "attrs not an object": ({**SPACE, "entity_filter": {"attrs": "pro"}}, "22023", "attrs"),
}  # fmt: skip


def call(conn, function, arguments):
    adapted = {key: Jsonb(value) if isinstance(value, (dict, list)) else value for key, value in arguments.items()}
    cast = {"check_interval": "::interval", "cooldown": "::interval"}
    listed = ", ".join(f"{key} => %({key})s{cast.get(key, '')}" for key in arguments)
    return conn.execute(f"SELECT cvx.{function}({listed})", adapted).fetchone()[0]


def check(error: psycopg.Error, sqlstate, shown):
    diag = error.diag
    said = f"{diag.message_primary} {diag.message_detail or ''}"
    if sqlstate is not None:
        assert diag.sqlstate == sqlstate, (diag.sqlstate, said)
    assert not diag.sqlstate.startswith("XX"), said
    assert shown in said, said
    assert not diag.message_primary.endswith("."), said
    assert "hunter2" not in f"{said} {diag.message_hint} {diag.context}"
    return diag


# Of which the message says all that there is to do: among them PostgreSQL's own.
PLAIN = {"22000", "22004", "22007", "22015", "42601", "42602", "42P02"}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(conn, case):
    arguments, sqlstate, shown = REFUSED[case]
    before = conn.execute("SELECT count(*) FROM cvx.monitor").fetchone()
    with pytest.raises(psycopg.Error) as caught:
        call(conn, "create_monitor", arguments)
    diag = check(caught.value, sqlstate, shown)
    assert diag.message_hint or diag.message_detail or diag.sqlstate in PLAIN, diag.message_primary
    assert conn.execute("SELECT count(*) FROM cvx.monitor").fetchone() == before


ALTERED = {key: it for key, it in REFUSED.items() if "name" not in key and key not in ("no condition", "no action")}


@pytest.mark.parametrize("case", ALTERED)
def test_refused_in_an_alteration(conn, case):
    """What cannot be made can neither be made of another one; and that stays as it was."""
    arguments, sqlstate, shown = ALTERED[case]
    name = f"m{uuid.uuid4().hex[:8]}"
    good = {**(SPACE if arguments.get("space") or arguments.get("model") else GOOD), "name": name}
    call(conn, "create_monitor", good)
    before = conn.execute("SELECT m FROM cvx.monitor m WHERE name = %s", (name,)).fetchone()
    changes = {key: value for key, value in arguments.items() if good.get(key) != value}
    changes = {key: "" if value is None else value for key, value in changes.items()}
    with pytest.raises(psycopg.Error) as caught:
        call(conn, "alter_monitor", {**changes, "name": name})
    if "null" not in case:
        check(caught.value, sqlstate, shown)
    assert conn.execute("SELECT m FROM cvx.monitor m WHERE name = %s", (name,)).fetchone() == before
    conn.execute("SELECT cvx.drop_monitor(%s)", (name,))


@pytest.mark.parametrize(
    "function", ["alter", "drop", "pause", "resume", "mute", "unmute", "evaluate", "test"]
)
def test_a_monitor_that_is_not_there(conn, function):
    with pytest.raises(psycopg.Error) as caught:
        conn.execute(sql.SQL("SELECT cvx.{}('nobody')").format(sql.Identifier(f"{function}_monitor")))
    diag = check(caught.value, "42704", "nobody")
    assert diag.message_hint
    with pytest.raises(psycopg.Error) as caught:
        conn.execute(sql.SQL("SELECT cvx.{}(NULL)").format(sql.Identifier(f"{function}_monitor")))
    check(caught.value, "22004", "name")


def test_a_backtest_of_nothing(conn):
    for arguments, sqlstate, shown in (
        (("nobody", "2026-01-01", "2026-02-01"), "42704", "nobody"),
        (("taken", "2026-02-01", "2026-01-01"), "22023", ""),
        (("taken", "-infinity", "2026-01-01"), "22023", "infinity"),
        ((None, "2026-01-01", "2026-02-01"), "22004", "name"),
    ):
        with pytest.raises(psycopg.Error) as caught:
            conn.execute("SELECT * FROM cvx.backtest_monitor(%s, %s, %s)", arguments)
        check(caught.value, sqlstate, shown)


@pytest.mark.parametrize("function", ["acknowledge_alert", "resend_alert"])
@pytest.mark.parametrize("alert_id", [-1, 0, 2**62])
def test_an_alert_that_is_not_there(conn, function, alert_id):
    with pytest.raises(psycopg.Error) as caught:
        conn.execute(f"SELECT cvx.{function}(%s)", (alert_id,))
    check(caught.value, "42704", str(alert_id))


@pytest.mark.parametrize("duration", ["-1 hour", "0"])
def test_muted_for_no_time(conn, duration):
    with pytest.raises(psycopg.Error) as caught:
        conn.execute("SELECT cvx.mute_monitor('taken', %s::interval)", (duration,))
    check(caught.value, "22023", "duration")


def test_twice_the_same(conn):
    """Pausing what is paused and the like say nothing and change nothing."""
    for function in ("pause", "pause", "resume", "resume", "mute", "mute", "unmute", "unmute"):
        conn.execute(f"SELECT cvx.{function}_monitor('taken')")
    (status,) = conn.execute("SELECT status FROM cvx.monitors WHERE name = 'taken'").fetchone()
    assert status in ("ok", "running")
    alert = conn.execute("SELECT cvx.test_monitor('taken')").fetchone()
    for note in ("one", "two"):
        conn.execute("SELECT cvx.acknowledge_alert(%s, %s)", (*alert, note))
    assert [it["acknowledged_note"] for it in alerts(conn, "taken")][-1] in ("one", "two")


NAMES = ["a b", "quote \" and '", "back\\slash", "é\U0001f600", "$1 %s {}", "n" * 255, "-- comment", "line\nbreak"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name(conn, name):
    """Names, messages and ids are data everywhere."""
    entity = name * (1 if len(name) > 100 else 3)
    query = sql.SQL("SELECT {0} AS entity_id, {0} AS message").format(sql.Literal(entity)).as_string(conn)
    call(conn, "create_monitor", {**sql_of(query), "name": name, "description": name, "action": [EVENT, {"type": "log"}]})
    conn.execute("SELECT cvx.pause_monitor(%s)", (name,))
    evaluate(conn, name)
    (row, *_) = alerts(conn, name)
    assert (row["monitor"], row["entity_id"], row["message"]) == (name, entity, entity)
    for function in ("mute", "unmute", "pause", "resume", "drop"):
        conn.execute(sql.SQL("SELECT cvx.{}(%s)").format(sql.Identifier(f"{function}_monitor")), (name,))


@pytest.mark.parametrize("severity", ["worst", "", "HIGH", None, 5])
def test_severities_that_a_query_makes_up(conn, severity):
    """A row that names no severity that there is has its monitor's."""
    name = f"m{uuid.uuid4().hex[:8]}"
    query = sql.SQL("SELECT {} AS severity").format(sql.Literal(severity)).as_string(conn)
    call(conn, "create_monitor", {**sql_of(query), "name": name, "severity": "low"})
    conn.execute("SELECT cvx.pause_monitor(%s)", (name,))
    assert [it["severity"] for it in evaluate(conn, name)] == ["low"]
    conn.execute("SELECT cvx.drop_monitor(%s)", (name,))


@pytest.mark.parametrize("column", [
    "1 AS entity_id", "'{}'::jsonb AS entity_id", "1 AS ts", "'2026-01-01' AS ts", "'infinity'::timestamptz AS ts",
    "date '2026-01-01' AS ts", "timestamp '2026-01-01' AS ts", "'x' AS value", "'NaN'::float8 AS value",
    "'Infinity'::float8 AS value", "1e400::numeric AS value", "true AS value", "ARRAY[1] AS message", "1 AS a, 2 AS a",
    "NULL AS entity_id, NULL AS ts, NULL AS value, NULL AS message, NULL AS severity", "ROW(1, 2) AS details",
    "'\\x00'::bytea AS b", "'[1,2]'::public.vector AS v", "pg_class FROM pg_class LIMIT 1",
])  # fmt: skip
def test_columns_of_any_type(conn, column):
    """A finding, or an error of the user's own making: never a crash or an internal one."""
    name = f"m{uuid.uuid4().hex[:8]}"
    call(conn, "create_monitor", {**sql_of(f"SELECT {column}"), "name": name})
    conn.execute("SELECT cvx.pause_monitor(%s)", (name,))
    try:
        # Python knows no infinite time.
        (message,) = conn.execute("SELECT message FROM cvx.evaluate_monitor(%s)", (name,)).fetchone()
        assert message
    except psycopg.Error as error:
        assert error.sqlstate[:2] in ("22", "42"), error
    conn.execute("SELECT cvx.drop_monitor(%s)", (name,))


def test_the_limit_of_monitors(conn):
    """S13: 1000 a database, however they are declared."""
    create = "SELECT count(cvx.create_monitor('m' || i, %s, %s)) FROM generate_series(%s::int, %s::int) i"
    with conn.transaction(force_rollback=True):
        conn.execute("SELECT cvx.drop_monitor(name) FROM cvx.monitor")
        assert conn.execute(create, (Jsonb(QUERY), Jsonb(EVENT), 1, 1000)).fetchone() == (1000,)
        with pytest.raises(psycopg.Error) as caught, conn.transaction():
            conn.execute(create, (Jsonb(QUERY), Jsonb(EVENT), 1001, 1001))
        check(caught.value, "54000", "1000")
        toml = "".join(
            f"[[monitors]]\nname='t{i}'\ncondition={{type='custom_query',sql='SELECT 1'}}\naction={{type='log'}}\n"
            for i in range(1001)
        )
        with pytest.raises(psycopg.Error) as caught, conn.transaction():
            conn.execute("SELECT * FROM cvx.apply_config(%s)", (toml,))
        check(caught.value, "54000", "1000")
