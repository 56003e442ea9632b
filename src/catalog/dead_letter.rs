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

/// Forgets the dead letters of a source at the positions of these: a record that is refused again is one record.
pub fn forget(source: &str, rejects: &[Reject]) -> Result<(), ErrorReport> {
    if rejects.is_empty() {
        return Ok(());
    }
    let delete = "DELETE FROM cvx.dead_letter d USING pg_catalog.unnest($2) p(\"position\")
        WHERE d.source OPERATOR(pg_catalog.=) $1 AND d.\"position\" OPERATOR(pg_catalog.=) p.\"position\"";
    let positions: Vec<String> = rejects.iter().map(|it| it.position.clone()).collect();
    Spi::run_with_args(delete, &[source.into(), positions.into()]).map_err(internal)
}

/// A dead letter that waits to be read again.
pub struct Queued {
    pub id: i64,
    pub position: String,
    pub reason: String,
    pub payload: Option<serde_json::Value>,
}

/// Has dead letters of a source read again, those of `reasons` or all. Returns how many wait now.
pub fn queue(source: &str, reasons: Option<Vec<String>>) -> Result<i64, ErrorReport> {
    let update = "WITH queued AS (
            UPDATE cvx.dead_letter SET queued_at = pg_catalog.clock_timestamp()
            WHERE source OPERATOR(pg_catalog.=) $1 AND ($2 IS NULL OR reason OPERATOR(pg_catalog.=) ANY ($2))
            RETURNING 1)
        SELECT pg_catalog.count(*) FROM queued";
    let count = Spi::connect_mut(|client| {
        client
            .update(update, Some(1), &[source.into(), reasons.into()])?
            .first()
            .get_one::<i64>()
    });
    Ok(count.map_err(internal)?.unwrap_or_default())
}

/// The oldest dead letters of a source that wait, at most `limit`.
pub fn queued(source: &str, limit: i64) -> Result<Vec<Queued>, ErrorReport> {
    let query = "SELECT d.dead_letter_id, d.position, d.reason, d.payload FROM cvx.dead_letter d
        WHERE d.source OPERATOR(pg_catalog.=) $1 AND d.queued_at IS NOT NULL
        ORDER BY d.dead_letter_id LIMIT $2";
    Spi::connect(|client| {
        let rows = client.select(query, None, &[source.into(), limit.into()])?;
        rows.map(|row| {
            Ok(Queued {
                id: row.get(1)?.unwrap_or_default(),
                position: row.get(2)?.unwrap_or_default(),
                reason: row.get(3)?.unwrap_or_default(),
                payload: row.get::<pgrx::JsonB>(4)?.map(|it| it.0),
            })
        })
        .collect::<pgrx::spi::Result<_>>()
    })
    .map_err(internal)
}

/// Deletes dead letters; returns how many were still there.
pub fn delete(ids: Vec<i64>) -> Result<usize, ErrorReport> {
    let delete = "DELETE FROM cvx.dead_letter d WHERE d.dead_letter_id OPERATOR(pg_catalog.=) ANY ($1)";
    Spi::connect_mut(|client| Ok(client.update(delete, None, &[ids.into()])?.len())).map_err(internal)
}
