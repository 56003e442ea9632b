//! The noise of a series as it goes on: its variance, and how many dimensions it fills.

use std::collections::VecDeque;

use super::rows::dot_of_differences;
use crate::kernels;

/// How many successive differences are looked back on.
pub(super) const WINDOW: usize = 256;
/// Differences before which there is no verdict.
const BURN_IN: usize = 12;
/// Share of the differences, the largest, that the robust scale leaves out.
const TRIMMED: f64 = 0.1;
/// A difference weighs no more than one of this many times the usual square.
const MOST_WEIGHT: f64 = 8.0;
/// Pairs of one dimension that are taken as seen before any is.
const PRIOR_PAIRS: f64 = 3.0;
/// Differences over which the number of dimensions is remembered.
const REMEMBERED: f64 = 1024.0;
/// Points of the past that are kept, for differences that share none.
pub(super) const KEPT: usize = 5;
/// Square of the relative resolution of a float4: numbers closer than that are the same.
const RESOLUTION: f64 = 1.0 / (1u64 << 48) as f64;
/// Least variance, so that nothing is divided by 0; less than the square of the least float4 above 0.
const LEAST_VARIANCE: f64 = 1e-100;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Noise {
    pub dims: usize,
    /// Squared lengths of the last differences, oldest first.
    pub squares: VecDeque<f64>,
    /// Sums over pairs of differences: their weights, and those times the squared cosine between the two.
    pub pairs: f64,
    pub aligned: f64,
    /// The last points, newest first.
    pub kept: VecDeque<Vec<f32>>,
}

/// What the noise is taken to be when the next point is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Estimate {
    /// `tr Sigma`
    pub variance: f64,
    /// `(tr Sigma)^2 / tr Sigma^2`
    pub dims: f64,
    /// Degrees of freedom of the variance.
    pub freedom: f64,
}

impl Noise {
    pub fn new(dims: usize) -> Self {
        Noise {
            dims,
            squares: VecDeque::new(),
            pairs: 0.0,
            aligned: 0.0,
            kept: VecDeque::new(),
        }
    }

    /// What the points so far say; `None` while they are too few. `next` sets what is too little to be seen.
    pub fn estimate(&self, next: &[f32]) -> Option<Estimate> {
        if self.squares.len() < BURN_IN {
            return None;
        }
        let dims = self.effective_dims();
        let last = self.kept.front().map_or(0.0, |p| kernels::dot(p, p));
        let least = LEAST_VARIANCE + RESOLUTION * last.max(kernels::dot(next, next));
        let n = self.squares.len() as f64;
        Some(Estimate {
            variance: (self.trimmed_mean() / 2.0 / share_kept(dims)).max(least),
            dims,
            // Successive differences overlap: n of them say as much as 2 n / 3 independent ones.
            freedom: dims * n * 2.0 / 3.0,
        })
    }

    /// The mean squared cosine between independent differences is one over it.
    fn effective_dims(&self) -> f64 {
        let dims = (PRIOR_PAIRS + self.pairs) / (PRIOR_PAIRS + self.aligned);
        dims.clamp(1.0, self.dims as f64)
    }

    fn trimmed_mean(&self) -> f64 {
        let mut values: Vec<f64> = self.squares.iter().copied().collect();
        let Some(most) = values.len().checked_sub(1) else {
            return 0.0;
        };
        let kept = values.len() - ((values.len() as f64 * TRIMMED).ceil() as usize).min(most);
        values.select_nth_unstable_by(kept.min(most), f64::total_cmp);
        values[..kept].iter().sum::<f64>() / kept as f64
    }

    pub fn push(&mut self, point: &[f32]) {
        if let Some(last) = self.kept.front() {
            let square = kernels::squared_distance(point, last);
            self.pair(point, square);
            if self.squares.len() == WINDOW {
                self.squares.pop_front();
            }
            self.squares.push_back(square);
        }
        if self.kept.len() == KEPT {
            self.kept.pop_back();
        }
        self.kept.push_front(point.to_vec());
    }

    /// The new difference beside those before the last one, with which it shares no point.
    fn pair(&mut self, point: &[f32], square: f64) {
        let scale = self.trimmed_mean();
        let keep = 1.0 - 1.0 / REMEMBERED;
        self.pairs *= keep;
        self.aligned *= keep;
        for lag in 2..KEPT {
            let (Some(a), Some(b)) = (self.kept.get(lag - 1), self.kept.get(lag)) else {
                return;
            };
            let before = self.squares[self.squares.len() - lag];
            let product = square * before;
            if product <= 0.0 || scale <= 0.0 {
                continue;
            }
            let dot = dot_of_differences(point, &self.kept[0], a, b);
            let weight = (square / scale).min(MOST_WEIGHT) * (before / scale).min(MOST_WEIGHT);
            self.pairs += weight;
            self.aligned += weight * (dot * dot / product).min(1.0);
        }
    }
}

/// The mean of the smaller nine tenths of a chi-squared variable of `dims` degrees of freedom, in units of its mean:
/// the normal limit and the next term, right to 2 %.
fn share_kept(dims: f64) -> f64 {
    1.0 - 0.2757 / dims.sqrt() - 0.11 / dims
}
