use std::collections::HashMap;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::{SpiResult, SpiTupleTable};

use super::internal;
use super::pairs::{FETCH, extend};
use crate::error::Error;
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

/// Runs a query of (vector, timestamptz, text) with the caller's rights; an error where it is anything else. Rows of
/// other dimensions than the first, and those without a vector, are left out; times, or entities, count only where
/// every row has one.
pub fn rows(query: &str) -> Result<Rows, ErrorReport> {
    let mut rows = Rows::default();
    let (mut times, mut entity) = (Vec::new(), Vec::new());
    let mut names: HashMap<String, u32> = HashMap::new();
    let types = types().map_err(internal)?;
    Spi::connect(|client| {
        let mut cursor = client.open_cursor(query, &[]);
        loop {
            let part = cursor.fetch(FETCH).map_err(internal)?;
            if types_of(&part).map_err(internal)? != types {
                return Err(Error::SampleTypes.into());
            }
            if part.is_empty() {
                return Ok::<(), ErrorReport>(());
            }
            for row in part {
                let Some(vector) = row.get::<VectorResult>(1).map_err(internal)? else {
                    continue;
                };
                let vector = vector.as_slice();
                if rows.dims == 0 {
                    rows.dims = vector.len();
                }
                if vector.len() != rows.dims {
                    continue;
                }
                extend(&mut rows.vectors, vector)?;
                let ts = row.get::<TimestampWithTimeZone>(2).map_err(internal)?;
                times.push(ts.map(TimestampTz::from));
                let next = names.len() as u32;
                let name = row.get::<String>(3).map_err(internal)?;
                entity.push(name.map(|name| *names.entry(name).or_insert(next)));
            }
            pgrx::check_for_interrupts!();
        }
    })?;
    rows.times = times.into_iter().collect();
    rows.entity = entity.into_iter().collect();
    Ok(rows)
}

/// The types that a sample's columns have.
fn types() -> SpiResult<Vec<pg_sys::Oid>> {
    let vector = Spi::get_one::<pg_sys::Oid>(
        "SELECT a.atttypid FROM pg_catalog.pg_attribute a
         WHERE a.attrelid OPERATOR(pg_catalog.=) 'cvx.embedding'::pg_catalog.regclass
           AND a.attname OPERATOR(pg_catalog.=) 'vec'",
    )?;
    Ok(vec![
        vector.unwrap_or(pg_sys::InvalidOid),
        pg_sys::TIMESTAMPTZOID,
        pg_sys::TEXTOID,
    ])
}

fn types_of(part: &SpiTupleTable<'_>) -> SpiResult<Vec<pg_sys::Oid>> {
    (1..=part.columns()?)
        .map(|place| Ok(part.column_type_oid(place)?.value()))
        .collect()
}
