//! Files of one source that differ.

use crate::common::*;
use crate::harness::*;
use parquet::file::properties::WriterProperties;
use serde_json::json;
use std::path::Path;

fn file_of(path: &Path, columns: Vec<Column>) {
    write(path, &[columns], WriterProperties::default());
}

fn version(value: &str, rows: usize) -> Column {
    column("required binary version (STRING);", texts(&vec![value; rows]))
}

#[test]
fn columns_may_be_added_widened_renamed_and_reordered() {
    let root = folder("s3_drift");
    file_of(&root.join("a.parquet"), rows("a", 0..2));
    // int32 to int64, float to double, microseconds to milliseconds, one column more, another order.
    let millis = vec![NEW_YEAR_UNIX * 1000, NEW_YEAR_UNIX * 1000 + 1];
    let doubles: Vec<Vector<f64>> = vec![Some(vec![Some(1.5), Some(2.5)]); 2];
    file_of(
        &root.join("b.parquet"),
        vec![
            list("double element", &doubles, Data::F64),
            column("required boolean extra;", Data::Bool(vec![true, false])),
            column("required int64 ts (TIMESTAMP(MILLIS,true));", Data::I64(millis)),
            column("required int64 id;", Data::I64(vec![7, 8_000_000_000])),
        ],
    );
    let mut narrow = rows("x", 0..2);
    narrow[0] = column("required int32 id;", Data::I32(vec![5, 6]));
    file_of(&root.join("c.parquet"), narrow);
    let mut renamed = rows("d", 0..2);
    renamed[0] = column("required binary user_id (STRING);", texts(&["d-0", "d-1"]));
    renamed[2].field = renamed[2].field.replace("vec", "embedding");
    file_of(&root.join("d.parquet"), renamed);
    let mut source = Source::folder(&root);
    source.config["column_aliases"] = json!({"id": ["user_id", "uid"], "vec": ["embedding"]});
    let run = source.sync();
    assert_eq!(run.rejects, []);
    assert_eq!(run.ids, ["a-0", "a-1", "7", "8000000000", "5", "6", "d-0", "d-1"]);
    assert_eq!(run.times[2..4], [NEW_YEAR, NEW_YEAR + 1000]);
    assert_eq!(run.vectors[2], [1.5, 2.5]);
    let mut both = rows("e", 0..1);
    both.push(column("required binary uid (STRING);", texts(&["other"])));
    file_of(&root.join("e.parquet"), both);
    let run = source.sync();
    assert_eq!(run.rejects[0].position, "e.parquet");
    let text = run.rejects[0].reason.to_string();
    assert!(
        text.contains("more than one column that \"id\"") && text.contains("id, uid"),
        "{text}"
    );
}

#[test]
fn a_missing_column_is_an_error_or_null_as_configured() {
    let root = folder("s3_drift_missing");
    let mut full = rows("a", 0..2);
    full.push(version("v1", 2));
    full.push(column("required int32 rank;", Data::I32(vec![1, 2])));
    file_of(&root.join("a.parquet"), full);
    file_of(&root.join("b.parquet"), rows("b", 0..2));
    let mut source = Source::folder(&root);
    source.config["model_version_column"] = json!("version");
    source.config["attrs_columns"] = json!(["rank"]);
    let run = source.sync();
    assert_eq!(run.ids, expected("a", 2));
    assert_eq!(
        (run.rejects[0].position.as_str(), run.rejects[0].reason.code()),
        ("b.parquet", "missing_field")
    );
    source.config["missing_columns"] = json!("null");
    source.watermark.clear();
    let run = source.sync();
    assert_eq!(run.ids, ["a-0", "a-1", "b-0", "b-1"]);
    assert_eq!(run.model_versions[1..3], [Some("v1".into()), None]);
    assert_eq!(run.attrs[1..3], [Some("{\"rank\":2}".into()), None]);
    // The three columns of every record are never optional.
    file_of(&root.join("c.parquet"), rows("c", 0..2)[..2].to_vec());
    assert_eq!(source.sync().rejects[0].reason.code(), "missing_field");
}

#[test]
fn the_unit_of_bare_integers_is_told_file_by_file() {
    let root = folder("s3_drift_units");
    for (name, factor) in [("a", 1), ("b", 1000), ("c", 1_000_000)] {
        let mut columns = rows(name, 0..2);
        columns[1] = column("required int64 ts;", Data::I64(vec![NEW_YEAR_UNIX * factor, 0]));
        file_of(&root.join(name).with_extension("parquet"), columns);
    }
    let mut mixed = rows("d", 0..2);
    mixed[1] = column("required int64 ts;", Data::I64(vec![NEW_YEAR_UNIX * 1000, -1]));
    file_of(&root.join("d.parquet"), mixed);
    let mut source = Source::folder(&root);
    let run = source.sync();
    assert!(
        run.times.iter().step_by(2).all(|&ts| ts == NEW_YEAR),
        "{:?}",
        run.times
    );
    assert_eq!((run.ids.len(), run.rejects.len()), (6, 1));
    assert!(
        run.rejects[0]
            .reason
            .to_string()
            .contains("unit of integer column")
    );
    source.config["timestamp_unit"] = json!("ms");
    source.watermark.remove("d.parquet");
    assert_eq!(source.sync().times, [NEW_YEAR, -PG_EPOCH - 1000]);
}

const PG_EPOCH: i64 = cvx_sources::time::PG_EPOCH_UNIX_MICROS;
