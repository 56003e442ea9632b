//! A topic read from a broker: librdkafka's mock cluster, in this process and over TCP.

#![cfg(feature = "kafka")]

mod kafka_common;

use cvx_sources::{ErrorKind, SecretRef, Step, Work};
use kafka_common::*;
use rdkafka::producer::Producer;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use serde_json::json;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

fn names(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("e{n}")).collect()
}

#[test]
fn every_record_once_and_in_order_over_restarts() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    let config = config(&cluster);
    let mut store = Store::default();
    let mut sent = 0;
    for _ in 0..4 {
        send_all(&producer, 0, (sent..sent + 250).map(json_of));
        sent += 250;
        let mut connector = store.open(&config);
        store.read_to(&mut *connector, sent);
    }
    assert_eq!(
        store.rows.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>(),
        names(0..1000)
    );
    assert!(
        store
            .rows
            .iter()
            .enumerate()
            .all(|(n, (_, x))| *x == n as f32 + 0.5)
    );
    assert_eq!(store.offset(0), Some(1000));
    let mut connector = store.open(&config);
    store.read_for(&mut *connector, Duration::from_secs(2));
    assert_eq!(store.read(), 1000);
}

#[test]
fn what_was_not_delivered_is_read_again() {
    let cluster = cluster(1, 4);
    let producer = producer(&cluster);
    for n in 0..400 {
        send_all(&producer, (n % 4) as i32, [json_of(n)]);
    }
    let config = config(&cluster);
    let mut store = Store::default();
    // Runs that end at any delivery: what the engine did not commit comes again, what it did does not.
    for round in 0..8 {
        let mut connector = store.open(&config);
        let before = store.read();
        if round % 2 == 0 {
            store.read_until(&mut *connector, |store| {
                store.read() > before || store.read() == 400
            });
        } else {
            let begun = Instant::now();
            while begun.elapsed() < PATIENCE {
                if matches!(connector.next().unwrap(), Step::Delivery(it) if !it.batch.is_empty())
                    || before == 400
                {
                    break;
                }
            }
        }
    }
    let mut ids: Vec<_> = store.rows.iter().map(|(id, _)| id.clone()).collect();
    ids.sort_by_key(|id| id[1..].parse::<usize>().unwrap());
    assert_eq!(ids, names(0..400));
    assert_eq!(
        (0..4).map(|p| store.offset(p)).collect::<Vec<_>>(),
        [Some(100); 4]
    );
}

#[test]
fn bad_records_are_refused_once_and_the_rest_goes_on() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    let bad: [(&[u8], &str); 16] = [
        (b"{\"id\":\"x\",\"ts\":1,\"v\":[1,2", "malformed"),
        (b"\xff\xfe", "malformed"),
        (b"", "malformed"),
        (
            b"{\"id\":\"x\",\"ts\":1767225600,\"v\":[1,2,3]} trailing",
            "malformed",
        ),
        (b"{\"id\":\"x\",\"ts\":1767225600}", "missing_field"),
        (b"{\"ts\":1767225600,\"v\":[1,2,3]}", "missing_field"),
        (b"{\"id\":null,\"ts\":1767225600,\"v\":[1,2,3]}", "null_entity_id"),
        (
            b"{\"id\":\"\",\"ts\":1767225600,\"v\":[1,2,3]}",
            "empty_entity_id",
        ),
        (
            b"{\"id\":\"a\\u0000b\",\"ts\":1767225600,\"v\":[1,2,3]}",
            "nul_character",
        ),
        (b"{\"id\":1.5,\"ts\":1767225600,\"v\":[1,2,3]}", "wrong_type"),
        (
            b"{\"id\":\"x\",\"ts\":\"soon\",\"v\":[1,2,3]}",
            "invalid_timestamp",
        ),
        (b"{\"id\":\"x\",\"ts\":1767225600,\"v\":[1,2]}", "wrong_dimension"),
        (
            b"{\"id\":\"x\",\"ts\":1767225600,\"v\":[1,null,3]}",
            "null_element",
        ),
        (
            b"{\"id\":\"x\",\"ts\":1767225600,\"v\":[1,1e40,3]}",
            "element_overflow",
        ),
        (b"{\"id\":\"x\",\"ts\":1767225600,\"v\":[0,0,0]}", "zero_vector"),
        (b"{\"id\":\"x\",\"ts\":1767225600,\"v\":\"AAA\"}", "wrong_type"),
    ];
    for (n, (payload, _)) in bad.iter().enumerate() {
        send_all(&producer, 0, [json_of(n).as_bytes(), payload]);
    }
    send(
        &producer,
        &Message {
            key: Some(b"gone"),
            ..Message::default()
        },
    );
    producer.flush(PATIENCE).unwrap();
    let config = config(&cluster);
    let mut store = Store::default();
    for _ in 0..2 {
        let mut connector = store.open(&config);
        store.read_to(&mut *connector, 33);
    }
    let expected: Vec<_> = bad
        .iter()
        .enumerate()
        .map(|(n, (_, code))| (format!("{TOPIC}/0/{}", 2 * n + 1), (*code).to_owned()))
        .collect();
    assert_eq!(store.rejects, expected);
    assert_eq!(
        (store.rows.len(), store.skipped, store.offset(0)),
        (16, 1, Some(33))
    );
    assert_eq!(store.payloads[0]["raw"], "{\"id\":\"x\",\"ts\":1,\"v\":[1,2");
    assert_eq!(store.payloads[1]["base64"], "//4=");
    assert_eq!(store.payloads[0]["timestamp"], "2026-01-01T00:00:00Z");
}

