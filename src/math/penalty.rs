//! The penalty under which a trajectory without change shows any change point with probability `alpha`.
//!
//! A segmentation shows a change exactly when the penalty is below `b`, the largest gain a break (`gain`).
//! The statistic is `b / s`, with `s` the noise that successive differences see (the largest tenth left out: a
//! change must not inflate it). When nothing changes the points are exchangeable, so the statistic over random
//! orders of the same points has the same law, whatever the distribution: heavy tails, any covariance, any
//! dimension (Lehmann and Romano 2005, section 15.2). An order breaks up whatever shift there is, and as `s` grows
//! with it the reference law stays put where raw sums of squares would be inflated. Orders act on
//! the kernel matrix, so that a draw costs O(n^2) whatever the dimension.
//!
//! For autocorrelated noise `s` is the long-run variance of an AR(1) fitted to differences of lag one and
//! two, and the draws are AR(1) series of reordered innovations, each with its own fit.

use crate::gain::{LANES, Order, Workspace};
use crate::gram::{Columns, Dense, Gram};
use crate::noise::{MOST_PHI, Scale};
use crate::pelt::pelt;
use crate::reference::Draws;

/// Points whose draws are taken over all of them; longer trajectories use as many, evenly spread.
pub(crate) const SAMPLE: usize = 512;
/// Draws of the reference law.
const DRAWS: usize = 504;
/// Draws that show how well the autocorrelation of such a series can be fitted.
const PILOT_DRAWS: usize = 64;
/// Rounds of finding changes, taking them out of the reference law and looking again.
const ROUNDS: usize = 4;
/// Normal quantile of the confidence with which the penalty bounds the quantile it stands for.
const CONFIDENCE: f64 = 1.645;
/// Draws that must lie beyond a quantile for it to be read off; else the tail is extrapolated.
const TAIL: f64 = 8.0;

/// What the calibration is to hold for.
#[derive(Clone, Copy)]
pub(crate) struct Aim {
    pub(crate) min_size: usize,
    pub(crate) alpha: f64,
    pub(crate) autocorrelated: bool,
}

/// Breaks and penalty, the latter found from the data. `sample` is the matrix of the points `chosen`.
///
/// The first round is a test at level `alpha` that anything changes at all. Only when it says so are the
/// changes it found taken out of the reference law, and the search repeated at the lower penalty this leaves.
///
/// Beyond `SAMPLE` points the law of a stretch of that length stands for the whole: `n / SAMPLE` such stretches,
/// twice that with those between, share `alpha` (Bonferroni).
pub(crate) fn calibrated(
    gram: &mut Gram<'_>,
    mut sample: Dense,
    chosen: &[usize],
    aim: Aim,
    interrupt: &mut dyn FnMut(),
) -> (Vec<usize>, f64) {
    let n = gram.len();
    let alpha = if n > chosen.len() {
        aim.alpha * chosen.len() as f64 / (2 * n) as f64
    } else {
        aim.alpha
    };
    let mut breaks = Vec::new();
    let mut penalty = f64::INFINITY;
    for _ in 0..ROUNDS {
        let residuals = sample.residuals(&bounds_among(chosen, &breaks));
        let scale = Scale::of(n, &breaks, aim.autocorrelated, |i, j| gram.squared_distance(i, j));
        let quantile = quantile(&residuals, scale, Aim { alpha, ..aim }, interrupt);
        let next = if quantile.is_finite() {
            scale.value() * quantile
        } else {
            f64::MAX
        };
        penalty = penalty.min(next);
        let found = if n > chosen.len() {
            pelt(gram, penalty, aim.min_size, interrupt)
        } else {
            pelt(&mut sample, penalty, aim.min_size, interrupt)
        };
        if found == breaks {
            break;
        }
        breaks = found;
    }
    (breaks, penalty)
}

/// Where the segments between `breaks` begin and end among the `chosen` points; none is empty.
fn bounds_among(chosen: &[usize], breaks: &[usize]) -> Vec<usize> {
    let mut bounds = vec![0];
    bounds.extend(breaks.iter().map(|b| chosen.partition_point(|c| c < b)));
    bounds.push(chosen.len());
    bounds.dedup();
    bounds
}

