//! Change points of a trajectory whose points come from several model versions: a retrain told from a change.
//!
//! The points stand in the frame of one version, the canonical one; those of others are there by projection,
//! and each projection errs by something of its own for every entity, which does not average out. What is
//! asked of a boundary is whether the same trajectory, embedded by the canonical version alone, would show a
//! change point there.
//!
//! 1. Jumps at boundaries are shortened by what the error explains on average, and the noise of all stretches
//!    is brought to one level (`level`).
//! 2. Change points of that are sought, as of any trajectory. Those next to a boundary that may as well be at
//!    it are counted as the boundary's (`placement`). Both steps are repeated with what was found.
//! 3. The jump at each boundary, between the change points on either side, gets its verdict (`verdict`).

mod error_model;
mod kept;
mod level;
mod placement;
mod search;
mod verdict;

pub use error_model::ErrorModel;

use crate::changepoints::{Cost, Options};
use crate::kernels::norm;
use crate::{Error, Path};
use search::Search;

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
    /// `d^2 / (1 + d^2)`, `d^2` the squared jump less what the alignment error explains on average, over the
    /// variance of the noise; in [0, 1].
    pub severity: f64,
    pub classification: Classification,
    /// Probability that the classification is right, in [0.5, 1]; 0.5: the data cannot tell.
    pub confidence: f64,
    /// Which of the boundaries it is at; `None` for a change within a version.
    pub boundary: Option<usize>,
}

/// The change points of `path` (`n` points in the canonical frame) away from its `boundaries`, and a verdict
/// on each boundary, in the order of time.
///
/// A boundary with fewer than `min_size` points on a side gets none, nor does one within `min_size` points of
/// another that jumps more. `RealChange` at a boundary takes that it is the more probable of the two, and
/// that a jump of such length has at most probability `alpha` when nothing changed. Under `Cost::Rbf`
/// boundaries are judged by the `l2` cost, whose units the error has, with a penalty found from the data.
///
/// `interrupt` is called every millisecond or so of work, and may unwind.
/// Errors: an option outside its domain, boundaries that are not strictly increasing or not inside the path,
/// no memory.
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
    let options = match options.cost {
        Cost::Cosine => Options {
            cost: Cost::L2,
            ..*options
        },
        Cost::L2 | Cost::Rbf { .. } => *options,
    };
    Search::new(path, boundaries, options).run(interrupt)
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
