//! Intervals as PostgreSQL reads them, as far as a declaration may hold them.

/// Whether a text is an interval of some length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    Zero,
    Positive,
}

const MAX_CHARS: usize = 100;

/// Units of PostgreSQL's intervals and their usual short forms (`deltatktbl` of utils/adt/datetime.c).
const UNITS: [&str; 47] = [
    "us",
    "usec",
    "usecs",
    "usecond",
    "useconds",
    "microsecond",
    "microseconds",
    "ms",
    "msec",
    "msecs",
    "msecond",
    "mseconds",
    "millisecond",
    "milliseconds",
    "s",
    "sec",
    "secs",
    "second",
    "seconds",
    "m",
    "min",
    "mins",
    "minute",
    "minutes",
    "h",
    "hr",
    "hrs",
    "hour",
    "hours",
    "d",
    "day",
    "days",
    "w",
    "week",
    "weeks",
    "mon",
    "mons",
    "month",
    "months",
    "y",
    "yr",
    "yrs",
    "year",
    "years",
    "decade",
    "decades",
    "century",
];

/// The length of an interval such as `7d`, `1 day 12 hours`, `01:30:00` or `P1DT12H`; none for a text of
/// another form, a negative one among them.
pub fn length(text: &str) -> Option<Length> {
    let text = text.trim();
    if text.is_empty() || text.len() > MAX_CHARS {
        return None;
    }
    let positive = match text.strip_prefix('P') {
        Some(rest) => iso(rest)?,
        None => words(text)?,
    };
    Some(if positive { Length::Positive } else { Length::Zero })
}

/// Whether any of its numbers is above 0. The form with designators of ISO 8601.
fn iso(text: &str) -> Option<bool> {
    let (date, time) = match text.split_once('T') {
        Some((_, "")) => return None,
        Some((date, time)) => (date, time),
        None => (text, ""),
    };
    if date.is_empty() && time.is_empty() {
        return None;
    }
    Some(designated(date, "YMWD")? | designated(time, "HMS")?)
}

/// Numbers, each followed by one of the letters, in their order.
fn designated(mut text: &str, letters: &str) -> Option<bool> {
    let mut positive = false;
    let mut letters = letters.chars();
    while !text.is_empty() {
        let (above, rest) = number(text)?;
        let letter = rest.chars().next()?;
        letters.find(|&it| it == letter)?;
        positive |= above;
        text = &rest[letter.len_utf8()..];
    }
    Some(positive)
}

/// Numbers with units, and at most one clock time.
fn words(mut text: &str) -> Option<bool> {
    let mut positive = false;
    let mut clock_seen = false;
    while !text.is_empty() {
        if let Some((above, rest)) = clock(text) {
            if std::mem::replace(&mut clock_seen, true) {
                return None;
            }
            positive |= above;
            text = rest.trim_start();
            continue;
        }
        let (above, rest) = number(text)?;
        let rest = rest.trim_start();
        let end = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let unit = rest[..end].to_ascii_lowercase();
        if !UNITS.contains(&unit.as_str()) {
            return None;
        }
        positive |= above;
        text = rest[end..].trim_start();
    }
    Some(positive)
}

/// `HH:MM`, `HH:MM:SS` or `HH:MM:SS.fff` before a space or the end.
fn clock(text: &str) -> Option<(bool, &str)> {
    let end = text.find(' ').unwrap_or(text.len());
    let parts: Vec<&str> = text[..end].split(':').collect();
    if !(2..=3).contains(&parts.len()) {
        return None;
    }
    let mut positive = false;
    for (index, part) in parts.iter().enumerate() {
        let (above, rest) = number(part)?;
        let whole = part.split('.').next()?;
        if !rest.is_empty() || (index < 2 && whole != *part) || (index > 0 && whole.parse::<u8>().ok()? > 59)
        {
            return None;
        }
        positive |= above;
    }
    Some((positive, &text[end..]))
}

/// Digits with at most one decimal point: whether they are above 0, and what follows.
fn number(text: &str) -> Option<(bool, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let digits = &text[..end];
    let well_formed = digits.starts_with(|c: char| c.is_ascii_digit()) && digits.matches('.').count() <= 1;
    well_formed.then(|| (digits.contains(|c| matches!(c, '1'..='9')), &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_postgresql_reads_as_an_interval() {
        for text in [
            "7d",
            "1h",
            "1h30m",
            "1 day 12 hours",
            "90 minutes",
            "1.5 hours",
            "01:30:00",
            "00:00:00.5",
            "1 day 02:00:00",
            "P7D",
            "P1DT12H",
            "PT0.5S",
            "P1Y2M3W4DT5H6M7S",
            "1 mon",
            "2 Weeks",
            " 1h ",
        ] {
            assert_eq!(length(text), Some(Length::Positive), "{text}");
        }
        for text in [
            "0",
            "-1h",
            "1",
            "h",
            "7 dayz",
            "1 day -2 hours",
            "1..5h",
            "01:60",
            "1:2:3:4",
            "1:02.5:03",
            "P",
            "PT",
            "P1DT",
            "P1H",
            "PT1D",
            "P1D2Y",
            "",
            "  ",
            "tomorrow",
            "1h é",
            "∞",
            "01:00 02:00",
            "P1Dé",
        ] {
            assert_eq!(length(text), None, "{text}");
        }
        for text in ["0s", "00:00:00", "P0D", "0.0 hours"] {
            assert_eq!(length(text), Some(Length::Zero), "{text}");
        }
        assert_eq!(length(&"1d ".repeat(100_000)), None);
    }
}
