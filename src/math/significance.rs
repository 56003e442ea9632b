//! How likely noise alone moves a trajectory as far.
//!
//! The null hypothesis: the points are independent normal draws around one mean, with any covariance `Σ`. Half the
//! squared length of the tested step is then `Σ λ χ²₁` over the eigenvalues of `Σ`, with mean `tr Σ`. It is compared
//! with the noise that the successive differences see which share no point with the step (so that both are
//! independent), the largest tenth of them left out: a real change among them must not hide itself.
//!
//! The law of a sum of `λ χ²₁` is approximated by a shifted and scaled chi-square with the same three moments
//! (Buckley and Eagleson 1988), from which the ratio follows an F law. The moments of `Σ` come from those of the
//! Gram matrix of the points: the second in such a way that, given this matrix, the ratio has the variance that it
//! has under all rotations of the points, which is what makes few points in many dimensions work; the third as its
//! unbiased estimate.

use crate::Path;
use crate::kernels::{dot, dot_f64, squared_distance};
use crate::special::{f_upper_tail, gamma_p, gamma_quantile};
use crate::stats::Metric;

/// Fewer points leave no difference that shares no point with the step.
pub const MIN_POINTS: usize = 4;
/// Share of the differences, the largest, that the noise leaves out.
const TRIMMED: f64 = 0.1;
/// Points from which the shape of the noise is taken, evenly spread where there are more.
const SHAPE_POINTS: usize = 32;
/// Squared distances of normalised points below this are rounding of their single-precision coordinates.
const ROUNDING: f64 = 1e-14;

/// The probability that noise about a fixed mean sets the first and the last point as far apart as they are.
///
/// By `Metric::Cosine` of the normalised points. `None` below [`MIN_POINTS`] points and, for the cosine, when any is
/// zero. Without any noise to be seen it is 0 if they differ at all, 1 if not.
pub fn drift_p_value(path: &Path, metric: Metric) -> Option<f64> {
    let n = path.len();
    if n < MIN_POINTS {
        return None;
    }
    let distance = Distance::new(path, metric)?;
    Some(p_value(path, &distance, (0, n - 1), 1..n - 1))
}

/// The probability that noise about a fixed mean makes a last step as long as it is; when it happened plays no part.
///
/// `None` below [`MIN_POINTS`] points; as [`drift_p_value`] without noise.
pub fn velocity_p_value(path: &Path) -> Option<f64> {
    let n = path.len();
    if n < MIN_POINTS {
        return None;
    }
    let distance = Distance::new(path, Metric::L2)?;
    Some(p_value(path, &distance, (n - 2, n - 1), 0..n - 2))
}

/// Squared distances of the points of a path.
struct Distance<'a> {
    path: Path<'a>,
    /// Norms for the cosine.
    norms: Option<Vec<f64>>,
}

impl<'a> Distance<'a> {
    fn new(path: &Path<'a>, metric: Metric) -> Option<Self> {
        let norms = match metric {
            Metric::L2 => None,
            Metric::Cosine => Some(path.points().map(|p| dot(p, p).sqrt()).collect::<Vec<_>>()),
        };
        if norms.iter().flatten().any(|&norm| norm == 0.0) {
            return None;
        }
        Some(Distance { path: *path, norms })
    }

    fn squared(&self, i: usize, j: usize) -> f64 {
        let (a, b) = (self.path.point(i), self.path.point(j));
        let Some(norms) = &self.norms else {
            return squared_distance(a, b);
        };
        let square = 2.0 - 2.0 * dot(a, b) / (norms[i] * norms[j]);
        if square < ROUNDING { 0.0 } else { square }
    }
}

/// For the step between two points, with the noise among the points `apart`, of which none is one of them.
fn p_value(path: &Path, distance: &Distance, step: (usize, usize), apart: std::ops::Range<usize>) -> f64 {
    let moved = distance.squared(step.0, step.1) / 2.0;
    if moved == 0.0 {
        return 1.0;
    }
    let points = apart.len() as f64;
    let (noise, kept) = trimmed(apart.skip(1).map(|i| distance.squared(i - 1, i) / 2.0).collect());
    if noise == 0.0 {
        return 0.0;
    }
    let n = path.len().min(SHAPE_POINTS);
    let chosen: Vec<usize> = (0..n).map(|i| i * (path.len() - 1) / (n - 1)).collect();
    let gram = centred_gram(n, |i, j| distance.squared(chosen[i], chosen[j]));
    let shape = Shape::of(&gram, n - 1, path.dims);
    let (bias, efficiency) = trimming(shape.freedom, kept);
    let ratio = moved * (shape.shift + (1.0 - shape.shift) * bias) / noise;
    // Successive differences overlap: n of them are worth this many independent ones (von Neumann 1941).
    let differences = 2.0 * (points - 1.0).powi(2) / (3.0 * points - 4.0);
    shape.upper_tail(ratio, differences * efficiency)
}

