//! Times: from what files and messages hold to PostgreSQL's microseconds since 2000-01-01 00:00:00 UTC.

use jiff::{Timestamp, civil, tz::TimeZone};

/// 2000-01-01 00:00:00 UTC in microseconds since 1970.
pub const PG_EPOCH_UNIX_MICROS: i64 = 946_684_800_000_000;
/// The first timestamptz PostgreSQL holds, 4714-11-24 00:00:00 BC UTC (`MIN_TIMESTAMP` of
/// datatype/timestamp.h).
pub const MIN_TS: i64 = -211_813_488_000_000_000;
/// The first microsecond it does not hold, in the year 294277 (`END_TIMESTAMP`).
pub const END_TS: i64 = 9_223_371_331_200_000_000;

/// Why something is no time that PostgreSQL holds; each has the value as it was given.
#[derive(Debug, Clone, PartialEq)]
pub enum TimeError {
    /// Infinity or not-a-time.
    Infinite(String),
    /// Before 4714 BC or after 294276 AD.
    OutOfRange(String),
    /// Text that is not ISO 8601.
    NotIso(String),
}

/// What an integer counts since 1970-01-01 00:00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EpochUnit {
    Seconds,
    Millis,
    Micros,
    Nanos,
}

impl EpochUnit {
    /// The unit's name as a user writes it: s, ms, us, ns.
    pub fn name(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Millis => "ms",
            Self::Micros => "us",
            Self::Nanos => "ns",
        }
    }

    /// The unit of a name: s, ms, us, ns.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Seconds, Self::Millis, Self::Micros, Self::Nanos]
            .into_iter()
            .find(|unit| unit.name() == name)
    }

    /// The unit in which a bare integer is most likely meant: up to 1e11 seconds (the year 5138), up to 1e14
    /// milliseconds, up to 1e17 microseconds, else nanoseconds. The bands touch: 1e11 milliseconds is March
    /// 1973.
    pub fn of_magnitude(value: i64) -> Self {
        match value.unsigned_abs() {
            0..100_000_000_000 => Self::Seconds,
            100_000_000_000..100_000_000_000_000 => Self::Millis,
            100_000_000_000_000..100_000_000_000_000_000 => Self::Micros,
            _ => Self::Nanos,
        }
    }
}

/// The smallest and the largest of a column's integers, from which its unit is told.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct EpochRange {
    bounds: Option<(i64, i64)>,
}

impl EpochRange {
    /// Takes one more value into account. 0 is the same time in every unit and says nothing.
    pub fn add(&mut self, value: i64) {
        if value != 0 {
            let (low, high) = self.bounds.unwrap_or((value, value));
            self.bounds = Some((low.min(value), high.max(value)));
        }
    }

    /// The one unit that fits the whole column, seconds for a column without values.
    ///
    /// # Errors
    /// The smallest and the largest value, when their magnitudes speak for different units: the column then
    /// spans 1970, or holds placeholders such as -1, and only its owner knows the unit.
    pub fn unit(&self) -> Result<EpochUnit, (i64, i64)> {
        let Some((low, high)) = self.bounds else {
            return Ok(EpochUnit::Seconds);
        };
        let unit = EpochUnit::of_magnitude(high);
        if EpochUnit::of_magnitude(low) == unit {
            Ok(unit)
        } else {
            Err((low, high))
        }
    }
}

/// A count since 1970 as PostgreSQL's microseconds; nanoseconds are rounded down to microseconds, before 1970
/// too.
///
/// # Errors
/// i64's extremes are what writers put for infinity and not-a-time; other values may lie outside PostgreSQL's
/// range.
pub fn from_epoch(value: i64, unit: EpochUnit) -> Result<i64, TimeError> {
    if value == i64::MIN || value.unsigned_abs() == i64::MAX as u64 {
        let value = if value > 0 { "infinity" } else { "-infinity" };
        return Err(TimeError::Infinite(value.into()));
    }
    let micros = match unit {
        EpochUnit::Seconds => i128::from(value) * 1_000_000,
        EpochUnit::Millis => i128::from(value) * 1_000,
        EpochUnit::Micros => i128::from(value),
        EpochUnit::Nanos => i128::from(value.div_euclid(1_000)),
    };
    in_range(micros - i128::from(PG_EPOCH_UNIX_MICROS))
        .ok_or_else(|| TimeError::OutOfRange(format!("{value} {}", unit.name())))
}

/// Days since 1970-01-01, at midnight UTC.
pub fn from_days(days: i64) -> Result<i64, TimeError> {
    in_range(i128::from(days) * 86_400_000_000 - i128::from(PG_EPOCH_UNIX_MICROS))
        .ok_or_else(|| TimeError::OutOfRange(format!("{days} days")))
}

/// An Impala timestamp (Parquet's INT96): a Julian day and the nanoseconds in it.
pub fn from_julian(day: u32, nanos: i64) -> Result<i64, TimeError> {
    const JULIAN_1970: i128 = 2_440_588;
    let micros = (i128::from(day) - JULIAN_1970) * 86_400_000_000 + i128::from(nanos.div_euclid(1_000));
    in_range(micros - i128::from(PG_EPOCH_UNIX_MICROS))
        .ok_or_else(|| TimeError::OutOfRange(format!("Julian day {day} + {nanos} ns")))
}

