//! Layout of a trajectory datum, read in place:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | varlena header |
//! | 4 | 1 | version, 1 |
//! | 5 | 1 | reserved, 0 |
//! | 6 | 2 | dims: 0 when empty, else 1..16000 |
//! | 8 | 4 | n, number of points |
//! | 12 | 4 | reserved, 0 |
//! | 16 | 8 n | times: int64 microseconds since 2000-01-01 UTC, strictly increasing |
//! | 16 + 8 n | 4 n dims | values: float4, a row a point, finite |
//!
//! The type is aligned to 8 bytes, so both arrays are aligned in a plain datum.

use std::ptr::NonNull;

use cvx_math::Path;
use pgrx::{FromDatum, IntoDatum, pg_sys};

use crate::error::{Error, MAX_DATUM_BYTES, MAX_DIMS};
use crate::types::detoast::{Detoasted, view};
use crate::types::{TimestampTz, sql_argument, sql_name, sql_result, timestamp};

pub(super) const VERSION: u8 = 1;
const HEADER_BYTES: usize = 16;

/// How many points of `dims` dimensions one datum holds.
pub fn max_points(dims: usize) -> usize {
    (MAX_DATUM_BYTES - HEADER_BYTES) / (8 + 4 * dims)
}

fn size_of_datum(points: usize, dims: usize) -> Result<usize, Error> {
    if points > max_points(dims) {
        return Err(Error::TooLarge { points, dims });
    }
    Ok(HEADER_BYTES + points * (8 + 4 * dims))
}

/// What every point must satisfy: 1 to 16000 finite numbers at a finite time.
pub fn check_point(ts: TimestampTz, values: &[f32]) -> Result<(), Error> {
    if !timestamp::is_finite(ts) {
        return Err(Error::InfiniteTimestamp);
    }
    match values.len() {
        0 => return Err(Error::NoDimensions),
        dims if dims > MAX_DIMS => return Err(Error::TooManyDimensions { dims }),
        _ => {}
    }
    if !cvx_math::kernels::all_finite(values)
        && let Some(element) = values.iter().position(|x| !x.is_finite())
    {
        return Err(Error::NotFinite {
            element: element + 1,
            value: values[element],
            ts,
        });
    }
    Ok(())
}

/// Strictly increasing times, or the error that names the first two that are not.
pub fn check_order(times: &[TimestampTz]) -> Result<(), Error> {
    match times.windows(2).find(|pair| pair[0] >= pair[1]) {
        None => Ok(()),
        Some(pair) if pair[0] == pair[1] => Err(Error::DuplicateTimestamp { ts: pair[0] }),
        Some(pair) => Err(Error::TimesNotIncreasing {
            before: pair[0],
            after: pair[1],
        }),
    }
}

/// A `trajectory` argument, borrowed for the call.
pub struct Trajectory(Detoasted);

impl Trajectory {
    /// # Safety
    /// `datum` is a trajectory, not NULL, and outlives the result.
    pub unsafe fn at(datum: pg_sys::Datum) -> Self {
        // SAFETY: the caller vouches for the datum.
        Trajectory(unsafe { Detoasted::new(datum) })
    }

    /// Times and values, in place.
    pub fn path(&self) -> Path<'_> {
        let bytes = self.0.bytes();
        match read(bytes) {
            Some(path) => path,
            None => {
                let shown = &bytes[..bytes.len().min(HEADER_BYTES)];
                let problem = format!("{} bytes, header {shown:02x?}", bytes.len());
                Error::Corrupt {
                    kind: "trajectory",
                    problem,
                }
                .raise()
            }
        }
    }
}

fn read(bytes: &[u8]) -> Option<Path<'_>> {
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
    let dims = usize::from(u16::from_ne_bytes([header[6], header[7]]));
    let n = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]) as usize;
    let reserved = header[5] != 0 || header[12..] != [0; 4];
    if header[4] != VERSION || reserved || dims > MAX_DIMS || (dims == 0) != (n == 0) {
        return None;
    }
    if size_of_datum(n, dims).ok()? != bytes.len() {
        return None;
    }
    Some(Path::new(
        view(bytes, HEADER_BYTES, n)?,
        view(bytes, HEADER_BYTES + 8 * n, n * dims)?,
        dims,
    ))
}

impl FromDatum for Trajectory {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, _: pg_sys::Oid) -> Option<Self> {
        // SAFETY: the caller vouches for the datum.
        (!is_null).then(|| unsafe { Trajectory::at(datum) })
    }
}

sql_name!(Trajectory, "trajectory");
sql_argument!(Trajectory, "trajectory");

/// A `trajectory` under construction and then a result: palloc'd in the current memory context.
pub struct TrajectoryResult {
    data: NonNull<u8>,
    points: usize,
    dims: usize,
}

impl TrajectoryResult {
    /// Room for `points` points, all zero; the caller fills both arrays.
    pub fn with_size(points: usize, dims: usize) -> Result<Self, Error> {
        let dims = if points == 0 { 0 } else { dims };
        if points > 0 && dims == 0 {
            return Err(Error::NoDimensions);
        }
        let narrow = u16::try_from(dims).ok().filter(|_| dims <= MAX_DIMS);
        let Some(narrow) = narrow else {
            return Err(Error::TooManyDimensions { dims });
        };
        let size = size_of_datum(points, dims)?;
        // SAFETY: palloc0 returns `size` zeroed bytes aligned to 8, or raises; the header fits.
        let data = unsafe {
            let data = NonNull::new_unchecked(pg_sys::palloc0(size).cast::<u8>());
            pgrx::set_varsize_4b(data.as_ptr().cast(), size as i32);
            data.as_ptr().add(4).write(VERSION);
            data.as_ptr().add(6).cast::<u16>().write(narrow);
            data.as_ptr().add(8).cast::<u32>().write(points as u32);
            data
        };
        Ok(TrajectoryResult { data, points, dims })
    }

    /// A copy of valid parts.
    pub fn from_parts(times: &[TimestampTz], values: &[f32], dims: usize) -> Result<Self, Error> {
        let mut result = Self::with_size(times.len(), dims)?;
        let (to_times, to_values) = result.arrays();
        to_times.copy_from_slice(times);
        to_values.copy_from_slice(values);
        Ok(result)
    }

    pub fn from_path(path: Path<'_>) -> Result<Self, Error> {
        Self::from_parts(path.times, path.values, path.dims)
    }

    /// Times and values, to be filled.
    pub fn arrays(&mut self) -> (&mut [TimestampTz], &mut [f32]) {
        // SAFETY: with_size allocated exactly these two disjoint arrays behind the header.
        unsafe {
            let times = self.data.as_ptr().add(HEADER_BYTES);
            let values = times.add(8 * self.points);
            (
                std::slice::from_raw_parts_mut(times.cast(), self.points),
                std::slice::from_raw_parts_mut(values.cast(), self.points * self.dims),
            )
        }
    }
}

impl IntoDatum for TrajectoryResult {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        Some(pg_sys::Datum::from(self.data.as_ptr()))
    }

    /// The type has no fixed OID, and nothing here needs it: the DDL declares the results.
    fn type_oid() -> pg_sys::Oid {
        pg_sys::InvalidOid
    }
}

sql_name!(TrajectoryResult, "trajectory");
sql_result!(TrajectoryResult);
