"""Sources and monitors as one TOML text: the database is made to match it, and gives it back."""

import psycopg
import pytest
from cluster import Cluster
from sources import source

# The example of DESIGN.md, in its words.
DESIGN = """
[[sources]]
name = "daily-user-embeddings"
type = "s3_parquet"
space = "bert-v2"
schedule = "0 2 * * *"
incremental = true
[sources.s3_parquet]
bucket = "ml-embeddings"
prefix = "user-embeddings/bert-v2/"
partition_format = "dt=%Y-%m-%d"
entity_id_column = "user_id"
vector_column = "embedding"
timestamp_column = "produced_at"

[[sources]]
name = "realtime-content-embeddings"
type = "kafka"
space = "content-clip-512"
[sources.kafka]
brokers = ["kafka-1:9092", "kafka-2:9092"]
topic = "content-embeddings"
group_id = "cvx-ingest"
entity_id_field = "content_id"
vector_field = "embedding"
timestamp_field = "created_at"

[[monitors]]
name = "high_risk_drift"
description = "Alert when user language shifts toward risk pattern"
condition = { type = "drift_exceeds", threshold = 0.3, window = "7d" }
action = { type = "webhook_post", url = "https://alerts.example.com/cvx" }
check_interval = "1h"
severity = "high"
"""
NAMES = {("source", "daily-user-embeddings"), ("source", "realtime-content-embeddings"), ("monitor", "high_risk_drift")}


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as it:
        yield it
        assert it.faults() == []


@pytest.fixture
def conn(cluster):
    """A new database, which no worker may act in: the sources name servers that are not there."""
    with cluster.connect() as admin:
        admin.execute("DROP DATABASE IF EXISTS d WITH (FORCE)")
    cluster.create_database("d")
    with cluster.connect("d") as it:
        it.execute("SELECT cvx.create_space('bert-v2', 768), cvx.create_space('content-clip-512', 512)")
        yield it


def apply(conn, text, dry_run=False) -> dict:
    found = conn.execute("SELECT kind, name, action FROM cvx.apply_config(%s, %s)", (text, dry_run)).fetchall()
    return {(kind, name): action for kind, name, action in found}


def everything(conn):
    return conn.execute("""SELECT (SELECT jsonb_agg(to_jsonb(s) ORDER BY name) FROM cvx.source s),
                                  (SELECT jsonb_agg(to_jsonb(m) ORDER BY name) FROM cvx.monitor m)""").fetchone()


def test_the_example(conn):
    assert apply(conn, DESIGN, dry_run=True) == dict.fromkeys(NAMES, "created")
    assert conn.execute("SELECT (SELECT count(*) FROM cvx.source), (SELECT count(*) FROM cvx.monitor)").fetchone() == (
        0,
        0,
    )
    assert apply(conn, DESIGN) == dict.fromkeys(NAMES, "created")
    row = source(conn, "daily-user-embeddings")
    assert (row["type"], row["space"], row["schedule"]) == ("s3_parquet", "bert-v2", "0 2 * * *")
    assert (row["next_run_at"].hour, row["next_run_at"].minute) == (2, 0)
    config = conn.execute("SELECT config FROM cvx.source WHERE type = 'kafka'").fetchone()[0]
    assert config["brokers"] == ["kafka-1:9092", "kafka-2:9092"] and config["entity_id_field"] == "content_id"
    monitor = conn.execute(
        "SELECT condition, action, check_interval::text, severity, description FROM cvx.monitor"
    ).fetchone()
    assert monitor == (
        {"type": "drift_exceeds", "threshold": 0.3, "window": "7d"},
        {"type": "webhook_post", "url": "https://alerts.example.com/cvx"},
        "01:00:00",
        "high",
        "Alert when user language shifts toward risk pattern",
    )


def test_twice_changes_nothing(conn):
    apply(conn, DESIGN)
    before = everything(conn)
    assert apply(conn, DESIGN) == dict.fromkeys(NAMES, "unchanged")
    assert everything(conn) == before


def test_what_changed_is_altered_and_what_is_gone_dropped(conn):
    apply(conn, DESIGN)
    changed = DESIGN.replace('"0 2 * * *"', '"0 3 * * *"').replace("threshold = 0.3", "threshold = 0.4")
    first, _, rest = changed.partition('[[sources]]\nname = "realtime')
    changed = first + rest[rest.index("[[monitors]]") :]
    wanted = {
        ("source", "daily-user-embeddings"): "altered",
        ("source", "realtime-content-embeddings"): "dropped",
        ("monitor", "high_risk_drift"): "altered",
    }
    before = everything(conn)
    assert apply(conn, changed, dry_run=True) == wanted
    assert everything(conn) == before
    assert apply(conn, changed) == wanted
    assert conn.execute("SELECT name, schedule FROM cvx.source").fetchall() == [("daily-user-embeddings", "0 3 * * *")]
    assert apply(conn, "") == {
        ("source", "daily-user-embeddings"): "dropped",
        ("monitor", "high_risk_drift"): "dropped",
    }
    assert apply(conn, "") == {}


