//! How far off projections are expected to be.

use std::rc::Rc;

use cvx_math::anchors::{Anchors, Nearest};
use cvx_math::boundary::ErrorModel;
use pgrx::pg_sys::panic::ErrorReport;

use super::cache::{self, along};
use super::chain::Chain;
use crate::catalog::alignment;
use crate::error::Error;

/// The anchors of each alignment between a version and the canonical frame, placed in that frame.
pub struct Expected(Vec<Rc<Nearest>>);

impl Expected {
    pub fn of(chain: &Chain, version: usize) -> Result<Expected, ErrorReport> {
        let steps = chain.path(version, 0)?;
        let placed = steps
            .iter()
            .map(|step| cache::placed_anchors(chain, step.version));
        Ok(Expected(placed.collect::<Result<Vec<_>, ErrorReport>>()?))
    }

    /// Of each point (rows of `dims` numbers) the expected errors of the alignments along the way, as squares: of the
    /// first, and of the others together. None where nothing was held out.
    pub fn squares(&self, rows: &[f32], dims: usize) -> Vec<Option<(f64, f64)>> {
        let mut squares = vec![Some((0.0, 0.0)); rows.len() / dims.max(1)];
        for (step, anchors) in self.0.iter().enumerate() {
            let Some(errors) = anchors.expected(rows) else {
                squares.fill(None);
                break;
            };
            for (square, error) in squares.iter_mut().flatten().zip(errors) {
                let part = if step == 0 { &mut square.0 } else { &mut square.1 };
                *part += error * error;
            }
        }
        squares
    }
}

/// Reads a version's anchors and places them in the canonical frame.
pub fn place_anchors(chain: &Chain, version: usize) -> Result<Nearest, ErrorReport> {
    let name = &chain.versions[version].version;
    let bytes = alignment::anchors(&chain.model, name)?;
    let read = |bytes: Vec<u8>| {
        Anchors::from_bytes(&bytes).ok_or_else(|| corrupt(format!("{} bytes of anchors", bytes.len())))
    };
    let anchors = bytes.map(read).transpose()?.unwrap_or_default();
    let path = chain.path(version, 0)?;
    if path.is_empty() || anchors.errors.is_empty() {
        return Ok(anchors.index());
    }
    let whole = along(chain, &path)?;
    if whole.from_dims != anchors.dims {
        return Err(corrupt(format!("anchors of {} dimensions", anchors.dims)).into());
    }
    Ok(anchors.through(&whole, gain_beyond(chain, version)?).index())
}

/// By how much the maps between a version's predecessor and the canonical frame stretch a vector, on average over
/// all directions.
fn gain_beyond(chain: &Chain, version: usize) -> Result<f64, ErrorReport> {
    match chain.predecessor(version) {
        None | Some(0) => Ok(1.0),
        Some(before) => {
            let dims = chain.versions[before].dims;
            let map = along(chain, &chain.path(before, 0)?)?;
            let square: f64 = map.weights.iter().map(|&w| f64::from(w).powi(2)).sum();
            Ok((square / dims.max(1) as f64).sqrt())
        }
    }
}

/// What the alignments between two versions do to the difference of their points in the canonical frame.
pub fn between(chain: &Chain, left: usize, right: usize) -> Result<ErrorModel, ErrorReport> {
    let mut sum = ErrorModel::EXACT;
    for step in chain.path(left, right)? {
        let name = &chain.versions[step.version].version;
        let model = match alignment::error_model(&chain.model, name)? {
            None => ErrorModel::UNKNOWN,
            Some(values) => ErrorModel::from_values(&values)
                .ok_or_else(|| corrupt(format!("error model {values:?}")))?
                .scaled(gain_beyond(chain, step.version)?),
        };
        sum = sum.plus(&model);
    }
    Ok(sum)
}

fn corrupt(problem: String) -> Error {
    Error::Corrupt {
        kind: "alignment",
        problem,
    }
}
