//! Every type that a column may have, and what is said of the others.
#![cfg(feature = "parquet")]

mod common;

use common::*;
use cvx_sources::ErrorKind;
use cvx_sources::parquet::Error;
use cvx_sources::time::EpochUnit;
use half::f16;

fn entity_ids(name: &str, id: Column, rows: usize) -> Result<Vec<String>, Error> {
    let path = file(
        name,
        vec![id, seconds(rows), vectors(&vec![&[1.0f32, 2.0][..]; rows])],
    );
    Ok(read(config(&path, 2))?
        .records
        .into_iter()
        .map(|(id, _, _)| id)
        .collect())
}

#[test]
fn entity_ids_of_every_type() {
    let check = |name: &str, field: &str, data: Data, expected: &[&str]| {
        let name = format!("id_{name}");
        assert_eq!(
            entity_ids(&name, column(field, data), expected.len()).unwrap(),
            expected,
            "{name}"
        );
    };
    check(
        "string",
        "required binary id (STRING);",
        texts(&["a", "é", "a"]),
        &["a", "é", "a"],
    );
    check("utf8", "required binary id (UTF8);", texts(&["a b"]), &["a b"]);
    check("binary", "required binary id;", texts(&["x", "y"]), &["x", "y"]);
    check("enum", "required binary id (ENUM);", texts(&["x"]), &["x"]);
    check(
        "int32",
        "required int32 id;",
        Data::I32(vec![-5, i32::MAX]),
        &["-5", "2147483647"],
    );
    check(
        "int8",
        "required int32 id (INTEGER(8,true));",
        Data::I32(vec![-128]),
        &["-128"],
    );
    check(
        "uint8",
        "required int32 id (INTEGER(8,false));",
        Data::I32(vec![255]),
        &["255"],
    );
    check(
        "uint32",
        "required int32 id (INTEGER(32,false));",
        Data::I32(vec![-1]),
        &["4294967295"],
    );
    check(
        "int64",
        "required int64 id;",
        Data::I64(vec![i64::MIN]),
        &["-9223372036854775808"],
    );
    check(
        "uint64",
        "required int64 id (INTEGER(64,false));",
        Data::I64(vec![-1]),
        &["18446744073709551615"],
    );
    let uuid = (0..16).map(|i| i * 17).collect();
    let expected = ["00112233-4455-6677-8899-aabbccddeeff"];
    check(
        "uuid",
        "required fixed_len_byte_array (16) id (UUID);",
        Data::Fixed(vec![uuid]),
        &expected,
    );
}

#[test]
fn entity_ids_of_no_type_we_take() {
    let wrong = |name: &str, field: &str, data: Data, expected: &str| {
        let error = entity_ids(&format!("wrong_{name}"), column(field, data), 1).unwrap_err();
        assert!(
            matches!(&error, Error::WrongType { found, .. } if found == expected),
            "{name}: {error:?}"
        );
        assert_eq!(error.kind(), ErrorKind::WrongSchema);
        assert!(error.to_string().contains("column \"id\" (entity id)"), "{error}");
        assert!(error.detail().unwrap().contains("string, integer, UUID"));
    };
    wrong("float", "required float id;", Data::F32(vec![1.0]), "float32");
    wrong("double", "required double id;", Data::F64(vec![1.0]), "float64");
    wrong("bool", "required boolean id;", Data::Bool(vec![true]), "bool");
    wrong("date", "required int32 id (DATE);", Data::I32(vec![1]), "date");
    wrong(
        "decimal",
        "required int64 id (DECIMAL(10,2));",
        Data::I64(vec![1]),
        "decimal(10, 2)",
    );
    wrong(
        "time",
        "required int32 id (TIME(MILLIS,true));",
        Data::I32(vec![1]),
        "time",
    );
    wrong(
        "fixed",
        "required fixed_len_byte_array (3) id;",
        Data::Fixed(vec![vec![0; 3]]),
        "fixed_size_binary(3)",
    );
    wrong(
        "struct",
        "required group id { required int32 a; }",
        Data::I32(vec![1]),
        "struct",
    );
}

