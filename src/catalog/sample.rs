use std::collections::HashMap;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::internal;
use crate::types::TimestampTz;
use crate::types::vector::VectorResult;

/// Rows of any table: vectors of one dimension, and for each row a time and an entity where the table has them.
#[derive(Default)]
pub struct Rows {
    pub dims: usize,
    pub vectors: Vec<f32>,
    pub times: Option<Vec<TimestampTz>>,
    pub entity: Option<Vec<u32>>,
}

/// Runs a query of (vector, timestamptz, text) with the caller's rights. Rows of other dimensions than the first, and
/// those without a vector, are left out; times, or entities, count only where every row has one.
pub fn rows(query: &str) -> Result<Rows, ErrorReport> {
    let mut rows = Rows::default();
    let (mut times, mut entity) = (Vec::new(), Vec::new());
    let mut names: HashMap<String, u32> = HashMap::new();
    Spi::connect(|client| {
        for row in client.select(query, None, &[])? {
            let Some(vector) = row.get::<VectorResult>(1)? else {
                continue;
            };
            let vector = vector.as_slice();
            if rows.dims == 0 {
                rows.dims = vector.len();
            }
            if vector.len() != rows.dims {
                continue;
            }
            rows.vectors.extend_from_slice(vector);
            times.push(row.get::<TimestampWithTimeZone>(2)?.map(TimestampTz::from));
            let next = names.len() as u32;
            entity.push(
                row.get::<String>(3)?
                    .map(|name| *names.entry(name).or_insert(next)),
            );
        }
        Ok::<(), pgrx::spi::Error>(())
    })
    .map_err(internal)?;
    rows.times = times.into_iter().collect();
    rows.entity = entity.into_iter().collect();
    Ok(rows)
}
