//! Change points of a trajectory: exact PELT under a given or a calibrated penalty, and how large each is.

use crate::gram::{Dense, Gram, Kernel, mean_point};
use crate::noise::noise_variance;
use crate::pelt::pelt;
use crate::penalty::{Aim, SAMPLE, calibrated};
use crate::{Error, Path, kernels};

/// Points of which the median heuristic of the Gaussian kernel looks at every pair.
const MEDIAN_POINTS: usize = 2048;

/// What a segment costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cost {
    /// Squared distance to the segment's mean.
    L2,
    /// The same on normalised points; a zero vector counts as having no direction (it stays zero).
    Cosine,
    /// The same in the space of the Gaussian kernel `exp(-gamma d^2)`; `None` takes one over the median
    /// squared distance of all pairs (over 2048 evenly spread points where there are more).
    Rbf { gamma: Option<f64> },
}

/// What to look for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    pub cost: Cost,
    /// What a change point must gain, in units of the cost; `None` calibrates it from the data.
    pub penalty: Option<f64>,
    /// Least number of points of a segment.
    pub min_size: usize,
    /// Probability that a trajectory without change shows any, for the calibrated penalty.
    pub alpha: f64,
    /// Whether the noise may be autocorrelated; `false` takes points as exchangeable between changes.
    pub autocorrelated: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            cost: Cost::L2,
            penalty: None,
            min_size: 2,
            alpha: 0.05,
            autocorrelated: false,
        }
    }
}

/// A change in the mean.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangePoint {
    /// Number of points before the break.
    pub index: usize,
    /// `d^2 / (1 + d^2)`, `d` the length of `shift` over the standard deviation of the noise; in [0, 1],
    /// 1 only for a shift without any noise.
    pub severity: f64,
    /// Mean of the segment after the break minus mean of the segment before it, of the points as they are.
    pub shift: Vec<f64>,
}

/// The change points and what they were judged by.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    pub change_points: Vec<ChangePoint>,
    /// The penalty used, in units of the cost.
    pub penalty: f64,
    /// `tr Sigma`, the summed variance of the noise over all dimensions, of the points as they are.
    pub noise_variance: f64,
}

/// Finds the change points of `path`. Fewer than `2 min_size` points have none.
///
/// `interrupt` is called every millisecond or so of work, and may unwind.
/// Errors: a parameter outside its domain.
pub fn changepoints(
    path: Path<'_>,
    options: &Options,
    interrupt: &mut dyn FnMut(),
) -> Result<Detection, Error> {
    check(options)?;
    if path.len() < 2 || path.len() / 2 < options.min_size {
        let penalty = options.penalty.unwrap_or(0.0);
        return Ok(Detection {
            change_points: Vec::new(),
            penalty,
            noise_variance: noise_variance(path, &[]),
        });
    }
    let mut gram = Gram::new(path, kernel(path, options.cost, interrupt));
    let (breaks, penalty) = match options.penalty {
        Some(penalty) => (pelt(&mut gram, penalty, options.min_size, interrupt), penalty),
        None => search(path, &mut gram, options, interrupt),
    };
    let noise_variance = noise_variance(path, &breaks);
    let change_points = describe(path, &breaks, noise_variance);
    Ok(Detection {
        change_points,
        penalty,
        noise_variance,
    })
}

fn check(options: &Options) -> Result<(), Error> {
    let invalid = |name, value: String, expected| {
        Err(Error::InvalidParameter {
            name,
            value,
            expected,
        })
    };
    if options.min_size == 0 {
        return invalid("min_size", options.min_size.to_string(), "at least 1");
    }
    if !(options.alpha > 0.0 && options.alpha < 1.0) {
        return invalid(
            "alpha",
            options.alpha.to_string(),
            "a probability between 0 and 1, both excluded",
        );
    }
    if let Some(penalty) = options.penalty.filter(|p| !(p.is_finite() && *p >= 0.0)) {
        return invalid("penalty", penalty.to_string(), "a finite number of at least 0");
    }
    if let Cost::Rbf { gamma: Some(gamma) } = options.cost
        && !(gamma.is_finite() && gamma > 0.0)
    {
        return invalid("gamma", gamma.to_string(), "a finite number above 0");
    }
    Ok(())
}

