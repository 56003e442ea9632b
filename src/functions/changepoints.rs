//! Change points. DDL: sql/install/40_changepoints.sql.

use cvx_math::changepoints::{self, ChangePoint, Cost, Options};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::Error;
use crate::types::TimestampTz;
use crate::types::trajectory::Trajectory;
use crate::types::vector::VectorResult;

#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments, reason = "the arguments of the SQL function")]
#[allow(
    clippy::type_complexity,
    reason = "pgrx reads the row type from the signature"
)]
fn changepoints(
    t: Option<Trajectory>,
    method: Option<&str>,
    cost: Option<&str>,
    penalty: Option<f64>,
    min_size: Option<i32>,
    alpha: Option<f64>,
    gamma: Option<f64>,
    autocorrelated: Option<bool>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(ts, TimestampTz),
            name!(index, i32),
            name!(severity, f64),
            name!(shift, VectorResult),
        ),
    >,
    ErrorReport,
> {
    let arguments = (t, method, cost, min_size, alpha, autocorrelated);
    let (Some(t), Some(method), Some(cost), Some(min_size), Some(alpha), Some(autocorrelated)) = arguments
    else {
        return Ok(TableIterator::empty());
    };
    let options = options(method, cost, penalty, min_size, alpha, gamma, autocorrelated)?;
    let path = t.path();
    let found = detect(path, &options)?;
    let rows = found.into_iter().map(|it| {
        let shift = VectorResult::from_f64("changepoints", &it.shift)?;
        Ok((path.times[it.index], it.index as i32, it.severity, shift))
    });
    Ok(TableIterator::new(rows.collect::<Result<Vec<_>, Error>>()?))
}

/// The change points, interruptible by the user while they are sought.
pub(super) fn detect(path: cvx_math::Path<'_>, options: &Options) -> Result<Vec<ChangePoint>, Error> {
    let mut interrupt = || {
        pgrx::check_for_interrupts!();
    };
    Ok(changepoints::changepoints(path, options, &mut interrupt)?.change_points)
}

pub(super) fn options(
    method: &str,
    cost: &str,
    penalty: Option<f64>,
    min_size: i32,
    alpha: f64,
    gamma: Option<f64>,
    autocorrelated: bool,
) -> Result<Options, Error> {
    let invalid = |name, value: String, expected| {
        Error::Math(cvx_math::Error::InvalidParameter {
            name,
            value,
            expected,
        })
    };
    if method != "pelt" {
        return Err(invalid("method", format!("{method:?}"), "'pelt'"));
    }
    let cost = match cost {
        "l2" => Cost::L2,
        "cosine" => Cost::Cosine,
        "rbf" => Cost::Rbf { gamma },
        _ => return Err(invalid("cost", format!("{cost:?}"), "'l2', 'cosine' or 'rbf'")),
    };
    let min_size = usize::try_from(min_size)
        .map_err(|_| invalid("min_size", min_size.to_string(), "a number of points, 1 or more"))?;
    Ok(Options {
        cost,
        penalty,
        min_size,
        alpha,
        autocorrelated,
    })
}
