//! Derivatives and lengths. DDL: sql/install/20_calculus.sql.

use cvx_math::calculus;
use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::types::TimestampTz;
use crate::types::interval::unit_micros;
use crate::types::trajectory::Trajectory;
use crate::types::vector::VectorResult;

#[pg_extern(sql = false)]
fn velocity(
    t: Option<Trajectory>,
    at: Option<TimestampTz>,
    unit: Option<Interval>,
) -> Result<Option<VectorResult>, ErrorReport> {
    let (Some(t), Some(unit)) = (t, unit) else {
        return Ok(None);
    };
    let value = calculus::velocity(&t.path(), at, unit_micros("unit", &unit)?);
    Ok(value
        .map(|it| VectorResult::from_f64("velocity", &it))
        .transpose()?)
}

#[pg_extern(sql = false)]
fn speed(
    t: Option<Trajectory>,
    at: Option<TimestampTz>,
    unit: Option<Interval>,
) -> Result<Option<f64>, ErrorReport> {
    let (Some(t), Some(unit)) = (t, unit) else {
        return Ok(None);
    };
    Ok(calculus::speed(&t.path(), at, unit_micros("unit", &unit)?))
}

#[pg_extern(sql = false)]
fn mean_speed(t: Trajectory, unit: Interval) -> Result<Option<f64>, ErrorReport> {
    Ok(calculus::mean_speed(&t.path(), unit_micros("unit", &unit)?))
}

#[pg_extern(sql = false)]
fn acceleration(
    t: Option<Trajectory>,
    at: Option<TimestampTz>,
    unit: Option<Interval>,
) -> Result<Option<VectorResult>, ErrorReport> {
    let (Some(t), Some(unit)) = (t, unit) else {
        return Ok(None);
    };
    let value = calculus::acceleration(&t.path(), at, unit_micros("unit", &unit)?);
    Ok(value
        .map(|it| VectorResult::from_f64("acceleration", &it))
        .transpose()?)
}

#[pg_extern(sql = false)]
fn path_length(t: Trajectory) -> Option<f64> {
    calculus::path_length(&t.path())
}

#[pg_extern(sql = false)]
fn efficiency(t: Trajectory) -> Option<f64> {
    calculus::efficiency(&t.path())
}
