//! From methods to a map: penalties chosen, candidates compared, the best one fitted.

use super::folds::{FOLDS, Folds};
use super::moments::{Moments, Origin, Scatter};
use super::quality::{Judge, Measured};
use super::{Error, Fitted, Map, Method, Pairs, affine, cca, procrustes};

/// A difference in recall that nobody would notice.
const NEGLIGIBLE: f64 = 0.002;
/// How many times the least mean residual a better recall may cost: trajectories are projected by the same
/// map.
const DEAREST: f64 = 1.5;

/// A method with its penalties chosen.
pub(super) enum Tuned {
    Procrustes,
    Affine(affine::Penalties),
    Cca(f64),
}

impl Tuned {
    fn choose(
        method: Method,
        training: &Scatter,
        validation: Option<&Scatter>,
        interrupt: &mut dyn FnMut(),
    ) -> Result<Self, Error> {
        Ok(match method {
            Method::Procrustes => Tuned::Procrustes,
            Method::Affine => Tuned::Affine(affine::choose(training, validation)?),
            Method::Cca => Tuned::Cca(cca::choose(training, validation, interrupt)?),
        })
    }

    pub fn method(&self) -> Method {
        match self {
            Tuned::Procrustes => Method::Procrustes,
            Tuned::Affine(_) => Method::Affine,
            Tuned::Cca(_) => Method::Cca,
        }
    }

    fn forward(&self, scatter: &Scatter) -> Result<Map, Error> {
        match *self {
            Tuned::Procrustes => procrustes::forward(scatter),
            Tuned::Affine(penalties) => affine::forward(scatter, penalties),
            Tuned::Cca(ridge) => cca::forward(scatter, ridge),
        }
    }

    pub fn fit(&self, scatter: &Scatter) -> Result<Fitted, Error> {
        match *self {
            Tuned::Procrustes => procrustes::fit(scatter),
            Tuned::Affine(penalties) => affine::fit(scatter, penalties),
            Tuned::Cca(ridge) => cca::fit(scatter, ridge),
        }
    }
}

/// A candidate and what pairs that it was not fitted to say of it.
pub(super) struct Candidate {
    pub tuned: Tuned,
    /// On the fold that is reported.
    pub measured: Option<Measured>,
    /// Over all folds that were tried; `None` once it could not be fitted to the others.
    evidence: Option<Evidence>,
}

#[derive(Default)]
struct Evidence {
    found: Vec<(f64, f64)>,
    residuals: f64,
    pairs: usize,
}

impl Evidence {
    fn add(&mut self, measured: &Measured) {
        let q = &measured.quality;
        self.found.extend_from_slice(&measured.found);
        self.residuals += q.mean_residual * q.held_out_pairs as f64;
        self.pairs += q.held_out_pairs;
    }

    fn mean_residual(&self) -> f64 {
        self.residuals / self.pairs.max(1) as f64
    }

    fn recall(&self) -> f64 {
        let asked: f64 = self.found.iter().map(|it| it.1).sum();
        self.found.iter().map(|it| it.0).sum::<f64>() / asked.max(1.0)
    }
}

/// The pairs, their folds, and the methods to choose from.
pub(super) struct Selection<'a> {
    pub pairs: &'a Pairs<'a>,
    pub folds: &'a Folds,
    pub methods: &'a [Method],
    pub origin: Origin,
}

