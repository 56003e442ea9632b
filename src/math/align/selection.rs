//! From methods to a map: penalties chosen, candidates compared, the best one fitted.

use super::moments::{Moments, Origin, Scatter};
use super::quality::Measured;
use super::{Error, Fitted, Method, Pairs, affine, cca, procrustes};

/// A difference in recall that nobody would notice.
const NEGLIGIBLE: f64 = 0.002;

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

    pub fn fit(&self, scatter: &Scatter) -> Result<Fitted, Error> {
        match *self {
            Tuned::Procrustes => procrustes::fit(scatter),
            Tuned::Affine(penalties) => affine::fit(scatter, penalties),
            Tuned::Cca(ridge) => cca::fit(scatter, ridge),
        }
    }
}

/// A candidate and what the held-out pairs say of it.
pub(super) struct Judged {
    pub tuned: Tuned,
    pub measured: Option<Measured>,
}

/// Chooses the penalties, and takes the validation pairs into the moments.
pub(super) fn tune(
    pairs: &Pairs<'_>,
    methods: Vec<Method>,
    moments: &mut Moments,
    validation: &[usize],
    origin: &Origin,
    interrupt: &mut dyn FnMut(),
) -> Result<Vec<Tuned>, Error> {
    if methods == [Method::Procrustes] {
        return Ok(vec![Tuned::Procrustes]);
    }
    let training = moments.centred(origin)?;
    let more = match validation {
        [] => None,
        chosen => Some(Moments::of(pairs, chosen, origin, true, interrupt)?),
    };
    let there = match &more {
        Some(more) => Some(more.about(origin, training.at_x.clone(), training.at_y.clone())?),
        None => None,
    };
    let mut tuned = Vec::new();
    for method in methods {
        interrupt();
        tuned.push(Tuned::choose(method, &training, there.as_ref(), interrupt)?);
    }
    if let Some(more) = more {
        moments.add(&more);
    }
    Ok(tuned)
}

/// The best of the candidates that can be fitted to all pairs.
pub(super) fn settle(mut judged: Vec<Judged>, scatter: &Scatter) -> Result<(Fitted, Judged), Error> {
    let mut failure = Error::Uncorrelated;
    while !judged.is_empty() {
        let best = judged.remove(preferred(&judged));
        match best.tuned.fit(scatter) {
            Ok(fitted) => return Ok((fitted, best)),
            Err(memory @ Error::OutOfMemory { .. }) => return Err(memory),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Where the best candidate stands, by the rule of `Choice::Auto`; without figures it is the first.
fn preferred(judged: &[Judged]) -> usize {
    let measured: Vec<(usize, &Measured)> = judged
        .iter()
        .enumerate()
        .filter_map(|(place, it)| Some((place, it.measured.as_ref()?)))
        .collect();
    let recall = |it: &Measured| it.quality.recall_at_10.unwrap_or(0.0);
    let Some((_, best)) = measured.iter().max_by(|a, b| recall(a.1).total_cmp(&recall(b.1))) else {
        return 0;
    };
    measured
        .iter()
        .filter(|(_, it)| !clearly_below(&it.found, &best.found))
        .min_by(|a, b| a.1.quality.mean_residual.total_cmp(&b.1.quality.mean_residual))
        .map_or(0, |it| it.0)
}

/// Whether a recall lies below the best by more than one standard error of their difference. Entities, not
/// queries, are what is independent, so the error is that of a ratio of sums over entities (Cochran 1977, section 6).
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
