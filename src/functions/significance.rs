//! Drift against noise. DDL: sql/install/43_significance.sql.

use cvx_math::significance;
use cvx_math::stats::Metric;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::Error;
use crate::types::trajectory::Trajectory;

#[pg_extern(sql = false)]
fn drift_p_value(t: Trajectory, metric: &str) -> Result<Option<f64>, ErrorReport> {
    let metric = Metric::parse(metric).map_err(Error::from)?;
    Ok(significance::drift_p_value(&t.path(), metric))
}

#[pg_extern(sql = false)]
fn velocity_p_value(t: Trajectory) -> Option<f64> {
    significance::velocity_p_value(&t.path())
}
