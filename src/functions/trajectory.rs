//! What a trajectory holds, and parts of it. DDL: sql/install/10_trajectory.sql.

use cvx_math::{Path, calculus};
use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::Error;
use crate::types::TimestampTz;
use crate::types::interval::step_micros;
use crate::types::trajectory::{Trajectory, TrajectoryResult, check_point, max_points};
use crate::types::vector::{Vector, VectorResult};

#[pg_extern(sql = false)]
fn num_points(t: Trajectory) -> i32 {
    t.path().len() as i32
}

#[pg_extern(sql = false)]
fn dims(t: Trajectory) -> Option<i32> {
    let path = t.path();
    (!path.is_empty()).then_some(path.dims as i32)
}

#[pg_extern(sql = false)]
fn start_ts(t: Trajectory) -> Option<TimestampTz> {
    t.path().times.first().copied()
}

#[pg_extern(sql = false)]
fn end_ts(t: Trajectory) -> Option<TimestampTz> {
    t.path().times.last().copied()
}

#[pg_extern(sql = false)]
fn duration(t: Trajectory) -> Option<Interval> {
    let path = t.path();
    // The whole range of timestamptz spans more than 2^63 microseconds.
    let micros = path.times.last()?.abs_diff(*path.times.first()?);
    let (days, rest) = (micros / 86_400_000_000, micros % 86_400_000_000);
    Interval::new(0, i32::try_from(days).ok()?, i64::try_from(rest).ok()?).ok()
}

#[pg_extern(sql = false)]
fn points(
    t: Trajectory,
) -> Result<TableIterator<'static, (name!(ts, TimestampTz), name!(vec, VectorResult))>, ErrorReport> {
    let path = t.path();
    let (mut times, mut values, dims) = (Vec::new(), Vec::new(), path.dims);
    let bytes = size_of_val(path.times) + size_of_val(path.values);
    times
        .try_reserve_exact(path.len())
        .map_err(|_| Error::OutOfMemory { bytes })?;
    values
        .try_reserve_exact(path.values.len())
        .map_err(|_| Error::OutOfMemory { bytes })?;
    times.extend_from_slice(path.times);
    values.extend_from_slice(path.values);
    let point = move |(i, ts)| (ts, VectorResult::new(&values[i * dims..(i + 1) * dims]));
    Ok(TableIterator::new(times.into_iter().enumerate().map(point)))
}

#[pg_extern(sql = false)]
fn slice(
    t: Option<Trajectory>,
    from_ts: Option<TimestampTz>,
    to_ts: Option<TimestampTz>,
) -> Result<Option<TrajectoryResult>, ErrorReport> {
    let Some(t) = t else { return Ok(None) };
    let path = t.path();
    let start = from_ts.map_or(0, |from| path.times.partition_point(|&ts| ts < from));
    let end = to_ts.map_or(path.len(), |to| path.times.partition_point(|&ts| ts <= to));
    Ok(Some(TrajectoryResult::from_path(
        path.slice(start.min(end)..end),
    )?))
}

#[pg_extern(sql = false)]
fn value_at(t: Trajectory, ts: TimestampTz) -> Result<Option<VectorResult>, ErrorReport> {
    let value = calculus::value_at(&t.path(), ts);
    Ok(value
        .map(|it| VectorResult::from_f64("value_at", &it))
        .transpose()?)
}

#[pg_extern(sql = false)]
fn resample(t: Trajectory, step: Interval) -> Result<TrajectoryResult, ErrorReport> {
    let path = t.path();
    let step = step_micros("step", &step)?;
    let (times, values) = calculus::resample(&path, step, max_points(path.dims)).map_err(Error::from)?;
    Ok(TrajectoryResult::from_parts(&times, &values, path.dims)?)
}

#[pg_extern(sql = false)]
fn append(t: Trajectory, ts: TimestampTz, vec: Vector) -> Result<TrajectoryResult, ErrorReport> {
    check_point(ts, vec.as_slice())?;
    let one = [ts];
    Ok(join(
        t.path(),
        Path::new(&one, vec.as_slice(), vec.as_slice().len()),
    )?)
}

#[pg_extern(sql = false)]
fn trajectory_concat(a: Trajectory, b: Trajectory) -> Result<TrajectoryResult, ErrorReport> {
    let (a, b) = (a.path(), b.path());
    let b_is_earlier = matches!((a.times.first(), b.times.last()), (Some(a), Some(b)) if b < a);
    Ok(if b_is_earlier { join(b, a)? } else { join(a, b)? })
}

/// `a` followed by `b`.
fn join(a: Path<'_>, b: Path<'_>) -> Result<TrajectoryResult, Error> {
    let (Some(&left_end), Some(&right_start)) = (a.times.last(), b.times.first()) else {
        return TrajectoryResult::from_path(if a.is_empty() { b } else { a });
    };
    if a.dims != b.dims {
        return Err(Error::DifferentDimensions {
            left: a.dims,
            right: b.dims,
        });
    }
    if left_end == right_start {
        return Err(Error::DuplicateTimestamp { ts: left_end });
    }
    if left_end > right_start {
        return Err(Error::OverlappingRanges {
            left_end,
            right_start,
        });
    }
    let mut result = TrajectoryResult::with_size(a.len() + b.len(), a.dims)?;
    let (times, values) = result.arrays();
    times[..a.len()].copy_from_slice(a.times);
    times[a.len()..].copy_from_slice(b.times);
    values[..a.values.len()].copy_from_slice(a.values);
    values[a.values.len()..].copy_from_slice(b.values);
    Ok(result)
}
