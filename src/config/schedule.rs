//! Cron expressions in a time zone.

use crate::{Error, nearest};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;

pub const DEFAULT_TIME_ZONE: &str = "UTC";
const MAX_CHARS: usize = 256;
const NICKNAMES: [&str; 7] = [
    "@hourly",
    "@daily",
    "@midnight",
    "@weekly",
    "@monthly",
    "@yearly",
    "@annually",
];
const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
const WEEKDAYS: [&str; 8] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "L"];

/// A field of an expression: its name, the words it may hold, and what it may hold in words.
struct Field {
    name: &'static str,
    words: &'static [&'static str],
    range: &'static str,
}

const FIELDS: [Field; 5] = [
    Field {
        name: "minute",
        words: &[],
        range: "0 to 59",
    },
    Field {
        name: "hour",
        words: &[],
        range: "0 to 23",
    },
    Field {
        name: "day of month",
        words: &["L", "W", "LW"],
        range: "1 to 31, L (the last) or 15W (the weekday nearest to the 15th)",
    },
    Field {
        name: "month",
        words: &MONTHS,
        range: "1 to 12 or JAN to DEC",
    },
    Field {
        name: "day of week",
        words: &WEEKDAYS,
        range: "0 to 7 (0 and 7 are Sunday) or SUN to SAT, 5#2 (the second Friday) or 5#L (the last)",
    },
];

/// A schedule: when it is due next.
///
/// Where clocks change: an expression whose minute and hour are one number each (`30 2 * * *`) is due once a
/// day. When its time is skipped it is due right after the gap, and of a time that occurs twice the first
/// counts. Any other (`*/15 * * * *`, `0 1-3 * * *`) follows the clock: it is not due in the gap, and due in
/// both passes of an hour that occurs twice.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
}

impl Schedule {
    /// Five fields as in crontab(5), or a nickname such as `@hourly`; `time_zone` is a name of the IANA
    /// database. A day of month and a day of week that are both restricted are alternatives, as crontab(5)
    /// has it; `+` before the latter makes it both.
    ///
    /// # Errors
    /// The expression and the field that is wrong, or the time zone. A sixth field (seconds, years) is
    /// refused, and so is `@reboot`: a source is due at times.
    pub fn parse(cron: &str, time_zone: &str) -> Result<Self, Error> {
        Ok(Self {
            cron: parse_cron(cron)?,
            zone: parse_zone(time_zone)?,
        })
    }

    /// The first time it is due after `unix_micros`, in microseconds since 1970 UTC; None when there is none
    /// before the year 5000. Telling that takes up to some 30 ms, any other answer far less than one.
    pub fn next_after(&self, unix_micros: i64) -> Option<i64> {
        let after = Timestamp::from_microsecond(unix_micros).ok()?;
        let after = after.to_zoned(self.zone.clone());
        let next = self.cron.find_next_occurrence(&after, false).ok()?;
        Some(next.timestamp().as_microsecond())
    }
}

fn parse_cron(given: &str) -> Result<Cron, Error> {
    if given.len() > MAX_CHARS {
        let message = format!(
            "the schedule has {} characters, more than {MAX_CHARS}",
            given.len()
        );
        return Err(Error::new(message));
    }
    let expression = given.trim();
    let invalid = |why: &str| Error::new(format!("invalid schedule {given:?}: {why}"));
    if expression.starts_with('@') {
        let Some(name) = NICKNAMES
            .into_iter()
            .find(|it| it.eq_ignore_ascii_case(expression))
        else {
            return Err(invalid("unknown nickname").hint(format!("There are {}.", NICKNAMES.join(", "))));
        };
        let name = if name == "@midnight" { "@daily" } else { name };
        return parser().parse(name).map_err(|error| invalid(&error.to_string()));
    }
    let fields: Vec<&str> = expression.split_ascii_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let count = fields.len();
        let error = invalid(&format!("{count} fields in place of 5"));
        return Err(error
            .detail("The fields are minute, hour, day of month, month and day of week.")
            .hint("Seconds and years cannot be given."));
    }
    for (index, (field, text)) in FIELDS.iter().zip(&fields).enumerate() {
        if !is_valid(index, field, text) {
            let error = invalid(&format!("the {} is {text:?}", field.name));
            return Err(error.detail(format!(
                "It is * or {}, a range of these from low to high, a step such as */5, or a list of such.",
                field.range
            )));
        }
    }
    parser()
        .parse(&fields.join(" "))
        .map_err(|error| invalid(&error.to_string()))
}

/// The library swaps names of days and months in any field and skips empty parts of lists, so both are looked
/// at here.
fn is_valid(index: usize, field: &Field, text: &str) -> bool {
    let words = text
        .split(|c: char| !c.is_alphabetic())
        .filter(|it| !it.is_empty());
    let mut all_known = words.map(|word| field.words.iter().any(|known| known.eq_ignore_ascii_case(word)));
    if !all_known.all(|known| known) || text.split(',').any(str::is_empty) {
        return false;
    }
    let mut alone = ["*"; FIELDS.len()];
    alone[index] = text;
    parser().parse(&alone.join(" ")).is_ok()
}

fn parser() -> CronParser {
    CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .build()
}

fn parse_zone(name: &str) -> Result<TimeZone, Error> {
    TimeZone::get(name).map_err(|_| {
        let error = Error::new(format!("unknown time zone {name:?}"));
        let names = jiff::tz::db().available();
        let names: Vec<String> = names.map(|name| name.to_string()).collect();
        error.hint(match nearest(name, names.iter().map(String::as_str)) {
            Some(meant) => format!("Perhaps {meant} is meant."),
            None => "Names are those of the IANA database, such as UTC or Europe/Berlin.".to_owned(),
        })
    })
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
