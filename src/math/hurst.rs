//! The Hurst exponent by rescaled range, corrected for short series.

use crate::Path;
use crate::calculus::step_lengths;

/// Fewest steps that give an estimate: three window sizes with at least two windows each.
pub const MIN_STEPS: usize = 32;
const SMALLEST_WINDOW: usize = 8;
const FEWEST_SIZES: usize = 3;
/// A window whose standard deviation is below this share of its mean is constant but for rounding.
const CONSTANT: f64 = 1e-12;

/// Hurst exponent of the lengths of the steps, in [0, 1]: 0.5 when they are independent, above when calm
/// and busy times persist, below when they alternate. The spacing of the points in time does not enter.
///
/// Rescaled range (Mandelbrot and Wallis 1969) with the small-sample correction of Anis and Lloyd (1976), as
/// compared by Weron (Physica A 312, 2002): for window sizes `w = round(8 · 2^(k/2))` up to half the number of
/// steps, the mean of R/S over the consecutive disjoint windows from the start; H is 0.5 plus the least-squares
/// slope of `ln(R/S) - ln E(R/S)` against `ln w`, E being the expectation for independent Gaussian steps.
/// R is the range of the cumulated deviations from the window's mean, S its standard deviation with
/// divisor `w`. Windows of constant step length are left out.
///
/// `None` for fewer than [`MIN_STEPS`] steps, or when fewer than three window sizes have a usable window.
pub fn hurst(path: &Path) -> Option<f64> {
    hurst_of_series(&step_lengths(path).collect::<Vec<f64>>())
}

/// [`hurst`] of a series of numbers.
pub fn hurst_of_series(series: &[f64]) -> Option<f64> {
    if series.len() < MIN_STEPS {
        return None;
    }
    let sizes = window_sizes(series.len() / 2);
    let expected = expected_rescaled_ranges(&sizes);
    let points: Vec<(f64, f64)> = sizes
        .iter()
        .zip(expected)
        .filter_map(|(&w, e)| Some(((w as f64).ln(), (mean_rescaled_range(series, w)? / e).ln())))
        .collect();
    if points.len() < FEWEST_SIZES {
        return None;
    }
    Some((0.5 + slope(&points)).clamp(0.0, 1.0))
}

/// Window sizes, growing by the square root of two, from the smallest to at most `largest`.
fn window_sizes(largest: usize) -> Vec<usize> {
    (0..)
        .map(|k| (SMALLEST_WINDOW as f64 * 2f64.powf(f64::from(k) / 2.0)).round() as usize)
        .take_while(|&w| w <= largest)
        .collect()
}

/// Mean of R/S over the disjoint windows of `size`; `None` when all of them are constant.
fn mean_rescaled_range(series: &[f64], size: usize) -> Option<f64> {
    let usable: Vec<f64> = series.chunks_exact(size).filter_map(rescaled_range).collect();
    if usable.is_empty() {
        return None;
    }
    Some(usable.iter().sum::<f64>() / usable.len() as f64)
}

fn rescaled_range(window: &[f64]) -> Option<f64> {
    let count = window.len() as f64;
    let mean = window.iter().sum::<f64>() / count;
    let deviation = (window.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count).sqrt();
    if deviation <= CONSTANT * mean.abs() {
        return None;
    }
    let (mut sum, mut low, mut high) = (0.0f64, 0.0f64, 0.0f64);
    for x in window {
        sum += x - mean;
        low = low.min(sum);
        high = high.max(sum);
    }
    Some((high - low) / deviation)
}

/// E(R/S) of `w` independent Gaussian numbers for each of the rising `sizes` (Anis and Lloyd 1976):
/// `Γ((w-1)/2) / (√π Γ(w/2)) · Σ_{r<w} √((w-r)/r)`.
///
/// The ratio of gammas, g(w), follows from g(2) = √π and g(w) g(w+1) = 2/(w-1).
fn expected_rescaled_ranges(sizes: &[usize]) -> Vec<f64> {
    let (mut ratio, mut w) = (std::f64::consts::PI.sqrt(), 2usize);
    sizes
        .iter()
        .map(|&size| {
            while w < size {
                ratio = 2.0 / ((w - 1) as f64 * ratio);
                w += 1;
            }
            let sum: f64 = (1..size).map(|r| ((size - r) as f64 / r as f64).sqrt()).sum();
            ratio / std::f64::consts::PI.sqrt() * sum
        })
        .collect()
}

/// Least-squares slope of y on x.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean_x = points.iter().map(|p| p.0).sum::<f64>() / count;
    let mean_y = points.iter().map(|p| p.1).sum::<f64>() / count;
    let (mut xy, mut xx) = (0.0, 0.0);
    for (x, y) in points {
        xy += (x - mean_x) * (y - mean_y);
        xx += (x - mean_x).powi(2);
    }
    xy / xx
}
