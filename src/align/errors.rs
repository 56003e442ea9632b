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

    /// The expected distance between each projected point and where it belongs, the errors of the alignments along
    /// the way taken as independent; None where nothing was held out.
    pub fn at(&self, rows: &[f32], dims: usize) -> Vec<Option<f64>> {
        self.of_steps(rows, dims, 0)
    }

    /// The same without the first alignment: of a point whose pair in the predecessor's space is known.
    pub fn beyond_predecessor(&self, rows: &[f32], dims: usize) -> Vec<Option<f64>> {
        self.of_steps(rows, dims, 1)
    }

    fn of_steps(&self, rows: &[f32], dims: usize, skip: usize) -> Vec<Option<f64>> {
        let mut squares = vec![Some(0.0f64); rows.len() / dims.max(1)];
        for step in self.0.iter().skip(skip) {
            match step.expected(rows) {
                None => squares.fill(None),
                Some(errors) => {
                    for (square, error) in squares.iter_mut().zip(errors) {
                        *square = square.map(|it| it + error * error);
                    }
                }
            }
        }
        squares.into_iter().map(|it| it.map(f64::sqrt)).collect()
    }
}

/// Reads a version's anchors and places them in the canonical frame.
pub fn place_anchors(chain: &Chain, version: usize) -> Result<Nearest, ErrorReport> {
    let name = &chain.versions[version].version;
    let (bytes, _) = alignment::errors(&chain.model, name)?;
    let read = |bytes: Vec<u8>| {
        Anchors::from_bytes(&bytes).ok_or_else(|| corrupt(format!("{} bytes of anchors", bytes.len())))
    };
    let anchors = bytes.map(read).transpose()?.unwrap_or_default();
    let Some(first) = chain.path(version, 0)?.first().copied() else {
        return Ok(anchors.index());
    };
    if anchors.errors.is_empty() {
        return Ok(anchors.index());
    }
    let whole = along(chain, &chain.path(version, 0)?, anchors.dims)?;
    if whole.from_dims != anchors.dims {
        return Err(corrupt(format!("anchors of {} dimensions", anchors.dims)).into());
    }
    Ok(anchors
        .through(&whole, gain_beyond(chain, first.version)?)
        .index())
}

/// By how much the maps between a version's predecessor and the canonical frame stretch a vector, on average over
/// all directions.
fn gain_beyond(chain: &Chain, version: usize) -> Result<f64, ErrorReport> {
    match chain.predecessor(version) {
        None | Some(0) => Ok(1.0),
        Some(before) => {
            let dims = chain.versions[before].dims;
            let map = along(chain, &chain.path(before, 0)?, dims)?;
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
        let (_, values) = alignment::errors(&chain.model, name)?;
        let model = match values {
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