/// The `1 - alpha` quantile of `b / s` over draws of noise like `residuals`, not below the true quantile
/// with 95 % confidence.
fn quantile(residuals: &Dense, scale: Scale, aim: Aim, interrupt: &mut dyn FnMut()) -> f64 {
    let n = residuals.order();
    let phi = aim
        .autocorrelated
        .then(|| persistence(residuals, scale.phi, interrupt));
    let mut source = Draws::new(residuals, phi);
    let mut workspace = Workspace::new(n);
    let mut draws = Vec::with_capacity(DRAWS);
    while draws.len() < DRAWS {
        interrupt();
        draws.extend(source.next(residuals, |matrices, order| {
            let gains = workspace.largest(matrices, order, aim.min_size);
            let scales = scales(matrices, order, aim.autocorrelated);
            std::array::from_fn::<f64, LANES, _>(|lane| ratio(gains[lane], scales[lane].value()))
        }));
    }
    draws.sort_by(f64::total_cmp);
    upper_quantile(&draws, aim.alpha)
}

/// The autocorrelation to draw with: the fit, less the bias and plus the standard deviation that fits to draws
/// with it show, since noise more persistent than its fit is what raises false alarms. Both fade as points and
/// effective dimensions grow.
fn persistence(residuals: &Dense, fitted: f64, interrupt: &mut dyn FnMut()) -> f64 {
    let mut source = Draws::new(residuals, Some(fitted));
    let mut fits = Vec::with_capacity(PILOT_DRAWS);
    while fits.len() < PILOT_DRAWS {
        interrupt();
        fits.extend(source.next(residuals, |matrices, order| {
            scales(matrices, order, true).map(|scale| scale.phi)
        }));
    }
    let count = fits.len() as f64;
    let mean = fits.iter().sum::<f64>() / count;
    let variance = fits.iter().map(|fit| (fit - mean).powi(2)).sum::<f64>() / count;
    (fitted + (fitted - mean) + variance.sqrt()).clamp(0.0, MOST_PHI)
}

fn scales(matrices: &[&Dense; LANES], order: &Order, autocorrelated: bool) -> [Scale; LANES] {
    std::array::from_fn(|lane| {
        let matrix = matrices[lane];
        let point = |i: usize| order[i][lane] as usize;
        let distance = |i: usize, j: usize| matrix.squared_distance(point(i), point(j));
        Scale::of(order.len(), &[], autocorrelated, distance)
    })
}

/// `b / s`; without noise any gain at all is infinitely large.
fn ratio(gain: f64, noise: f64) -> f64 {
    if gain <= 0.0 {
        0.0
    } else if noise <= 0.0 {
        f64::INFINITY
    } else {
        gain / noise
    }
}

/// From sorted draws: the order statistic that exceeds the `1 - alpha` quantile with confidence; beyond the
/// reach of the draws a power law fitted to their upper tail (Hill 1975), which no lighter tail exceeds.
fn upper_quantile(draws: &[f64], alpha: f64) -> f64 {
    let count = draws.len() as f64;
    let beyond = count * alpha - CONFIDENCE * (count * alpha * (1.0 - alpha)).sqrt();
    if beyond >= TAIL {
        return draws[draws.len() - beyond as usize];
    }
    let tail = (draws.len() / 20).max(1);
    let (rest, top) = draws.split_at(draws.len() - tail);
    let threshold = rest.last().copied().unwrap_or(0.0);
    if threshold <= 0.0 || top[tail - 1].is_infinite() {
        return top[tail - 1];
    }
    let hill = top.iter().map(|&draw| (draw / threshold).ln()).sum::<f64>() / tail as f64;
    let shape = hill * (1.0 + CONFIDENCE / (tail as f64).sqrt());
    threshold * (tail as f64 / (count * alpha)).max(1.0).powf(shape)
}
