//! The run lengths that are followed, and their posterior: the recursion of Adams and MacKay.
//!
//! Run k, of the points from `start` on, has the normal-inverse-gamma posterior of mean, `kappa` pseudo-observations,
//! and the variance that all runs share, since it is learned from differences: so the next point has
//! a Student t distribution of `freedom` degrees around the mean, with `1 + 1 / kappa` times the variance.
//! The first of the runs is the one since the last reported change, and is never dropped.

use super::noise::{Estimate, KEPT};
use super::rows::{Rows, width};

/// What a state takes at most, as long as that gives `FEWEST` runs.
const BUDGET_BYTES: usize = 48 << 10;
/// What the runs' neighbours in a state take, but for the points kept.
const OTHER_BYTES: usize = 2304;
const FEWEST: usize = 8;
const MOST: usize = 512;
/// What a run takes beside its mean.
pub(super) const RUN_BYTES: usize = 40;

/// The square of a normal number that noise hardly ever exceeds, judged anew with each of 500 points.
const RAREST: f64 = 26.0;
/// What the default hazard outweighs of it.
const OF_HAZARD: f64 = 11.0;

/// How many runs are followed.
pub(super) fn most_runs(dims: usize) -> usize {
    let left = BUDGET_BYTES.saturating_sub(OTHER_BYTES + (4 * (KEPT + 1) + width(dims)) * dims);
    (left / (RUN_BYTES + dims * width(dims))).clamp(FEWEST, MOST)
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Run {
    /// Number of points before it.
    pub start: u64,
    pub start_ts: i64,
    /// What its prior mean counts for, in points. The mean of the first run is that of its points alone, and less
    /// than 0 stands here for those that were left out of it.
    pub prior_weight: f64,
    /// Logarithm of the posterior probability.
    pub log_weight: f64,
    /// Logarithm of how much better its points are explained by it than by the first run.
    pub log_bayes_factor: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Runs {
    pub dims: usize,
    /// By start.
    pub runs: Vec<Run>,
    pub means: Rows,
    /// Whether the last point looks like a change, with no other yet to say whether it is one or an outlier.
    pub suspect: bool,
    /// Mean of the first run before the last point, or the suspect ones, and how many points that is of.
    pub held: Rows,
    pub held_weight: f64,
}

/// What the prior mean of a new run counts for: the shift before it has the variance of the noise over that.
///
/// Noise of `d` effective among `dims` dimensions may have as much as the share `a` of its variance in one direction.
/// With all else as good as constant, its square over its mean is `1 + a (z^2 - 1)`, z a normal number, and that is
/// what the prior has to outweigh together with the hazard, up to `z^2 = RAREST`.
fn prior_weight(d: f64, dims: usize) -> f64 {
    let all = dims as f64;
    let a = 1.0 / all + ((1.0 / d - 1.0 / all) * (1.0 - 1.0 / all)).max(0.0).sqrt();
    (OF_HAZARD / d - 1.0 - a * (RAREST - 1.0)).exp().min(1.0)
}

impl Runs {
    pub fn new(dims: usize) -> Self {
        Runs {
            dims,
            runs: Vec::new(),
            means: Rows::new(dims),
            suspect: false,
            held: Rows::new(dims),
            held_weight: 0.0,
        }
    }

    pub fn run(&self, i: usize) -> Run {
        self.runs[i]
    }

    /// The probability of the runs but the first.
    pub fn probability(&self) -> f64 {
        let others = self.runs.iter().skip(1).map(|r| r.log_weight.exp());
        others.fold(0.0, |sum, p| sum + p).min(1.0)
    }

    pub fn posterior(&self) -> Vec<(u64, f64)> {
        self.runs.iter().map(|r| (r.start, r.log_weight.exp())).collect()
    }

    pub fn most_probable_start(&self) -> u64 {
        let best = self
            .runs
            .iter()
            .max_by(|a, b| a.log_weight.total_cmp(&b.log_weight));
        best.map_or(0, |r| r.start)
    }

    /// The most probable of the runs but the first.
    pub fn most_probable_change(&self) -> Option<usize> {
        (1..self.runs.len()).max_by(|&a, &b| self.runs[a].log_weight.total_cmp(&self.runs[b].log_weight))
    }

    /// Takes a point in: `at` says how many came before it, and its time. Without an estimate of the noise nothing
    /// is judged yet.
    pub fn observe(&mut self, y: &[f64], at: (u64, i64), hazard: f64, estimate: Option<&Estimate>) {
        let (points, ts) = at;
        if self.runs.is_empty() {
            self.means.push_zero(self.dims);
            self.begin(points, ts, 0.0, 0.0);
        }
        if !self.suspect {
            self.held.copy_first(&self.means, self.dims);
            self.held_weight = self.runs[0].weight(points);
        }
        if let Some(estimate) = estimate {
            self.means.push_all(&self.held);
            // Its share of the hazard; the factor that all others get besides is left out for all of them.
            let odds = hazard.ln() - (-hazard).ln_1p();
            self.begin(points, ts, prior_weight(estimate.dims, self.dims), odds);
        }
        let mut of_first = 0.0;
        for (i, run) in self.runs.iter_mut().enumerate() {
            let kappa = run.weight(points);
            let square = self.means.absorb(i, y, 1.0 / (kappa + 1.0));
            let Some(estimate) = estimate else { continue };
            let log_density = log_density(square, kappa, estimate);
            if i == 0 {
                of_first = log_density;
            }
            run.log_weight += log_density;
            run.log_bayes_factor += log_density - of_first;
        }
        self.normalise();
        if self.runs.len() > most_runs(self.dims) {
            self.drop_one();
        }
    }

    fn begin(&mut self, start: u64, start_ts: i64, prior_weight: f64, log_weight: f64) {
        self.runs.push(Run {
            start,
            start_ts,
            prior_weight,
            log_weight,
            log_bayes_factor: 0.0,
        });
    }

    fn normalise(&mut self) {
        let most = self
            .runs
            .iter()
            .map(|r| r.log_weight)
            .fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = self.runs.iter().map(|r| (r.log_weight - most).exp()).sum();
        let log_total = most + total.ln();
        self.runs.iter_mut().for_each(|r| r.log_weight -= log_total);
    }

    /// Drops the least probable run of the older half: a new one has had no time to show what it is good for.
    fn drop_one(&mut self) {
        let older = 1..self.runs.len().div_ceil(2).max(2);
        let least = older.min_by(|&a, &b| self.runs[a].log_weight.total_cmp(&self.runs[b].log_weight));
        if let Some(least) = least {
            self.remove(least);
            self.normalise();
        }
    }

    fn remove(&mut self, i: usize) {
        self.runs.remove(i);
        self.means.remove(i, self.dims);
    }

    /// Makes of a point with which a change looks likely, but not certain, a suspect. After a suspect, a point
    /// that is as those before it tells that what lies between were outliers: they are forgotten.
    pub fn doubt(&mut self, likely: bool, y: &[f64], points: u64, hazard: f64, estimate: &Estimate) {
        if !self.suspect {
            self.suspect = likely;
            return;
        }
        let mut mean = self.held.get(0, self.dims);
        let square: f64 = mean.iter().zip(y).map(|(m, y)| (y - m) * (y - m)).sum();
        let prior = prior_weight(estimate.dims, self.dims);
        let back = (-hazard).ln_1p() + log_density(square, self.held_weight, estimate);
        if back < hazard.ln() + log_density(square, prior, estimate) {
            self.suspect = likely;
            return;
        }
        let weight = self.held_weight + 1.0;
        mean.iter_mut().zip(y).for_each(|(m, y)| *m += (y - *m) / weight);
        let first = self.runs[0];
        self.restart(
            Run {
                prior_weight: weight - (points - first.start) as f64,
                ..first
            },
            &mean,
        );
    }

    /// Makes a run the first and only one. The squared distance of its mean from that of the points before it.
    pub fn begin_anew(&mut self, i: usize, points: u64) -> f64 {
        let run = self.runs[i];
        let (first, this) = (self.means.get(0, self.dims), self.means.get(i, self.dims));
        let held = self.held.get(0, self.dims);
        let (all, own) = (self.runs[0].weight(points), run.weight(points));
        let after = own - run.prior_weight;
        let mut square = 0.0;
        let mut mean = vec![0.0; self.dims];
        for (j, mean) in mean.iter_mut().enumerate() {
            // The first run's mean has `all - after` of the mean before and `after` of the one after, this run's
            // `prior_weight` of the former and `after` of the latter.
            let before = if self.suspect {
                held[j]
            } else {
                (all * first[j] - own * this[j]) / (all - own)
            };
            let shift = (this[j] - before) * own / after;
            *mean = before + shift;
            square += shift * shift;
        }
        self.restart(
            Run {
                prior_weight: 0.0,
                ..run
            },
            &mean,
        );
        square
    }

    fn restart(&mut self, run: Run, mean: &[f64]) {
        self.runs = vec![Run {
            log_weight: 0.0,
            log_bayes_factor: 0.0,
            ..run
        }];
        self.means.replace_all(mean);
        self.suspect = false;
    }
}

impl Run {
    /// What its mean counts for when so many points are taken in.
    fn weight(&self, points: u64) -> f64 {
        self.prior_weight + (points - self.start) as f64
    }
}

/// Up to what is the same for all runs.
fn log_density(square: f64, kappa: f64, noise: &Estimate) -> f64 {
    let spread = 1.0 + 1.0 / kappa;
    let d = noise.dims;
    let distance = square * d / (noise.variance * spread);
    -0.5 * d * spread.ln() - 0.5 * (noise.freedom + d) * (distance / noise.freedom).ln_1p()
}
