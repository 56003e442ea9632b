//! One delivery of a source: its records, its dead letters and its positions, in the caller's transaction.

use cvx_sources::{Batch, Delivery, Payload, Record, Registered, Reject, RejectReason};
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use serde_json::{Map, Value, json};

use super::parquet::writable_partition;
use super::writer::Writer;
use crate::catalog::{dead_letter, position, rights, run::Counts, space::Space};

/// Where a run of a source writes, and as whom.
pub struct Target {
    pub source_id: i32,
    pub source: String,
    pub priority: i32,
    pub space: String,
    pub space_id: i32,
    pub owner: pg_sys::Oid,
    pub run_id: i64,
    /// What rows that name no model are recorded with.
    pub model: Option<Registered>,
    /// Whether the last delivery met keys that were taken.
    pub expect_conflicts: bool,
}

/// Writes a delivery and moves the watermark over it. Returns what it counted.
pub fn store(target: &mut Target, delivery: &Delivery) -> Result<Counts, ErrorReport> {
    let mut counts = store_batch(target, &delivery.batch)?;
    position::store(target.source_id, &delivery.positions)?;
    counts.skipped += delivery.skipped as i64;
    counts.read += delivery.skipped as i64;
    counts.bytes = delivery.bytes as i64;
    Ok(counts)
}

/// Writes a batch: its records as the source's owner, its rejects to the dead letters.
pub fn store_batch(target: &mut Target, batch: &Batch) -> Result<Counts, ErrorReport> {
    let model = target.model.clone();
    let records: Vec<Record<'_>> = batch.records().map(|it| with_model(it, model.as_ref())).collect();
    let (mut counts, refused) = write(target, &records)?;
    let rejects = batch.rejects();
    for rejects in [rejects, &refused] {
        dead_letter::forget(&target.source, rejects)?;
        dead_letter::insert(target.run_id, &target.source, target.space_id, rejects)?;
    }
    counts.read = batch.rows_read() as i64;
    counts.rejected = (rejects.len() + refused.len()) as i64;
    Ok(counts)
}

/// Writes records as the source's owner. Returns what the table refused.
pub fn write(target: &mut Target, records: &[Record<'_>]) -> Result<(Counts, Vec<Reject>), ErrorReport> {
    if records.is_empty() {
        return Ok((Counts::default(), Vec::new()));
    }
    let space = Space::by_name(&target.space)?;
    let written = rights::restricted_to(target.owner, || {
        let partition = writable_partition(&space, c"a run of a source")?;
        let mut writer = Writer::of_source(&space, partition, &target.source, target.priority);
        *writer.expect_conflicts() = target.expect_conflicts;
        let written = writer.write(records)?;
        target.expect_conflicts = *writer.expect_conflicts();
        Ok(written)
    })?;
    let counts = Counts {
        written: written.written as i64,
        skipped: written.skipped as i64,
        ..Counts::default()
    };
    let refused = written
        .refused
        .into_iter()
        .map(|it| {
            let record = &records[it.record];
            Reject {
                position: format!("{}@{}", record.entity_id, cvx_sources::time::to_text(record.ts)),
                reason: RejectReason::RefusedByTable {
                    sqlstate: it.sqlstate,
                    message: it.message,
                },
                payload: whole(record).to_string(),
            }
        })
        .collect();
    Ok((counts, refused))
}

fn with_model<'r>(record: Record<'r>, model: Option<&'r Registered>) -> Record<'r> {
    match model {
        Some(model) if record.model_version.is_none() && record.model_hash.is_none() => Record {
            model_version: Some(&model.version),
            model_hash: model.hash.as_deref(),
            ..record
        },
        _ => record,
    }
}

/// All of a record: one that the table refused was read well, and its source need not be asked again.
fn whole(record: &Record<'_>) -> Value {
    let mut object = Map::new();
    object.insert("entity_id".into(), json!(record.entity_id));
    object.insert("ts".into(), json!(record.ts));
    object.insert("vector".into(), json!(record.vector));
    for (name, text) in [
        ("model_version", record.model_version),
        ("model_hash", record.model_hash),
        ("input_hash", record.input_hash),
        ("pipeline_hash", record.pipeline_hash),
        ("attrs", record.attrs),
    ] {
        object.insert(name.into(), json!(text));
    }
    object.insert("produced_at".into(), json!(record.produced_at));
    Value::Object(object)
}

/// A record out of what [`whole`] made of it, into a batch of its own space.
pub fn read_whole(payload: &Value, batch: &mut Batch, position: &str) {
    let text = |name: &str| payload.get(name).and_then(Value::as_str);
    let vector: Vec<f32> = payload
        .get("vector")
        .and_then(Value::as_array)
        .map(|elements| {
            elements
                .iter()
                .map(|it| it.as_f64().unwrap_or(f64::NAN) as f32)
                .collect()
        })
        .unwrap_or_default();
    let (Some(entity_id), Some(ts)) = (text("entity_id"), payload.get("ts").and_then(Value::as_i64)) else {
        let reason = RejectReason::Malformed {
            error: String::from("the dead letter was changed"),
        };
        return batch.reject(position.to_owned(), reason, Payload::default());
    };
    let record = Record {
        entity_id,
        ts,
        vector: &vector,
        model_version: text("model_version"),
        model_hash: text("model_hash"),
        input_hash: text("input_hash"),
        pipeline_hash: text("pipeline_hash"),
        produced_at: payload.get("produced_at").and_then(Value::as_i64),
        attrs: text("attrs"),
    };
    batch.push(&record, || position.to_owned());
}
