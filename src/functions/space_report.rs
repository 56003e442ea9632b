//! Whether a column holds two spaces. DDL: sql/install/68_space_report.sql.

use cvx_math::mixture::{Sample, two_spaces};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::catalog::sample;
use crate::error::Error;
use crate::types::TimestampTz;

#[pg_extern(sql = false)]
#[allow(
    clippy::type_complexity,
    reason = "pgrx reads the row type from the signature"
)]
fn two_spaces_of(
    query: &str,
    alpha: f64,
) -> Result<
    TableIterator<
        'static,
        (
            name!(examined, i32),
            name!(mixed, bool),
            name!(statistic, Option<f64>),
            name!(threshold, Option<f64>),
            name!(share, f64),
            name!(since, Option<TimestampTz>),
        ),
    >,
    ErrorReport,
> {
    let rows = sample::rows(query)?;
    if rows.dims == 0 {
        return Ok(TableIterator::once((0, false, None, None, 0.0, None)));
    }
    let sample = Sample {
        rows: &rows.vectors,
        dims: rows.dims,
        times: rows.times.as_deref(),
        entity: rows.entity.as_deref(),
    };
    let mut interrupt = || {
        pgrx::check_for_interrupts!();
    };
    let found = two_spaces(&sample, alpha, &mut interrupt).map_err(Error::from)?;
    let examined = rows.vectors.len() / rows.dims;
    let row = (
        examined as i32,
        found.mixed,
        found.statistic,
        found.threshold,
        found.share,
        found.since,
    );
    Ok(TableIterator::once(row))
}
