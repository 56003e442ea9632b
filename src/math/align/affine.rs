//! Any linear map and a shift, shrunk as much as the data ask for.

use super::dense::{Eigen, Matrix, eigen, solve};
use super::map::Map;
use super::moments::Scatter;
use super::{Error, Fitted};

/// Penalties that are tried: powers of ten in quarters, times the mean eigenvalue of the scatter.
const EXPONENTS: std::ops::RangeInclusive<i32> = -36..=12;
const STEPS_PER_DECADE: f64 = 4.0;
/// Of errors that differ by less than this share of what there is to explain, the smaller penalty is taken.
const ROUNDING: f64 = 1e-12;
/// Share of the degrees of freedom that a penalty must leave, for generalised cross-validation to be defined.
const LEAST_FREEDOM: f64 = 0.01;

/// The chosen penalties, in both directions.
#[derive(Clone, Copy)]
pub(super) struct Penalties {
    forward: f64,
    backward: f64,
}

/// Ridge regression (Hoerl and Kennard 1970): B minimises `‖Yc - Xc B‖² + λ ‖B‖²`, on centred data; the
/// offset has no penalty. Backward is the same regression with roles swapped, not the inverse.
pub(super) fn fit(scatter: &Scatter, penalties: Penalties) -> Result<Fitted, Error> {
    let penalty = or_mean(penalties.forward, scatter.square_x, scatter.xx.rows);
    let back = or_mean(penalties.backward, scatter.square_y, scatter.yy.rows);
    let backward = ridge(&scatter.yy, scatter.xy.transposed()?, back)?;
    Ok(Fitted {
        forward: forward(scatter, penalties)?,
        backward: Map::about(&backward, &scatter.at_y, &scatter.at_x)?,
        scale: None,
        ridge: Some(penalty),
        correlations: Vec::new(),
        rank: eigen(&scatter.xx)?.rank(),
    })
}

/// The forward map of [`fit`] alone.
pub(super) fn forward(scatter: &Scatter, penalties: Penalties) -> Result<Map, Error> {
    let penalty = or_mean(penalties.forward, scatter.square_x, scatter.xx.rows);
    let b = ridge(&scatter.xx, scatter.xy.copy()?, penalty)?;
    Map::about(&b, &scatter.at_x, &scatter.at_y)
}

/// The penalty, or the mean eigenvalue where none could be chosen, because the training pairs did not vary.
fn or_mean(penalty: f64, square: f64, dims: usize) -> f64 {
    if penalty > 0.0 {
        penalty
    } else {
        square / dims as f64
    }
}

/// The solution of `(xx + λI) B = xy`.
fn ridge(xx: &Matrix, mut xy: Matrix, penalty: f64) -> Result<Matrix, Error> {
    let mut a = xx.copy()?;
    a.values
        .iter_mut()
        .step_by(xx.rows + 1)
        .for_each(|x| *x += penalty);
    if solve(a, &mut xy)? {
        return Ok(xy);
    }
    // Rounding hides the penalty from Cholesky; the eigenvalues are known not to be negative.
    let axes = eigen(xx)?;
    let factors: Vec<f64> = axes.values.iter().map(|w| (w + penalty).recip()).collect();
    let mut b = Matrix::product(axes.vectors.view().transpose(), xy.view())?;
    b.scale_rows(&factors);
    Matrix::product(axes.vectors.view(), b.view())
}

/// The penalties with the least squared error of what `training` says of `validation` (scattered about the
/// means of the training pairs); without validation pairs those with the least generalised cross-validation
/// score (Golub, Heath and Wahba 1979).
pub(super) fn choose(training: &Scatter, validation: Option<&Scatter>) -> Result<Penalties, Error> {
    let (x_to_y, y_to_x) = match validation {
        Some(there) => (
            by_validation(&training.xx, &training.xy, &there.xx, &there.xy, there.square_y)?,
            by_validation(
                &training.yy,
                &training.xy.transposed()?,
                &there.yy,
                &there.xy.transposed()?,
                there.square_x,
            )?,
        ),
        None => (
            by_generalised_cross_validation(&training.xx, &training.xy, training.square_y, training.pairs)?,
            by_generalised_cross_validation(
                &training.yy,
                &training.xy.transposed()?,
                training.square_x,
                training.pairs,
            )?,
        ),
    };
    Ok(Penalties {
        forward: x_to_y,
        backward: y_to_x,
    })
}

