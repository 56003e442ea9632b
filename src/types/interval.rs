//! Intervals as microseconds, under rules that keep the functions immutable.

use std::ffi::CStr;

use pgrx::datum::Interval;
use pgrx::{IntoDatum, direct_function_call, pg_sys};

use crate::error::Error;

const DAY: i128 = 86_400_000_000;

/// A unit of time in microseconds: a day is 24 hours and a month 30 days, as PostgreSQL compares intervals.
pub fn unit_micros(name: &'static str, interval: &Interval) -> Result<f64, Error> {
    let (months, days) = (i128::from(interval.months()), i128::from(interval.days()));
    let micros = (months * 30 + days) * DAY + i128::from(interval.micros());
    if micros <= 0 || is_infinite(interval) {
        return Err(Error::UnitNotPositive { name });
    }
    Ok(micros as f64)
}

/// A fixed step in microseconds; months have no fixed length (date_bin refuses them too).
pub fn step_micros(name: &'static str, interval: &Interval) -> Result<i64, Error> {
    if is_infinite(interval) {
        return Err(Error::UnitNotPositive { name });
    }
    if interval.months() != 0 {
        return Err(Error::StepWithMonths);
    }
    let micros = i128::from(interval.days()) * DAY + i128::from(interval.micros());
    i64::try_from(micros)
        .ok()
        .filter(|&it| it > 0)
        .ok_or(Error::UnitNotPositive { name })
}

/// What `text::interval` reads; raises PostgreSQL's own error for text that is none.
pub fn from_text(text: &CStr) -> Interval {
    // SAFETY: interval_in takes a C string, the element type (unused) and a type modifier.
    let value: Option<Interval> = unsafe {
        direct_function_call(
            pg_sys::interval_in,
            &[
                text.into_datum(),
                pg_sys::InvalidOid.into_datum(),
                (-1i32).into_datum(),
            ],
        )
    };
    // The function is strict and its arguments are not NULL.
    value.unwrap_or_else(|| Interval::from_micros(0))
}

/// PostgreSQL 17 has infinite intervals, all three fields at an extreme.
fn is_infinite(interval: &Interval) -> bool {
    let extreme = (interval.months(), interval.days(), interval.micros());
    extreme == (i32::MAX, i32::MAX, i64::MAX) || extreme == (i32::MIN, i32::MIN, i64::MIN)
}
