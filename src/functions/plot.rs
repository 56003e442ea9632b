//! Pictures. DDL: sql/install/50_plot.sql.

use cvx_math::changepoints::{Cost, Options};
use cvx_plot::{Colouring, Mark, Plot};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::changepoints::detect;
use crate::types::trajectory::Trajectory;

/// The defaults of `cvx.changepoints`.
pub(super) const DEFAULTS: Options = Options {
    cost: Cost::L2,
    penalty: None,
    min_size: 2,
    alpha: 0.05,
    autocorrelated: false,
};

#[pg_extern(sql = false)]
fn trajectory_svg(
    t: Option<Trajectory>,
    title: Option<&str>,
    changepoints: Option<bool>,
) -> Result<Option<String>, ErrorReport> {
    let Some(t) = t else { return Ok(None) };
    let path = t.path();
    let found = if changepoints == Some(true) {
        detect(path, &DEFAULTS)?
    } else {
        Vec::new()
    };
    let change_points: Vec<Mark> = found
        .iter()
        .map(|it| Mark {
            index: it.index,
            severity: it.severity,
            artifact: false,
        })
        .collect();
    Ok(Some(
        Plot {
            path,
            title,
            change_points: &change_points,
            colouring: Colouring::Time,
        }
        .render(),
    ))
}
