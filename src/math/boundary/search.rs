//! The search for change points between and at boundaries, and what is said of each.

use super::level::{Levels, Stretches};
use super::placement::{self, Away};
use super::verdict::{Jump, Noise, Penalty, Verdict, verdict};
use super::{Boundary, Classification, ModelChangePoint};
use crate::changepoints::{Cost, Detection, Options, changepoints};
use crate::gram::mean_point;
use crate::kernels::{dot_f64, squared_distance};
use crate::noise::{Scale, noise_variance};
use crate::{Error, Path};
use std::collections::BTreeSet;
use std::f64::consts::E;

/// Rounds of finding change points and measuring jumps between them.
const ROUNDS: usize = 3;

pub(super) struct Search<'a> {
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
    /// Change points found away from the boundaries.
    away: Vec<Away>,
    /// Boundaries that get a verdict.
    judged: Vec<usize>,
}

impl State {
    fn breaks(&self) -> Vec<usize> {
        self.away.iter().map(|a| a.index).collect()
    }
}

struct Seen {
    verdict: Verdict,
    square: f64,
}

impl<'a> Search<'a> {
    /// Under the costs `L2` and `Rbf`.
    pub(super) fn new(path: Path<'a>, boundaries: &'a [Boundary], options: Options) -> Self {
        let min_size = options.min_size.clamp(1, path.len().max(1));
        Search {
            stretches: Stretches::new(path, boundaries, min_size),
            boundaries,
            options,
        }
    }

    pub(super) fn run(&self, interrupt: &mut dyn FnMut()) -> Result<Vec<ModelChangePoint>, Error> {
        let mut breaks = Vec::new();
        let mut round = 1;
        loop {
            let state = self.state(&breaks, interrupt)?;
            let next = state.breaks();
            if round == ROUNDS || next == breaks {
                return self.describe(&state, interrupt);
            }
            breaks = next;
            round += 1;
        }
    }

    fn state(&self, assumed: &[usize], interrupt: &mut dyn FnMut()) -> Result<State, Error> {
        let path = self.stretches.path;
        let levels = self.stretches.levels(assumed, interrupt);
        let values = self.stretches.levelled(assumed, &levels, interrupt)?;
        let levelled = Path {
            values: &values,
            ..path
        };
        let detection = changepoints(levelled, &self.options, interrupt)?;
        let judged = self.judged(assumed, interrupt);
        let at: Vec<usize> = judged.iter().map(|&b| self.boundaries[b].index).collect();
        let found: Vec<usize> = detection.change_points.iter().map(|c| c.index).collect();
        let away = placement::away(levelled, &found, &at, self.stretches.min_size());
        Ok(State {
            levels,
            values,
            detection,
            away,
            judged,
        })
    }

    /// The boundaries with `min_size` points on both sides; of those nearer to each other, the ones that jump
    /// most.
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
        let penalty = Penalty {
            gain: self.penalty(state, interrupt)?,
            alpha: self.options.alpha,
        };
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
        if !self.options.autocorrelated {
            return 1.0;
        }
        let path = self.stretches.path;
        let distance = |i: usize, j: usize| squared_distance(path.point(i), path.point(j));
        let scale = Scale::of(path.len(), breaks, true, distance);
        (1.0 + scale.phi) / (1.0 - scale.phi).powi(2)
    }

    fn at_boundary(&self, number: usize, state: &State, penalty: Penalty, longrun: f64) -> ModelChangePoint {
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

    /// The verdict on a boundary between the change points `breaks`, and the squared jump less its expected
    /// error.
    fn seen(&self, number: usize, breaks: &[usize], state: &State, penalty: Penalty, longrun: f64) -> Seen {
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
    /// Their confidence takes the probability that noise alone gains so much, `alpha` at the penalty and
    /// falling beyond it like the tail of a chi-square form, for the least posterior probability of no change
    /// that it allows, `-e p ln p` to 1 (Sellke, Bayarri, Berger 2001).
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
