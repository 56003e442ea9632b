use cvx_sources::Reject;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::internal;

/// Keeps what a batch refused, in one statement.
pub fn insert(run_id: i64, source: &str, space_id: i32, rejects: &[Reject]) -> Result<(), ErrorReport> {
    if rejects.is_empty() {
        return Ok(());
    }
    let insert = "INSERT INTO cvx.dead_letter (source, run_id, space_id, position, reason, message, payload)
        SELECT $1, $2, $3, r.position, r.reason, r.message, r.payload::pg_catalog.jsonb
        FROM ROWS FROM (pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7))
            r(position, reason, message, payload)";
    let column = |of: fn(&Reject) -> String| rejects.iter().map(of).collect::<Vec<String>>();
    Spi::run_with_args(
        insert,
        &[
            source.into(),
            run_id.into(),
            space_id.into(),
            column(|it| it.position.clone()).into(),
            column(|it| it.reason.code().to_owned()).into(),
            column(|it| it.reason.to_string()).into(),
            column(|it| it.payload.clone()).into(),
        ],
    )
    .map_err(internal)
}
