//! Leading principal components of a path, without ever forming a covariance matrix.

use crate::Path;
use crate::kernels::{add_scaled, centre, dot_f64};

/// Leading principal components of `n` points of `D` numbers.
///
/// Components beyond the rank of the data are there, with ratio, scores and axis zero.
#[derive(Clone, Debug, PartialEq)]
pub struct Pca {
    /// Number of components asked for.
    pub components: usize,
    /// `D` numbers: the mean of the points.
    pub mean: Vec<f64>,
    /// `components × D`, row-major: orthonormal directions of most variance, largest first.
    pub axes: Vec<f64>,
    /// `n × components`, row-major: coordinates of the centred points along the axes.
    pub scores: Vec<f64>,
    /// Share of the total variance along each axis, in [0, 1]; all zero when nothing varies.
    pub ratios: Vec<f64>,
}

/// Most Lanczos steps an axis. Real spectra take 15 to 50; a spectrum with no gap is cut off here, where what is
/// left open is which of several nearly equal directions comes out.
const MAX_STEPS: usize = 160;
/// Of a very large path fewer steps are taken, down to this many, to keep within [`MAX_WORK`] products an axis.
const FEWEST_STEPS: usize = 24;
const MAX_WORK: usize = 2_000_000_000;
/// An axis is found when its residual is below this share of its eigenvalue.
const TOLERANCE: f64 = 1e-11;
/// The Krylov space is exhausted when the next direction is below this share of the largest entry so far.
const EXHAUSTED: f64 = 1e-13;
/// Enough to halve any interval down to rounding.
const MAX_BISECTIONS: usize = 100;
/// Variance below this share of the total is rounding, not a direction.
const ROUNDING: f64 = 1e-20;

/// The `components` leading principal components of the points of `path`.
///
/// Lanczos iteration with full reorthogonalisation (Golub and Van Loan, *Matrix Computations*, section 10.3) on
/// the scatter matrix `Σ (x - x̄)(x - x̄)ᵀ`, applied one row at a time: `n·D` work and `D` memory a step. Axis
/// after axis, each orthogonal to those before it, so equal eigenvalues are all found. The start is a fixed
/// pseudo-random vector: the same input gives the same output.
///
/// Signs: each axis points the way the path goes, so that the last score is not below the first; where these
/// are equal, the axis's largest entry in size (the first of them) is positive.
pub fn pca(path: &Path, components: usize) -> Pca {
    let (n, dims) = (path.len(), path.dims);
    let mean = mean_point(path);
    let mut found = Pca {
        components,
        axes: vec![0.0; components * dims],
        scores: vec![0.0; n * components],
        ratios: vec![0.0; components],
        mean,
    };
    let total = total_scatter(path, &found.mean);
    if total == 0.0 || components == 0 {
        return found;
    }
    let mut axes: Vec<Vec<f64>> = Vec::new();
    for c in 0..components.min(dims).min(n - 1) {
        let Some((value, axis)) = leading_axis(path, &found.mean, &axes) else {
            break;
        };
        if value <= ROUNDING * total {
            break;
        }
        found.ratios[c] = (value / total).min(1.0);
        found.axes[c * dims..(c + 1) * dims].copy_from_slice(&axis);
        axes.push(axis);
    }
    score(path, &mut found);
    fix_signs(&mut found, n, dims);
    found
}

fn mean_point(path: &Path) -> Vec<f64> {
    let mut mean = vec![0.0; path.dims];
    for point in path.points() {
        mean.iter_mut().zip(point).for_each(|(m, &x)| *m += f64::from(x));
    }
    let count = path.len().max(1) as f64;
    mean.iter_mut().for_each(|m| *m /= count);
    mean
}

/// Trace of the scatter matrix; what rounding alone leaves of identical points counts as zero.
fn total_scatter(path: &Path, mean: &[f64]) -> f64 {
    let first = path.points().next();
    if path.points().all(|p| Some(p) == first) {
        return 0.0;
    }
    path.points()
        .map(|p| {
            p.iter()
                .zip(mean)
                .map(|(&x, m)| (f64::from(x) - m).powi(2))
                .sum::<f64>()
        })
        .sum()
}

/// The largest eigenvalue of the scatter matrix on the complement of `found`, and its unit eigenvector.
fn leading_axis(path: &Path, mean: &[f64], found: &[Vec<f64>]) -> Option<(f64, Vec<f64>)> {
    let affordable = (MAX_WORK / path.values.len().max(1)).clamp(FEWEST_STEPS, MAX_STEPS);
    let most = (path.dims - found.len()).min(path.len()).min(affordable);
    let mut basis: Vec<Vec<f64>> = found.to_vec();
    let mut next = start_vector(path.dims);
    let mut left = orthogonalise(&basis, &mut next);
    let mut tridiagonal = Tridiagonal::default();
    let mut best = None;
    for _ in 0..most {
        if left == 0.0 {
            break;
        }
        next.iter_mut().for_each(|x| *x /= left);
        let mut image = scatter_times(path, mean, &next);
        tridiagonal.diagonal.push(dot_f64(&next, &image));
        basis.push(next);
        left = orthogonalise(&basis, &mut image);
        let (value, vector) = tridiagonal.largest_eigenpair();
        let residual = left * vector[vector.len() - 1].abs();
        let scale = tridiagonal.diagonal.iter().fold(0.0f64, |m, d| m.max(d.abs()));
        best = Some((value, vector));
        if residual <= TOLERANCE * value || left <= EXHAUSTED * scale {
            break;
        }
        tridiagonal.coupling.push(left);
        next = image;
    }
    let (value, vector) = best?;
    let mut axis = vec![0.0; path.dims];
    for (weight, b) in vector.iter().zip(&basis[found.len()..]) {
        add_scaled(&mut axis, *weight, b);
    }
    Some((value, axis))
}

