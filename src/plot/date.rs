//! Dates of a time axis: PostgreSQL's microseconds to civil dates, and ticks at round ones.
//!
//! The proleptic Gregorian calendar in UTC over the whole of `i64`, which is wider than what the date crates
//! hold and covers PostgreSQL's 4713 BC to 294276 AD.

/// Microseconds from 1970-01-01 to PostgreSQL's epoch, 2000-01-01 UTC.
pub const POSTGRES_EPOCH_UNIX_US: i64 = EPOCH_DAYS * DAY;

/// 1970-01-01 to 2000-01-01 in days.
const EPOCH_DAYS: i64 = 10_957;
const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const MONTH: i64 = 30 * DAY;
const YEAR: i64 = 365 * DAY;

/// The smallest part of a date that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Precision {
    Microsecond,
    Second,
    Minute,
    Day,
    Month,
    Year,
}

impl Precision {
    /// The one that tells points within `span` microseconds apart and no finer.
    pub(crate) fn for_span(span: u64) -> Precision {
        match span {
            _ if span < 10 * SECOND as u64 => Precision::Microsecond,
            _ if span < HOUR as u64 => Precision::Second,
            _ if span < 20 * DAY as u64 => Precision::Minute,
            _ => Precision::Day,
        }
    }
}

/// Year (astronomical: 0 is 1 BC), month and day of a day counted from 1970-01-01.
///
/// Hinnant, "chrono-compatible low-level date algorithms" (`civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// First day of a month, counted from 1970-01-01 (Hinnant's `days_from_civil`).
fn first_of_month(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// A date as PostgreSQL writes it in ISO style, down to `precision`.
pub(crate) fn format(us: i64, precision: Precision) -> String {
    let (days, within) = (us.div_euclid(DAY) + EPOCH_DAYS, us.rem_euclid(DAY));
    let (year, month, day) = civil(days);
    let (shown, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    let date = match precision {
        Precision::Year => format!("{shown}"),
        Precision::Month => format!("{shown:04}-{month:02}"),
        _ => format!("{shown:04}-{month:02}-{day:02}"),
    };
    match precision {
        Precision::Minute | Precision::Second | Precision::Microsecond => {
            format!("{date} {}{era}", clock(within, precision))
        }
        _ => format!("{date}{era}"),
    }
}

/// Time of day down to `precision`.
fn clock(within: i64, precision: Precision) -> String {
    let (hour, minute) = (within / HOUR, within % HOUR / MINUTE);
    let second = within % MINUTE / SECOND;
    match precision {
        Precision::Microsecond => format!("{hour:02}:{minute:02}:{second:02}.{:06}", within % SECOND),
        Precision::Second => format!("{hour:02}:{minute:02}:{second:02}"),
        _ => format!("{hour:02}:{minute:02}"),
    }
}

/// A tick of a time axis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tick {
    pub(crate) at: i64,
    pub(crate) label: String,
}

/// Distance of two ticks.
enum Step {
    Microseconds(i64),
    Months(i64),
}

impl Step {
    fn microseconds(&self) -> i64 {
        match self {
            Step::Microseconds(us) => *us,
            Step::Months(months) => months.saturating_mul(YEAR / 12),
        }
    }
}

/// The steps that people count in, rising.
fn steps() -> impl Iterator<Item = Step> {
    let decades = (0..6).map(|k| 10i64.pow(k));
    let short = decades.flat_map(|p| [p, 2 * p, 5 * p]);
    let seconds = [1, 2, 5, 10, 15, 30].map(|s| s * SECOND);
    let minutes = [1, 2, 5, 10, 15, 30].map(|m| m * MINUTE);
    let hours = [1, 2, 3, 6, 12].map(|h| h * HOUR);
    let days = [1, 2, 7, 14].map(|d| d * DAY);
    let fixed = short
        .chain(seconds)
        .chain(minutes)
        .chain(hours)
        .chain(days)
        .map(Step::Microseconds);
    let years = (0..6)
        .map(|k| 10i64.pow(k))
        .flat_map(|p| [p, 2 * p, 5 * p])
        .map(|y| 12 * y);
    fixed.chain([1, 3, 6].into_iter().chain(years).map(Step::Months))
}

/// At most about `wanted` ticks at round dates within `[from, to]`; none when there is no room between them.
pub(crate) fn ticks(from: i64, to: i64, wanted: usize) -> Vec<Tick> {
    let span = to.abs_diff(from);
    let Some(step) = steps().find(|s| span / s.microseconds() as u64 <= wanted as u64) else {
        return Vec::new();
    };
    let same_day = from.div_euclid(DAY) == to.div_euclid(DAY);
    let times: Vec<i64> = match step {
        Step::Microseconds(step) => multiples(from, to, step).collect(),
        Step::Months(step) => months(from, to, step).collect(),
    };
    let size = step.microseconds();
    let label = |us: i64| match size {
        _ if size >= YEAR => format(us, Precision::Year),
        _ if size >= MONTH => format(us, Precision::Month),
        _ if size >= DAY => format(us, Precision::Day),
        _ if size >= MINUTE && same_day => clock(us.rem_euclid(DAY), Precision::Minute),
        _ if size >= MINUTE => format(us, Precision::Minute).split_off(5),
        _ if size >= SECOND => clock(us.rem_euclid(DAY), Precision::Second),
        _ => seconds(us.rem_euclid(MINUTE), size),
    };
    times
        .into_iter()
        .map(|at| Tick { at, label: label(at) })
        .collect()
}

/// Seconds within the minute, with the places that a step of `size` microseconds needs.
fn seconds(within: i64, size: i64) -> String {
    let places = (1..6).find(|&k| size % 10i64.pow(6 - k) == 0).unwrap_or(6);
    let fraction = within % SECOND / 10i64.pow(6 - places);
    format!(
        "{:02}.{fraction:0width$} s",
        within / SECOND,
        width = places as usize
    )
}

/// The multiples of `step` since the epoch within `[from, to]`.
fn multiples(from: i64, to: i64, step: i64) -> impl Iterator<Item = i64> {
    let first = from.div_euclid(step) + i64::from(from.rem_euclid(step) > 0);
    (first..=to.div_euclid(step)).map(move |k| k * step)
}

/// The first days of every `step`-th month within `[from, to]`.
fn months(from: i64, to: i64, step: i64) -> impl Iterator<Item = i64> {
    let count = |us: i64| {
        let (year, month, _) = civil(us.div_euclid(DAY) + EPOCH_DAYS);
        year * 12 + month - 1
    };
    (count(from).div_euclid(step)..=count(to).div_euclid(step))
        .filter_map(move |k| {
            let month = k * step;
            let days = first_of_month(month.div_euclid(12), month.rem_euclid(12) + 1) - EPOCH_DAYS;
            days.checked_mul(DAY)
        })
        .filter(move |at| (from..=to).contains(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As PostgreSQL prints them.
    #[test]
    fn dates_are_those_of_postgresql() {
        for (us, text) in [
            (0, "2000-01-01 00:00:00.000000"),
            (-1, "1999-12-31 23:59:59.999999"),
            (5_097_600_000_000, "2000-02-29 00:00:00.000000"),
            (825_500_096_789_012, "2026-02-27 09:34:56.789012"),
            (-63_113_904_000_000_000, "0001-01-01 00:00:00.000000 BC"),
            (-63_082_281_600_000_000, "0001-01-01 00:00:00.000000"),
            (-211_813_488_000_000_000, "4714-11-24 00:00:00.000000 BC"),
            (9_223_371_331_199_999_999, "294276-12-31 23:59:59.999999"),
        ] {
            assert_eq!(format(us, Precision::Microsecond), text);
        }
        assert_eq!(format(0, Precision::Minute), "2000-01-01 00:00");
        assert_eq!(format(-1, Precision::Month), "1999-12");
        assert_eq!(format(-63_113_904_000_000_000, Precision::Year), "1 BC");
    }

    #[test]
    fn every_day_of_eight_centuries_comes_after_the_one_before() {
        let mut before = civil(-400_000);
        for day in -399_999..400_000 {
            let now = civil(day);
            let follows = if now.2 > 1 {
                (now.0, now.1, now.2 - 1) == before
            } else {
                before.2 >= 28 && (now.0 * 12 + now.1) - (before.0 * 12 + before.1) == 1
            };
            assert!(follows, "{before:?} {now:?}");
            if now.2 == 1 {
                assert_eq!(first_of_month(now.0, now.1), day);
            }
            before = now;
        }
    }

    fn labels(from: i64, to: i64) -> Vec<String> {
        ticks(from, to, 6).into_iter().map(|t| t.label).collect()
    }

    #[test]
    fn ticks_are_round_at_every_scale() {
        assert_eq!(labels(0, 2), ["00.000000 s", "00.000001 s", "00.000002 s"]);
        assert_eq!(labels(3 * SECOND / 2, 4 * SECOND)[..2], ["01.5 s", "02.0 s"]);
        assert_eq!(
            labels(10, 20 * SECOND),
            ["00:00:05", "00:00:10", "00:00:15", "00:00:20"]
        );
        assert_eq!(labels(HOUR / 2, 3 * HOUR)[..2], ["00:30", "01:00"]);
        assert_eq!(
            labels(0, 2 * DAY),
            [
                "01-01 00:00",
                "01-01 12:00",
                "01-02 00:00",
                "01-02 12:00",
                "01-03 00:00"
            ]
        );
        assert_eq!(
            labels(1, 4 * DAY),
            ["2000-01-02", "2000-01-03", "2000-01-04", "2000-01-05"]
        );
        assert_eq!(labels(1, 120 * DAY), ["2000-02", "2000-03", "2000-04"]);
        assert_eq!(labels(1, 10 * YEAR), ["2002", "2004", "2006", "2008"]);
        assert_eq!(labels(-2100 * YEAR, 0), ["1 BC", "500", "1000", "1500", "2000"]);
    }

    #[test]
    fn ticks_never_leave_the_span_nor_overflow() {
        for (from, to) in [
            (i64::MIN, i64::MAX),
            (0, i64::MAX),
            (i64::MIN, 0),
            (i64::MAX - 5, i64::MAX),
            (7, 7),
        ] {
            let found = ticks(from, to, 6);
            assert!(found.len() <= 9, "{found:?}");
            assert!(found.iter().all(|t| (from..=to).contains(&t.at)));
            assert!(found.len() >= 2 || to.abs_diff(from) < 2, "{found:?}");
        }
    }
}
