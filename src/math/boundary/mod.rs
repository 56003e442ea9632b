//! Change points of a trajectory whose points come from several model versions: a retrain told from a change.
//!
//! The points stand in the frame of one version, the canonical one; those of others are there by projection, and
//! each projection errs by something of its own for every entity, which does not average out. What is asked of a
//! boundary is whether the same trajectory, embedded by the canonical version alone, would show a change point there.
//!
//! 1. Jumps at boundaries are shortened by what the error explains on average, and the noise of all stretches is
//!    brought to one level (`level`).
//! 2. Change points of that are sought, as of any trajectory. Those next to a boundary that may as well be at it are
//!    counted as the boundary's (`placement`). Both steps are repeated with what was found.
//! 3. The jump at each boundary, between the change points on either side, gets its verdict (`verdict`).

mod error_model;
mod level;
mod placement;
mod verdict;

pub use error_model::ErrorModel;

use crate::changepoints::{Cost, Detection, Options, changepoints};
use crate::gram::mean_point;
use crate::kernels::{dot_f64, norm};
use crate::noise::{Scale, noise_variance};
use crate::{Error, Path, kernels};
use level::{Levels, Stretches};
use placement::Away;
use std::collections::BTreeSet;
use std::f64::consts::E;
use verdict::{Jump, Noise, Verdict, verdict};

/// Rounds of finding change points and taking them into account where jumps are measured.
const ROUNDS: usize = 3;

/// Where two neighbouring points come from different versions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Boundary {
    /// Number of points before it.
    pub index: usize,
    /// Of the difference between the projections of its two sides.
    pub error: ErrorModel,
}

/// What a change point of a canonical trajectory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Classification {
    /// The entity changed.
    RealChange,
    /// What is seen at a boundary of versions is explained by the error of the alignment.
    ModelArtifact,
}

/// A change point, or a boundary without one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModelChangePoint {
    /// Number of points before it.
    pub index: usize,
    /// `d^2 / (1 + d^2)`, `d^2` the squared jump less what the alignment error explains on average, over the variance
    /// of the noise; in [0, 1].
    pub severity: f64,
    pub classification: Classification,
    /// Probability that the classification is right, in [0.5, 1]; 0.5: the data cannot tell.
    pub confidence: f64,
    /// Which of the boundaries it is at; `None` for a change within a version.
    pub boundary: Option<usize>,
}

/// The change points of `path` (`n` points in the canonical frame) away from its `boundaries`, and a verdict on each
/// boundary, in the order of time.
///
/// A boundary with fewer than `min_size` points on a side gets none, nor does one within `min_size` points of another
/// that jumps more. `RealChange` at a boundary takes that it is the more probable of the two, and that a jump of
/// such length has at most probability `alpha` when nothing changed. Under `Cost::Rbf` boundaries are judged by the
/// `l2` cost, whose units the error has, with a penalty found from the data.
///
/// `interrupt` is called every millisecond or so of work, and may unwind.
/// Errors: an option outside its domain, boundaries that are not strictly increasing or not inside the path, no memory.
pub fn model_changepoints(
    path: Path<'_>,
    boundaries: &[Boundary],
    options: &Options,
    interrupt: &mut dyn FnMut(),
) -> Result<Vec<ModelChangePoint>, Error> {
    check(path, boundaries)?;
    let normalised;
    let (path, boundaries) = match options.cost {
        Cost::Cosine => {
            normalised = Directions::of(path, boundaries)?;
            (
                Path {
                    values: &normalised.values,
                    ..path
                },
                normalised.boundaries.as_slice(),
            )
        }
        Cost::L2 | Cost::Rbf { .. } => (path, boundaries),
    };
    let search = Search {
        stretches: Stretches::new(path, boundaries, options.min_size.max(1)),
        boundaries,
        options: match options.cost {
            Cost::Cosine => Options {
                cost: Cost::L2,
                ..*options
            },
            Cost::L2 | Cost::Rbf { .. } => *options,
        },
    };
    let mut breaks = Vec::new();
    for round in 1.. {
        let state = search.state(breaks, interrupt)?;
        if round == ROUNDS || state.settled() {
            return search.describe(&state, interrupt);
        }
        breaks = state.breaks();
    }
    Ok(Vec::new())
}

fn check(path: Path<'_>, boundaries: &[Boundary]) -> Result<(), Error> {
    let mut last = 0;
    for boundary in boundaries {
        if boundary.index <= last || boundary.index >= path.len() {
            return Err(Error::InvalidParameter {
                name: "boundary",
                value: boundary.index.to_string(),
                expected: "strictly increasing numbers of points, with points on both sides",
            });
        }
        last = boundary.index;
    }
    Ok(())
}

