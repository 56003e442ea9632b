//! Broken rows among good ones: each is kept with its reason and its place, and the rest are read.
#![cfg(feature = "parquet")]

mod common;

use common::*;
use cvx_sources::MAX_ENTITY_ID_BYTES;
use parquet::file::properties::WriterProperties;
use std::collections::BTreeMap;

/// Entity id, time and vector, and the code and message it is refused with.
type Row<'a> = (Option<Vec<u8>>, Option<i64>, Vector<f64>, &'a str, &'a str);

/// One row for each way a row can be broken, between two good ones.
fn broken_rows() -> (Vec<Column>, Vec<(&'static str, &'static str)>) {
    let ok = || Some(vec![Some(1.0), Some(2.0)]);
    let second = Some(NEW_YEAR_UNIX * 1_000_000);
    let id = |text: &str| Some(text.as_bytes().to_vec());
    let long = "x".repeat(MAX_ENTITY_ID_BYTES + 1);
    let wide = Some(vec![Some(1.0); 16_001]);
    let rows: Vec<Row> = vec![
        (id("good"), second, ok(), "", ""),
        (None, second, ok(), "null_entity_id", "entity id is null"),
        (id(""), second, ok(), "empty_entity_id", "entity id is empty"),
        (
            id(&long),
            second,
            ok(),
            "entity_id_too_long",
            "entity id has 1025 bytes, more than 1024",
        ),
        (
            id("a\0b"),
            second,
            ok(),
            "nul_character",
            "entity_id holds a NUL character",
        ),
        (
            Some(vec![b'a', 0xff]),
            second,
            ok(),
            "invalid_utf8",
            "entity_id is not UTF-8 from byte 1 on",
        ),
        (id("e"), None, ok(), "null_timestamp", "timestamp is null"),
        (
            id("e"),
            Some(i64::MAX),
            ok(),
            "infinite_timestamp",
            "timestamp is infinity",
        ),
        (id("e"), second, None, "null_vector", "vector is null"),
        (
            id("e"),
            second,
            Some(vec![]),
            "wrong_dimension",
            "vector has 0 dimensions, the space has 2",
        ),
        (
            id("e"),
            second,
            Some(vec![Some(1.0)]),
            "wrong_dimension",
            "vector has 1 dimensions, the space has 2",
        ),
        (
            id("e"),
            second,
            wide,
            "too_many_dimensions",
            "vector has 16001 dimensions, more than 16000",
        ),
        (
            id("e"),
            second,
            Some(vec![Some(1.0), None]),
            "null_element",
            "vector element 1 is null",
        ),
        (
            id("e"),
            second,
            Some(vec![Some(f64::NAN), Some(1.0)]),
            "not_a_number",
            "vector element 0 is NaN",
        ),
        (
            id("e"),
            second,
            Some(vec![Some(1.0), Some(f64::NEG_INFINITY)]),
            "infinite_element",
            "vector element 1 is -Infinity",
        ),
        (
            id("e"),
            second,
            Some(vec![Some(1e39), Some(1.0)]),
            "element_overflow",
            "vector element 0 is 1e39, too large for a 32-bit float",
        ),
        (
            id("e"),
            second,
            Some(vec![Some(0.0), Some(-0.0)]),
            "zero_vector",
            "vector is all zero",
        ),
        (id("last"), second, ok(), "", ""),
    ];
    let expected = rows.iter().map(|row| (row.3, row.4)).collect();
    let ids = rows.iter().map(|row| row.0.clone()).collect();
    let ts = rows.iter().map(|row| row.1).collect();
    let vectors: Vec<_> = rows.into_iter().map(|row| row.2).collect();
    let columns = vec![
        optional("optional binary id (STRING);", ids, Data::Bytes),
        optional("optional int64 ts (TIMESTAMP(MICROS,true));", ts, Data::I64),
        list("double element", &vectors, Data::F64),
    ];
    (columns, expected)
}

