//! How probable it is that a jump at a boundary is more than the error of the alignment there.

use super::ErrorModel;
use std::f64::consts::PI;

/// Nodes of the integral over the size of a change, each of the same prior probability.
const NODES: usize = 512;
/// Relative standard deviation of a penalty: it is found from draws, and from one of two trajectories that
/// differ.
const PENALTY_SPREAD: f64 = 0.03;
/// Least relative standard deviation of a law, for the nodes to meet it.
const LEAST_SPREAD: f64 = 0.01;

/// The noise of the points beside a boundary, as variances.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noise {
    /// `tr Sigma` of the points before and after it, as they are.
    pub(super) before: f64,
    pub(super) after: f64,
    /// The same in the canonical version.
    pub(super) canonical: (f64, f64),
    /// Effective number of directions, `(tr Sigma)^2 / tr Sigma^2`.
    pub(super) directions: f64,
}

/// A jump between the means of the points on the two sides of a boundary.
#[derive(Clone, Copy, Debug)]
pub(super) struct Jump {
    /// Squared length.
    pub(super) square: f64,
    pub(super) before: usize,
    pub(super) after: usize,
}

impl Jump {
    /// What a break there gains, per unit of squared jump.
    pub(super) fn weight(&self) -> f64 {
        let (n, m) = (self.before as f64, self.after as f64);
        n * m / (n + m)
    }

    pub(super) fn gain(&self) -> f64 {
        self.weight() * self.square
    }
}

/// What a break must gain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Penalty {
    pub(super) gain: f64,
    /// Probability that noise alone gains it anywhere.
    pub(super) alpha: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Verdict {
    /// Probability that the trajectory in the canonical version has a change point there.
    pub(super) real: f64,
    /// Probability of a jump at least as large when nothing changed.
    pub(super) p_value: f64,
}

impl Verdict {
    /// This one, or `other` with probability `share`.
    pub(super) fn mixed(&self, other: &Verdict, share: f64) -> Verdict {
        let mix = |a: f64, b: f64| a + share * (b - a);
        Verdict {
            real: mix(self.real, other.real),
            p_value: self.p_value.min(other.p_value),
        }
    }
}

/// The verdict on `jump`, as to whether its break gains the penalty in the canonical version.
///
/// Either nothing changed, or the mean moved by `delta` noise standard deviations, with prior probability 1/2
/// each; `delta` is half-Cauchy, as in the default t test (Jeffreys 1961; Rouder et al. 2009). Given `delta`,
/// the squared jump and the one of the canonical version follow log-normal laws with the moments that
/// `Moments` has. A change counts when the canonical jump gains more than the penalty.
pub(super) fn verdict(jump: Jump, noise: Noise, penalty: Penalty, error: &ErrorModel) -> Verdict {
    if !error.is_known() {
        return Verdict {
            real: 0.5,
            p_value: 1.0,
        };
    }
    let threshold = penalty.gain / jump.weight();
    let moments = Moments::of(jump, noise, error);
    if moments.left + moments.bias <= 0.0 {
        let exceeds = jump.square > threshold;
        return Verdict {
            real: f64::from(u8::from(exceeds)),
            p_value: f64::from(u8::from(!exceeds)),
        };
    }
    let (mut counts, mut all) = (Sum::default(), Sum::default());
    let mut add = |moved: f64, ln_weight: f64| {
        let density = moments.seen(moved).ln_density(jump.square) + ln_weight;
        let beyond = moments.canonical(moved, jump.square).beyond(threshold);
        // Noise alone gains the penalty with probability `alpha` at most, save for what the jump itself shows
        // of it.
        let shown = if moved > 0.0 { 1.0 } else { moments.shown(0.0) };
        let beyond = shown * beyond + (1.0 - shown) * beyond.min(penalty.alpha);
        all.add(density);
        counts.add(density + beyond.ln());
    };
    add(0.0, 0.0);
    for node in 0..NODES {
        let delta = (PI / 2.0 * (node as f64 + 0.5) / NODES as f64).tan();
        add(delta * delta * noise.canonical.0, -(NODES as f64).ln());
    }
    let real = (counts.ln() - all.ln()).exp();
    Verdict {
        real: if real.is_nan() { 0.5 } else { real.min(1.0) },
        p_value: moments.seen(0.0).beyond(jump.square),
    }
}

/// What a squared jump is made of.
struct Moments {
    /// What noise leaves in the difference of two means, as projected and in the canonical version.
    left: f64,
    left_canonical: f64,
    /// The part of the latter that the projection does not show.
    hidden: f64,
    directions: f64,
    /// Expected squared error common to the points after, its variance, and its trace of squares.
    bias: f64,
    bias_variance: f64,
    bias_square: f64,
    /// Part of a change that the projection shows.
    shift_kept: f64,
    /// Relative variance of the penalty.
    penalty_variance: f64,
}

