//! The PostgreSQL connector against a throwaway server: CVX_PG_BIN names the programs of one that has pgvector.

#[path = "postgres/faults.rs"]
mod faults;
#[path = "postgres/peers.rs"]
mod peers;
#[path = "postgres/server.rs"]
mod server;

use cvx_sources::{ErrorKind, Work};
use serde_json::{Value, json};
use server::{Run, Server, read};
use std::collections::BTreeMap;

type Watermark = BTreeMap<String, Value>;

fn all(server: &Server, table: &str, keys: Value, dims: usize) -> Run {
    let config = server.config(table, keys);
    read(&config, dims, Work::Full, &mut Watermark::new(), usize::MAX).unwrap()
}

fn since(config: &Value, watermark: &mut Watermark) -> Run {
    read(config, 2, Work::Incremental, watermark, usize::MAX).unwrap()
}

#[test]
fn every_type_is_read_as_it_is() {
    let server = Server::start();
    server.sql(
        "CREATE TABLE typed (t text, v varchar(9), c char(5), i2 int2, i4 int4, i8 int8, u uuid, \
           tz timestamptz, tn timestamp, d date, iso text, vec vector(2), half halfvec(2), r real[], f float8[], \
           mv text, js json, jb jsonb, n numeric, PRIMARY KEY (t)); \
         INSERT INTO typed VALUES ('a', 'b', 'c', -1, 2, 9007199254740993, '00000000-0000-0000-0000-0000000000ff', \
           '2026-01-01 00:00:00.000001+00', '2026-01-01', '2026-01-01', '2026-01-01T01:00:00+01:00', \
           '[1.5,-2]', '[0.5,65504]', '{1e-40,3e38}', '{0.1,-0.0}', 'v1', '{\"a\": [1]}', '{\"b\": null}', 1.50)",
    );
    let vectors = [
        ("vec", [1.5f32, -2.0]),
        ("half", [0.5, 65504.0]),
        ("r", [1e-40, 3e38]),
        ("f", [0.1, -0.0]),
    ];
    for (column, expected) in vectors {
        let run = all(
            &server,
            "typed",
            json!({"entity_id_column": "t", "timestamp_column": "tz", "vector_column": column}),
            2,
        );
        assert_eq!(
            run.rows[0].2.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
            expected.map(f32::to_bits),
            "{column}"
        );
    }
    let ids = [
        ("t", "a"),
        ("v", "b"),
        ("c", "c"),
        ("i2", "-1"),
        ("i4", "2"),
        ("i8", "9007199254740993"),
    ];
    for (column, id) in ids
        .into_iter()
        .chain([("u", "00000000-0000-0000-0000-0000000000ff")])
    {
        let run = all(
            &server,
            "typed",
            json!({"entity_id_column": column, "timestamp_column": "tz"}),
            2,
        );
        assert_eq!(run.keys(), [id], "{column}");
    }
    const NEW_YEAR: i64 = 9_497 * 86_400_000_000;
    for (column, ts) in [
        ("tz", NEW_YEAR + 1),
        ("tn", NEW_YEAR),
        ("d", NEW_YEAR),
        ("iso", NEW_YEAR),
    ] {
        let keys = json!({"entity_id_column": "t", "timestamp_column": column, "produced_at_column": column, "incremental_column": "i8"});
        let run = all(&server, "typed", keys, 2);
        assert_eq!(run.rows[0].1, ts, "{column}");
        assert!(
            run.rows[0].3.ends_with(&format!("Some({ts})")),
            "{}",
            run.rows[0].3
        );
    }
    for (key, columns, attrs) in [
        ("attrs_column", json!("js"), Some(r#"{"a": [1]}"#)),
        ("attrs_column", json!("jb"), Some(r#"{"b": null}"#)),
        (
            "attrs_columns",
            json!(["n", "jb", "d"]),
            Some(r#"{"d": "2026-01-01", "n": 1.50, "jb": {"b": null}}"#),
        ),
    ] {
        let run = all(
            &server,
            "typed",
            json!({"entity_id_column": "t", "timestamp_column": "tz", key: columns, "model_version_column": "mv"}),
            2,
        );
        let expected = format!("{:?} None", [Some("v1"), None, None, None, attrs]);
        assert_eq!(run.rows[0].3, expected);
    }
    server.sql("UPDATE typed SET n = NULL, jb = NULL");
    let run = all(
        &server,
        "typed",
        json!({"entity_id_column": "t", "timestamp_column": "tz", "attrs_columns": ["n", "jb"]}),
        2,
    );
    assert!(
        run.rows[0].3.starts_with("[None, None, None, None, None]"),
        "{}",
        run.rows[0].3
    );
    for (key, column, kind) in [
        ("timestamp_column", "i8", ErrorKind::WrongSchema),
        ("vector_column", "t", ErrorKind::WrongSchema),
        ("entity_id_column", "jb", ErrorKind::WrongSchema),
        ("attrs_column", "t", ErrorKind::WrongSchema),
        ("incremental_column", "jb", ErrorKind::WrongSchema),
        ("vector_column", "nowhere", ErrorKind::WrongSchema),
    ] {
        let mut keys = json!({"entity_id_column": "t", "timestamp_column": "tz"});
        keys[key] = json!(column);
        let error = read(
            &server.config("typed", keys),
            2,
            Work::Full,
            &mut Watermark::new(),
            1,
        )
        .unwrap_err();
        assert_eq!(error.kind, kind, "{error:?}");
        assert!(format!("{error:?}").contains(column), "{error:?}");
    }
}

#[test]
fn what_a_record_cannot_hold_is_rejected_and_replayed() {
    let server = Server::start();
    server.sql(
        "CREATE TABLE e (entity_id text, ts timestamptz, vec real[], seq int8, PRIMARY KEY (seq)); \
         INSERT INTO e VALUES (NULL, '2026-01-01', '{1,2}', 1), (NULL, '2026-01-01', '{3,4}', 2), \
           ('', '2026-01-01', '{1,2}', 3), ('a', NULL, '{1,2}', 4), ('b', 'infinity', '{1,2}', 5), \
           ('c', '2026-01-01', NULL, 6), ('d', '2026-01-01', '{1,NaN}', 7), ('e', '2026-01-01', '{1,-Infinity}', 8), \
           ('f', '2026-01-01', '{1,NULL}', 9), ('g', '2026-01-01', '{0,0}', 10), ('h', '2026-01-01', '{1}', 11), \
           ('i', '2026-01-01', '{{1,2}}', 12), ('j', '2026-01-01', '{}', 13), (repeat('k', 2000), '2026-01-01', '{1,2}', 14), \
           ('l', '0044-03-15 BC', '{1}', 15), ('fine', '2026-01-01', '{1,2}', 16), ('it''s \\', '2026-01-01', '{1}', 17)",
    );
    let mut run = all(&server, "e", json!({"incremental_column": "seq"}), 2);
    assert_eq!(run.keys(), ["fine"]);
    run.rejects.sort();
    let mut codes: Vec<&str> = run.rejects.iter().map(|reject| reject.1.as_str()).collect();
    codes.sort_unstable();
    let expected = [
        "empty_entity_id",
        "entity_id_too_long",
        "infinite_element",
        "infinite_timestamp",
        "not_a_number",
        "null_element",
        "null_entity_id",
        "null_entity_id",
        "null_timestamp",
        "null_vector",
        "wrong_dimension",
        "wrong_dimension",
        "wrong_dimension",
        "wrong_dimension",
        "wrong_type",
        "zero_vector",
    ];
    assert_eq!(codes, expected);
    let positions: Vec<String> = run.rejects.iter().map(|reject| reject.0.clone()).collect();
    let mut unique = positions.clone();
    unique.dedup();
    assert_eq!(unique.len(), 16);
    assert!(positions.iter().all(|position| position.len() < 1000));

    let config = server.config("e", json!({"incremental_column": "seq"}));
    let replay = |positions: Vec<String>| {
        let mut run = read(
            &config,
            2,
            Work::Replay(positions),
            &mut Watermark::new(),
            usize::MAX,
        )
        .unwrap();
        run.rejects.sort();
        run
    };
    let again = replay(positions.clone());
    assert!(again.rows.is_empty());
    assert_eq!(
        again.rejects, run.rejects,
        "the same rows under the same positions"
    );

    server.sql("UPDATE e SET vec = '{5,6}' WHERE entity_id IN ('c', 'it''s \\', 'l'); DELETE FROM e WHERE entity_id = 'd'");
    let mended = replay(positions.into_iter().chain(["{}".into(), "[1]".into()]).collect());
    assert_eq!(mended.keys(), ["c", "it's \\", "l"]);
    assert_eq!(mended.rejects.len(), 15);
    let gone: Vec<&str> = mended
        .rejects
        .iter()
        .filter(|it| it.1 == "gone")
        .map(|it| it.0.as_str())
        .collect();
    assert_eq!(gone, ["[\"d\",\"2026-01-01 00:00:00\"]", "[1]", "{}"]);
}

#[test]
fn ties_at_the_watermark_are_found_whenever_they_commit() {
    let server = Server::start();
    server.sql("CREATE TABLE e (entity_id text, ts timestamptz DEFAULT '2026-01-01', vec vector(2) DEFAULT '[1,2]', at timestamptz)");
    server.sql(
        "INSERT INTO e (entity_id, at) VALUES ('a', '2026-01-01'), ('b', '2026-01-02'), ('c', '2026-01-02')",
    );
    for index in [
        "",
        "CREATE INDEX ON e (at); ALTER SYSTEM SET enable_seqscan = off; SELECT pg_reload_conf()",
    ] {
        server.sql(if index.is_empty() {
            "SELECT 1"
        } else {
            "TRUNCATE e"
        });
        if !index.is_empty() {
            for statement in index.split("; ") {
                server.sql(statement);
            }
            server.sql("INSERT INTO e (entity_id, at) VALUES ('a', '2026-01-01'), ('b', '2026-01-02'), ('c', '2026-01-02')");
        }
        let config = server.config("e", json!({"incremental_column": "at"}));
        let mut watermark = Watermark::new();
        assert_eq!(since(&config, &mut watermark).keys(), ["a", "b", "c"]);
        for _ in 0..2 {
            let idle = since(&config, &mut watermark);
            assert_eq!((idle.deliveries, idle.rows.len()), (0, 0), "nothing is new");
        }
        server.sql("INSERT INTO e (entity_id, at) VALUES ('A before b', '2026-01-02')");
        assert_eq!(since(&config, &mut watermark).keys(), ["A before b", "b", "c"]);
        assert_eq!(since(&config, &mut watermark).deliveries, 0);
        server.sql(
            "DELETE FROM e WHERE entity_id = 'c'; INSERT INTO e (entity_id, at) VALUES ('x', '2026-01-02')",
        );
        assert_eq!(
            since(&config, &mut watermark).keys(),
            ["A before b", "b", "x"],
            "as many ties, but others"
        );
        server.sql("INSERT INTO e (entity_id, at) VALUES ('y', '2026-01-03'), ('late', '2025-01-01')");
        assert_eq!(since(&config, &mut watermark).keys(), ["y"]);
        let overlapping = server.config("e", json!({"incremental_column": "at", "overlap": "2 years"}));
        let keys = since(&overlapping, &mut watermark);
        assert_eq!(keys.keys(), ["A before b", "a", "b", "late", "x", "y"]);
        server.sql(
            "INSERT INTO e (entity_id, at) VALUES ('never', 'infinity'), ('null', NULL), ('z', '2026-01-04')",
        );
        assert_eq!(since(&config, &mut watermark).keys(), ["z"]);
        server.sql("INSERT INTO e (entity_id, at) VALUES ('zz', '2026-01-05')");
        assert_eq!(
            since(&config, &mut watermark).keys(),
            ["zz"],
            "an infinite value does not end it"
        );
        assert_eq!(
            since(&config, &mut Watermark::new()).rows.len(),
            10,
            "the first run reads all"
        );
        let mut other = watermark.clone();
        let by_entity = server.config("e", json!({"incremental_column": "entity_id"}));
        assert_eq!(
            since(&by_entity, &mut other).rows.len(),
            10,
            "another column begins anew"
        );
        assert_eq!(since(&by_entity, &mut other).deliveries, 0);
    }
}

#[test]
fn a_run_goes_on_from_every_boundary() {
    let server = Server::start();
    for (index, ordered) in [("", false), ("CREATE INDEX ON e (seq)", true)] {
        server.sql("DROP TABLE IF EXISTS e");
        server.sql("CREATE TABLE e (entity_id int4, ts timestamptz, vec vector(2), seq int4)");
        server.sql(
            "INSERT INTO e SELECT i, '2026-01-01'::timestamptz + i * interval '1 s', ARRAY[i, 1]::vector, i / 3 \
             FROM generate_series(1, 40) i",
        );
        server.sql("INSERT INTO e VALUES (41, '2026-01-01', '[1,2]', NULL)");
        if ordered {
            server.sql(index);
            server.sql("ALTER SYSTEM SET enable_seqscan = off");
            server.sql("SELECT pg_reload_conf()");
        }
        let config = server.config("e", json!({"incremental_column": "seq", "batch_rows": 4}));
        for boundary in 0..=11 {
            let mut watermark = Watermark::new();
            let first = read(&config, 2, Work::Incremental, &mut watermark, boundary).unwrap();
            assert_eq!(
                watermark.is_empty(),
                boundary == 0 || (!ordered && boundary < 11),
                "{boundary}"
            );
            let rest = since(&config, &mut watermark);
            let mut keys: Vec<i32> = first
                .keys()
                .iter()
                .chain(&rest.keys())
                .map(|key| key.parse().unwrap())
                .collect();
            let read = keys.len();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys, (1..=41).collect::<Vec<_>>(), "boundary {boundary}");
            // Only ties of the value at the boundary come again.
            assert!(!ordered || read - 41 <= 2, "boundary {boundary}: {read}");
            assert_eq!(since(&config, &mut watermark).deliveries, 0);
        }
    }
}

#[test]
fn filters_and_names_cannot_be_escaped() {
    let server = Server::start();
    server.sql(
        "CREATE SCHEMA \"M\"\"L\"; CREATE TABLE \"M\"\"L\".\"E.t;--\" (\"id\"\" OR 1=1\" text, \"a'b\" timestamp, vec vector(2)); \
         GRANT USAGE ON SCHEMA \"M\"\"L\" TO reader; GRANT SELECT ON ALL TABLES IN SCHEMA \"M\"\"L\" TO reader; \
         INSERT INTO \"M\"\"L\".\"E.t;--\" VALUES ('it''s', '2026-01-01', '[1,2]'), ('\\''; DROP TABLE x', '2026-01-02', '[1,2]'), \
           ('7', '2026-01-03', '[1,2]'), ('', '2026-01-03', '[1,2]')",
    );
    let names = |more: Value| {
        let mut keys =
            json!({"entity_id_column": "id\" OR 1=1", "timestamp_column": "a'b", "attrs_columns": ["a'b"]});
        keys.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        keys
    };
    let table = "\"M\"\"L\".\"E.t;--\"";
    let read = |more| all(&server, table, names(more), 2);
    let run = read(json!({"filter": {"entity_ids": ["it's", "\\'; DROP TABLE x", "no"]}}));
    assert_eq!(run.keys(), ["\\'; DROP TABLE x", "it's"]);
    let run = read(json!({"filter": {"from": "2026-01-02", "to": "2026-01-03"}}));
    assert_eq!(run.keys(), ["\\'; DROP TABLE x"]);
    assert_eq!(
        (run.skipped, run.rejects.len()),
        (0, 0),
        "judged on the other side"
    );
    assert_eq!(read(json!({"where": "vec <-> '[1,2]' = 0 -- )"})).rows.len(), 3);
    assert_eq!(read(json!({"filter": {"entity_ids": []}})).rows.len(), 0);

    server.sql("CREATE TABLE n (id int4, iso text, vec vector(2)); INSERT INTO n VALUES (7, '2026-01-01', '[1,2]'), (8, '2026-01-02', '[1,2]')");
    let keys = json!({"entity_id_column": "id", "timestamp_column": "iso",
        "filter": {"entity_ids": ["7", "8", "08", "99999999999999999999", "x'"], "from": "2026-01-02"}});
    let run = all(&server, "n", keys, 2);
    assert_eq!((run.keys(), run.skipped), (vec!["8"], 1));

    let query = json!({"table": null, "query": "SELECT id::text || 'q' AS entity_id, to_timestamp(id) AS ts, vec FROM n -- all", "where": "true"});
    assert_eq!(all(&server, "", query, 2).keys(), ["7q", "8q"]);
    let writes = json!({"table": null, "query": "WITH d AS (DELETE FROM n RETURNING *) SELECT id AS entity_id, now() AS ts, vec FROM d"});
    assert!(cvx_sources::SourceConfig::parse("postgres", &server.config("", writes.clone())).is_ok());
    assert!(
        server::read(
            &server.config("", writes),
            2,
            Work::Full,
            &mut Watermark::new(),
            1
        )
        .is_err()
    );
    assert_eq!(server.sql("SELECT count(*) FROM n"), "2");
}