#[test]
fn fields_of_kafka_and_of_the_message() {
    let cluster = cluster(1, 2);
    let producer = producer(&cluster);
    let payload =
        r#"{"m":{"v":"AACAPwAAAEAAAEBA","hash":"h","n":7,"o":{"a":[1]}},"at":"2026-02-01T00:00:00Z"}"#;
    send(
        &producer,
        &Message {
            partition: 1,
            key: Some("Zoë".as_bytes()),
            payload: Some(payload.as_bytes()),
            headers: &[("model", b"old"), ("model", b"v2"), ("other", b"x")],
            ..Message::default()
        },
    );
    producer.flush(PATIENCE).unwrap();
    let config = with(
        config(&cluster),
        json!({
            "entity_id_field": "$key", "vector_field": "m.v", "timestamp_field": "$timestamp",
            "model_version_field": "$headers.model", "model_hash_field": "m.hash", "input_hash_field": "$offset",
            "pipeline_hash_field": "$headers.none", "produced_at_field": "at",
            "attrs_fields": ["m.n", "m.o", "$topic", "$partition", "absent"],
        }),
    );
    let store = Store::default();
    let mut connector = store.open(&config);
    let delivery = loop {
        match connector.next().unwrap() {
            Step::Delivery(delivery) if delivery.batch.rows_read() > 0 => break delivery,
            _ => {}
        }
    };
    assert_eq!(delivery.batch.rejects(), []);
    let record = delivery.batch.record(0);
    assert_eq!((record.entity_id, record.vector), ("Zoë", &[1.0, 2.0, 3.0][..]));
    assert_eq!(record.ts, (1_767_225_600 - 946_684_800) * 1_000_000);
    assert_eq!(
        record.produced_at,
        Some((1_769_904_000 - 946_684_800) * 1_000_000)
    );
    assert_eq!(
        (
            record.model_version,
            record.model_hash,
            record.input_hash,
            record.pipeline_hash
        ),
        (Some("v2"), Some("h"), Some("0"), None)
    );
    let attrs: serde_json::Value = serde_json::from_str(record.attrs.unwrap()).unwrap();
    assert_eq!(
        attrs,
        json!({"n": 7, "o": {"a": [1]}, "topic": TOPIC, "partition": 1})
    );
    assert_eq!(delivery.bytes as usize, payload.len() + "Zoë".len());
}

#[test]
fn filters_leave_out_and_count() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    send_all(&producer, 0, (0..100).map(json_of));
    let filter = json!({"filter": {"entity_ids": ["e5", "e50", "e95"], "from": "2026-01-01T00:00:10Z", "to": "2026-01-01T00:01:35Z"}});
    let mut store = Store::default();
    let mut connector = store.open(&with(config(&cluster), filter));
    store.read_to(&mut *connector, 100);
    assert_eq!(store.rows, [("e50".to_owned(), 50.5)]);
    assert_eq!((store.skipped, store.offset(0)), (99, Some(100)));
}