/// The points as directions, and the errors in their scale.
struct Directions {
    values: Vec<f32>,
    boundaries: Vec<Boundary>,
}

impl Directions {
    fn of(path: Path<'_>, boundaries: &[Boundary]) -> Result<Directions, Error> {
        let mut values = level::room(path.values.len())?;
        let mut square = 0.0;
        for point in path.points() {
            let length = norm(point);
            let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
            values.extend(point.iter().map(|&x| (f64::from(x) * scale) as f32));
            square += length * length / path.len() as f64;
        }
        let scale = if square > 0.0 { 1.0 / square.sqrt() } else { 1.0 };
        let boundaries = boundaries.iter().map(|b| Boundary {
            index: b.index,
            error: b.error.scaled(scale),
        });
        Ok(Directions {
            values,
            boundaries: boundaries.collect(),
        })
    }
}

struct Seen {
    verdict: Verdict,
    square: f64,
}

struct Search<'a> {
    stretches: Stretches<'a>,
    boundaries: &'a [Boundary],
    options: Options,
}

/// One round of the search.
struct State {
    levels: Levels,
    /// The levelled path.
    values: Vec<f32>,
    detection: Detection,
    /// Change points that jumps were measured between.
    assumed: Vec<usize>,
    /// Change points found away from the boundaries.
    away: Vec<Away>,
    /// Boundaries that get a verdict.
    judged: Vec<usize>,
}

impl State {
    fn settled(&self) -> bool {
        self.assumed == self.breaks()
    }

    fn breaks(&self) -> Vec<usize> {
        self.away.iter().map(|a| a.index).collect()
    }
}

