//! Binary form, all integers and floats in network byte order:
//! int8 version (1), int8 reserved (0), int16 dims, int32 n, n × int64 times, n × dims × float4 values.

use pgrx::datum::Internal;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::layout::VERSION;
use super::{Trajectory, TrajectoryResult, check_order, check_point};
use crate::error::{Error, MAX_DATUM_BYTES, MAX_DIMS};

const HEADER_BYTES: usize = 8;

#[pg_extern(sql = false)]
fn trajectory_recv(mut message: Internal) -> Result<TrajectoryResult, ErrorReport> {
    // SAFETY: PostgreSQL passes the receive function a StringInfo whose bytes from cursor to len are the value.
    let bytes = unsafe {
        let Some(message) = message.get_mut::<pg_sys::StringInfoData>() else {
            return Err(Error::TrajectoryBinary {
                problem: String::from("no message"),
            }
            .into());
        };
        let start = usize::try_from(message.cursor).unwrap_or(0);
        let end = usize::try_from(message.len).unwrap_or(0);
        message.cursor = message.len;
        std::slice::from_raw_parts(message.data.cast::<u8>().add(start), end.saturating_sub(start))
    };
    Ok(decode(bytes)?)
}

fn decode(bytes: &[u8]) -> Result<TrajectoryResult, Error> {
    let invalid = |problem: String| Error::TrajectoryBinary { problem };
    let Some((&[version, reserved, d0, d1, n0, n1, n2, n3], rest)) = bytes.split_first_chunk() else {
        return Err(invalid(format!(
            "{} bytes are less than the header's {HEADER_BYTES}",
            bytes.len()
        )));
    };
    let dims = usize::from(u16::from_be_bytes([d0, d1]));
    let n = u32::from_be_bytes([n0, n1, n2, n3]) as usize;
    if version != VERSION || reserved != 0 {
        return Err(invalid(format!(
            "unknown version {version} with reserved byte {reserved}"
        )));
    }
    if dims > MAX_DIMS || (dims == 0) != (n == 0) {
        return Err(invalid(format!("{n} points of {dims} dimensions")));
    }
    // n < 2^32 and dims < 2^16: no overflow in 64 bits.
    if rest.len() != n * (8 + 4 * dims) {
        return Err(invalid(format!(
            "{} bytes for {n} points of {dims} dimensions",
            rest.len()
        )));
    }
    let mut result = TrajectoryResult::with_size(n, dims)?;
    let (times, values) = result.arrays();
    let (in_times, in_values) = rest.split_at(8 * n);
    for (to, from) in times.iter_mut().zip(in_times.as_chunks().0) {
        *to = i64::from_be_bytes(*from);
    }
    for (to, from) in values.iter_mut().zip(in_values.as_chunks().0) {
        *to = f32::from_be_bytes(*from);
    }
    for (&ts, point) in times.iter().zip(values.chunks_exact(dims.max(1))) {
        if !(cvx_sources::time::MIN_TS..cvx_sources::time::END_TS).contains(&ts) {
            return Err(invalid(format!("timestamp {ts} is out of range")));
        }
        check_point(ts, point)?;
    }
    check_order(times)?;
    Ok(result)
}

#[pg_extern(sql = false)]
fn trajectory_send(t: Trajectory) -> Result<Vec<u8>, ErrorReport> {
    let path = t.path();
    let size = HEADER_BYTES + path.len() * (8 + 4 * path.dims);
    let mut out = Vec::new();
    if size + 4 > MAX_DATUM_BYTES {
        return Err(Error::TooLarge {
            points: path.len(),
            dims: path.dims,
        }
        .into());
    }
    out.try_reserve_exact(size)
        .map_err(|_| Error::OutOfMemory { bytes: size })?;
    out.extend_from_slice(&[VERSION, 0]);
    out.extend_from_slice(&(path.dims as u16).to_be_bytes());
    out.extend_from_slice(&(path.len() as u32).to_be_bytes());
    path.times
        .iter()
        .for_each(|ts| out.extend_from_slice(&ts.to_be_bytes()));
    path.values
        .iter()
        .for_each(|x| out.extend_from_slice(&x.to_be_bytes()));
    Ok(out)
}