#[test]
fn latest_holds_from_the_first_step_on() {
    let cluster = cluster(1, 2);
    let producer = producer(&cluster);
    send_all(&producer, 0, (0..10).map(json_of));
    let config = with(config(&cluster), json!({"start": "latest"}));
    let mut store = Store::default();
    let mut connector = store.open(&config);
    store.read_until(&mut *connector, |store| store.watermark.len() == 2);
    drop(connector);
    assert_eq!(
        (store.offset(0), store.offset(1), store.read()),
        (Some(10), Some(0), 0)
    );
    // Sent while nobody reads: not lost.
    send_all(&producer, 0, (10..20).map(json_of));
    send_all(&producer, 1, (20..25).map(json_of));
    let mut connector = store.open(&config);
    store.read_to(&mut *connector, 15);
    assert_eq!(
        (store.rows.len(), store.offset(0), store.offset(1)),
        (15, Some(20), Some(5))
    );
}

#[test]
fn a_partition_that_was_added_is_read_from_its_beginning() {
    let small = cluster(1, 1);
    let config_of = |cluster: &Cluster| with(config(cluster), json!({"start": "latest"}));
    let mut store = Store::default();
    let mut connector = store.open(&config_of(&small));
    store.read_until(&mut *connector, |store| store.watermark.len() == 1);
    drop(connector);
    let grown = cluster(1, 3);
    let producer = producer(&grown);
    send_all(&producer, 2, (0..7).map(json_of));
    let mut connector = store.open(&config_of(&grown));
    store.read_to(&mut *connector, 7);
    assert_eq!(
        (store.offset(0), store.offset(1), store.offset(2)),
        (Some(0), Some(0), Some(7))
    );
}

#[test]
fn a_full_run_reads_everything_again() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    send_all(&producer, 0, (0..50).map(json_of));
    let mut store = Store::default();
    let mut connector = store.open(&with(config(&cluster), json!({"start": "latest"})));
    store.read_until(&mut *connector, |store| store.offset(0) == Some(50));
    drop(connector);
    let mut connector = open(&config(&cluster), store.request(Work::Full)).unwrap();
    store.read_to(&mut *connector, 50);
    assert_eq!((store.rows.len(), store.offset(0)), (50, Some(50)));
}

#[test]
fn brokers_that_go_and_come_back_lose_nothing() {
    let cluster = cluster(3, 6);
    let producer = producer(&cluster);
    let mut store = Store::default();
    let mut connector = store.open(&config(&cluster));
    for round in 0..3 {
        for partition in 0..6 {
            send_all(
                &producer,
                partition,
                (0..20).map(|n| json_of(round * 120 + partition as usize * 20 + n)),
            );
        }
        if round > 0 {
            cluster.request_errors(
                RDKafkaApiKey::Fetch,
                &[
                    RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT,
                    RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
                    RDKafkaRespErr::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
                    RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN,
                ],
            );
            cluster.request_errors(
                RDKafkaApiKey::Heartbeat,
                &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS; 1],
            );
        }
        cluster.broker_down(-1).unwrap();
        store.read_for(&mut *connector, Duration::from_secs(2));
        cluster.broker_up(-1).unwrap();
        store.read_to(&mut *connector, (round + 1) * 120);
    }
    let mut ids: Vec<_> = store.rows.iter().map(|(id, _)| id.clone()).collect();
    ids.sort_by_key(|id| id[1..].parse::<usize>().unwrap());
    assert_eq!(ids, names(0..360));
}

#[test]
fn stop_ends_a_step_soon_and_dropping_does_not_wait() {
    let cluster = cluster(1, 1);
    let store = Store::default();
    for brokers_are_up in [true, false] {
        let request = store.request(Work::Incremental);
        let stop = request.stop.clone();
        let mut connector = open(&config(&cluster), request).unwrap();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(2) {
            connector.next().unwrap();
        }
        if !brokers_are_up {
            cluster.broker_down(-1).unwrap();
        }
        stop.set();
        let begun = Instant::now();
        connector.next().unwrap();
        assert!(
            begun.elapsed() < Duration::from_millis(200),
            "{:?}",
            begun.elapsed()
        );
        let begun = Instant::now();
        drop(connector);
        assert!(
            begun.elapsed() < Duration::from_millis(700),
            "{:?}",
            begun.elapsed()
        );
    }
}