/// The mean without the largest tenth (none of fewer than ten), and the share that was kept.
fn trimmed(mut values: Vec<f64>) -> (f64, f64) {
    let count = values.len();
    let kept = count - (TRIMMED * count as f64) as usize;
    values.sort_by(f64::total_cmp);
    (
        values[..kept].iter().sum::<f64>() / kept as f64,
        kept as f64 / count as f64,
    )
}

/// What trimming does to the mean of chi-squares with `freedom` degrees of freedom: the factor on its expectation, and
/// its precision as a share of that of the whole mean (by its influence function).
fn trimming(freedom: f64, kept: f64) -> (f64, f64) {
    if kept >= 1.0 {
        return (1.0, 1.0);
    }
    let a = freedom / 2.0;
    let cut = gamma_quantile(a, kept);
    let (first, second) = (gamma_p(a + 1.0, cut), gamma_p(a + 2.0, cut));
    let mean = freedom * first;
    let winsorised = mean + 2.0 * cut * (1.0 - kept);
    let square = freedom * (freedom + 2.0) * second + (2.0 * cut).powi(2) * (1.0 - kept);
    let variance = (square - winsorised * winsorised) / (mean * mean);
    (first / kept, 2.0 / freedom / variance)
}

/// The law of `Σ λ χ²₁` with mean 1: `shift + (1 - shift) χ² / freedom`.
#[derive(Debug)]
pub(crate) struct Shape {
    /// Effective dimension `(tr Σ)² / tr Σ²`.
    dimension: f64,
    shift: f64,
    freedom: f64,
}

impl Shape {
    /// From the Gram matrix of residuals with so many degrees of freedom, in so many dimensions.
    pub(crate) fn of(gram: &[f64], freedom: usize, dims: usize) -> Self {
        let n = gram.len().isqrt();
        let freedom = freedom as f64;
        let trace: f64 = gram.iter().step_by(n + 1).sum();
        // Powers of the matrix scaled so that its trace is the number of degrees of freedom.
        let scale = freedom / trace;
        let (second, third) = powers(gram, n);
        let (second, third) = (second * scale.powi(2), third * scale.powi(3));

        let share = second / freedom.powi(2);
        let dimension = (freedom + 1.0 - 2.0 * share) / (freedom * share - 1.0).max(f64::MIN_POSITIVE);
        let dimension = dimension.clamp(1.0, dims.max(1) as f64);
        let square = 1.0 / dimension;
        // Unbiased for tr Σ³ (Fisher, Sun and Gallagher 2010), held within what tr Σ = 1 and tr Σ² allow.
        let (least, most) = (square.powi(2), square.powf(1.5));
        let cube = if freedom > 2.0 {
            let divisor = (freedom - 1.0) * (freedom - 2.0) * (freedom + 2.0) * (freedom + 4.0);
            (freedom * (third - 3.0 * second + 2.0 * freedom) / divisor).clamp(least, most)
        } else {
            most
        };
        Shape {
            dimension,
            shift: 1.0 - square.powi(2) / cube,
            freedom: square.powi(3) / cube.powi(2),
        }
    }

    /// The probability that a variable of this law exceeds `ratio` times the mean of `copies` other ones.
    pub(crate) fn upper_tail(&self, ratio: f64, copies: f64) -> f64 {
        if ratio <= self.shift {
            return 1.0;
        }
        let denominator = self.dimension * copies * (1.0 - self.shift / ratio).powi(2);
        f_upper_tail(
            (ratio - self.shift) / (1.0 - self.shift),
            self.freedom,
            denominator,
        )
    }
}

/// The Gram matrix of points around their mean from their squared distances (Torgerson 1952).
fn centred_gram(n: usize, squared: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let mut gram = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..i {
            let square = squared(i, j);
            (gram[i * n + j], gram[j * n + i]) = (square, square);
        }
    }
    let means: Vec<f64> = gram
        .chunks_exact(n)
        .map(|row| row.iter().sum::<f64>() / n as f64)
        .collect();
    let grand = means.iter().sum::<f64>() / n as f64;
    for (i, row) in gram.chunks_exact_mut(n).enumerate() {
        for (value, mean) in row.iter_mut().zip(&means) {
            *value = (means[i] + mean - grand - *value) / 2.0;
        }
    }
    gram
}

/// Traces of the square and the cube of a symmetric matrix.
fn powers(matrix: &[f64], n: usize) -> (f64, f64) {
    let row = |i: usize| &matrix[i * n..(i + 1) * n];
    let (mut second, mut third) = (0.0, 0.0);
    for i in 0..n {
        for j in 0..=i {
            let product = dot_f64(row(i), row(j));
            if i == j {
                second += product;
                third += product * matrix[i * n + j];
            } else {
                third += 2.0 * product * matrix[i * n + j];
            }
        }
    }
    (second, third)
}