#[test]
fn timestamps_of_every_unit() {
    let instant = NEW_YEAR_UNIX;
    for (unit, factor) in [("MILLIS", 1_000), ("MICROS", 1_000_000), ("NANOS", 1_000_000_000)] {
        for zone in ["true", "false"] {
            let ts = column(
                &format!("required int64 ts (TIMESTAMP({unit},{zone}));"),
                Data::I64(vec![instant * factor]),
            );
            assert_eq!(
                times(&format!("ts_{unit}_{zone}"), ts, 1).unwrap(),
                ["2026-01-01T00:00:00Z"],
                "{unit} {zone}"
            );
        }
    }
    let old = column("required int64 ts (TIMESTAMP_MILLIS);", Data::I64(vec![-1]));
    assert_eq!(
        times("ts_converted", old, 1).unwrap(),
        ["1969-12-31T23:59:59.999Z"]
    );
    let nanos = column(
        "required int64 ts (TIMESTAMP(NANOS,true));",
        Data::I64(vec![-1, 1_999]),
    );
    assert_eq!(
        times("ts_floor", nanos, 2).unwrap(),
        ["1969-12-31T23:59:59.999999Z", "1970-01-01T00:00:00.000001Z"]
    );
    let date = column("required int32 ts (DATE);", Data::I32(vec![20_454, -1]));
    assert_eq!(
        times("ts_date", date, 2).unwrap(),
        ["2026-01-01T00:00:00Z", "1969-12-31T00:00:00Z"]
    );
    let impala = column(
        "required int96 ts;",
        Data::I96(vec![[1_000, 0, 2_440_588], [0, 0, 2_440_588 + 20_454]]),
    );
    assert_eq!(
        times("ts_int96", impala, 2).unwrap(),
        ["1970-01-01T00:00:00.000001Z", "2026-01-01T00:00:00Z"]
    );
    let text = texts(&["2026-01-01", "2026-01-01 01:00:00+01", "soon"]);
    let expected = [
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00Z",
        "timestamp \"soon\" is not ISO 8601",
    ];
    assert_eq!(
        times("ts_text", column("required binary ts (STRING);", text), 3).unwrap(),
        expected
    );
}

#[test]
fn integers_are_times_in_the_unit_of_the_whole_column() {
    for (i, factor) in [1, 1_000, 1_000_000, 1_000_000_000].into_iter().enumerate() {
        let ts = column("required int64 ts;", Data::I64(vec![0, NEW_YEAR_UNIX * factor]));
        let expected = ["1970-01-01T00:00:00Z", "2026-01-01T00:00:00Z"];
        assert_eq!(times(&format!("epoch_{i}"), ts, 2).unwrap(), expected, "{factor}");
    }
    let ts = column("required int32 ts;", Data::I32(vec![NEW_YEAR_UNIX as i32]));
    assert_eq!(times("epoch_int32", ts, 1).unwrap(), ["2026-01-01T00:00:00Z"]);
    let ts = column(
        "required int64 ts (INTEGER(64,false));",
        Data::I64(vec![NEW_YEAR_UNIX * 1_000]),
    );
    assert_eq!(times("epoch_uint64", ts, 1).unwrap(), ["2026-01-01T00:00:00Z"]);

    let ts = || {
        column(
            "required int64 ts;",
            Data::I64(vec![86_400_000, NEW_YEAR_UNIX * 1_000]),
        )
    };
    let error = times("epoch_ambiguous", ts(), 2).unwrap_err();
    assert!(
        matches!(error, Error::AmbiguousUnit { low: 86_400_000, .. }),
        "{error:?}"
    );
    assert!(error.hint().unwrap().contains("timestamp_unit"));
    let path = file(
        "epoch_told",
        vec![ids(&["e"; 2]), ts(), vectors(&[&[1.0], &[1.0]])],
    );
    let mut told = config(&path, 1);
    told.timestamp_unit = Some(EpochUnit::Millis);
    let records = read(told).unwrap().records;
    assert_eq!(
        records[0].1,
        records[1].1 - NEW_YEAR_UNIX * 1_000_000 + 86_400_000_000
    );
}

