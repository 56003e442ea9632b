//! Scalar descriptions of a whole trajectory.
//!
//! Too few points, or an undefined value (a zero norm, no movement), is `None`.

use crate::Error;
use crate::Path;
use crate::calculus::elapsed;
use crate::kernels::{distance, dot, norm};

pub use crate::hurst::hurst;

/// How far apart two points are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// `1 - cos` of the angle between them, in [0, 2].
    Cosine,
    /// Euclidean distance.
    L2,
}

impl Metric {
    /// Reads `cosine` or `l2`, in any case; another name is [`Error::InvalidParameter`].
    pub fn parse(name: &str) -> Result<Metric, Error> {
        if name.eq_ignore_ascii_case("cosine") {
            return Ok(Metric::Cosine);
        }
        if name.eq_ignore_ascii_case("l2") {
            return Ok(Metric::L2);
        }
        Err(Error::InvalidParameter {
            name: "metric",
            value: format!("{name:?}"),
            expected: "\"cosine\" or \"l2\"",
        })
    }
}

/// `1 - cos` of the angle between two rows, in [0, 2]; `None` when either is zero.
pub fn cosine_distance(a: &[f32], b: &[f32]) -> Option<f64> {
    let squares = dot(a, a) * dot(b, b);
    if squares == 0.0 {
        return None;
    }
    Some((1.0 - dot(a, b) / squares.sqrt()).clamp(0.0, 2.0))
}

/// Distance of the first and the last point.
///
/// `None` for fewer than two points and, for the cosine, when either point is zero.
pub fn drift(path: &Path, metric: Metric) -> Option<f64> {
    if path.len() < 2 {
        return None;
    }
    apart(path.point(0), path.point(path.len() - 1), metric)
}

fn apart(a: &[f32], b: &[f32], metric: Metric) -> Option<f64> {
    match metric {
        Metric::Cosine => cosine_distance(a, b),
        Metric::L2 => Some(distance(a, b)),
    }
}

/// How fast the drift grows per `unit` (microseconds, positive): the least-squares slope of the distance from the
/// first point against time, over all points.
///
/// `None` for fewer than two points and, for the cosine, when any point is zero.
pub fn drift_trend(path: &Path, metric: Metric, unit: f64) -> Option<f64> {
    if path.len() < 2 {
        return None;
    }
    let first = path.point(0);
    // The first point is at no distance from itself, which rounding of the cosine need not give.
    let mut distances = vec![0.0];
    for point in path.points().skip(1) {
        distances.push(apart(first, point, metric)?);
    }
    let times: Vec<f64> = path.times.iter().map(|&t| elapsed(path.times[0], t)).collect();
    let n = path.len() as f64;
    let (mid_time, mean) = (times.iter().sum::<f64>() / n, distances.iter().sum::<f64>() / n);
    let (mut together, mut squares) = (0.0, 0.0);
    for (t, d) in times.iter().zip(&distances) {
        together += (t - mid_time) * (d - mean);
        squares += (t - mid_time) * (t - mid_time);
    }
    Some(together / squares * unit)
}

/// Volatility per square root of `unit` (microseconds, positive): the square root of the summed per-dimension
/// sample variance (divisor `steps - 1`) of `(x_{i+1} - x_i) / √Δt`.
///
/// It is the realised diffusion of a Brownian motion with drift, so an even spread of steps has none of it.
/// `None` for fewer than three points.
pub fn volatility(path: &Path, unit: f64) -> Option<f64> {
    if path.len() < 3 {
        return None;
    }
    let steps = (path.len() - 1) as f64;
    let mut mean = vec![0.0; path.dims];
    scaled_steps(path, unit, |j, r| mean[j] += r);
    mean.iter_mut().for_each(|m| *m /= steps);
    let mut squares = vec![0.0; path.dims];
    scaled_steps(path, unit, |j, r| {
        let off = r - mean[j];
        squares[j] += off * off;
    });
    Some((squares.iter().sum::<f64>() / (steps - 1.0)).sqrt())
}

