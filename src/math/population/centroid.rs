//! Distance of the means.

use super::Shift;
use crate::Path;
use crate::kernels::{centre, dot_f64};
use crate::significance::Shape;

/// Points of each sample from which the shape of the population is taken.
const SHAPE_POINTS: usize = 128;

/// The statistic is `√(max(0, ‖x̄ - ȳ‖² - tr Sx/n - tr Sy/m) / tr S)` with `S` the pooled covariance: how far apart the
/// means are in standard deviations of the population, without what sampling alone adds, so that 0.5 means the same for
/// ten points as for a thousand.
///
/// The p-value is of `‖x̄ - ȳ‖² / (tr Sx/n + tr Sy/m)`, covariances not taken as equal, by the law of sums of
/// chi-squares that `significance` describes, with Welch's degrees of freedom.
pub(super) fn shift(baseline: &Path, current: &Path) -> Option<Shift> {
    let (n, m) = (baseline.len() as f64, current.len() as f64);
    if n < 2.0 || m < 2.0 {
        return None;
    }
    let (before, after) = (Moments::of(baseline), Moments::of(current));
    let apart: f64 = before
        .mean
        .iter()
        .zip(&after.mean)
        .map(|(a, b)| (a - b).powi(2))
        .sum();
    let sampling = before.variance / n + after.variance / m;
    let pooled = ((n - 1.0) * before.variance + (m - 1.0) * after.variance) / (n + m - 2.0);
    if pooled == 0.0 {
        let (statistic, p_value) = if apart > 0.0 {
            (f64::INFINITY, 0.0)
        } else {
            (0.0, 1.0)
        };
        return Some(Shift { statistic, p_value });
    }
    let welch = sampling.powi(2)
        / ((before.variance / n).powi(2) / (n - 1.0) + (after.variance / m).powi(2) / (m - 1.0));
    Some(Shift {
        statistic: ((apart - sampling).max(0.0) / pooled).sqrt(),
        p_value: shape(baseline, current).upper_tail(apart / sampling, welch),
    })
}

struct Moments {
    mean: Vec<f64>,
    /// Trace of the sample covariance.
    variance: f64,
}

impl Moments {
    fn of(path: &Path) -> Self {
        let n = path.len() as f64;
        let mut mean = vec![0.0; path.dims];
        for point in path.points() {
            mean.iter_mut().zip(point).for_each(|(m, &x)| *m += f64::from(x));
        }
        mean.iter_mut().for_each(|m| *m /= n);
        let still = path.points().all(|p| p == path.point(0));
        let square = |p: &[f32]| -> f64 {
            p.iter()
                .zip(&mean)
                .map(|(&x, m)| (f64::from(x) - m).powi(2))
                .sum()
        };
        // Of identical points only rounding is left.
        let variance = if still {
            0.0
        } else {
            path.points().map(square).sum::<f64>() / (n - 1.0)
        };
        Moments { mean, variance }
    }
}

/// Of some points of both samples around their own means, each sample scaled to the same variance.
fn shape(baseline: &Path, current: &Path) -> Shape {
    let dims = baseline.dims;
    let (mut residuals, mut freedom) = (Vec::new(), 0);
    for path in [baseline, current] {
        let some = path.slice(0..path.len().min(SHAPE_POINTS));
        let Moments { mean, variance } = Moments::of(&some);
        if variance == 0.0 {
            continue;
        }
        freedom += some.len() - 1;
        let scale = variance.sqrt().recip();
        for point in some.points() {
            let mut residual = vec![0.0; dims];
            centre(point, &mean, &mut residual);
            residual.iter_mut().for_each(|r| *r *= scale);
            residuals.push(residual);
        }
    }
    let gram: Vec<f64> = residuals
        .iter()
        .flat_map(|a| residuals.iter().map(|b| dot_f64(a, b)))
        .collect();
    Shape::of(&gram, freedom, dims)
}
