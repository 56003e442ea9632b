//! `timestamptz` in and out of text, whatever the session's DateStyle.

use std::ffi::{CStr, c_char, c_int};

use pgrx::{IntoDatum, direct_function_call, pg_sys};

use super::TimestampTz;

/// Whether `ts` is a point in time, not ±infinity.
pub fn is_finite(ts: TimestampTz) -> bool {
    ts != i64::MIN && ts != i64::MAX
}

/// ISO 8601 with the offset of the session's time zone, as `2026-01-01 00:00:00+00`: exact to the microsecond.
/// DateStyle does not change it, so that what is written can always be read back.
pub fn to_text(ts: TimestampTz) -> String {
    if !is_finite(ts) {
        return String::from(if ts == i64::MAX { "infinity" } else { "-infinity" });
    }
    let mut buffer = [0 as c_char; pg_sys::MAXDATELEN as usize + 1];
    // SAFETY: all out-parameters are local; MAXDATELEN is what EncodeDateTime may write.
    unsafe {
        let (mut zone, mut fraction, mut abbreviation): (c_int, pg_sys::fsec_t, *const c_char) =
            (0, 0, std::ptr::null());
        let mut tm = std::mem::zeroed::<pg_sys::pg_tm>();
        let failed = pg_sys::timestamp2tm(
            ts,
            &mut zone,
            &mut tm,
            &mut fraction,
            &mut abbreviation,
            std::ptr::null_mut(),
        );
        if failed != 0 {
            return format!("{ts} microseconds since 2000-01-01 (out of range)");
        }
        let style = pg_sys::USE_ISO_DATES as c_int;
        pg_sys::EncodeDateTime(
            &mut tm,
            fraction,
            true,
            zone,
            abbreviation,
            style,
            buffer.as_mut_ptr(),
        );
        CStr::from_ptr(buffer.as_ptr()).to_string_lossy().into_owned()
    }
}

/// What `text::timestamptz` reads; raises PostgreSQL's own error for text that is none.
pub fn from_text(text: &CStr) -> TimestampTz {
    // SAFETY: timestamptz_in takes a C string, the element type (unused) and a type modifier.
    let value: Option<i64> = unsafe {
        direct_function_call(
            pg_sys::timestamptz_in,
            &[
                text.into_datum(),
                pg_sys::InvalidOid.into_datum(),
                (-1i32).into_datum(),
            ],
        )
    };
    value.unwrap_or(i64::MAX)
}