impl Selection<'_> {
    /// Tunes, measures and compares the methods, and fits the best of them to all pairs.
    pub fn run(&self, interrupt: &mut dyn FnMut()) -> Result<(Fitted, Candidate), Error> {
        let (tuned, mut moments) = self.tune(interrupt)?;
        let mut candidates: Vec<Candidate> = tuned
            .into_iter()
            .map(|tuned| Candidate {
                tuned,
                measured: None,
                evidence: Some(Evidence::default()),
            })
            .collect();
        if self.folds.held_out_entities > 0 {
            self.judge(0, &moments.centred(&self.origin)?, &mut candidates, interrupt)?;
            moments.add(&self.moments(0, interrupt)?);
        }
        if candidates.len() > 1 {
            self.cross_validate(&mut moments, &mut candidates, interrupt)?;
        }
        interrupt();
        settle(candidates, &moments.centred(&self.origin)?)
    }

    fn moments(&self, fold: usize, interrupt: &mut dyn FnMut()) -> Result<Moments, Error> {
        let symmetric = self.methods.iter().any(|it| *it != Method::Procrustes);
        Moments::of(
            self.pairs,
            &self.folds.pairs[fold],
            &self.origin,
            symmetric,
            interrupt,
        )
    }

    /// The methods with their penalties, chosen by the second fold, and the moments of all folds but the
    /// first.
    fn tune(&self, interrupt: &mut dyn FnMut()) -> Result<(Vec<Tuned>, Moments), Error> {
        let mut moments = self.moments(FOLDS - 1, interrupt)?;
        for fold in 2..FOLDS - 1 {
            moments.add(&self.moments(fold, interrupt)?);
        }
        let validation = self.moments(1, interrupt)?;
        if self.methods == [Method::Procrustes] {
            moments.add(&validation);
            return Ok((vec![Tuned::Procrustes], moments));
        }
        let training = moments.centred(&self.origin)?;
        let there = match validation.pairs {
            0 => None,
            _ => Some(validation.about(&self.origin, training.at_x.clone(), training.at_y.clone())?),
        };
        let mut tuned = Vec::new();
        for &method in self.methods {
            interrupt();
            tuned.push(Tuned::choose(method, &training, there.as_ref(), interrupt)?);
        }
        moments.add(&validation);
        Ok((tuned, moments))
    }

    /// Fits each candidate to `others` and measures it on a fold.
    fn judge(
        &self,
        fold: usize,
        others: &Scatter,
        candidates: &mut [Candidate],
        interrupt: &mut dyn FnMut(),
    ) -> Result<(), Error> {
        let entities = self.folds.held_out_entities;
        let judge = Judge::new(self.pairs, &self.folds.pairs[fold], entities, interrupt)?;
        for candidate in candidates {
            interrupt();
            match candidate.tuned.forward(others) {
                Ok(map) => {
                    let measured = judge.measure(&map, interrupt)?;
                    if let Some(evidence) = &mut candidate.evidence {
                        evidence.add(&measured);
                    }
                    if fold == 0 {
                        candidate.measured = Some(measured);
                    }
                }
                Err(memory @ Error::OutOfMemory { .. }) => return Err(memory),
                Err(_) => candidate.evidence = None,
            }
        }
        Ok(())
    }

    /// Holds out the other folds too, one after the other: which of two maps finds more neighbours depends on
    /// the entities asked, and a fifth of them is too few to tell. `moments` are those of all pairs, before
    /// and after.
    fn cross_validate(
        &self,
        moments: &mut Moments,
        candidates: &mut [Candidate],
        interrupt: &mut dyn FnMut(),
    ) -> Result<(), Error> {
        for fold in 1..FOLDS {
            let own = self.moments(fold, interrupt)?;
            if own.pairs == 0 || own.pairs == moments.pairs {
                continue;
            }
            moments.remove(&own);
            self.judge(fold, &moments.centred(&self.origin)?, candidates, interrupt)?;
            moments.add(&own);
        }
        Ok(())
    }
}

/// The best of the candidates that can be fitted to all pairs.
fn settle(mut candidates: Vec<Candidate>, scatter: &Scatter) -> Result<(Fitted, Candidate), Error> {
    let mut failure = Error::Uncorrelated;
    while !candidates.is_empty() {
        let best = candidates.remove(preferred(&candidates));
        match best.tuned.fit(scatter) {
            Ok(fitted) => return Ok((fitted, best)),
            Err(memory @ Error::OutOfMemory { .. }) => return Err(memory),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Where the best candidate stands, by the rule of `Choice::Auto`; without evidence it is the first.
fn preferred(candidates: &[Candidate]) -> usize {
    let known = || {
        let places = candidates.iter().enumerate();
        places.filter_map(|(place, it)| Some((place, it.evidence.as_ref()?)))
    };
    let least = known()
        .map(|it| it.1.mean_residual())
        .fold(f64::INFINITY, f64::min);
    let affordable = || known().filter(|it| it.1.mean_residual() <= DEAREST * least);
    let Some((_, best)) = affordable().max_by(|a, b| a.1.recall().total_cmp(&b.1.recall())) else {
        return 0;
    };
    affordable()
        .filter(|(_, it)| !clearly_below(&it.found, &best.found))
        .min_by(|a, b| a.1.mean_residual().total_cmp(&b.1.mean_residual()))
        .map_or(0, |it| it.0)
}

/// Whether a recall lies below the best by more than one standard error of their difference. Entities, not
/// queries, are what is independent, so the error is that of a ratio of sums over entities (Cochran 1977,
/// section 6).
fn clearly_below(found: &[(f64, f64)], best: &[(f64, f64)]) -> bool {
    let asked: f64 = best.iter().map(|it| it.1).sum();
    if asked == 0.0 {
        return false;
    }
    let differences = || best.iter().zip(found).map(|(b, f)| (b.0 - f.0, b.1));
    let difference = differences().map(|it| it.0).sum::<f64>() / asked;
    let spread: f64 = differences()
        .map(|(d, asked)| (d - difference * asked).powi(2))
        .sum();
    let entities = best.len() as f64;
    let variance = spread * entities / (entities - 1.0).max(1.0) / (asked * asked);
    difference > variance.sqrt().max(NEGLIGIBLE)
}
