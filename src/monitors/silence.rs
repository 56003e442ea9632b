//! Entities that have not been heard of for too long.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::quote_literal;
use serde_json::json;

use super::scope::{Scope, Values};
use super::{Finding, payload};
use crate::catalog::internal;
use crate::types::TimestampTz;
use crate::views::definition::micros;

/// Those whose last point (from `source`, when one is named) is older than `duration`, the longest silent first. As the
/// monitor's owner, in a restricted context.
pub fn find(
    scope: &Scope,
    duration: i64,
    source: Option<&str>,
    owner: pg_sys::Oid,
) -> Result<Vec<Finding>, ErrorReport> {
    let values = match source {
        // Views do not know who wrote a point.
        Some(_) => Values::Computed,
        None => scope.values(None, |_| true, owner)?,
    };
    let (ends, marked) = match values {
        Values::View { it, marked } => {
            let (data, definition) = (it.relation("cvx_view_data"), it.relation("cvx_view_definition"));
            let mut ends =
                format!("SELECT d.entity_id::pg_catalog.text AS entity_id, d.end_ts FROM {data} d");
            let of_marked = format!(
                " WHERE NOT d.entity_id OPERATOR(pg_catalog.=) ANY ($1)
                 UNION ALL
                 SELECT c.entity_id::pg_catalog.text, c.end_ts FROM pg_catalog.unnest($1) m(id)
                 CROSS JOIN LATERAL (SELECT w.entity_id, w.end_ts FROM {definition} w
                    WHERE w.entity_id OPERATOR(pg_catalog.=) m.id) c"
            );
            if !marked.is_empty() {
                ends.push_str(&of_marked);
            }
            (ends, marked)
        }
        Values::Computed => (
            format!("SELECT e.* FROM ({}) e WHERE $1 IS NOT NULL", scope.ends(source)),
            Vec::new(),
        ),
    };
    let query = format!(
        "SELECT e.entity_id, e.end_ts,
            pg_catalog.date_part('epoch', pg_catalog.now() OPERATOR(pg_catalog.-) e.end_ts)
         FROM ({ends}) e
         WHERE e.end_ts OPERATOR(pg_catalog.<) (pg_catalog.now() OPERATOR(pg_catalog.-) {})
         ORDER BY e.end_ts, e.entity_id",
        micros(duration)
    );
    let threshold = duration as f64 / 1e6;
    Spi::connect(|client| {
        let rows = client.select(query.as_str(), None, &[marked.into()])?;
        rows.map(|row| {
            let entity_id: String = row.get(1)?.unwrap_or_default();
            let seconds: f64 = row.get(3)?.unwrap_or_default();
            Ok(Finding {
                message: message(&entity_id, source, seconds, duration),
                entity_id: Some(entity_id),
                space: scope.space.clone(),
                ts: row.get::<TimestampWithTimeZone>(2)?.map(TimestampTz::from),
                value: Some(seconds),
                threshold: Some(threshold),
                details: source.map_or_else(|| json!({}), |source| json!({ "source": source })),
                ..Finding::default()
            })
        })
        .collect::<pgrx::spi::Result<_>>()
    })
    .map_err(internal)
}

pub fn message(entity_id: &str, source: Option<&str>, seconds: f64, duration: i64) -> String {
    let of = source.map_or_else(String::new, |source| format!(" from {}", quote_literal(source)));
    format!(
        "nothing of {entity_id}{of} for {} (threshold {})",
        payload::interval((seconds * 1e6) as i64),
        payload::interval(duration)
    )
}
