use cvx_sources::Progress;
use pgrx::JsonB;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde_json::Value;

use super::internal;

/// What a run of ingestion counts, for its row in cvx.sync_run.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub read: i64,
    pub written: i64,
    pub rejected: i64,
    pub skipped: i64,
    pub bytes: i64,
}

impl Counts {
    pub fn plus(&self, other: &Counts) -> Counts {
        Counts {
            read: self.read + other.read,
            written: self.written + other.written,
            rejected: self.rejected + other.rejected,
            skipped: self.skipped + other.skipped,
            bytes: self.bytes + other.bytes,
        }
    }
}

/// Opens a run of cvx.ingest_parquet; returns its id.
pub fn start(source: &str, space_id: i32) -> Result<i64, ErrorReport> {
    start_kind(source, space_id, "ingest_parquet", None)
}

/// Opens a run: `kind` is sync, full, replay or ingest_parquet.
pub fn start_kind(
    source: &str,
    space_id: i32,
    kind: &str,
    watermark: Option<Value>,
) -> Result<i64, ErrorReport> {
    let insert = "INSERT INTO cvx.sync_run (source, space_id, kind, watermark_before, phase)
        VALUES ($1, $2, $3, $4, CASE WHEN $3 OPERATOR(pg_catalog.<>) 'ingest_parquet' THEN 'initializing' END)
        RETURNING run_id";
    let id = Spi::get_one_with_args::<i64>(
        insert,
        &[
            source.into(),
            space_id.into(),
            kind.into(),
            watermark.map(JsonB).into(),
        ],
    )
    .map_err(internal)?;
    Ok(id.unwrap_or_default())
}

/// Writes down how far a run in progress has come.
pub fn update(run_id: i64, counts: &Counts, progress: &Progress, rate: f64) -> Result<(), ErrorReport> {
    let update = "UPDATE cvx.sync_run SET updated_at = pg_catalog.clock_timestamp(), records_read = $2,
            records_written = $3, records_rejected = $4, records_skipped = $5, bytes = $6, phase = $7, current = $8,
            parts_done = $9, parts_total = $10, records_total = $11, bytes_total = $12, lag = $13, rate = $14
        WHERE run_id OPERATOR(pg_catalog.=) $1";
    let big = |value: Option<u64>| value.map(|it| i64::try_from(it).unwrap_or(i64::MAX));
    Spi::run_with_args(
        update,
        &[
            run_id.into(),
            counts.read.into(),
            counts.written.into(),
            counts.rejected.into(),
            counts.skipped.into(),
            counts.bytes.into(),
            progress.phase.into(),
            progress
                .current
                .as_deref()
                .map(|it| it.replace('\0', "\u{fffd}"))
                .into(),
            (progress.parts_done as i64).into(),
            progress.parts_total.map(|it| it as i64).into(),
            big(progress.rows_total).into(),
            big(progress.bytes_total).into(),
            big(progress.lag).into(),
            rate.into(),
        ],
    )
    .map_err(internal)
}

/// Closes a run of cvx.ingest_parquet with what it did.
pub fn finish(run_id: i64, counts: &Counts) -> Result<(), ErrorReport> {
    update(run_id, counts, &Progress::default(), 0.0)?;
    end(run_id, "done", None, None)
}

/// Closes a run: `state` is done, failed or stopped.
pub fn end(
    run_id: i64,
    state: &str,
    watermark: Option<Value>,
    error: Option<&str>,
) -> Result<(), ErrorReport> {
    let update = "UPDATE cvx.sync_run SET finished_at = pg_catalog.clock_timestamp(), state = $2, watermark_after = $3,
            error = $4, phase = NULL, current = NULL, lag = NULL
        WHERE run_id OPERATOR(pg_catalog.=) $1";
    Spi::run_with_args(
        update,
        &[
            run_id.into(),
            state.into(),
            watermark.map(JsonB).into(),
            error.into(),
        ],
    )
    .map_err(internal)
}

/// A run that a worker left open.
pub struct Orphan {
    pub source: String,
    pub kind: String,
    /// Whether it began since the server was started: else the server itself has ended in its middle.
    pub of_this_server: bool,
}

/// Closes what a worker before this one left open.
pub fn close_orphans() -> Result<Vec<Orphan>, ErrorReport> {
    let update = "UPDATE cvx.sync_run SET finished_at = pg_catalog.clock_timestamp(), state = 'stopped',
            error = 'the worker ended in the middle of the run', phase = NULL, current = NULL, lag = NULL
        WHERE state OPERATOR(pg_catalog.=) 'running' AND kind OPERATOR(pg_catalog.<>) 'ingest_parquet'
        RETURNING source, kind, started_at OPERATOR(pg_catalog.>) pg_catalog.pg_postmaster_start_time()";
    Spi::connect_mut(|client| {
        let rows = client.update(update, None, &[])?;
        rows.map(|row| {
            Ok(Orphan {
                source: row.get(1)?.unwrap_or_default(),
                kind: row.get(2)?.unwrap_or_default(),
                of_this_server: row.get(3)?.unwrap_or(true),
            })
        })
        .collect::<pgrx::spi::Result<_>>()
    })
    .map_err(internal)
}
