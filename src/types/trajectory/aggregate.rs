//! `trajectory_agg(ts, vec)`: the transition state grows in the aggregate's memory context, where PostgreSQL
//! counts it against work_mem, and is sorted once at the end.
//!
//! Serialized form, between processes of one server: int32 dims, int64 n, n × int64 times, n × dims × float4,
//! in host byte order.

use std::ptr::{self, NonNull};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::{FromDatum, IntoDatum};

use super::{TrajectoryResult, check_order, check_point, max_points};
use crate::error::{Error, MAX_DATUM_BYTES};
use crate::types::vector::Vector;
use crate::types::{TimestampTz, sql_argument, sql_name, sql_result};

const FIRST_CAPACITY: usize = 4;
const SERIAL_HEADER_BYTES: usize = 12;

/// Points as they came, in memory of the aggregate's context.
#[repr(C)]
struct State {
    context: pg_sys::MemoryContext,
    dims: usize,
    n: usize,
    capacity: usize,
    /// Whether the times increase so far, so that the end need not sort.
    increasing: bool,
    times: *mut TimestampTz,
    values: *mut f32,
}

/// A pointer to the state, as the `internal` datum that PostgreSQL passes between the aggregate's functions.
struct StateRef(NonNull<State>);

impl FromDatum for StateRef {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, _: pg_sys::Oid) -> Option<Self> {
        if is_null {
            None
        } else {
            NonNull::new(datum.cast_mut_ptr()).map(StateRef)
        }
    }
}

impl IntoDatum for StateRef {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        Some(pg_sys::Datum::from(self.0.as_ptr()))
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::INTERNALOID
    }
}

sql_name!(StateRef, "internal");
sql_argument!(StateRef, "internal");
sql_result!(StateRef);

impl StateRef {
    fn new(context: pg_sys::MemoryContext, dims: usize) -> Self {
        // SAFETY: the allocation is as large as a State and fully written before use; it raises when it fails.
        unsafe {
            let state = pg_sys::MemoryContextAlloc(context, size_of::<State>()).cast::<State>();
            state.write(State {
                context,
                dims,
                n: 0,
                capacity: 0,
                increasing: true,
                times: ptr::null_mut(),
                values: ptr::null_mut(),
            });
            StateRef(NonNull::new_unchecked(state))
        }
    }

    fn get(&self) -> &State {
        // SAFETY: only this module makes such datums, and their context outlives the call.
        unsafe { self.0.as_ref() }
    }

    fn get_mut(&mut self) -> &mut State {
        // SAFETY: as above; PostgreSQL hands a transition state to one call at a time.
        unsafe { self.0.as_mut() }
    }
}

impl State {
    fn times(&self) -> &[TimestampTz] {
        if self.n == 0 {
            return &[];
        }
        // SAFETY: reserve() keeps `capacity >= n` elements behind the pointer, the first n of them written.
        unsafe { std::slice::from_raw_parts(self.times, self.n) }
    }

    fn values(&self) -> &[f32] {
        if self.n == 0 {
            return &[];
        }
        // SAFETY: as in times().
        unsafe { std::slice::from_raw_parts(self.values, self.n * self.dims) }
    }

    /// Makes room for `more` points.
    fn reserve(&mut self, more: usize) -> Result<(), Error> {
        let needed = self.n + more;
        if needed <= self.capacity {
            return Ok(());
        }
        let most = max_points(self.dims);
        if needed > most {
            return Err(Error::TooLarge {
                points: needed,
                dims: self.dims,
            });
        }
        let capacity = needed.max(self.capacity * 2).max(FIRST_CAPACITY).min(most);
        let (times, values) = (8 * capacity, 4 * capacity * self.dims);
        // SAFETY: both blocks belong to `context`; a huge request may exceed 1 GB in capacity only. On an
        // error the old pointers stay valid, since each is replaced only after its allocation succeeded.
        unsafe {
            if self.capacity == 0 {
                self.times = pg_sys::MemoryContextAllocHuge(self.context, times).cast();
                self.values = pg_sys::MemoryContextAllocHuge(self.context, values).cast();
            } else {
                self.times = pg_sys::repalloc_huge(self.times.cast(), times).cast();
                self.values = pg_sys::repalloc_huge(self.values.cast(), values).cast();
            }
        }
        self.capacity = capacity;
        Ok(())
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
        self.reserve(1)?;
        self.increasing &= self.times().last().is_none_or(|&last| last < ts);
        // SAFETY: reserve() made room for one more point.
        unsafe {
            self.times.add(self.n).write(ts);
            ptr::copy_nonoverlapping(values.as_ptr(), self.values.add(self.n * self.dims), self.dims);
        }
        self.n += 1;
        Ok(())
    }
}

