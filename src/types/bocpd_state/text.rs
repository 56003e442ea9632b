//! Text form: the bytes in hexadecimal, as PostGIS does it. Nothing is lost, and nobody is meant to write one.

use std::ffi::{CStr, CString};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::BocpdState;
use crate::error::Error;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

#[pg_extern(sql = false)]
fn bocpd_state_in(input: &CStr) -> Result<BocpdState, ErrorReport> {
    let invalid = |problem| Error::StateText { problem };
    let bytes =
        decode(input.to_bytes()).ok_or_else(|| invalid(String::from("not pairs of hexadecimal digits")))?;
    Ok(BocpdState::read(&bytes).map_err(invalid)?)
}

fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16);
    let (pairs, rest) = text.trim_ascii().as_chunks();
    let pairs = pairs
        .iter()
        .map(|&[high, low]| Some((digit(high)? << 4 | digit(low)?) as u8));
    if rest.is_empty() { pairs.collect() } else { None }
}

#[pg_extern(sql = false)]
fn bocpd_state_out(state: BocpdState) -> CString {
    let bytes = state.0.to_bytes();
    let digits = bytes
        .iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]);
    // SAFETY: hexadecimal digits hold no NUL.
    unsafe { CString::from_vec_unchecked(digits.collect()) }
}