#[test]
fn a_topic_that_is_not_there_is_named() {
    let cluster = cluster(1, 1);
    cluster
        .topic_error("nothing", RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
        .unwrap();
    let config = with(config(&cluster), json!({"topic": "nothing"}));
    let mut connector = Store::default().open(&config);
    let error = failure(&mut *connector);
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::NotFound, "topic \"nothing\" does not exist")
    );
    assert_eq!(connector.next().unwrap_err().kind, ErrorKind::Internal);
}

fn replay(config: &serde_json::Value, positions: &[&str]) -> Store {
    let mut store = Store::default();
    let work = Work::Replay(positions.iter().map(|it| (*it).to_owned()).collect());
    let mut connector = open(config, store.request(work)).unwrap();
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "{} answered", store.read());
        match connector.next().unwrap() {
            Step::Delivery(delivery) => {
                assert!(delivery.positions.is_empty());
                store.keep(delivery);
            }
            Step::Idle => {}
            Step::End => return store,
        }
    }
}

#[test]
fn a_replay_answers_every_position_once() {
    let cluster = cluster(1, 3);
    let producer = producer(&cluster);
    send_all(&producer, 0, (0..2000).map(json_of));
    send_all(&producer, 2, ["not json".to_owned(), json_of(7)]);
    let config = config(&cluster);
    let positions = [
        "embeddings/0/1990",
        "embeddings/0/3",
        "embeddings/0/4",
        "embeddings/2/0",
        "embeddings/2/1",
        "embeddings/2/2",
        "embeddings/1/0",
        "embeddings/9/0",
        "embeddings/0/03",
        "embeddings/0/5-9",
        "other/0/1",
        "nonsense",
    ];
    let store = replay(&config, &positions);
    let ids: Vec<_> = store.rows.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["e3", "e4", "e1990", "e7"]);
    let mut rejects = store.rejects.clone();
    rejects.sort();
    let expected = [
        ("embeddings/0/03", "gone"),
        ("embeddings/0/5-9", "gone"),
        ("embeddings/1/0", "gone"),
        ("embeddings/2/0", "malformed"),
        ("embeddings/2/2", "gone"),
        ("embeddings/9/0", "gone"),
        ("nonsense", "gone"),
        ("other/0/1", "gone"),
    ];
    assert_eq!(
        rejects,
        expected.map(|(position, code)| (position.to_owned(), code.to_owned()))
    );
    assert!(replay(&config, &[]).rows.is_empty());
}

/// The mock drops the oldest beyond 5 MiB of a partition.
#[test]
fn expired_records_stop_the_source_or_become_one_dead_letter() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    send_all(&producer, 0, (0..10).map(json_of));
    let config = config(&cluster);
    let mut store = Store::default();
    let mut connector = store.open(&config);
    store.read_to(&mut *connector, 10);
    drop(connector);
    let padding = "x".repeat(100_000);
    send_all(
        &producer,
        0,
        (10..110).map(|n| json_of(n).replace('{', &format!("{{\"p\":\"{padding}\","))),
    );
    let mut connector = store.open(&config);
    let error = failure(&mut *connector);
    assert_eq!(error.kind, ErrorKind::Gap);
    assert!(
        error
            .message
            .starts_with("embeddings/0 was to be read from offset 10, and begins at "),
        "{error}"
    );
    drop(connector);
    let mut connector = store.open(&with(config.clone(), json!({"retention_gap": "skip"})));
    store.read_until(&mut *connector, |store| store.offset(0) == Some(110));
    let first: usize = store.rows[10].0[1..].parse().unwrap();
    assert!(first > 10);
    let position = format!("embeddings/0/10-{}", first - 1);
    assert_eq!(store.rejects, [(position.clone(), "retention_gap".to_owned())]);
    let ids: Vec<_> = store.rows[10..].iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(ids, names(first..110));
    let again = replay(&config, &[&position, "embeddings/0/12"]);
    assert!(again.rejects.iter().all(|(_, code)| code == "gone") && again.rejects.len() == 2);
}

