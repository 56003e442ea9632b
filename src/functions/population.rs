//! Whether a space's population has shifted. DDL: sql/install/83_population_drift.sql.

use cvx_math::Path;
use cvx_math::population::{Method, shift};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::catalog::population::{Ranges, Sample, TimeRange, sample};
use crate::catalog::space::Space;
use crate::error::Error;

#[pg_extern(sql = false)]
#[allow(
    clippy::type_complexity,
    reason = "pgrx reads the row type from the signature"
)]
fn population_drift(
    space: &str,
    baseline: TimeRange,
    current: TimeRange,
    method: &str,
) -> Result<
    TableIterator<
        'static,
        (
            name!(method, &'static str),
            name!(statistic, Option<f64>),
            name!(p_value, Option<f64>),
            name!(baseline_points, i64),
            name!(current_points, i64),
        ),
    >,
    ErrorReport,
> {
    let method = Method::parse(method).map_err(Error::from)?;
    let space = Space::by_name(space)?;
    check(&Ranges::of(baseline, current)?)?;
    let most = method.most_points(space.dims);
    let baseline = sample(space.space_id, baseline, most)?;
    let current = sample(space.space_id, current, most)?;
    let found = compared(method, &baseline, &current, space.dims);
    let (statistic, p_value) = (found.map(|it| it.statistic), found.map(|it| it.p_value));
    let row = (method.name(), statistic, p_value, baseline.points, current.points);
    Ok(TableIterator::once(row))
}

fn check(ranges: &Ranges) -> Result<(), Error> {
    let invalid = |name, value: String, expected| {
        Err(Error::Math(cvx_math::Error::InvalidParameter {
            name,
            value,
            expected,
        }))
    };
    let expected = "a range of time that is not empty";
    if ranges.baseline_is_empty {
        return invalid("baseline", ranges.baseline.clone(), expected);
    }
    if ranges.current_is_empty {
        return invalid("current", ranges.current.clone(), expected);
    }
    if ranges.overlap {
        let value = format!("{}, which overlaps baseline {}", ranges.current, ranges.baseline);
        return invalid("current", value, "two ranges that have no time in common");
    }
    Ok(())
}

fn compared(
    method: Method,
    baseline: &Sample,
    current: &Sample,
    dims: usize,
) -> Option<cvx_math::population::Shift> {
    let count = |sample: &Sample| sample.values.len() / dims.max(1);
    let times: Vec<i64> = (0..count(baseline).max(count(current)) as i64).collect();
    let [baseline, current] = [baseline, current].map(|it| Path::new(&times[..count(it)], &it.values, dims));
    shift(method, &baseline, &current, &mut || {
        pgrx::check_for_interrupts!();
    })
}
