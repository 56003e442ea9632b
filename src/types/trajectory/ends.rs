//! The first and the last point of a group, without the points between: what `drift` and its like need of
//! `trajectory_agg`, and all that is kept when the planner finds one inside the other.
//!
//! `_trajectory_ends_agg` refuses what `trajectory_agg` refuses, equal timestamps in the middle included, so a
//! query fails or succeeds the same either way. Between processes of one server the state is int32 dims, the
//! first and the last vector, all times, in host byte order.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::buffer::{Buffer, Bytea, aggregate_context, bytes_of, serialize, state_datum};
use super::{TrajectoryResult, check_order, check_point, max_points};
use crate::error::{Error, MAX_DIMS};
use crate::types::TimestampTz;
use crate::types::vector::Vector;

struct Ends {
    dims: usize,
    first_ts: TimestampTz,
    last_ts: TimestampTz,
    increasing: bool,
    /// All times, to find equal ones at the end.
    times: Buffer<TimestampTz>,
    /// The first vector, then the last.
    vectors: Buffer<f32>,
}

state_datum!(EndsRef, Ends);

impl Ends {
    fn new(
        context: pg_sys::MemoryContext,
        first: (TimestampTz, &[f32]),
        last: (TimestampTz, &[f32]),
    ) -> Self {
        let mut vectors = Buffer::with_capacity(context, 2 * first.1.len());
        vectors.extend_from_slice(first.1);
        vectors.extend_from_slice(last.1);
        let times = Buffer::new(context);
        Ends {
            dims: first.1.len(),
            first_ts: first.0,
            last_ts: last.0,
            increasing: true,
            times,
            vectors,
        }
    }

    fn first(&self) -> (TimestampTz, &[f32]) {
        (self.first_ts, &self.vectors.as_slice()[..self.dims])
    }

    fn last(&self) -> (TimestampTz, &[f32]) {
        (self.last_ts, &self.vectors.as_slice()[self.dims..])
    }

    /// Takes times, in the order given, whose earliest and latest points are these.
    fn take(
        &mut self,
        times: &[TimestampTz],
        first: (TimestampTz, &[f32]),
        last: (TimestampTz, &[f32]),
    ) -> Result<(), Error> {
        let (dims, found) = (self.dims, first.1.len());
        if found != dims {
            return Err(Error::MixedDimensions {
                expected: dims,
                found,
                ts: first.0,
            });
        }
        let points = self.times.as_slice().len() + times.len();
        if points > max_points(dims) {
            return Err(Error::TooLarge { points, dims });
        }
        self.increasing &= self
            .times
            .as_slice()
            .last()
            .is_none_or(|&before| before < first.0);
        self.times.extend_from_slice(times);
        let (to_first, to_last) = self.vectors.as_mut_slice().split_at_mut(dims);
        if first.0 < self.first_ts {
            self.first_ts = first.0;
            to_first.copy_from_slice(first.1);
        }
        if last.0 > self.last_ts {
            self.last_ts = last.0;
            to_last.copy_from_slice(last.1);
        }
        Ok(())
    }
}

#[pg_extern(sql = false)]
fn trajectory_ends_transfn(
    state: Option<EndsRef>,
    ts: Option<TimestampTz>,
    vec: Option<Vector>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Result<Option<EndsRef>, ErrorReport> {
    let (Some(ts), Some(vec)) = (ts, vec) else {
        return Ok(state);
    };
    let values = vec.as_slice();
    check_point(ts, values)?;
    let mut state = match state {
        Some(state) => state,
        None => {
            let context = aggregate_context(fcinfo)?;
            EndsRef::new(context, Ends::new(context, (ts, values), (ts, values)))
        }
    };
    state.get_mut().take(&[ts], (ts, values), (ts, values))?;
    Ok(Some(state))
}

#[pg_extern(sql = false)]
fn trajectory_ends_combinefn(
    left: Option<EndsRef>,
    right: Option<EndsRef>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Result<Option<EndsRef>, ErrorReport> {
    let Some(right) = right else { return Ok(left) };
    let right = right.get();
    let mut left = match left {
        Some(left) => left,
        None => {
            let context = aggregate_context(fcinfo)?;
            EndsRef::new(context, Ends::new(context, right.first(), right.last()))
        }
    };
    let into = left.get_mut();
    into.take(right.times.as_slice(), right.first(), right.last())?;
    into.increasing &= right.increasing;
    Ok(Some(left))
}

#[pg_extern(sql = false)]
fn trajectory_ends_serialfn(state: EndsRef, fcinfo: pg_sys::FunctionCallInfo) -> Result<Bytea, ErrorReport> {
    aggregate_context(fcinfo)?;
    let state = state.get();
    let (vectors, times) = (state.vectors.as_slice(), state.times.as_slice());
    let dims = (state.dims as u32).to_ne_bytes();
    let bytes = serialize(&[&dims, bytes_of(vectors), bytes_of(times)]);
    Ok(bytes.ok_or(Error::TooLarge {
        points: times.len(),
        dims: state.dims,
    })?)
}

#[pg_extern(sql = false)]
fn trajectory_ends_deserialfn(
    bytes: &[u8],
    _internal: Option<EndsRef>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Result<EndsRef, ErrorReport> {
    aggregate_context(fcinfo)?;
    let corrupt = || Error::Corrupt {
        kind: "trajectory_ends state",
        problem: format!("{} bytes", bytes.len()),
    };
    let (dims, rest) = bytes.split_first_chunk().ok_or_else(corrupt)?;
    let dims = u32::from_ne_bytes(*dims) as usize;
    let (vectors, times) = rest.split_at_checked(8 * dims).ok_or_else(corrupt)?;
    if dims == 0 || dims > MAX_DIMS || times.is_empty() || !times.len().is_multiple_of(8) {
        return Err(corrupt().into());
    }
    // SAFETY: reads a global; this context lives as long as the combine function needs the state.
    let context = unsafe { pg_sys::CurrentMemoryContext };
    let mut state = Ends {
        dims,
        first_ts: 0,
        last_ts: 0,
        increasing: true,
        times: Buffer::new(context),
        vectors: Buffer::with_capacity(context, 2 * dims),
    };
    state.vectors.extend_from_bytes(vectors);
    state.times.extend_from_bytes(times);
    let times = state.times.as_slice();
    (state.first_ts, state.last_ts) = times.iter().fold((i64::MAX, i64::MIN), |(first, last), &ts| {
        (first.min(ts), last.max(ts))
    });
    state.increasing = times.windows(2).all(|pair| pair[0] < pair[1]);
    Ok(EndsRef::new(context, state))
}

#[pg_extern(sql = false)]
fn trajectory_ends_finalfn(
    state: Option<EndsRef>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Result<Option<TrajectoryResult>, ErrorReport> {
    aggregate_context(fcinfo)?;
    let Some(state) = state else { return Ok(None) };
    let state = state.get();
    let times = state.times.as_slice();
    if !state.increasing {
        let mut sorted = Vec::new();
        sorted
            .try_reserve_exact(times.len())
            .map_err(|_| Error::OutOfMemory {
                bytes: size_of_val(times),
            })?;
        sorted.extend_from_slice(times);
        sorted.sort_unstable();
        check_order(&sorted)?;
    }
    let both = [state.first_ts, state.last_ts];
    let n = if times.len() > 1 { 2 } else { 1 };
    let vectors = &state.vectors.as_slice()[..n * state.dims];
    Ok(Some(TrajectoryResult::from_parts(
        &both[..n],
        vectors,
        state.dims,
    )?))
}
