//! Alignment and projection. DDL: sql/install/66_align.sql.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::align::cache;
use crate::align::canonical::check_finite;
use crate::align::chain::Chain;
use crate::align::fit;
use crate::catalog::alignment::{self, Direction};
use crate::error::Error;
use crate::types::trajectory::{Trajectory, TrajectoryResult};
use crate::types::vector::{Vector, VectorResult};

#[pg_extern(sql = false)]
fn max_align_dims() -> i32 {
    fit::MAX_DIMS as i32
}

#[pg_extern(sql = false)]
fn align(
    model: Option<&str>,
    version: Option<&str>,
    method: Option<&str>,
    min_overlap: Option<i32>,
) -> Result<&'static str, ErrorReport> {
    let null = |argument| Error::NullArgument {
        function: "cvx.align",
        argument,
    };
    let model = model.ok_or_else(|| null("model"))?;
    let version = version.ok_or_else(|| null("version"))?;
    let choice = fit::choice(method.ok_or_else(|| null("method"))?)?;
    let min_overlap = min_overlap.ok_or_else(|| null("min_overlap"))?;
    if min_overlap < 1 {
        return Err(Error::Math(cvx_math::Error::InvalidParameter {
            name: "min_overlap",
            value: min_overlap.to_string(),
            expected: "a number of entities, 1 or more",
        })
        .into());
    }
    fit::align(model, version, choice, min_overlap)
}

#[pg_extern(sql = false)]
#[allow(
    clippy::type_complexity,
    reason = "pgrx reads the row type from the signature"
)]
fn alignment_map(
    model: &str,
    version: &str,
    inverse: bool,
) -> Result<
    TableIterator<
        'static,
        (
            name!(element, i32),
            name!(weights, VectorResult),
            name!(offset, f32),
        ),
    >,
    ErrorReport,
> {
    let chain = Chain::of_model(model)?;
    let place = chain.version(version)?;
    if chain.predecessor(place).is_none() {
        return Err(Error::NoPredecessor {
            model: model.to_owned(),
            version: version.to_owned(),
        }
        .into());
    }
    let direction = if inverse {
        Direction::Backward
    } else {
        Direction::Forward
    };
    let map = alignment::map(model, version, direction)?.ok_or_else(|| chain.not_aligned(place))?;
    let rows = (0..map.to_dims).map(move |i| {
        let weights = &map.weights[i * map.from_dims..][..map.from_dims];
        (i as i32 + 1, VectorResult::new(weights), map.offset[i])
    });
    Ok(TableIterator::new(rows))
}

#[pg_extern(sql = false)]
fn project_vector(vec: Vector, from_space: &str, to_space: &str) -> Result<VectorResult, ErrorReport> {
    let projection = cache::between(from_space, to_space)?;
    let (from_dims, to_dims) = projection.dims();
    let x = vec.as_slice();
    check_dims(x.len(), from_dims, from_space)?;
    let mut y = vec![0.0; to_dims];
    projection.apply(x, &mut y);
    check_finite(&y)?;
    Ok(VectorResult::from_vec(y))
}

#[pg_extern(sql = false)]
fn project_trajectory(
    t: Trajectory,
    from_space: &str,
    to_space: &str,
) -> Result<TrajectoryResult, ErrorReport> {
    let projection = cache::between(from_space, to_space)?;
    let path = t.path();
    if path.is_empty() {
        return Ok(TrajectoryResult::from_path(path)?);
    }
    let (from_dims, to_dims) = projection.dims();
    check_dims(path.dims, from_dims, from_space)?;
    let mut result = TrajectoryResult::with_size(path.len(), to_dims)?;
    let (times, values) = result.arrays();
    times.copy_from_slice(path.times);
    // In parts, so that a long trajectory can be cancelled.
    let (from, to) = (PART * from_dims, PART * to_dims);
    for (rows, mapped) in path.values.chunks(from).zip(values.chunks_mut(to)) {
        pgrx::check_for_interrupts!();
        projection.apply_rows(rows, mapped);
    }
    check_finite(values)?;
    Ok(result)
}

/// Points of a trajectory that are projected at a time.
const PART: usize = 4096;

fn check_dims(found: usize, expected: usize, space: &str) -> Result<(), Error> {
    if found == expected {
        return Ok(());
    }
    Err(Error::WrongDimensions {
        found,
        expected,
        space: space.to_owned(),
    })
}