fn kernel(path: Path<'_>, cost: Cost, interrupt: &mut dyn FnMut()) -> Kernel {
    match cost {
        Cost::L2 => Kernel::Linear,
        Cost::Cosine => Kernel::Cosine,
        Cost::Rbf { gamma: Some(gamma) } => Kernel::Rbf { gamma },
        Cost::Rbf { gamma: None } => Kernel::Rbf {
            gamma: median_gamma(path, interrupt),
        },
    }
}

/// One over the median squared distance of all pairs, 1 where that is 0 (ruptures' `CostRbf`).
fn median_gamma(path: Path<'_>, interrupt: &mut dyn FnMut()) -> f64 {
    let n = path.len();
    let chosen: Vec<usize> = if n <= MEDIAN_POINTS {
        (0..n).collect()
    } else {
        (0..MEDIAN_POINTS).map(|i| i * n / MEDIAN_POINTS).collect()
    };
    let mut distances = Vec::with_capacity(chosen.len() * chosen.len().saturating_sub(1) / 2);
    for (k, &i) in chosen.iter().enumerate() {
        distances.extend(
            chosen[..k]
                .iter()
                .map(|&j| kernels::squared_distance(path.point(i), path.point(j))),
        );
        interrupt();
    }
    if distances.is_empty() {
        return 1.0;
    }
    let middle = distances.len() / 2;
    let even = distances.len().is_multiple_of(2);
    let (below, &mut upper, _) = distances.select_nth_unstable_by(middle, f64::total_cmp);
    let lower = if even {
        below.iter().copied().fold(0.0, f64::max)
    } else {
        upper
    };
    let median = (lower + upper) / 2.0;
    if median > 0.0 && (1.0 / median).is_finite() {
        1.0 / median
    } else {
        1.0
    }
}

/// Breaks and the penalty found from the data, which is judged by `SAMPLE` points where there are more.
fn search(
    path: Path<'_>,
    gram: &mut Gram<'_>,
    options: &Options,
    interrupt: &mut dyn FnMut(),
) -> (Vec<usize>, f64) {
    let n = path.len();
    let aim = Aim {
        min_size: options.min_size,
        alpha: options.alpha,
        autocorrelated: options.autocorrelated,
    };
    if n <= SAMPLE {
        let chosen: Vec<usize> = (0..n).collect();
        let sample = Dense::of(gram, interrupt);
        return calibrated(gram, sample, &chosen, aim, interrupt);
    }
    let chosen: Vec<usize> = (0..SAMPLE).map(|i| i * n / SAMPLE).collect();
    let values: Vec<f32> = chosen.iter().flat_map(|&i| path.point(i)).copied().collect();
    let times: Vec<i64> = chosen.iter().map(|&i| path.times[i]).collect();
    let part = Path::new(&times, &values, path.dims);
    let sample = Dense::of(&mut Gram::new(part, gram.kernel()), interrupt);
    calibrated(gram, sample, &chosen, aim, interrupt)
}

/// Severity and shift of each break from the means of the two segments beside it.
fn describe(path: Path<'_>, breaks: &[usize], noise_variance: f64) -> Vec<ChangePoint> {
    if breaks.is_empty() {
        return Vec::new();
    }
    let bounds: Vec<usize> = [0]
        .into_iter()
        .chain(breaks.iter().copied())
        .chain([path.len()])
        .collect();
    let means: Vec<Vec<f64>> = bounds
        .windows(2)
        .map(|pair| mean_point(path.slice(pair[0]..pair[1])))
        .collect();
    breaks
        .iter()
        .zip(means.windows(2))
        .map(|(&index, pair)| {
            let shift: Vec<f64> = pair[1]
                .iter()
                .zip(&pair[0])
                .map(|(after, before)| after - before)
                .collect();
            let square: f64 = shift.iter().map(|s| s * s).sum();
            let severity = if square > 0.0 {
                square / (square + noise_variance)
            } else {
                0.0
            };
            ChangePoint {
                index,
                severity,
                shift,
            }
        })
        .collect()
}
