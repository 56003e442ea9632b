//! Bayesian online change-point detection (Adams and MacKay 2007), of points of any number of dimensions.
//!
//! Every point may begin a new run with probability `hazard`. Within a run, points are normal around a mean that is
//! normal around the one before the run (normal-inverse-gamma: [`runs`]); the variance and the number of
//! dimensions that the noise fills are learned from successive differences ([`noise`]), which no change inflates.
//! Noise of covariance Sigma counts as `d = (tr Sigma)^2 / tr Sigma^2` dimensions, so evidence grows with `d` and not
//! with the length of the vector, and the prior of a shift is so wide that the square of any normal noise with that
//! `d` hardly ever looks like one.
//!
//! A change is reported when its posterior probability reaches the threshold, two points or more are on its far
//! side, and the points since the last report are better explained with it than without any. Outliers, after which
//! everything is as before, are no change, and are left out of the mean that later points are held against.

mod bytes;
mod noise;
mod rows;
mod runs;

use std::fmt;

use noise::{Estimate, Noise};
use runs::Runs;

/// Longest vector.
const MAX_DIMS: usize = 16_000;
/// A change needs this many points on its far side before it is reported.
const FEWEST_AFTER: u64 = 2;

/// What a detector is told when it begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Prior probability of a change at each point.
    pub hazard: f64,
    /// Posterior probability of a change at which it is reported.
    pub threshold: f64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            hazard: 1.0 / 250.0,
            threshold: 0.5,
        }
    }
}

/// A change, when it is decided on.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Time of the first point after the change.
    pub ts: i64,
    /// Number of points before the change, of all that were fed.
    pub index: usize,
    /// Time of the point with which it was decided.
    pub detected_at: i64,
    /// Posterior probability that a change has happened since the last one reported, or the beginning.
    pub probability: f64,
    /// Points after the change, the one of `detected_at` included.
    pub run_length: usize,
    /// `d^2 / (1 + d^2)`, `d` the distance of the means after and before it in standard deviations of the noise.
    pub severity: f64,
    /// Logarithm of how much better the points since the last report are explained with this change than without.
    pub log_bayes_factor: f64,
}

/// What was fed, or what was to be read, and cannot be.
#[derive(Clone, Debug, PartialEq)]
pub enum Error {
    Parameter(crate::Error),
    Dimensions {
        expected: usize,
        found: usize,
    },
    /// Points come in time order.
    Order {
        last: i64,
        ts: i64,
    },
    /// The element counts from 0.
    NotFinite {
        element: usize,
        value: f32,
    },
    /// Bytes that are no detector.
    Corrupt {
        problem: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Parameter(error) => error.fmt(f),
            Error::Dimensions { expected, found } => {
                write!(f, "{found} dimensions where {expected} are expected")
            }
            Error::Order { last, ts } => write!(f, "time {ts} is not after {last}"),
            Error::NotFinite { element, value } => write!(f, "element {element} is {value}"),
            Error::Corrupt { problem } => f.write_str(problem),
        }
    }
}

impl std::error::Error for Error {}

/// The state of one series: what is needed of its past to judge the next point.
#[derive(Clone, Debug, PartialEq)]
pub struct Detector {
    dims: usize,
    options: Options,
    points: u64,
    last_ts: i64,
    noise: Noise,
    /// The first point, from which all are measured, so that a large constant costs no digits.
    origin: Vec<f32>,
    runs: Runs,
    reported: Option<Report>,
}

impl Detector {
    /// Errors: dimensions or an option outside their domain.
    pub fn new(dims: usize, options: Options) -> Result<Self, crate::Error> {
        check(dims, &options)?;
        Ok(Detector {
            dims,
            options,
            points: 0,
            last_ts: i64::MIN,
            noise: Noise::new(dims),
            origin: Vec::new(),
            runs: Runs::new(dims),
            reported: None,
        })
    }

    pub fn dims(&self) -> usize {
        self.dims
    }

    pub fn options(&self) -> Options {
        self.options
    }

    /// How many points were fed.
    pub fn num_points(&self) -> u64 {
        self.points
    }