/// Removes from `v` what lies in the basis, twice for full accuracy, and returns the norm of the rest.
fn orthogonalise(basis: &[Vec<f64>], v: &mut [f64]) -> f64 {
    for _ in 0..2 {
        for b in basis {
            let along = dot_f64(b, v);
            add_scaled(v, -along, b);
        }
    }
    dot_f64(v, v).sqrt()
}

/// A symmetric tridiagonal matrix whose couplings of neighbours are positive.
#[derive(Default)]
struct Tridiagonal {
    diagonal: Vec<f64>,
    coupling: Vec<f64>,
}

impl Tridiagonal {
    /// The largest eigenvalue by bisection, then two rounds of inverse iteration just above it, where the
    /// shifted matrix is positive definite and needs no pivoting. The eigenvector has no zero entry and one sign
    /// (Perron), so a start of ones cannot miss it.
    fn largest_eigenpair(&self) -> (f64, Vec<f64>) {
        let m = self.diagonal.len();
        let beside = |i: usize| self.coupling.get(i).copied().unwrap_or(0.0);
        let mut low = self.diagonal.iter().copied().fold(f64::MIN, f64::max);
        let mut high = (0..m)
            .map(|i| self.diagonal[i] + if i > 0 { beside(i - 1) } else { 0.0 } + beside(i))
            .fold(f64::MIN_POSITIVE, f64::max);
        high += high * 1e-14;
        for _ in 0..MAX_BISECTIONS {
            if high - low <= 4.0 * f64::EPSILON * high {
                break;
            }
            let middle = 0.5 * (low + high);
            if self.pivots_below(middle).is_some() {
                high = middle;
            } else {
                low = middle;
            }
        }
        let mut vector = vec![(m as f64).sqrt().recip(); m];
        if let Some(pivots) = self.pivots_below(high) {
            for _ in 0..3 {
                self.solve_below(&pivots, &mut vector);
            }
        }
        (high, vector)
    }

    /// Pivots of `shift·I - T`; `None` unless all are positive, that is, all eigenvalues lie below `shift`.
    fn pivots_below(&self, shift: f64) -> Option<Vec<f64>> {
        let mut pivots = Vec::with_capacity(self.diagonal.len());
        for (i, d) in self.diagonal.iter().enumerate() {
            let carried = if i > 0 {
                self.coupling[i - 1].powi(2) / pivots[i - 1]
            } else {
                0.0
            };
            let pivot = shift - d - carried;
            if pivot <= 0.0 {
                return None;
            }
            pivots.push(pivot);
        }
        Some(pivots)
    }

    /// Replaces `v` by the solution x of `(shift·I - T) x = v`, normalised.
    fn solve_below(&self, pivots: &[f64], v: &mut [f64]) {
        let m = v.len();
        for i in 1..m {
            v[i] += self.coupling[i - 1] / pivots[i - 1] * v[i - 1];
        }
        v[m - 1] /= pivots[m - 1];
        for i in (0..m - 1).rev() {
            v[i] = (v[i] + self.coupling[i] * v[i + 1]) / pivots[i];
        }
        let largest = v.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        v.iter_mut().for_each(|x| *x /= largest);
        let norm = dot_f64(v, v).sqrt();
        v.iter_mut().for_each(|x| *x /= norm);
    }
}

/// `Σ (x - x̄) ((x - x̄)·v)` over the points.
fn scatter_times(path: &Path, mean: &[f64], v: &[f64]) -> Vec<f64> {
    let mut image = vec![0.0; v.len()];
    let mut centred = vec![0.0; v.len()];
    for point in path.points() {
        centre(point, mean, &mut centred);
        let along = dot_f64(&centred, v);
        add_scaled(&mut image, along, &centred);
    }
    image
}

fn score(path: &Path, found: &mut Pca) {
    let mut centred = vec![0.0; path.dims];
    for (point, scores) in path.points().zip(found.scores.chunks_exact_mut(found.components)) {
        centre(point, &found.mean, &mut centred);
        for (s, axis) in scores.iter_mut().zip(found.axes.chunks_exact(path.dims)) {
            *s = dot_f64(&centred, axis);
        }
    }
}

fn fix_signs(found: &mut Pca, n: usize, dims: usize) {
    for c in 0..found.components {
        let axis = &mut found.axes[c * dims..(c + 1) * dims];
        let column = || (0..n).map(|i| i * found.components + c);
        let ends = found.scores[(n - 1) * found.components + c] - found.scores[c];
        let spread = column().map(|i| found.scores[i].abs()).fold(0.0, f64::max);
        let largest = axis
            .iter()
            .fold(0.0f64, |m, &a| if a.abs() > m.abs() { a } else { m });
        let flip = if ends.abs() > 1e-9 * spread {
            ends < 0.0
        } else {
            largest < 0.0
        };
        if flip {
            axis.iter_mut().for_each(|a| *a = -*a);
            for i in column() {
                found.scores[i] = -found.scores[i];
            }
        }
    }
}

/// Pseudo-random numbers in (-1, 1) by SplitMix64 (Steele, Lea and Flood 2014), always the same.
fn start_vector(dims: usize) -> Vec<f64> {
    let mut state = 0u64;
    let next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    std::iter::repeat_with(next).take(dims).collect()
}
