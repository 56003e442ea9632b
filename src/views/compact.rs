//! From the log of what changed to the marks of what has to be computed: per view and entity, the earliest times.

use std::collections::HashSet;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::catalog::internal;

/// Moves what this statement sees of the log, of some sources or of all of it, and waits for nobody: what another
/// transaction is moving is left to it, and a mark that another has taken or is changing gets one beside it. A reader sees
/// each entry in one place or the other.
pub fn compact(sources: Option<&[i32]>) -> Result<(), ErrorReport> {
    let which = match sources {
        Some(_) => "WHERE l.source OPERATOR(pg_catalog.=) ANY ($1)",
        None => "WHERE $1 IS NULL",
    };
    let query = format!(
        "WITH taken AS MATERIALIZED (
            SELECT l.ctid AS place FROM cvx.invalidation l {which} FOR UPDATE SKIP LOCKED),
        moved AS (
            DELETE FROM cvx.invalidation l USING taken t WHERE l.ctid OPERATOR(pg_catalog.=) t.place
            RETURNING l.source, l.entity_id, l.dirty_at, l.from_ts),
        reads AS (
            SELECT v.view_id, v.type, v.entity_filter, COALESCE(v.space_id, -v.tracked_id) AS source
            FROM cvx._log_reader v WHERE v.model IS NULL
            UNION ALL
            SELECT v.view_id, v.type, v.entity_filter, m.space_id
            FROM cvx._log_reader v JOIN cvx.model_version m ON m.model OPERATOR(pg_catalog.=) v.model),
        marks AS MATERIALIZED (
            SELECT r.view_id,
                CASE WHEN r.type OPERATOR(pg_catalog.<>) 'cohort_snapshot' THEN m.entity_id END AS entity_id,
                pg_catalog.min(m.dirty_at) AS stale_since,
                CASE WHEN pg_catalog.bool_and(m.from_ts IS NOT NULL) THEN pg_catalog.min(m.from_ts) END AS from_ts
            FROM moved m JOIN reads r ON r.source OPERATOR(pg_catalog.=) m.source
            WHERE m.entity_id IS NULL
               OR r.entity_filter OPERATOR(pg_catalog.->) 'entity_ids' IS NULL
               OR (r.entity_filter OPERATOR(pg_catalog.->) 'entity_ids') OPERATOR(pg_catalog.?) m.entity_id
            GROUP BY 1, 2),
        known AS MATERIALIZED (
            SELECT s.ctid AS place, k.* FROM marks k JOIN cvx.stale s ON s.view_id OPERATOR(pg_catalog.=) k.view_id
                AND s.entity_id OPERATOR(pg_catalog.=) k.entity_id
            FOR UPDATE OF s SKIP LOCKED),
        earlier AS (
            UPDATE cvx.stale s SET stale_since = LEAST(s.stale_since, n.stale_since),
                from_ts = CASE WHEN s.from_ts IS NOT NULL AND n.from_ts IS NOT NULL THEN LEAST(s.from_ts, n.from_ts) END,
                error = NULL, retry_at = NULL
            FROM known n WHERE s.ctid OPERATOR(pg_catalog.=) n.place RETURNING s.view_id, s.entity_id)
        INSERT INTO cvx.stale (view_id, entity_id, stale_since, from_ts)
        SELECT k.view_id, k.entity_id, k.stale_since, k.from_ts FROM marks k
        WHERE NOT EXISTS (SELECT FROM earlier e WHERE e.view_id OPERATOR(pg_catalog.=) k.view_id
                AND e.entity_id OPERATOR(pg_catalog.=) k.entity_id)"
    );
    Spi::run_with_args(&query, &[sources.map(<[i32]>::to_vec).into()]).map_err(internal)
}

/// Marks of a view that was dropped while they were made.
pub fn forget_dropped() -> Result<(), ErrorReport> {
    // One probe of the index a view, however many marks there are.
    let query = "WITH RECURSIVE marked(view_id) AS (
            SELECT pg_catalog.min(s.view_id) FROM cvx.stale s
            UNION ALL
            SELECT (SELECT pg_catalog.min(s.view_id) FROM cvx.stale s
                    WHERE s.view_id OPERATOR(pg_catalog.>) m.view_id)
            FROM marked m WHERE m.view_id IS NOT NULL)
        DELETE FROM cvx.stale d USING marked m
        WHERE d.view_id OPERATOR(pg_catalog.=) m.view_id
          AND NOT EXISTS (SELECT FROM cvx._log_reader v WHERE v.view_id OPERATOR(pg_catalog.=) m.view_id)";
    Spi::run(query).map_err(internal)
}

/// Marks all of a view.
pub fn mark_all(view_id: i32) -> Result<(), ErrorReport> {
    let insert = "INSERT INTO cvx.stale (view_id, stale_since) VALUES ($1, pg_catalog.clock_timestamp())";
    Spi::run_with_args(insert, &[view_id.into()]).map_err(internal)
}

/// Marks entities of a view.
pub fn mark(view_id: i32, ids: &[String]) -> Result<(), ErrorReport> {
    let insert = "INSERT INTO cvx.stale (view_id, entity_id, stale_since)
        SELECT DISTINCT $1, i.id, pg_catalog.clock_timestamp() FROM pg_catalog.unnest($2) i(id)";
    Spi::run_with_args(insert, &[view_id.into(), ids.to_vec().into()]).map_err(internal)
}

/// Whoever asks for a refresh has entities tried again that could not be computed.
pub fn forget_errors(view_id: i32) -> Result<(), ErrorReport> {
    let update = "WITH known AS MATERIALIZED (
            SELECT s.ctid AS place FROM cvx.stale s
            WHERE s.view_id OPERATOR(pg_catalog.=) $1 AND s.retry_at IS NOT NULL FOR UPDATE SKIP LOCKED)
        UPDATE cvx.stale s SET error = NULL, retry_at = NULL FROM known n WHERE s.ctid OPERATOR(pg_catalog.=) n.place";
    Spi::run_with_args(update, &[view_id.into()]).map_err(internal)
}

/// The views that have something to be computed now.
pub fn marked() -> Result<HashSet<i32>, ErrorReport> {
    let query = "SELECT v.view_id FROM cvx.view v WHERE EXISTS (SELECT FROM cvx.stale s
        WHERE s.view_id OPERATOR(pg_catalog.=) v.view_id
          AND (s.retry_at IS NULL OR s.retry_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp()))";
    Spi::connect_mut(|client| {
        let rows = client.update(query, None, &[])?;
        rows.into_iter()
            .map(|row| Ok(row.get::<i32>(1)?.unwrap_or_default()))
            .collect::<pgrx::spi::Result<HashSet<_>>>()
    })
    .map_err(internal)
}