    /// The time of the last point.
    pub fn last_ts(&self) -> Option<i64> {
        (self.points > 0).then_some(self.last_ts)
    }

    /// The earliest time that is remembered.
    pub fn oldest_ts(&self) -> Option<i64> {
        (self.points > 0).then(|| self.runs.run(0).start_ts)
    }

    /// Posterior probability that a change has happened since the last one reported, or the beginning.
    pub fn probability(&self) -> f64 {
        self.runs.probability()
    }

    /// Length of the most probable run, that is the number of points since what is most likely the last change.
    pub fn run_length(&self) -> u64 {
        self.points - self.runs.most_probable_start().min(self.points)
    }

    /// The change that the last point led to the report of.
    pub fn reported(&self) -> Option<&Report> {
        self.reported.as_ref()
    }

    /// Posterior probability of each run that is followed, by the number of points before it.
    pub fn posterior(&self) -> Vec<(u64, f64)> {
        self.runs.posterior()
    }

    /// Takes the next point in, and reports a change when it is decided on with it. After an error the state is
    /// as before.
    pub fn update(&mut self, ts: i64, point: &[f32]) -> Result<Option<Report>, Error> {
        self.check_point(ts, point)?;
        if self.points == 0 {
            self.origin = point.to_vec();
        }
        let y: Vec<f64> = point
            .iter()
            .zip(&self.origin)
            .map(|(&x, &o)| f64::from(x) - f64::from(o))
            .collect();
        let estimate = self.noise.estimate(point);
        self.runs
            .observe(&y, (self.points, ts), self.options.hazard, estimate.as_ref());
        self.noise.push(point);
        self.points += 1;
        self.last_ts = ts;
        self.reported = estimate.and_then(|it| self.decide(&y, &it));
        Ok(self.reported.clone())
    }

    fn check_point(&self, ts: i64, point: &[f32]) -> Result<(), Error> {
        if point.len() != self.dims {
            return Err(Error::Dimensions {
                expected: self.dims,
                found: point.len(),
            });
        }
        if self.points > 0 && ts <= self.last_ts {
            return Err(Error::Order {
                last: self.last_ts,
                ts,
            });
        }
        match point.iter().position(|x| !x.is_finite()) {
            Some(element) => Err(Error::NotFinite {
                element,
                value: point[element],
            }),
            None => Ok(()),
        }
    }

    fn decide(&mut self, y: &[f64], estimate: &Estimate) -> Option<Report> {
        let probability = self.runs.probability();
        let likely = probability >= self.options.threshold;
        let confirmed = |&best: &usize| {
            let run = self.runs.run(best);
            likely && self.points - run.start >= FEWEST_AFTER && run.log_bayes_factor > 0.0
        };
        let Some(best) = self.runs.most_probable_change().filter(confirmed) else {
            self.runs
                .doubt(likely, y, self.points, self.options.hazard, estimate);
            return None;
        };
        let run = self.runs.run(best);
        let square = self.runs.begin_anew(best, self.points);
        Some(Report {
            ts: run.start_ts,
            index: run.start as usize,
            detected_at: self.last_ts,
            probability,
            run_length: (self.points - run.start) as usize,
            severity: if square > 0.0 {
                square / (square + estimate.variance)
            } else {
                0.0
            },
            log_bayes_factor: run.log_bayes_factor,
        })
    }
}

fn check(dims: usize, options: &Options) -> Result<(), crate::Error> {
    let invalid = |name, value: String, expected| {
        Err(crate::Error::InvalidParameter {
            name,
            value,
            expected,
        })
    };
    let within = |p: f64| p > 0.0 && p < 1.0;
    if !(1..=MAX_DIMS).contains(&dims) {
        return invalid("dims", dims.to_string(), "1 to 16000");
    }
    if !within(options.hazard) {
        return invalid(
            "hazard",
            options.hazard.to_string(),
            "a probability between 0 and 1, both excluded",
        );
    }
    if !within(options.threshold) {
        return invalid(
            "threshold",
            options.threshold.to_string(),
            "a probability between 0 and 1, both excluded",
        );
    }
    Ok(())
}
