//! Embeddings as they are stored. DDL: sql/install/60_space.sql.

use cvx_sources::{Record, validate};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::catalog::{embedding, embedding::TrajectoryDatum, space::Space};
use crate::error::Error;
use crate::types::TimestampTz;
use crate::types::vector::Vector;

#[pg_extern(sql = false)]
fn check_embedding(dims: i32, entity_id: &str, ts: TimestampTz, vec: Vector) -> Result<bool, ErrorReport> {
    let record = Record {
        entity_id,
        ts,
        vector: vec.as_slice(),
        ..Record::default()
    };
    validate(&record, dims.unsigned_abs() as usize).map_err(Error::EmbeddingRefused)?;
    Ok(true)
}

#[pg_extern(sql = false)]
fn trajectory(
    entity_id: Option<&str>,
    space: Option<&str>,
    from_ts: Option<TimestampTz>,
    to_ts: Option<TimestampTz>,
) -> Result<Option<TrajectoryDatum>, ErrorReport> {
    let (Some(entity_id), Some(space)) = (entity_id, space) else {
        return Ok(None);
    };
    let space = Space::by_name(space)?;
    let (from_ts, to_ts) = (
        from_ts.unwrap_or(TimestampTz::MIN),
        to_ts.unwrap_or(TimestampTz::MAX),
    );
    embedding::trajectory(space.space_id, entity_id, from_ts, to_ts)
}