/// With `xx = U diag(w) Uᵀ` the solution is `U diag(f) Uᵀ xy`, `f = 1 / (w + λ)`, and its squared error over
/// the validation pairs `square_y - 2 Σ f_i g_i + Σ f_i f_j h_ij`: all penalties cost one decomposition.
fn by_validation(
    xx: &Matrix,
    xy: &Matrix,
    xx_there: &Matrix,
    xy_there: &Matrix,
    square_y: f64,
) -> Result<f64, Error> {
    let axes = eigen(xx)?;
    let u = axes.vectors.view();
    let here = Matrix::product(u.transpose(), xy.view())?;
    let there = Matrix::product(u.transpose(), xy_there.view())?;
    let g = row_products(&here, &there);
    let mut h = Matrix::product(here.view(), here.view().transpose())?;
    let spread = Matrix::product(u.transpose(), Matrix::product(xx_there.view(), u)?.view())?;
    h.values.iter_mut().zip(&spread.values).for_each(|(h, s)| *h *= s);
    Ok(least(&axes, square_y, |f| {
        let linear: f64 = f.iter().zip(&g).map(|(f, g)| f * g).sum();
        let quadratic: f64 = h
            .columns()
            .zip(f)
            .map(|(column, fj)| fj * crate::kernels::dot_f64(column, f))
            .sum();
        Some(square_y - 2.0 * linear + quadratic)
    }))
}

fn by_generalised_cross_validation(
    xx: &Matrix,
    xy: &Matrix,
    square_y: f64,
    pairs: usize,
) -> Result<f64, Error> {
    let axes = eigen(xx)?;
    let here = Matrix::product(axes.vectors.view().transpose(), xy.view())?;
    let squares = row_products(&here, &here);
    let freedom = pairs.saturating_sub(1) as f64;
    Ok(least(&axes, square_y, |f| {
        let terms = f.iter().zip(&axes.values).zip(&squares);
        let explained: f64 = terms.map(|((f, w), s)| s * (2.0 * f - f * f * w)).sum();
        let used: f64 = f.iter().zip(&axes.values).map(|(f, w)| f * w).sum();
        let left = 1.0 - used / freedom;
        (left > LEAST_FREEDOM).then(|| (square_y - explained) / (left * left))
    }))
}

/// The penalty of the grid with the least error, which `error` gives for the factors `1 / (w + λ)`; the
/// largest one if no penalty has an error, 0 where nothing varies.
fn least(axes: &Eigen, scale: f64, error: impl Fn(&[f64]) -> Option<f64>) -> f64 {
    if axes.rank() == 0 {
        return 0.0;
    }
    let mean = axes.values.iter().sum::<f64>() / axes.values.len() as f64;
    let at = |exponent: i32| mean * 10f64.powf(f64::from(exponent) / STEPS_PER_DECADE);
    let mut best = (at(*EXPONENTS.end()), f64::INFINITY);
    for exponent in EXPONENTS {
        let penalty = at(exponent);
        let factors: Vec<f64> = axes.values.iter().map(|w| (w + penalty).recip()).collect();
        if let Some(error) = error(&factors).filter(|e| *e < best.1 - ROUNDING * scale) {
            best = (penalty, error);
        }
    }
    best.0
}

/// Inner products of rows of one number.
fn row_products(a: &Matrix, b: &Matrix) -> Vec<f64> {
    let mut sums = vec![0.0; a.rows];
    for (a, b) in a.columns().zip(b.columns()) {
        sums.iter_mut()
            .zip(a.iter().zip(b))
            .for_each(|(s, (a, b))| *s += a * b);
    }
    sums
}
