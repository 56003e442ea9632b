//! How probable it is that a jump at a boundary is more than the error of the alignment there.

use super::ErrorModel;
use std::f64::consts::PI;

/// Nodes of the integral over the size of a change, each of the same prior probability.
const NODES: usize = 512;
/// Relative standard deviation of a gain and of the penalty beyond what is modelled: the latter is itself found from
/// draws, and from one of two trajectories that differ.
const LEAST_SPREAD: f64 = 0.05;

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

/// The verdict on `jump`, whose break must gain `penalty` to count in the canonical version.
///
/// Either nothing changed, or the mean moved by `delta` noise standard deviations, with prior probability 1/2
/// each; `delta` is half-Cauchy, as in the default t test (Jeffreys 1961; Rouder et al. 2009). The squared jump
/// then has mean `delta^2 tr Sigma + v + tr B`, `v` what noise leaves in two means; its variance is that of
/// the squared error over entities, of the error of its estimate, of the noise, and of their cross terms. It is taken
/// as log-normal with these moments: positive, with the right tail that errors of entities show. A change counts
/// when the canonical jump, of mean `delta^2 tr Sigma + v` and varying by the noise that the projection does not show,
/// gains more than the penalty.
pub(super) fn verdict(jump: Jump, noise: Noise, penalty: f64, error: &ErrorModel) -> Verdict {
    if !error.is_known() {
        return Verdict {
            real: 0.5,
            p_value: 1.0,
        };
    }
    let (n, m) = (jump.before as f64, jump.after as f64);
    let left_by_noise = noise.before / n + noise.after / m;
    let (bias, predictive) = (error.between(), error.predictive_variance());
    let threshold = penalty / jump.weight();
    if left_by_noise + bias <= 0.0 {
        let exceeds = jump.square > threshold;
        return Verdict {
            real: f64::from(u8::from(exceeds)),
            p_value: f64::from(u8::from(!exceeds)),
        };
    }
    let bias_direction = if bias > 0.0 {
        error.between_square() / bias
    } else {
        0.0
    };
    let noise_square = left_by_noise * left_by_noise / noise.directions;
    let cross = 4.0 * (noise_square * error.between_square()).sqrt();
    let none = Law::of(left_by_noise + bias, 2.0 * noise_square + predictive + cross);
    let canonical_noise = noise.canonical.0 / n + noise.canonical.1 / m;
    // The penalty is found from the noise that the projection shows; of the rest neither size nor shape is known.
    let hidden = (1.0 - error.noise_kept()).max(0.0) / 2.0;
    let unexplained = (error.within() / m).min(canonical_noise);
    let (mut counts, mut counts_not) = (Sum::default(), Sum::default());
    for node in 0..NODES {
        let delta = (PI / 2.0 * (node as f64 + 0.5) / NODES as f64).tan();
        let moved = delta * delta * noise.canonical.0;
        let seen = error.shift_kept() * moved + left_by_noise;
        let variance = predictive + 4.0 * seen * bias_direction;
        let density = Law::of(seen + bias, variance).ln_density(jump.square);
        let variance = (2.0 * unexplained + 4.0 * moved) * unexplained / noise.directions;
        let mean = moved + canonical_noise;
        let beyond = Law::of(mean, variance + (hidden * mean).powi(2)).beyond(threshold);
        counts.add(density + beyond.ln());
        counts_not.add(density + (1.0 - beyond).ln());
    }
    let change = -(NODES as f64).ln();
    let mut other = Sum::default();
    other.add(none.ln_density(jump.square));
    other.add(counts_not.ln() + change);
    let against = other.ln() - counts.ln() - change;
    Verdict {
        real: if against.is_nan() {
            0.5
        } else {
            1.0 / (1.0 + against.exp())
        },
        p_value: none.beyond(jump.square),
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
