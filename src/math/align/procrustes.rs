//! A rotation, a scale and a shift.

use super::dense::Matrix;
use super::map::Map;
use super::moments::Scatter;
use super::polar::polar;
use super::{Error, Fitted};

/// Orthogonal Procrustes (Schönemann 1966; with scale Schönemann and Carroll 1970): the orthogonal R and
/// scale s that minimise `Σ ‖y - ȳ - s (x - x̄) R‖²`. With `Xcᵀ Yc = U Σ Vᵀ`, `R = U Vᵀ` (a reflection where
/// that fits better, as in scipy.linalg.orthogonal_procrustes) and `s = tr Σ / ‖Xc‖²`. On directions that no
/// pair has seen R is as near to the identity as it can be (`polar`). The backward map is the exact inverse.
pub(super) fn fit(scatter: &Scatter) -> Result<Fitted, Error> {
    let (forward, scale, rank) = rotation(scatter)?;
    let mut backward = forward.transposed()?;
    backward.values.iter_mut().for_each(|x| *x /= scale * scale);
    Ok(Fitted {
        forward: Map::about(&forward, &scatter.at_x, &scatter.at_y)?,
        backward: Map::about(&backward, &scatter.at_y, &scatter.at_x)?,
        scale: Some(scale),
        ridge: None,
        correlations: Vec::new(),
        rank,
    })
}

/// The forward map of [`fit`] alone.
pub(super) fn forward(scatter: &Scatter) -> Result<Map, Error> {
    Map::about(&rotation(scatter)?.0, &scatter.at_x, &scatter.at_y)
}

/// `s R`, s, and the rank of the cross-scatter.
fn rotation(scatter: &Scatter) -> Result<(Matrix, f64, usize), Error> {
    let found = polar(&scatter.xy, Some(&Matrix::identity(scatter.xy.rows)?))?;
    let scale = found.values.iter().sum::<f64>() / scatter.square_x;
    let square = scale * scale;
    if !(square > 0.0 && square.is_finite() && square.recip().is_finite()) {
        return Err(Error::Uncorrelated);
    }
    let mut rotation = found.factor;
    rotation.values.iter_mut().for_each(|x| *x *= scale);
    Ok((rotation, scale, found.rank))
}