#[test]
fn the_unit_is_one_for_all_files_of_a_folder() {
    let folder = folder("epoch_folder");
    for (name, ts) in [("a.parquet", 99_999_999_999), ("b.parquet", 100_000_000_000)] {
        let columns = vec![
            ids(&["e"]),
            column("required int64 ts;", Data::I64(vec![ts])),
            vectors(&[&[1.0]]),
        ];
        write(&folder.join(name), &[columns], Default::default());
    }
    assert!(matches!(
        read(config(&folder, 1)),
        Err(Error::AmbiguousUnit { .. })
    ));
}

#[test]
fn infinite_and_far_timestamps_are_rejects() {
    let values = vec![i64::MAX, i64::MIN, -210_866_803_200_000_001, 0];
    let ts = column("required int64 ts (TIMESTAMP(MICROS,true));", Data::I64(values));
    let expected = [
        "timestamp is infinity",
        "timestamp is -infinity",
        "timestamp -210866803200000001 us is out of range",
        "1970-01-01T00:00:00Z",
    ];
    assert_eq!(times("ts_far", ts, 4).unwrap(), expected);
    let ts = column(
        "required int64 ts (TIMESTAMP(MILLIS,true));",
        Data::I64(vec![i64::MAX / 2]),
    );
    assert_eq!(
        times("ts_far_ms", ts, 1).unwrap(),
        ["timestamp 4611686018427387903 ms is out of range"]
    );
}

fn vector_column(name: &str, rows: usize, vector: Column) -> Result<Vec<Vec<f32>>, Error> {
    let path = file(name, vec![ids(&vec!["e"; rows]), seconds(rows), vector]);
    Ok(read(config(&path, 2))?
        .records
        .into_iter()
        .map(|(_, _, vector)| vector)
        .collect())
}

#[test]
fn vectors_of_every_element_and_form() {
    let expected = [[1.5, -2.0], [0.25, 65504.0]];
    let floats: Vec<f32> = expected.concat();
    let rep = Some(vec![0, 1, 0, 1]);
    let forms = [
        (
            "three",
            "optional group vec (LIST) { repeated group list { optional float element; } }",
            3,
        ),
        (
            "solid",
            "required group vec (LIST) { repeated group list { required float element; } }",
            1,
        ),
        (
            "parquet_mr",
            "optional group vec (LIST) { repeated group bag { optional float array_element; } }",
            3,
        ),
        ("two", "optional group vec (LIST) { repeated float array; }", 2),
        ("bare", "repeated float vec;", 1),
    ];
    for (name, field, max_def) in forms {
        let def = Some(vec![max_def; 4]);
        let column = Column {
            field: field.into(),
            data: Data::F32(floats.clone()),
            def,
            rep: rep.clone(),
        };
        assert_eq!(
            vector_column(&format!("vec_{name}"), 2, column).unwrap(),
            expected,
            "{name}"
        );
    }
    let rows = |f: &dyn Fn(f32) -> Vec<u8>| -> Vec<Vector<Vec<u8>>> {
        expected
            .iter()
            .map(|row| Some(row.iter().map(|&x| Some(f(x))).collect()))
            .collect()
    };
    let halves = rows(&|x| f16::from_f32(x).to_le_bytes().to_vec());
    let halves = list("fixed_len_byte_array (2) element (FLOAT16)", &halves, Data::Fixed);
    assert_eq!(vector_column("vec_half", 2, halves).unwrap(), expected);
    let doubles: Vec<Vector<f64>> = expected
        .iter()
        .map(|row| Some(row.iter().map(|&x| Some(x.into())).collect()))
        .collect();
    assert_eq!(
        vector_column("vec_double", 2, list("double element", &doubles, Data::F64)).unwrap(),
        expected
    );
}

