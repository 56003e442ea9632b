//! One `cvx.align`: pairs read, a map fitted, its quality measured, all of it stored.

use cvx_math::align::{self, Choice, Fit, Method, Pairs};
use cvx_math::anchors::Anchors;
use cvx_math::boundary::ErrorModel;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::chain::Chain;
use crate::catalog::alignment::{self, Computed};
use crate::catalog::pairs::{self, PairSet};
use crate::error::Error;
use crate::guc;

/// A decomposition takes time cubic in the dimensions, a minute at this many, and cannot be cancelled.
pub const MAX_DIMS: usize = 4096;
/// Held-out points that are kept to say how good the map is near them.
const ANCHORS: usize = 128;

/// Which map to fit.
pub fn choice(method: &str) -> Result<Choice, Error> {
    match method {
        "procrustes" => Ok(Choice::One(Method::Procrustes)),
        "affine" => Ok(Choice::One(Method::Affine)),
        "cca" => Ok(Choice::One(Method::Cca)),
        "auto" => Ok(Choice::Auto),
        _ => Err(Error::Math(cvx_math::Error::InvalidParameter {
            name: "method",
            value: format!("{method:?}"),
            expected: "'procrustes', 'affine', 'cca' or 'auto'",
        })),
    }
}

/// A version and its predecessor, both with a space.
struct Ends {
    from: (i32, usize),
    to: (i32, usize),
}

/// Aligns a version to its predecessor; returns the status.
pub fn align(
    model: &str,
    version: &str,
    choice: Choice,
    min_overlap: i32,
) -> Result<&'static str, ErrorReport> {
    let chain = Chain::of_model(model)?;
    let ends = ends(&chain, version, choice)?;
    alignment::lock(model, version)?;
    let set = pairs::read(ends.from, ends.to, guc::alignment_max_pairs())?;
    if set.entities == 0 {
        if alignment::store_no_overlap(model, version, min_overlap)? {
            notice!("no entity is in both spaces now; the alignment that there is stays");
        }
        return Ok("no_overlap");
    }
    let all = Pairs {
        from: &set.from,
        to: &set.to,
        from_dims: ends.from.1,
        to_dims: ends.to.1,
        entity: &set.entity,
    };
    let mut interrupt = || {
        pgrx::check_for_interrupts!();
    };
    let fit = align::fit(&all, choice, &mut interrupt).map_err(|error| refused(&chain, version, error))?;
    let status = if set.overlap < min_overlap.unsigned_abs() as usize {
        "low_confidence"
    } else {
        "aligned"
    };
    store(model, version, status, min_overlap, &set, &all, &fit)?;
    Ok(status)
}

fn ends(chain: &Chain, version: &str, choice: Choice) -> Result<Ends, Error> {
    let place = chain.version(version)?;
    let Some(before) = chain.predecessor(place) else {
        return Err(Error::NoPredecessor {
            model: chain.model.clone(),
            version: version.to_owned(),
        });
    };
    let end = |place: usize| {
        let it = &chain.versions[place];
        if it.dims > MAX_DIMS {
            return Err(Error::TooManyToAlign { dims: it.dims });
        }
        let dropped = || Error::SpaceDropped {
            model: chain.model.clone(),
            version: it.version.clone(),
        };
        Ok((it.space_id.ok_or_else(dropped)?, it.dims))
    };
    let (from, to) = (end(place)?, end(before)?);
    if choice == Choice::One(Method::Procrustes) && from.1 != to.1 {
        return Err(Error::DimensionsDiffer {
            version: (version.to_owned(), from.1),
            predecessor: (chain.versions[before].version.clone(), to.1),
        });
    }
    Ok(Ends { from, to })
}

fn refused(chain: &Chain, version: &str, error: align::Error) -> Error {
    match error {
        align::Error::OutOfMemory { bytes } => Error::OutOfMemory { bytes },
        error => Error::AlignmentImpossible {
            model: chain.model.clone(),
            version: version.to_owned(),
            problem: match error {
                align::Error::Constant { which: "from" } => {
                    "its vectors of the pairs are all equal".to_owned()
                }
                align::Error::Constant { .. } => {
                    "its predecessor's vectors of the pairs are all equal".to_owned()
                }
                error => error.to_string(),
            },
        },
    }
}

fn store(
    model: &str,
    version: &str,
    status: &'static str,
    min_overlap: i32,
    set: &PairSet,
    all: &Pairs<'_>,
    fit: &Fit,
) -> Result<(), ErrorReport> {
    let entities: Vec<u32> = fit.held_out.iter().map(|it| set.entity[it.pair]).collect();
    let mut truth: Vec<f32> = Vec::new();
    if truth.try_reserve_exact(fit.residuals.len()).is_err() {
        let bytes = 4 * fit.residuals.len();
        return Err(Error::OutOfMemory { bytes }.into());
    }
    for it in &fit.held_out {
        truth.extend_from_slice(&all.to[it.pair * all.to_dims..][..all.to_dims]);
    }
    alignment::store(
        model,
        version,
        Computed {
            status,
            method: match fit.method {
                Method::Procrustes => "procrustes",
                Method::Affine => "affine",
                Method::Cca => "cca",
            },
            min_overlap,
            overlap_entities: i32::try_from(set.overlap).unwrap_or(i32::MAX),
            tiers: set.tiers,
            quality: fit.quality,
            scale: fit.scale,
            ridge: fit.ridge,
            correlations: &fit.correlations,
            rank: fit.rank as i32,
            error_model: ErrorModel::of_pairs(&fit.residuals, &truth, &entities, all.to_dims)
                .map(|it| it.to_values()),
            forward: fit.forward.to_bytes(),
            backward: fit.backward.to_bytes(),
            anchors: anchors(all, fit).to_bytes(),
        },
    )
}

/// Held-out pairs, evenly chosen, with the lengths of their residuals.
fn anchors(all: &Pairs<'_>, fit: &Fit) -> Anchors {
    let dims = all.to_dims.max(1);
    let step = fit.held_out.len().div_ceil(ANCHORS).max(1);
    let residuals = fit.residuals.chunks_exact(dims);
    let mut anchors = Anchors {
        dims: all.from_dims,
        ..Anchors::default()
    };
    for (held_out, residual) in fit.held_out.iter().zip(residuals).step_by(step) {
        let row = held_out.pair * all.from_dims;
        anchors
            .points
            .extend_from_slice(&all.from[row..row + all.from_dims]);
        anchors.errors.push(cvx_math::kernels::norm(residual) as f32);
    }
    anchors
}