#[test]
fn records_that_expire_while_they_are_read_are_a_gap_too() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    send_all(&producer, 0, (0..10).map(json_of));
    let config = with(config(&cluster), json!({"retention_gap": "skip"}));
    let mut store = Store::default();
    let mut connector = store.open(&config);
    store.read_to(&mut *connector, 10);
    // The broker is away while 10 MB come: from another connection, before ours is back.
    cluster.request_errors(
        RDKafkaApiKey::Fetch,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT; 40],
    );
    let padding = "x".repeat(100_000);
    send_all(
        &producer,
        0,
        (10..110).map(|n| json_of(n).replace('{', &format!("{{\"p\":\"{padding}\","))),
    );
    cluster.clear_request_errors(RDKafkaApiKey::Fetch);
    store.read_until(&mut *connector, |store| store.offset(0) == Some(110));
    let lost: usize = store
        .rejects
        .iter()
        .map(|(position, code)| {
            assert_eq!(code, "retention_gap");
            let (from, to) = position.rsplit('/').next().unwrap().split_once('-').unwrap();
            to.parse::<usize>().unwrap() + 1 - from.parse::<usize>().unwrap()
        })
        .sum();
    assert_eq!(store.rows.len() + lost, 110);
    assert!(lost > 0);
}

#[test]
fn a_recreated_topic_is_told() {
    let old = cluster(1, 1);
    send_all(&producer(&old), 0, (0..50).map(json_of));
    let mut store = Store::default();
    let mut connector = store.open(&config(&old));
    store.read_to(&mut *connector, 50);
    drop(connector);
    let new = cluster(1, 1);
    send_all(&producer(&new), 0, (50..60).map(json_of));
    let error = failure(&mut *store.open(&config(&new)));
    assert!(
        error.kind == ErrorKind::Gap && error.message.contains("recreated"),
        "{error}"
    );
    let mut connector = store.open(&with(config(&new), json!({"retention_gap": "skip"})));
    store.read_to(&mut *connector, 60);
    assert_eq!((store.offset(0), store.rejects.len()), (Some(10), 0));
}

#[test]
fn two_readers_share_a_group_and_take_over_from_each_other() {
    let cluster = cluster(1, 4);
    let producer = producer(&cluster);
    let config = config(&cluster);
    for partition in 0..4 {
        send_all(
            &producer,
            partition,
            (0..50).map(|n| json_of(partition as usize * 50 + n)),
        );
    }
    // Two databases, each with a watermark of its own.
    let (mut one, mut two) = (Store::default(), Store::default());
    let mut first = one.open(&config);
    one.read_to(&mut *first, 200);
    let mut second = two.open(&with(config.clone(), json!({"start": "latest"})));
    let begun = Instant::now();
    while two.watermark.is_empty() || begun.elapsed() < Duration::from_secs(8) {
        one.read_for(&mut *first, Duration::from_millis(100));
        two.read_for(&mut *second, Duration::from_millis(100));
    }
    for partition in 0..4 {
        send_all(
            &producer,
            partition,
            (0..50).map(|n| json_of(200 + partition as usize * 50 + n)),
        );
    }
    let begun = Instant::now();
    while one.read() + two.read() < 400 {
        assert!(begun.elapsed() < PATIENCE, "{} and {}", one.read(), two.read());
        one.read_for(&mut *first, Duration::from_millis(100));
        two.read_for(&mut *second, Duration::from_millis(100));
    }
    assert_eq!((one.read(), two.read()), (300, 100));
    // The second leaves: the first takes its partitions where it left them itself, so it has everything once.
    drop(second);
    one.read_to(&mut *first, 400);
    let mut ids: Vec<_> = one.rows.iter().map(|(id, _)| id.clone()).collect();
    ids.sort_by_key(|id| id[1..].parse::<usize>().unwrap());
    assert_eq!(ids, names(0..400));
}

