use std::collections::BTreeMap;

use cvx_sources::Position;
use pgrx::JsonB;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde_json::{Value, json};

use super::internal;

/// Above this many parts a watermark is told by their number alone.
const MOST_SHOWN: usize = 64;

/// How far each part of a source has been read.
pub fn load(source_id: i32) -> Result<BTreeMap<String, Value>, ErrorReport> {
    let query =
        "SELECT p.part, p.value FROM cvx.source_position p WHERE p.source_id OPERATOR(pg_catalog.=) $1";
    Spi::connect(|client| {
        let rows = client.select(query, None, &[source_id.into()])?;
        rows.map(|row| {
            let value = row.get::<JsonB>(2)?.map_or(Value::Null, |it| it.0);
            Ok((row.get::<String>(1)?.unwrap_or_default(), value))
        })
        .collect::<pgrx::spi::Result<_>>()
    })
    .map_err(internal)
}

/// Moves the watermark: of two positions of one part the later in the list holds.
pub fn store(source_id: i32, positions: &[Position]) -> Result<(), ErrorReport> {
    let last: BTreeMap<&str, Option<&Value>> = positions
        .iter()
        .map(|it| (it.part.as_str(), it.value.as_ref()))
        .collect();
    let (kept, forgotten): (Vec<_>, Vec<_>) = last.into_iter().partition(|(_, value)| value.is_some());
    if !kept.is_empty() {
        let upsert = "INSERT INTO cvx.source_position AS p (source_id, part, value)
            SELECT $1, n.part, n.value::pg_catalog.jsonb
            FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) n(part, value)
            ON CONFLICT (source_id, part) DO UPDATE SET value = excluded.value";
        let parts: Vec<String> = kept.iter().map(|(part, _)| (*part).to_owned()).collect();
        let values: Vec<String> = kept
            .iter()
            .map(|(_, value)| value.map_or_else(String::new, Value::to_string))
            .collect();
        Spi::run_with_args(upsert, &[source_id.into(), parts.into(), values.into()]).map_err(internal)?;
    }
    if !forgotten.is_empty() {
        let delete = "DELETE FROM cvx.source_position p
            WHERE p.source_id OPERATOR(pg_catalog.=) $1 AND p.part OPERATOR(pg_catalog.=) ANY ($2)";
        let parts: Vec<String> = forgotten.iter().map(|(part, _)| (*part).to_owned()).collect();
        Spi::run_with_args(delete, &[source_id.into(), parts.into()]).map_err(internal)?;
    }
    Ok(())
}

/// A watermark for people: the number of parts, and where each is when they are few.
pub fn summary(positions: &BTreeMap<String, Value>) -> Value {
    if positions.len() > MOST_SHOWN {
        return json!({ "parts": positions.len() });
    }
    json!({ "parts": positions.len(), "positions": positions })
}