#[test]
fn vectors_of_no_type_we_take() {
    let wrong = |name: &str, vector: Column, expected: &str| {
        let error = vector_column(&format!("wrong_vec_{name}"), 1, vector).unwrap_err();
        assert!(
            matches!(&error, Error::WrongType { found, .. } if found == expected),
            "{name}: {error:?}"
        );
        assert!(error.detail().unwrap().contains("fixed_size_list"));
    };
    let ints: Vec<Vector<i32>> = vec![Some(vec![Some(1), Some(2)])];
    wrong("int", list("int32 element", &ints, Data::I32), "list<int32>");
    let words: Vec<Vector<Vec<u8>>> = vec![Some(vec![Some(b"a".to_vec())])];
    wrong(
        "text",
        list("binary element (STRING)", &words, Data::Bytes),
        "list<string>",
    );
    wrong(
        "plain",
        column("required float vec;", Data::F32(vec![1.0])),
        "float32",
    );
    wrong(
        "blob",
        column("required binary vec;", texts(&["12345678"])),
        "binary",
    );
    wrong(
        "struct",
        column("required group vec { required float x; }", Data::F32(vec![1.0])),
        "struct",
    );
    let field = "required group vec (LIST) { repeated group list { required group element (LIST) \
                 { repeated group list { required float element; } } } }";
    let nested = Column {
        field: field.into(),
        data: Data::F32(vec![1.0]),
        def: Some(vec![2]),
        rep: Some(vec![0]),
    };
    wrong("nested", nested, "list of list<float32>");
}

#[test]
fn provenance_and_attrs() {
    let opt = |name: &str, values: &[Option<&str>]| {
        let values = values.iter().map(|v| v.map(|v| v.as_bytes().to_vec())).collect();
        optional(&format!("optional binary {name} (STRING);"), values, Data::Bytes)
    };
    let columns = || {
        vec![
            ids(&["a", "b"]),
            seconds(2),
            vectors(&[&[1.0], &[2.0]]),
            optional("optional int32 version;", vec![Some(3), None], Data::I32),
            opt("hash", &[None, Some("h")]),
            optional(
                "optional int64 made (TIMESTAMP(MICROS,true));",
                vec![None, Some(0)],
                Data::I64,
            ),
            opt("tag", &[Some("x\"y"), None]),
            optional("optional double score;", vec![Some(0.5), None], Data::F64),
            opt("json", &[Some(r#"{"k": [1]}"#), Some("{")]),
        ]
    };
    let path = file("provenance", columns());
    let mut packed = config(&path, 1);
    packed.model_version_column = Some("version".into());
    packed.input_hash_column = Some("hash".into());
    packed.produced_at_column = Some("made".into());
    packed.attrs_columns = vec!["tag".into(), "score".into()];
    let batches = read(packed.clone()).unwrap().batches;
    let records: Vec<_> = batches[0].records().collect();
    assert_eq!(
        (records[0].model_version, records[1].model_version),
        (Some("3"), None)
    );
    assert_eq!((records[0].input_hash, records[1].input_hash), (None, Some("h")));
    assert_eq!(records[0].model_hash, None);
    assert_eq!(records[0].produced_at, None);
    assert_eq!(
        records[1].produced_at,
        Some(-cvx_sources::time::PG_EPOCH_UNIX_MICROS)
    );
    let attrs: Option<serde_json::Value> = records[0].attrs.map(|it| serde_json::from_str(it).unwrap());
    assert_eq!(attrs, Some(serde_json::json!({"score": 0.5, "tag": "x\"y"})));
    assert_eq!(records[1].attrs, None);

    let mut json = config(&path, 1);
    json.attrs_column = Some("json".into());
    let read_json = read(json).unwrap();
    assert_eq!(read_json.batches[0].record(0).attrs, Some(r#"{"k": [1]}"#));
    assert_eq!(read_json.rejects[0].reason.code(), "invalid_attrs");

    packed.attrs_column = Some("json".into());
    assert!(matches!(read(packed), Err(Error::Config { .. })));
}
