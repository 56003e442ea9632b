use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::internal;

/// What a run of ingestion counts, for its row in cvx.sync_run.
#[derive(Default)]
pub struct Counts {
    pub read: i64,
    pub written: i64,
    pub rejected: i64,
    pub skipped: i64,
    pub bytes: i64,
}

/// Opens a run; returns its id.
pub fn start(source: &str, space_id: i32) -> Result<i64, ErrorReport> {
    let insert = "INSERT INTO cvx.sync_run (source, space_id) VALUES ($1, $2) RETURNING run_id";
    let id = Spi::get_one_with_args::<i64>(insert, &[source.into(), space_id.into()]).map_err(internal)?;
    Ok(id.unwrap_or_default())
}

/// Closes a run with what it did.
pub fn finish(run_id: i64, counts: &Counts) -> Result<(), ErrorReport> {
    let update = "UPDATE cvx.sync_run SET finished_at = pg_catalog.clock_timestamp(), records_read = $2,
        records_written = $3, records_rejected = $4, records_skipped = $5, bytes = $6
        WHERE run_id OPERATOR(pg_catalog.=) $1";
    Spi::run_with_args(
        update,
        &[
            run_id.into(),
            counts.read.into(),
            counts.written.into(),
            counts.rejected.into(),
            counts.skipped.into(),
            counts.bytes.into(),
        ],
    )
    .map_err(internal)
}