/// ISO 8601 text: a date, or a date and time parted by `T` or a space, with or without an offset; UTC without
/// one. Digits past microseconds are dropped.
pub fn from_text(text: &str) -> Result<i64, TimeError> {
    let trimmed = text.trim();
    if matches!(
        trimmed.to_ascii_lowercase().as_str(),
        "infinity" | "+infinity" | "-infinity" | "inf" | "-inf"
    ) {
        return Err(TimeError::Infinite(trimmed.into()));
    }
    let parsed = trimmed.parse::<Timestamp>().or_else(|_| {
        let local = trimmed.parse::<civil::DateTime>()?;
        TimeZone::UTC.to_timestamp(local)
    });
    let Ok(time) = parsed else {
        return Err(TimeError::NotIso(crate::payload::cut(text, 64)));
    };
    in_range(time.as_nanosecond().div_euclid(1_000) - i128::from(PG_EPOCH_UNIX_MICROS))
        .ok_or_else(|| TimeError::OutOfRange(crate::payload::cut(text, 64)))
}

/// ISO 8601 in UTC where the calendar reaches (years -9999 to 9999), else the bare count with its epoch.
pub fn to_text(ts: i64) -> String {
    let unix = ts
        .checked_add(PG_EPOCH_UNIX_MICROS)
        .and_then(|micros| Timestamp::from_microsecond(micros).ok());
    unix.map_or_else(|| format!("{ts} us since 2000-01-01"), |time| time.to_string())
}

fn in_range(micros: i128) -> Option<i64> {
    let micros = i64::try_from(micros).ok()?;
    (MIN_TS..END_TS).contains(&micros).then_some(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_meet_at_one_instant() {
        let days = 9_497 * 86_400_000_000; // 2026-01-01, counted from 2000-01-01
        assert_eq!(from_days(20_454), Ok(days));
        assert_eq!(from_epoch(1_767_225_600, EpochUnit::Seconds), Ok(days));
        assert_eq!(from_epoch(1_767_225_600_000, EpochUnit::Millis), Ok(days));
        assert_eq!(from_epoch(1_767_225_600_000_000, EpochUnit::Micros), Ok(days));
        assert_eq!(from_epoch(1_767_225_600_000_000_999, EpochUnit::Nanos), Ok(days));
        assert_eq!(from_julian(2_440_588 + 20_454, 999), Ok(days));
        for text in [
            "2026-01-01",
            "2026-01-01 00:00:00+00",
            "2026-01-01T01:00:00+01:00",
            "2026-01-01T00:00",
        ] {
            assert_eq!(from_text(text), Ok(days), "{text}");
        }
    }

    #[test]
    fn nanoseconds_round_down_on_both_sides_of_1970() {
        assert_eq!(from_epoch(-1, EpochUnit::Nanos), Ok(-PG_EPOCH_UNIX_MICROS - 1));
        assert_eq!(from_epoch(1, EpochUnit::Nanos), Ok(-PG_EPOCH_UNIX_MICROS));
        assert_eq!(
            from_text("1969-12-31T23:59:59.9999999Z"),
            Ok(-PG_EPOCH_UNIX_MICROS - 1)
        );
    }

    #[test]
    fn range_is_postgresqls() {
        let is_out_of_range = |error| matches!(error, TimeError::OutOfRange(_));
        let first = MIN_TS + PG_EPOCH_UNIX_MICROS;
        assert_eq!(from_epoch(first, EpochUnit::Micros), Ok(MIN_TS));
        assert!(from_epoch(first - 1, EpochUnit::Micros).is_err_and(is_out_of_range));
        assert!(from_epoch(i64::MAX - 1, EpochUnit::Seconds).is_err_and(is_out_of_range));
        assert!(from_days(i64::MAX).is_err_and(is_out_of_range));
        for (value, name) in [
            (i64::MIN, "-infinity"),
            (i64::MAX, "infinity"),
            (-i64::MAX, "-infinity"),
        ] {
            assert_eq!(
                from_epoch(value, EpochUnit::Micros),
                Err(TimeError::Infinite(name.into()))
            );
        }
        assert_eq!(
            from_text("-infinity"),
            Err(TimeError::Infinite("-infinity".into()))
        );
        assert_eq!(from_text("yesterday"), Err(TimeError::NotIso("yesterday".into())));
    }

    #[test]
    fn unit_needs_the_whole_column_to_agree() {
        let unit = |values: &[i64]| {
            let mut range = EpochRange::default();
            values.iter().for_each(|&v| range.add(v));
            range.unit()
        };
        assert_eq!(unit(&[]), Ok(EpochUnit::Seconds));
        assert_eq!(unit(&[0, 1_767_225_600]), Ok(EpochUnit::Seconds));
        assert_eq!(unit(&[0, 1_767_225_600_000]), Ok(EpochUnit::Millis));
        assert_eq!(
            unit(&[-500_000_000_000, 1_767_225_600_000]),
            Ok(EpochUnit::Millis)
        );
        assert_eq!(unit(&[1_767_225_600_000_000]), Ok(EpochUnit::Micros));
        assert_eq!(unit(&[1_767_225_600_000_000_000]), Ok(EpochUnit::Nanos));
        assert_eq!(unit(&[-1, 1_767_225_600_000]), Err((-1, 1_767_225_600_000)));
    }
}