#[test]
fn every_reason_is_told_with_its_place_and_row() {
    let (columns, expected) = broken_rows();
    let path = file("reasons", columns);
    let read = read(config(&path, 2)).unwrap();
    let names: Vec<_> = read.records.iter().map(|(id, ..)| id.as_str()).collect();
    assert_eq!(names, ["good", "last"]);
    let mut rejects = read.rejects.iter();
    for (row, (code, message)) in expected
        .iter()
        .enumerate()
        .filter(|(_, (code, _))| !code.is_empty())
    {
        let reject = rejects.next().unwrap();
        assert_eq!(
            (reject.reason.code(), reject.reason.to_string().as_str()),
            (*code, *message)
        );
        assert_eq!(reject.position, format!("{}#{row}", path.display()));
        let payload: serde_json::Value = serde_json::from_str(&reject.payload).unwrap();
        assert!(
            payload.is_object() && reject.payload.len() < 1500,
            "{}",
            reject.payload
        );
        assert!(
            payload.get("entity_id").is_some() && payload.get("ts").is_some(),
            "{payload}"
        );
        match *code {
            "null_vector" => assert!(payload["vector"].is_null(), "{payload}"),
            "too_many_dimensions" => assert_eq!(payload["dims"], 16_001),
            "null_element" => assert_eq!(payload["vector"], serde_json::json!([1.0, null])),
            "not_a_number" => assert_eq!(payload["vector"], serde_json::json!(["NaN", 1.0])),
            "invalid_utf8" => assert_eq!(payload["entity_id"], "a\u{fffd}"),
            _ => {}
        }
    }
    assert!(rejects.next().is_none());
}

/// 5 000 rows in three row groups, one in a hundred of them broken in one of four ways.
fn one_percent() -> Vec<Vec<Column>> {
    let mut rows: Vec<(i64, Vector<f32>)> = (0..5_000)
        .map(|i| (i, Some(vec![Some(1.0), Some(i as f32)])))
        .collect();
    for (i, (_, vector)) in rows.iter_mut().enumerate().filter(|(i, _)| i % 100 == 50) {
        *vector = match i / 100 % 4 {
            0 => None,
            1 => Some(vec![Some(f32::NAN), Some(1.0)]),
            2 => Some(vec![Some(1.0), None]),
            _ => Some(vec![Some(0.0), Some(0.0)]),
        };
    }
    let group = |rows: &[(i64, Vector<f32>)]| {
        let vectors: Vec<_> = rows.iter().map(|row| row.1.clone()).collect();
        let numbers: Vec<i64> = rows.iter().map(|row| row.0).collect();
        let times = numbers.iter().map(|i| NEW_YEAR_UNIX + i).collect();
        vec![
            column("required int64 id;", Data::I64(numbers)),
            column("required int64 ts;", Data::I64(times)),
            list("float element", &vectors, Data::F32),
        ]
    };
    [&rows[..1_234], &rows[1_234..1_300], &rows[1_300..]]
        .map(group)
        .into()
}

#[test]
fn one_percent_of_broken_rows_leaves_the_others() {
    for batch_size in [1, 7, 1_000, 100_000] {
        let path = folder("one_percent").join("a.parquet");
        write(
            &path,
            &one_percent(),
            WriterProperties::builder()
                .set_data_page_row_count_limit(500)
                .build(),
        );
        let mut config = config(&path, 2);
        config.batch_size = batch_size;
        let read = read(config).unwrap();
        assert!(read.batches.iter().all(|batch| batch.rows_read() <= batch_size));
        assert_eq!(read.batches.len(), 5_000_usize.div_ceil(batch_size));
        assert_eq!(read.records.len(), 4_950);
        let good = (0..5_000).filter(|i| i % 100 != 50);
        for ((id, ts, vector), i) in read.records.iter().zip(good) {
            let expected = (
                i.to_string(),
                NEW_YEAR + i64::from(i) * 1_000_000,
                [1.0, i as f32],
            );
            assert_eq!((id, *ts, &vector[..]), (&expected.0, expected.1, &expected.2[..]));
        }
        let mut counts = BTreeMap::new();
        for (reject, i) in read.rejects.iter().zip((50..).step_by(100)) {
            *counts.entry(reject.reason.code()).or_insert(0) += 1;
            assert_eq!(reject.position, format!("{}#{i}", path.display()));
        }
        let expected = [
            ("not_a_number", 13),
            ("null_element", 12),
            ("null_vector", 13),
            ("zero_vector", 12),
        ];
        assert_eq!(counts, BTreeMap::from(expected));
    }
}
