//! Change points over all versions of a model, a retrain told from a change.

use std::collections::HashMap;

use cvx_math::boundary::{self, Boundary, Classification, ErrorModel};
use cvx_math::changepoints::Options;
use pgrx::pg_sys::panic::ErrorReport;

use super::canonical::Canonical;
use super::errors;
use crate::catalog::embedding::{self, Provenance};
use crate::error::Error;
use crate::types::TimestampTz;

/// A change point with its verdict, and what made the first embedding after it.
pub struct Change {
    pub ts: TimestampTz,
    /// Number of points before it.
    pub index: usize,
    pub severity: f64,
    pub classification: Classification,
    /// The first time of the version that begins there.
    pub model_boundary: Option<TimestampTz>,
    pub confidence: f64,
    pub residual: Option<f64>,
    pub error: Option<f64>,
    pub provenance: Provenance,
}

/// The change points of an entity's canonical trajectory.
pub fn changes(
    canonical: &Canonical,
    entity_id: &str,
    options: &Options,
) -> Result<Vec<Change>, ErrorReport> {
    let boundaries = boundaries(canonical)?;
    let mut interrupt = || {
        pgrx::check_for_interrupts!();
    };
    let found = boundary::model_changepoints(canonical.path(), &boundaries, options, &mut interrupt)
        .map_err(Error::from)?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let errors = canonical.errors(entity_id)?;
    let change = |it: boundary::ModelChangePoint| {
        let version = canonical.version[it.index];
        let provenance = match canonical.chain.versions[version].space_id {
            Some(space_id) => embedding::provenance(space_id, entity_id, canonical.times[it.index])?,
            None => Provenance::default(),
        };
        Ok(Change {
            ts: canonical.times[it.index],
            index: it.index,
            severity: it.severity,
            classification: it.classification,
            model_boundary: it.boundary.map(|place| canonical.times[boundaries[place].index]),
            confidence: it.confidence,
            residual: canonical.residual(it.index),
            error: errors[it.index],
            provenance,
        })
    };
    found.into_iter().map(change).collect()
}

/// Where the version changes from one point to the next, and what the alignments may do to the difference there.
fn boundaries(canonical: &Canonical) -> Result<Vec<Boundary>, ErrorReport> {
    let mut known: HashMap<(usize, usize), ErrorModel> = HashMap::new();
    let mut boundaries = Vec::new();
    for (before, pair) in canonical.version.windows(2).enumerate() {
        let (left, right) = (pair[0], pair[1]);
        if left == right {
            continue;
        }
        let key = (left.min(right), left.max(right));
        let error = match known.get(&key) {
            Some(error) => *error,
            None => {
                let error = errors::between(&canonical.chain, left, right)?;
                known.insert(key, error);
                error
            }
        };
        boundaries.push(Boundary {
            index: before + 1,
            error,
        });
    }
    Ok(boundaries)
}