#[test]
fn brokers_that_cannot_be_used_are_a_transient_error_or_a_named_one() {
    let unreachable = json!({"brokers": ["127.0.0.1:1"]});
    let cluster = cluster(1, 1);
    let plain = config(&cluster);
    let mut connector = Store::default().open(&with(plain.clone(), unreachable));
    let begun = Instant::now();
    let error = failure(&mut *connector);
    assert!(begun.elapsed() > Duration::from_secs(25), "{:?}", begun.elapsed());
    assert!(
        error.kind.is_transient() && error.message.contains("Connection refused"),
        "{error}"
    );
    // TLS is the default; the mock speaks none.
    let mut connector = Store::default().open(&with(plain, json!({"properties": {}})));
    let error = failure(&mut *connector);
    assert!(
        error
            .hint
            .as_deref()
            .is_some_and(|hint| hint.contains("plaintext")),
        "{error:?}"
    );
}

const SCHEMA: &str = r#"{"type":"record","name":"E","fields":[{"name":"id","type":"string"},
    {"name":"v","type":{"type":"array","items":"float"}},
    {"name":"ts","type":{"type":"long","logicalType":"timestamp-millis"}}]}"#;

/// A registry that knows schema 7 and wants a login. It ends with the test.
fn registry() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap() == 0 {
                    break;
                }
                request.push(byte[0]);
            }
            let request = String::from_utf8(request).unwrap();
            // u:hunter2
            let (status, body) = if !request
                .to_lowercase()
                .contains("authorization: basic dtpodw50zxiy")
            {
                ("401 Unauthorized", json!({}))
            } else if request.starts_with("GET /schemas/ids/7 ") {
                ("200 OK", json!({"schema": SCHEMA}))
            } else {
                ("404 Not Found", json!({"error_code": 40403}))
            };
            let body = body.to_string();
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all((head + &body).as_bytes()).unwrap();
        }
    });
    url
}

fn avro(schema: u32, id: &str, v: &[f32]) -> Vec<u8> {
    let record = apache_avro::types::Value::Record(vec![
        ("id".into(), apache_avro::types::Value::String(id.into())),
        (
            "v".into(),
            apache_avro::types::Value::Array(
                v.iter().map(|&x| apache_avro::types::Value::Float(x)).collect(),
            ),
        ),
        (
            "ts".into(),
            apache_avro::types::Value::TimestampMillis(1_767_225_600_000),
        ),
    ]);
    let datum = apache_avro::to_avro_datum(&apache_avro::Schema::parse_str(SCHEMA).unwrap(), record).unwrap();
    [&[0][..], &schema.to_be_bytes(), &datum].concat()
}

#[test]
fn avro_by_the_schemas_of_a_registry() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    let cut = avro(7, "cut", &[1.0; 3]);
    send_all(
        &producer,
        0,
        [
            avro(7, "a", &[1.5, 2.0, 3.0]),
            avro(8, "b", &[1.0; 3]),
            cut[..cut.len() - 1].to_vec(),
            b"{\"id\":\"json\"}".to_vec(),
            avro(7, "c", &[2.5, 2.0, 3.0]),
        ],
    );
    let of = |url: String| {
        let registry =
            json!({"url": url, "username": "u", "password": {"secret": "registry"}, "allow_http": true});
        with(
            config(&cluster),
            json!({"format": "avro", "schema_registry": registry}),
        )
    };
    let with_password = |store: &Store, password: &str| {
        let mut request = store.request(Work::Incremental);
        request.secrets = [(SecretRef::Secret("registry".into()), password.to_owned())]
            .into_iter()
            .collect();
        request
    };
    let url = registry();
    let mut store = Store::default();
    let mut connector = open(&of(url.clone()), with_password(&store, "hunter2")).unwrap();
    store.read_to(&mut *connector, 5);
    drop(connector);
    assert_eq!(store.rows, [("a".to_owned(), 1.5), ("c".to_owned(), 2.5)]);
    let expected = [1, 2, 3].map(|n| (format!("{TOPIC}/0/{n}"), "malformed".to_owned()));
    assert_eq!(store.rejects, expected);
    let fresh = Store::default();
    let error = failure(&mut *open(&of(url), with_password(&fresh, "wrong-password")).unwrap());
    assert_eq!(error.kind, ErrorKind::PermissionDenied);
    assert!(!format!("{error:?}").contains("wrong-password"));
    let error = failure(&mut *open(&of("http://127.0.0.1:1".into()), with_password(&fresh, "x")).unwrap());
    assert!(
        error.kind.is_transient() && error.message.contains("schema registry"),
        "{error}"
    );
}