impl Search<'_> {
    fn state(&self, assumed: Vec<usize>, interrupt: &mut dyn FnMut()) -> Result<State, Error> {
        let path = self.stretches.path;
        let levels = self.stretches.levels(&assumed);
        let values = self.stretches.levelled(&assumed, &levels, interrupt)?;
        let levelled = Path {
            values: &values,
            ..path
        };
        let detection = changepoints(levelled, &self.options, interrupt)?;
        let judged = self.judged(&assumed, interrupt);
        let at: Vec<usize> = judged.iter().map(|&b| self.boundaries[b].index).collect();
        let found: Vec<usize> = detection.change_points.iter().map(|c| c.index).collect();
        let away = placement::away(levelled, &found, &at, self.options.min_size);
        Ok(State {
            levels,
            values,
            detection,
            assumed,
            away,
            judged,
        })
    }

    /// The boundaries with `min_size` points on both sides; of those nearer to each other, the ones that jump most.
    fn judged(&self, breaks: &[usize], interrupt: &mut dyn FnMut()) -> Vec<usize> {
        let (n, room) = (self.stretches.path.len(), self.stretches.min_size());
        let mut gains: Vec<(f64, usize)> = Vec::new();
        for (number, boundary) in self.boundaries.iter().enumerate() {
            if boundary.index >= room && n - boundary.index >= room {
                interrupt();
                gains.push((self.jump(number, breaks).gain(), number));
            }
        }
        gains.sort_by(|(a, i), (b, j)| b.total_cmp(a).then(i.cmp(j)));
        let mut taken = BTreeSet::new();
        let mut judged: Vec<usize> = Vec::new();
        for (_, number) in gains {
            let at = self.boundaries[number].index;
            if taken.range(at + 1 - room.min(at + 1)..at + room).next().is_none() {
                taken.insert(at);
                judged.push(number);
            }
        }
        judged.sort_unstable();
        judged
    }

    fn jump(&self, number: usize, breaks: &[usize]) -> Jump {
        let sides = self.stretches.sides(number, breaks);
        let jump = self.stretches.jump(&sides);
        Jump {
            square: dot_f64(&jump, &jump),
            before: sides.0.len(),
            after: sides.1.len(),
        }
    }

    fn describe(&self, state: &State, interrupt: &mut dyn FnMut()) -> Result<Vec<ModelChangePoint>, Error> {
        let path = self.stretches.path;
        let levelled = Path {
            values: &state.values,
            ..path
        };
        let penalty = self.penalty(state, interrupt)?;
        let longrun = self.persistence(&state.breaks());
        let mut found: Vec<ModelChangePoint> = state
            .judged
            .iter()
            .map(|&number| self.at_boundary(number, state, penalty, longrun))
            .collect();
        let real = found
            .iter()
            .filter(|c| c.classification == Classification::RealChange);
        let mut bounds: Vec<usize> = real.map(|c| c.index).chain(state.breaks()).collect();
        bounds.sort_unstable();
        bounds.dedup();
        found.extend(self.away_from_boundaries(levelled, &bounds, state));
        found.sort_by_key(|c| c.index);
        Ok(found)
    }

    /// What a break must gain in the units of squared distances.
    fn penalty(&self, state: &State, interrupt: &mut dyn FnMut()) -> Result<f64, Error> {
        let Cost::Rbf { .. } = self.options.cost else {
            return Ok(state.detection.penalty);
        };
        let options = Options {
            cost: Cost::L2,
            penalty: None,
            ..self.options
        };
        let path = Path {
            values: &state.values,
            ..self.stretches.path
        };
        Ok(changepoints(path, &options, interrupt)?.penalty)
    }

    /// What autocorrelation multiplies the variance of a mean by.
    fn persistence(&self, breaks: &[usize]) -> f64 {
        let path = self.stretches.path;
        let distance = |i: usize, j: usize| kernels::squared_distance(path.point(i), path.point(j));
        let scale = Scale::of(path.len(), breaks, self.options.autocorrelated, distance);
        (1.0 + scale.phi) / (1.0 - scale.phi).powi(2)
    }

    fn at_boundary(&self, number: usize, state: &State, penalty: f64, longrun: f64) -> ModelChangePoint {
        let index = self.boundaries[number].index;
        let breaks = state.breaks();
        let mut seen = self.seen(number, &breaks, state, penalty, longrun);
        for away in &state.away {
            if let Some((_, share)) = away.or_at.filter(|(place, _)| *place == index) {
                let others: Vec<usize> = breaks.iter().copied().filter(|&b| b != away.index).collect();
                let moved = self.seen(number, &others, state, penalty, longrun);
                seen.verdict = seen.verdict.mixed(&moved.verdict, share);
            }
        }
        let Verdict { real, p_value } = seen.verdict;
        let changed = real > 0.5 && p_value <= self.options.alpha;
        let (classification, confidence) = if changed {
            (Classification::RealChange, real)
        } else {
            (Classification::ModelArtifact, (1.0 - real).max(0.5))
        };
        ModelChangePoint {
            index,
            severity: severity(seen.square, state.levels.noise[0]),
            classification,
            confidence,
            boundary: Some(number),
        }
    }

    /// The verdict on a boundary between the change points `breaks`, and the squared jump less its expected error.
    fn seen(&self, number: usize, breaks: &[usize], state: &State, penalty: f64, longrun: f64) -> Seen {
        let sides = self.stretches.sides(number, breaks);
        let error = self.stretches.error(number, &sides);
        let jump = self.jump(number, breaks);
        let noise = &state.levels.noise;
        let canonical = |stretch: usize| longrun * noise[stretch] * state.levels.scale[stretch].powi(2);
        let noise = Noise {
            before: longrun * noise[number],
            after: longrun * noise[number + 1],
            canonical: (canonical(number), canonical(number + 1)),
            directions: state.levels.directions,
        };
        Seen {
            verdict: verdict(jump, noise, penalty, &error),
            square: jump.square - error.between(),
        }
    }

    /// The change points within versions, all `RealChange`.
    ///
    /// Their confidence takes the probability that noise alone gains so much, `alpha` at the penalty and falling beyond
    /// it like the tail of a chi-square form, for the least posterior probability of no change that it allows,
    /// `-e p ln p` to 1 (Sellke, Bayarri, Berger 2001).
    fn away_from_boundaries(
        &self,
        levelled: Path<'_>,
        bounds: &[usize],
        state: &State,
    ) -> Vec<ModelChangePoint> {
        let noise = noise_variance(levelled, bounds);
        let steepness = 2.0 * noise / state.levels.directions;
        let mut points = Vec::with_capacity(state.away.len());
        for &Away { index, .. } in &state.away {
            let at = bounds.partition_point(|&b| b < index);
            let start = at.checked_sub(1).map_or(0, |i| bounds[i]);
            let end = bounds.get(at + 1).copied().unwrap_or(levelled.len());
            let mut jump = mean_point(levelled.slice(index..end));
            let from = mean_point(levelled.slice(start..index));
            jump.iter_mut().zip(from).for_each(|(j, f)| *j -= f);
            let jump = Jump {
                square: dot_f64(&jump, &jump),
                before: index - start,
                after: end - index,
            };
            let beyond = (jump.gain() - state.detection.penalty).max(0.0) / steepness;
            let p = (self.options.alpha * (-beyond).exp()).clamp(f64::MIN_POSITIVE, 1.0 / E);
            points.push(ModelChangePoint {
                index,
                severity: severity(jump.square, noise),
                classification: Classification::RealChange,
                confidence: 1.0 / (1.0 - E * p * p.ln()),
                boundary: None,
            });
        }
        points
    }
}

fn severity(square: f64, noise: f64) -> f64 {
    if square > 0.0 {
        square / (square + noise)
    } else {
        0.0
    }
}