impl Moments {
    fn of(jump: Jump, noise: Noise, error: &ErrorModel) -> Moments {
        let (n, m) = (jump.before as f64, jump.after as f64);
        let left_canonical = noise.canonical.0 / n + noise.canonical.1 / m;
        // The penalty is found from the noise that the projection shows; of the rest neither size nor shape
        // is known.
        let unseen = (1.0 - error.noise_kept()).max(0.0) / 2.0;
        Moments {
            left: noise.before / n + noise.after / m,
            left_canonical,
            hidden: (error.within() / m).min(left_canonical),
            directions: noise.directions,
            bias: error.between(),
            bias_variance: error.predictive_variance(),
            bias_square: error.between_square(),
            shift_kept: error.shift_kept(),
            penalty_variance: PENALTY_SPREAD * PENALTY_SPREAD + unseen * unseen,
        }
    }

    /// Variance of a squared jump of squared mean `moved` by noise of squared size `left`.
    fn by_noise(&self, moved: f64, left: f64) -> f64 {
        (2.0 * left + 4.0 * moved) * left / self.directions
    }

    /// Variance of the squared jump by the error, `moved` the squared change: of the squared error over
    /// entities and of its estimate; of the product of the error with change and noise, both taken to lie
    /// along the directions of the error; and of what is shown of a change, more of one to where other
    /// entities are than of one away from them.
    fn by_error(&self, moved: f64) -> f64 {
        let shown = self.shift_kept * moved;
        let direction = if self.bias > 0.0 {
            self.bias_square / self.bias
        } else {
            0.0
        };
        let noise_square = self.left * self.left / self.directions;
        let either = (1.0 - self.shift_kept) * shown / 2.0;
        self.bias_variance
            + 4.0 * shown * direction
            + 4.0 * (noise_square * self.bias_square).sqrt()
            + either * either
    }

    /// Share of the variance of a squared jump that noise has, the rest being error.
    fn shown(&self, moved: f64) -> f64 {
        let (noise, error) = (
            self.by_noise(self.shift_kept * moved, self.left),
            self.by_error(moved),
        );
        if noise > 0.0 { noise / (noise + error) } else { 0.0 }
    }

    /// The law of the squared jump when the mean of the canonical version moved by `moved`, squared.
    fn seen(&self, moved: f64) -> Law {
        let shown = self.shift_kept * moved;
        let variance = self.by_noise(shown, self.left) + self.by_error(moved);
        Law::of(shown + self.left + self.bias, variance)
    }

    /// The law of the squared jump of the canonical version, given also that seen: that of noise which both
    /// show, regressed on `square`, plus what is hidden. The penalty's variance counts here.
    fn canonical(&self, moved: f64, square: f64) -> Law {
        let shown = self.shift_kept * moved;
        let share = self.shown(moved);
        let expected = moved + self.left_canonical;
        let surprise = share * (square - shown - self.left - self.bias);
        let mean = (expected + surprise).max(LEAST_SPREAD * expected);
        let variance = self.by_noise(shown, self.left) * (1.0 - share) + self.by_noise(moved, self.hidden);
        Law::of(mean, variance + self.penalty_variance * mean * mean)
    }
}

/// A log-normal law of given mean and variance.
struct Law {
    centre: f64,
    deviation: f64,
}

impl Law {
    fn of(mean: f64, variance: f64) -> Law {
        let spread = (variance / (mean * mean) + LEAST_SPREAD * LEAST_SPREAD).ln_1p();
        Law {
            centre: mean.ln() - spread / 2.0,
            deviation: spread.sqrt(),
        }
    }

    fn score(&self, value: f64) -> f64 {
        (value.max(f64::MIN_POSITIVE).ln() - self.centre) / self.deviation
    }

    /// Log density of `ln value`, up to a constant.
    fn ln_density(&self, value: f64) -> f64 {
        let score = self.score(value);
        -score * score / 2.0 - self.deviation.ln()
    }

    /// Probability of more than `value`.
    fn beyond(&self, value: f64) -> f64 {
        upper_tail(self.score(value))
    }
}

/// A sum of numbers given by their logarithms.
struct Sum {
    most: f64,
    rest: f64,
}

impl Default for Sum {
    fn default() -> Self {
        Sum {
            most: f64::NEG_INFINITY,
            rest: 0.0,
        }
    }
}

impl Sum {
    fn add(&mut self, ln: f64) {
        if ln > self.most {
            self.rest = self.rest * (self.most - ln).exp() + 1.0;
            self.most = ln;
        } else if ln > f64::NEG_INFINITY {
            self.rest += (ln - self.most).exp();
        }
    }

    fn ln(&self) -> f64 {
        if self.rest > 0.0 {
            self.most + self.rest.ln()
        } else {
            f64::NEG_INFINITY
        }
    }
}

/// `P(Z > z)` of a standard normal number, to 7.5e-8 (Abramowitz and Stegun 1964, 26.2.17).
fn upper_tail(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let series = t
        * (0.319_381_530
            + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let tail = series * (-z * z / 2.0).exp() / (2.0 * PI).sqrt();
    if z >= 0.0 { tail } else { 1.0 - tail }
}
