//! Drift and the statistics of movement. DDL: sql/install/30_stats.sql.

use cvx_math::stats;
use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::Error;
use crate::types::interval::unit_micros;
use crate::types::trajectory::Trajectory;

#[pg_extern(sql = false)]
fn drift(t: Trajectory, metric: &str) -> Result<Option<f64>, ErrorReport> {
    let metric = stats::Metric::parse(metric).map_err(Error::from)?;
    Ok(stats::drift(&t.path(), metric))
}

#[pg_extern(sql = false)]
fn drift_trend(t: Trajectory, metric: &str, unit: Interval) -> Result<Option<f64>, ErrorReport> {
    let metric = stats::Metric::parse(metric).map_err(Error::from)?;
    Ok(stats::drift_trend(&t.path(), metric, unit_micros("unit", &unit)?))
}

#[pg_extern(sql = false)]
fn volatility(t: Trajectory, unit: Interval) -> Result<Option<f64>, ErrorReport> {
    Ok(stats::volatility(&t.path(), unit_micros("unit", &unit)?))
}

#[pg_extern(sql = false)]
fn drift_entropy(t: Trajectory) -> Option<f64> {
    stats::drift_entropy(&t.path())
}

#[pg_extern(sql = false)]
fn stability_score(t: Trajectory) -> Option<f64> {
    stats::stability_score(&t.path())
}

#[pg_extern(sql = false)]
fn hurst(t: Trajectory) -> Option<f64> {
    cvx_math::hurst::hurst(&t.path())
}

#[pg_extern(sql = false)]
#[allow(
    clippy::type_complexity,
    reason = "pgrx reads the row type from the signature"
)]
fn drift_report(
    t: Trajectory,
    top: i32,
) -> Result<
    TableIterator<
        'static,
        (
            name!(l2, Option<f64>),
            name!(cosine, Option<f64>),
            name!(dimensions, Vec<i32>),
            name!(changes, Vec<f64>),
        ),
    >,
    ErrorReport,
> {
    let top = usize::try_from(top).map_err(|_| {
        Error::Math(cvx_math::Error::InvalidParameter {
            name: "top",
            value: top.to_string(),
            expected: "a number of dimensions, 0 or more",
        })
    })?;
    let row = stats::drift_report(&t.path(), top);
    // SQL counts dimensions from 1, as it does array elements.
    let row = row.map(|it| {
        let dimensions = it.dims.iter().map(|&j| j as i32 + 1).collect();
        (Some(it.l2), it.cosine, dimensions, it.change)
    });
    Ok(TableIterator::new(row))
}