/// Hands coordinate `j` of each step divided by the square root of its time to `each(j, r)`.
fn scaled_steps(path: &Path, unit: f64, mut each: impl FnMut(usize, f64)) {
    for (i, (a, b)) in path.points().zip(path.points().skip(1)).enumerate() {
        let scale = (elapsed(path.times[i], path.times[i + 1]) / unit).sqrt().recip();
        for (j, (&a, &b)) in a.iter().zip(b).enumerate() {
            each(j, (f64::from(b) - f64::from(a)) * scale);
        }
    }
}

/// How evenly the net movement spreads over the dimensions, in [0, 1]: 0 for one dimension, 1 for all alike.
///
/// Normalised Shannon entropy `-Σ p_j ln p_j / ln D` of `p_j = (x_n - x_1)_j² / ‖x_n - x_1‖²`. In one
/// dimension it is 0. `None` for fewer than two points and when the last point is the first.
pub fn drift_entropy(path: &Path) -> Option<f64> {
    if path.len() < 2 {
        return None;
    }
    let (first, last) = (path.point(0), path.point(path.len() - 1));
    let moved = crate::kernels::squared_distance(first, last);
    if moved == 0.0 {
        return None;
    }
    if path.dims == 1 {
        return Some(0.0);
    }
    let mut entropy = 0.0;
    for (&a, &b) in first.iter().zip(last) {
        let p = (f64::from(b) - f64::from(a)).powi(2) / moved;
        if p > 0.0 {
            entropy -= p * p.ln();
        }
    }
    Some((entropy / (path.dims as f64).ln()).clamp(0.0, 1.0))
}

/// Mean resultant length `‖(1/n) Σ x_i / ‖x_i‖‖` in [0, 1]: 1 when all points lie in one direction.
///
/// Mardia and Jupp, *Directional Statistics* (2000), section 9.2. `None` without points and when any is zero.
pub fn stability_score(path: &Path) -> Option<f64> {
    if path.is_empty() {
        return None;
    }
    let mut sum = vec![0.0; path.dims];
    for point in path.points() {
        let length = norm(point);
        if length == 0.0 {
            return None;
        }
        for (s, &x) in sum.iter_mut().zip(point) {
            *s += f64::from(x) / length;
        }
    }
    let resultant = sum.iter().map(|s| s * s).sum::<f64>().sqrt();
    Some((resultant / path.len() as f64).min(1.0))
}

/// What [`drift_report`] finds.
#[derive(Clone, Debug, PartialEq)]
pub struct DriftReport {
    /// Euclidean distance of first and last point.
    pub l2: f64,
    /// `1 - cos` of first and last point, `None` when either is zero.
    pub cosine: Option<f64>,
    /// The dimensions that moved most, 0-based, by falling size of the change, the lower first on a tie.
    pub dims: Vec<usize>,
    /// Last minus first value of each of `dims`.
    pub change: Vec<f64>,
}

/// Both drifts and the `top` dimensions that moved most (all of them when there are fewer).
///
/// `None` for fewer than two points.
pub fn drift_report(path: &Path, top: usize) -> Option<DriftReport> {
    if path.len() < 2 {
        return None;
    }
    let (first, last) = (path.point(0), path.point(path.len() - 1));
    let mut moved: Vec<(usize, f64)> = first
        .iter()
        .zip(last)
        .map(|(&a, &b)| f64::from(b) - f64::from(a))
        .enumerate()
        .collect();
    moved.sort_by(|(i, a), (j, b)| b.abs().total_cmp(&a.abs()).then(i.cmp(j)));
    moved.truncate(top);
    let (dims, change) = moved.into_iter().unzip();
    Some(DriftReport {
        l2: distance(first, last),
        cosine: cosine_distance(first, last),
        dims,
        change,
    })
}