/// The context in which the state has to live.
fn aggregate_context(fcinfo: pg_sys::FunctionCallInfo) -> Result<pg_sys::MemoryContext, Error> {
    let mut context = ptr::null_mut();
    // SAFETY: fcinfo is the one of the running call.
    let kind = unsafe { pg_sys::AggCheckCallContext(fcinfo, &mut context) };
    if kind == 0 {
        Err(Error::NotAnAggregate)
    } else {
        Ok(context)
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
        None => StateRef::new(aggregate_context(fcinfo)?, values.len()),
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
    let right = right.get();
    let mut left = match left {
        Some(left) => left,
        None => StateRef::new(aggregate_context(fcinfo)?, right.dims),
    };
    let into = left.get_mut();
    let Some(&first) = right.times().first() else {
        return Ok(Some(left));
    };
    if into.dims != right.dims {
        return Err(Error::MixedDimensions {
            expected: into.dims,
            found: right.dims,
            ts: first,
        }
        .into());
    }
    into.reserve(right.n)?;
    into.increasing &= right.increasing && into.times().last().is_none_or(|&last| last < first);
    // SAFETY: reserve() made room for right.n more points; the two states never share memory.
    unsafe {
        ptr::copy_nonoverlapping(right.times, into.times.add(into.n), right.n);
        ptr::copy_nonoverlapping(
            right.values,
            into.values.add(into.n * into.dims),
            right.n * right.dims,
        );
    }
    into.n += right.n;
    Ok(Some(left))
}

#[pg_extern(sql = false)]
fn trajectory_agg_serialfn(state: StateRef, fcinfo: pg_sys::FunctionCallInfo) -> Result<Bytea, ErrorReport> {
    aggregate_context(fcinfo)?;
    let state = state.get();
    let (times, values) = (state.times(), state.values());
    let size = size_of::<u32>() + SERIAL_HEADER_BYTES + size_of_val(times) + size_of_val(values);
    if size > MAX_DATUM_BYTES {
        return Err(Error::TooLarge {
            points: state.n,
            dims: state.dims,
        }
        .into());
    }
    // SAFETY: palloc returns `size` bytes or raises, and each is written: header, dims, n, times, values.
    unsafe {
        let data = pg_sys::palloc(size).cast::<u8>();
        pgrx::set_varsize_4b(data.cast(), size as i32);
        data.add(4).cast::<u32>().write_unaligned(state.dims as u32);
        data.add(8).cast::<u64>().write_unaligned(state.n as u64);
        let (to_times, bytes) = (data.add(16), size_of_val(times));
        ptr::copy_nonoverlapping(times.as_ptr().cast::<u8>(), to_times, bytes);
        ptr::copy_nonoverlapping(
            values.as_ptr().cast::<u8>(),
            to_times.add(bytes),
            size_of_val(values),
        );
        Ok(Bytea(data))
    }
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
    let Some((header, rest)) = bytes.split_first_chunk::<SERIAL_HEADER_BYTES>() else {
        return Err(corrupt().into());
    };
    let [d0, d1, d2, d3, n @ ..] = *header;
    let dims = u32::from_ne_bytes([d0, d1, d2, d3]) as usize;
    let n = usize::try_from(u64::from_ne_bytes(n)).map_err(|_| corrupt())?;
    if dims == 0 || dims > crate::error::MAX_DIMS || n > max_points(dims) || rest.len() != n * (8 + 4 * dims)
    {
        return Err(corrupt().into());
    }
    // SAFETY: the state lives as long as this call's context, which is as long as the combine function needs.
    let mut state = StateRef::new(unsafe { pg_sys::CurrentMemoryContext }, dims);
    let into = state.get_mut();
    into.reserve(n)?;
    // SAFETY: reserve() made room for n points, and `rest` was checked to hold exactly those. Bytes are copied,
    // since a datum out of a tuple is aligned to 4 only.
    unsafe {
        ptr::copy_nonoverlapping(rest.as_ptr(), into.times.cast::<u8>(), 8 * n);
        ptr::copy_nonoverlapping(rest.as_ptr().add(8 * n), into.values.cast::<u8>(), 4 * n * dims);
    }
    into.n = n;
    into.increasing = into.times().windows(2).all(|pair| pair[0] < pair[1]);
    Ok(state)
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
    let (times, values, dims) = (state.times(), state.values(), state.dims);
    if state.increasing {
        return Ok(Some(TrajectoryResult::from_parts(times, values, dims)?));
    }
    let mut order: Vec<(TimestampTz, u32)> = Vec::new();
    order
        .try_reserve_exact(times.len())
        .map_err(|_| Error::OutOfMemory {
            bytes: 16 * times.len(),
        })?;
    order.extend(times.iter().zip(0..).map(|(&ts, i)| (ts, i)));
    order.sort_unstable();
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

/// A palloc'd `bytea`, complete with its header.
struct Bytea(*mut u8);

impl IntoDatum for Bytea {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        Some(pg_sys::Datum::from(self.0))
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::BYTEAOID
    }
}

sql_name!(Bytea, "bytea");
sql_result!(Bytea);
