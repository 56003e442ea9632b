use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::{FromDatum, IntoDatum};

use super::internal;
use super::pairs::{FETCH, extend};
use crate::types::vector::VectorResult;
use crate::types::{sql_argument, sql_name};

/// A `tstzrange`, handed on as it came.
#[derive(Clone, Copy)]
pub struct TimeRange(pg_sys::Datum);

impl FromDatum for TimeRange {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, _: pg_sys::Oid) -> Option<Self> {
        (!is_null).then_some(TimeRange(datum))
    }
}

sql_argument!(TimeRange, "tstzrange");
sql_name!(TimeRange, "tstzrange");

impl IntoDatum for TimeRange {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        Some(self.0)
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::TSTZRANGEOID
    }
}

/// What two ranges are: as text, and whether one is empty.
pub struct Ranges {
    pub baseline: String,
    pub current: String,
    pub baseline_is_empty: bool,
    pub current_is_empty: bool,
    pub overlap: bool,
}

impl Ranges {
    pub fn of(baseline: TimeRange, current: TimeRange) -> Result<Ranges, ErrorReport> {
        let query =
            "SELECT $1::pg_catalog.text, $2::pg_catalog.text, pg_catalog.isempty($1), pg_catalog.isempty($2),
                $1 OPERATOR(pg_catalog.&&) $2";
        Spi::connect(|client| {
            let row = client
                .select(query, Some(1), &[baseline.into(), current.into()])?
                .first();
            let text = |place| row.get::<String>(place).map(Option::unwrap_or_default);
            let is = |place| row.get::<bool>(place).map(Option::unwrap_or_default);
            Ok(Ranges {
                baseline: text(1)?,
                current: text(2)?,
                baseline_is_empty: is(3)?,
                current_is_empty: is(4)?,
                overlap: is(5)?,
            })
        })
        .map_err(internal)
    }
}

/// The points of a range of time, or some of them.
pub struct Sample {
    /// How many there are, not how many were taken.
    pub points: i64,
    pub values: Vec<f32>,
}

/// At most `most` points of a space in a range of time, with the caller's rights: those that come first by a hash of
/// entity and time, which says nothing about the vector and is the same the next time.
pub fn sample(space_id: i32, range: TimeRange, most: usize) -> Result<Sample, ErrorReport> {
    let points = format!(
        "FROM cvx.embedding e
         WHERE e.space_id OPERATOR(pg_catalog.=) {space_id} AND e.ts OPERATOR(pg_catalog.<@) $1"
    );
    let query = format!(
        "SELECT e.vec {points}
         ORDER BY pg_catalog.hashtextextended(e.entity_id,
                (pg_catalog.date_part('epoch', e.ts) OPERATOR(pg_catalog.*) 1e6)::pg_catalog.int8),
            e.entity_id, e.ts
         LIMIT {most}"
    );
    let (taken, values) = first(&query, range)?;
    let points = if taken < most {
        taken as i64
    } else {
        let query = format!("SELECT pg_catalog.count(*) {points}");
        let count = Spi::connect(|client| {
            client
                .select(query.as_str(), Some(1), &[range.into()])?
                .first()
                .get_one::<i64>()
        });
        count.map_err(internal)?.unwrap_or_default()
    };
    Ok(Sample { points, values })
}

/// How many vectors a query gives, and their numbers.
fn first(query: &str, range: TimeRange) -> Result<(usize, Vec<f32>), ErrorReport> {
    let arguments: [DatumWithOid<'_>; 1] = [range.into()];
    let (mut taken, mut values) = (0, Vec::new());
    Spi::connect(|client| {
        let mut cursor = client.open_cursor(query, &arguments);
        loop {
            let rows = cursor.fetch(FETCH).map_err(internal)?;
            if rows.is_empty() {
                return Ok::<(), ErrorReport>(());
            }
            for row in rows {
                if let Some(vector) = row.get::<VectorResult>(1).map_err(internal)? {
                    extend(&mut values, vector.as_slice())?;
                    taken += 1;
                }
            }
            pgrx::check_for_interrupts!();
        }
    })?;
    Ok((taken, values))
}
