//! `trajectory_agg(ts, vec)`: keeps the points as they come and sorts them once at the end.
//!
//! Between processes of one server the state is int32 dims, times, values, in host byte order.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::buffer::{Buffer, Bytea, aggregate_context, bytes_of, serialize, state_datum};
use super::{TrajectoryResult, check_order, check_point, max_points};
use crate::error::{Error, MAX_DIMS};
use crate::types::TimestampTz;
use crate::types::vector::Vector;

struct State {
    dims: usize,
    /// Whether the times increase so far, so that the end need not sort.
    increasing: bool,
    times: Buffer<TimestampTz>,
    values: Buffer<f32>,
}

state_datum!(StateRef, State);

impl State {
    fn new(context: pg_sys::MemoryContext, dims: usize) -> Self {
        State {
            dims,
            increasing: true,
            times: Buffer::new(context),
            values: Buffer::new(context),
        }
    }

    fn push(&mut self, ts: TimestampTz, values: &[f32]) -> Result<(), Error> {
        check_point(ts, values)?;
        if values.len() != self.dims {
            return Err(Error::MixedDimensions {
                expected: self.dims,
                found: values.len(),
                ts,
            });
        }
        self.check_room(1)?;
        self.increasing &= self.times.as_slice().last().is_none_or(|&last| last < ts);
        self.times.extend_from_slice(&[ts]);
        self.values.extend_from_slice(values);
        Ok(())
    }

    fn append(&mut self, right: &State) -> Result<(), Error> {
        let Some(&ts) = right.times.as_slice().first() else {
            return Ok(());
        };
        if self.dims != right.dims {
            return Err(Error::MixedDimensions {
                expected: self.dims,
                found: right.dims,
                ts,
            });
        }
        self.check_room(right.times.as_slice().len())?;
        self.increasing &= right.increasing && self.times.as_slice().last().is_none_or(|&last| last < ts);
        self.times.extend_from_slice(right.times.as_slice());
        self.values.extend_from_slice(right.values.as_slice());
        Ok(())
    }

    /// An aggregate that cannot become a datum ends before it takes the memory.
    fn check_room(&self, more: usize) -> Result<(), Error> {
        let points = self.times.as_slice().len() + more;
        if points > max_points(self.dims) {
            return Err(Error::TooLarge {
                points,
                dims: self.dims,
            });
        }
        Ok(())
    }
}

#[pg_extern(sql = false)]
fn trajectory_agg_transfn(
    state: Option<StateRef>,
    ts: Option<TimestampTz>,
    vec: Option<Vector>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Result<Option<StateRef>, ErrorReport> {
    let (Some(ts), Some(vec)) = (ts, vec) else {
        return Ok(state);
    };
    let values = vec.as_slice();
    let mut state = match state {
        Some(state) => state,
        None => {
            let context = aggregate_context(fcinfo)?;
            StateRef::new(context, State::new(context, values.len()))
        }
    };
    state.get_mut().push(ts, values)?;
    Ok(Some(state))
}

#[pg_extern(sql = false)]
fn trajectory_agg_combinefn(
    left: Option<StateRef>,
    right: Option<StateRef>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Result<Option<StateRef>, ErrorReport> {
    let Some(right) = right else { return Ok(left) };
    let mut left = match left {
        Some(left) => left,
        None => {
            let context = aggregate_context(fcinfo)?;
            StateRef::new(context, State::new(context, right.get().dims))
        }
    };
    left.get_mut().append(right.get())?;
    Ok(Some(left))
}

#[pg_extern(sql = false)]
fn trajectory_agg_serialfn(state: StateRef, fcinfo: pg_sys::FunctionCallInfo) -> Result<Bytea, ErrorReport> {
    aggregate_context(fcinfo)?;
    let state = state.get();
    let (times, values) = (state.times.as_slice(), state.values.as_slice());
    let dims = (state.dims as u32).to_ne_bytes();
    let bytes = serialize(&[&dims, bytes_of(times), bytes_of(values)]);
    Ok(bytes.ok_or(Error::TooLarge {
        points: times.len(),
        dims: state.dims,
    })?)
}

#[pg_extern(sql = false)]
fn trajectory_agg_deserialfn(
    bytes: &[u8],
    _internal: Option<StateRef>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Result<StateRef, ErrorReport> {
    aggregate_context(fcinfo)?;
    let corrupt = || Error::Corrupt {
        kind: "trajectory_agg state",
        problem: format!("{} bytes", bytes.len()),
    };
    let (dims, rest) = bytes.split_first_chunk().ok_or_else(corrupt)?;
    let dims = u32::from_ne_bytes(*dims) as usize;
    let point = 8 + 4 * dims;
    if dims == 0 || dims > MAX_DIMS || !rest.len().is_multiple_of(point) {
        return Err(corrupt().into());
    }
    // SAFETY: reads a global; this context lives as long as the combine function needs the state.
    let context = unsafe { pg_sys::CurrentMemoryContext };
    let mut state = State::new(context, dims);
    let (times, values) = rest.split_at(rest.len() / point * 8);
    state.times.extend_from_bytes(times);
    state.values.extend_from_bytes(values);
    state.increasing = state.times.as_slice().windows(2).all(|pair| pair[0] < pair[1]);
    Ok(StateRef::new(context, state))
}

/// Sorts by time; two points with one timestamp are an error. Leaves the state as it is, since a window may go
/// on with it.
#[pg_extern(sql = false)]
fn trajectory_agg_finalfn(
    state: Option<StateRef>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Result<Option<TrajectoryResult>, ErrorReport> {
    aggregate_context(fcinfo)?;
    let Some(state) = state else { return Ok(None) };
    let state = state.get();
    let (times, values, dims) = (state.times.as_slice(), state.values.as_slice(), state.dims);
    if state.increasing {
        return Ok(Some(TrajectoryResult::from_parts(times, values, dims)?));
    }
    let order = order_of(times)?;
    let mut result = TrajectoryResult::with_size(times.len(), dims)?;
    let (to_times, to_values) = result.arrays();
    for ((&(ts, i), to_ts), to) in order
        .iter()
        .zip(to_times.iter_mut())
        .zip(to_values.chunks_exact_mut(dims))
    {
        *to_ts = ts;
        to.copy_from_slice(&values[i as usize * dims..][..dims]);
    }
    check_order(to_times)?;
    Ok(Some(result))
}

/// The times in order, each with its place among them.
fn order_of(times: &[TimestampTz]) -> Result<Vec<(TimestampTz, u32)>, Error> {
    let mut order = Vec::new();
    order
        .try_reserve_exact(times.len())
        .map_err(|_| Error::OutOfMemory {
            bytes: 16 * times.len(),
        })?;
    order.extend(times.iter().zip(0..).map(|(&ts, i)| (ts, i)));
    order.sort_unstable();
    Ok(order)
}