def test_dumped_and_applied_elsewhere(cluster, conn):
    apply(conn, DESIGN)
    conn.execute("""SELECT cvx.create_source(E'odd "name" \\\\ \\n -- ä', 's3_parquet', 'bert-v2',
        '{"bucket": "b", "prefix": "a\\"b\\\\\\\\c", "max_reject_ratio": 0.25, "batch_rows": 7, "attrs_columns": ["x", "y z"],
          "filter": {"entity_ids": ["1", "it''s"], "from": "2026-01-01T00:00:00Z"},
          "column_aliases": {"vec": ["emb", "vec tor"]}, "access_key_id": "id", "secret_access_key": {"secret": "k"}}',
        schedule => '@hourly', time_zone => 'Europe/Madrid', priority => -5, incremental => false)""")
    text = conn.execute("SELECT cvx.dump_config()").fetchone()[0]
    assert set(apply(conn, text).values()) == {"unchanged"}
    before = everything(conn)
    with cluster.connect() as admin:
        admin.execute("DROP DATABASE IF EXISTS e WITH (FORCE)")
    cluster.create_database("e")
    with cluster.connect("e") as other:
        other.execute("SELECT cvx.create_space('bert-v2', 768), cvx.create_space('content-clip-512', 512)")
        assert set(apply(other, text).values()) == {"created"}
        assert other.execute("SELECT cvx.dump_config()").fetchone()[0] == text
        columns = "name, type, space, config, schedule, time_zone, incremental, priority, model"
        query = f"SELECT {columns} FROM cvx.source ORDER BY name"
        assert other.execute(query).fetchall() == conn.execute(query).fetchall()
    assert everything(conn) == before


# A change to the example; SQLSTATE; what the message or its hint names.
WRONG = [
    (('topic = "content', 'tpoic = "content'), "22023", ["tpoic"]),
    (("incremental = true", "incremntal = true"), "22023", ["incremntal", "incremental"]),
    (("threshold = 0.3", "treshold = 0.3"), "22023", ["treshold"]),
    (("incremental = true", 'incremental = "yes"'), "22023", ["incremental"]),
    (('type = "kafka"', 'type = "kafak"'), "22023", ["kafak"]),
    (('type = "kafka"', 'type = "rest_api"'), "22023", ["kafka"]),
    (('space = "bert-v2"', 'space = "bert-v3"'), "42704", ["bert-v3"]),
    (('space = "bert-v2"\n', ""), "22023", ["space"]),
    (('"0 2 * * *"', '"0 2 * *"'), "22023", ["0 2 * *"]),
    (('name = "realtime-content-embeddings"', 'name = "daily-user-embeddings"'), "22023", ["daily-user-embeddings"]),
    (('bucket = "ml-embeddings"', 'bucket = "ml-embeddings'), "22023", ["line"]),
    (('"drift_exceeds"', '"drift_exceed"'), "22023", ["drift_exceed"]),
    (('severity = "high"', 'severity = "awful"'), "22023", ["awful"]),
    (('check_interval = "1h"', 'check_interval = "soon"'), "22023", ["check_interval"]),
    (('bucket = "ml-embeddings"', 'bucket = "b"\nsecret_access_key = "literal-canary"'), "22023", []),
]


@pytest.mark.parametrize("change, sqlstate, named", WRONG, ids=[str(n) for n in range(len(WRONG))])
@pytest.mark.parametrize("dry_run", [True, False])
def test_refused_as_a_whole(conn, change, sqlstate, named, dry_run):
    apply(conn, DESIGN.replace('"0 2 * * *"', '"0 1 * * *"'))
    before = everything(conn)
    text = DESIGN.replace(*change)
    assert text != DESIGN
    with pytest.raises(psycopg.Error) as raised:
        apply(conn, text, dry_run)
    found = raised.value.diag
    told = f"{found.message_primary} {found.message_detail} {found.message_hint}"
    assert found.sqlstate == sqlstate and all(name in told for name in named), f"{found.sqlstate}: {told}"
    assert "literal-canary" not in told
    assert everything(conn) == before


def test_of_several_owners(cluster, conn):
    """Each role declares its own; another's are neither changed nor dropped."""
    for role in ("ann", "ben"):
        conn.execute(f"DROP ROLE IF EXISTS {role}")
        conn.execute(f"CREATE ROLE {role} LOGIN; SELECT cvx.grant_admin('{role}')")
    declare = """
[[sources]]
name = "{name}"
type = "kafka"
space = "bert-v2"
[sources.kafka]
brokers = ["h:1"]
topic = "t"
entity_id_field = "i"
vector_field = "v"
"""
    try:
        with cluster.connect("d", user="ann") as ann, cluster.connect("d", user="ben") as ben:
            assert apply(ann, declare.format(name="anns")) == {("source", "anns"): "created"}
            assert apply(ben, declare.format(name="bens")) == {("source", "bens"): "created"}
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                apply(ben, declare.format(name="anns"))
            assert apply(ben, "") == {("source", "bens"): "dropped"}
        assert conn.execute("SELECT name, owner::text FROM cvx.source").fetchall() == [("anns", "ann")]
    finally:
        conn.execute("SELECT cvx.drop_source(name) FROM cvx.source")
        for role in ("ann", "ben"):
            conn.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_huge_and_deep_texts(conn):
    for text in (
        "x = " + "[" * 100_000,
        "x = " + "[" * 5000 + "]" * 5000,
        "# " + "x" * 5_000_000,
        "\0",
        "[[sources]]\n" * 20_000,
    ):
        with pytest.raises((psycopg.Error, psycopg.DataError)):
            apply(conn, text)
    assert conn.execute("SELECT 1").fetchone() == (1,)
