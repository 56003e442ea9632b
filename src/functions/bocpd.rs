//! Online change points. DDL: sql/install/42_bocpd.sql.

use cvx_math::bocpd::{Detector, Options, Report};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::Error;
use crate::types::TimestampTz;
use crate::types::bocpd_state::BocpdState;
use crate::types::timestamp;
use crate::types::trajectory::Trajectory;
use crate::types::vector::Vector;

/// The row of a report.
type Row = (TimestampTz, i32, f64, i32, f64, TimestampTz);

#[pg_extern(sql = false)]
#[allow(
    clippy::type_complexity,
    reason = "pgrx reads the row type from the signature"
)]
fn bocpd(
    t: Trajectory,
    hazard: f64,
    threshold: f64,
) -> Result<
    TableIterator<
        'static,
        (
            name!(ts, TimestampTz),
            name!(index, i32),
            name!(probability, f64),
            name!(run_length, i32),
            name!(severity, f64),
            name!(detected_at, TimestampTz),
        ),
    >,
    ErrorReport,
> {
    let path = t.path();
    let mut detector = Detector::new(path.dims.max(1), Options { hazard, threshold }).map_err(Error::Math)?;
    let mut rows = Vec::new();
    for (&ts, point) in path.times.iter().zip(path.points()) {
        if let Some(report) = detector.update(ts, point).map_err(Error::from)? {
            rows.push(row(&report));
        }
        pgrx::check_for_interrupts!();
    }
    Ok(TableIterator::new(rows))
}

fn row(report: &Report) -> Row {
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    (
        report.ts,
        count(report.index),
        report.probability,
        count(report.run_length),
        report.severity,
        report.detected_at,
    )
}

#[pg_extern(sql = false)]
fn bocpd_update(
    state: Option<BocpdState>,
    ts: Option<TimestampTz>,
    vec: Option<Vector>,
    hazard: Option<f64>,
    threshold: Option<f64>,
) -> Result<Option<BocpdState>, ErrorReport> {
    let (Some(ts), Some(vec)) = (ts, vec) else {
        return Ok(state);
    };
    if !timestamp::is_finite(ts) {
        return Err(Error::InfiniteTimestamp.into());
    }
    let point = vec.as_slice();
    let mut detector = match state {
        Some(state) => state.0,
        None => {
            let default = Options::default();
            let options = Options {
                hazard: hazard.unwrap_or(default.hazard),
                threshold: threshold.unwrap_or(default.threshold),
            };
            Detector::new(point.len(), options).map_err(Error::Math)?
        }
    };
    detector.update(ts, point).map_err(Error::from)?;
    Ok(Some(BocpdState(detector)))
}

#[pg_extern(sql = false)]
#[allow(
    clippy::type_complexity,
    reason = "pgrx reads the row type from the signature"
)]
fn bocpd_reported(
    state: BocpdState,
) -> TableIterator<
    'static,
    (
        name!(ts, TimestampTz),
        name!(index, i32),
        name!(probability, f64),
        name!(run_length, i32),
        name!(severity, f64),
        name!(detected_at, TimestampTz),
    ),
> {
    TableIterator::new(state.0.reported().map(row))
}

#[pg_extern(sql = false)]
fn bocpd_last_ts(state: BocpdState) -> Option<TimestampTz> {
    state.0.last_ts()
}

#[pg_extern(sql = false)]
fn bocpd_num_points(state: BocpdState) -> i64 {
    i64::try_from(state.0.num_points()).unwrap_or(i64::MAX)
}

#[pg_extern(sql = false)]
fn bocpd_probability(state: BocpdState) -> f64 {
    state.0.probability()
}

#[pg_extern(sql = false)]
fn bocpd_run_length(state: BocpdState) -> i64 {
    i64::try_from(state.0.run_length()).unwrap_or(i64::MAX)
}
