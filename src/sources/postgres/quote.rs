//! Names and values as SQL text: COPY takes no parameters.

use crate::time::PG_EPOCH_UNIX_MICROS;
use crate::{ErrorKind, SourceError};

const DAY: i64 = 86_400_000_000;

/// An identifier in double quotes, always.
pub(super) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text constant that means the same whatever `standard_conforming_strings` says, as `quote_literal` writes it.
pub(super) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') {
        format!(" E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// `table`, `schema.table`, each part quoted or not, as SQL reads it: without quotes letters are folded to lower case.
/// Returns it quoted, in the schema `public` when none is named.
///
/// # Errors
/// [`ErrorKind::Config`] for anything else.
pub(super) fn table(name: &str) -> Result<String, SourceError> {
    let bad = || {
        SourceError::new(
            ErrorKind::Config,
            format!("table is {name:?}, which is no name of a table"),
        )
        .hint("Write table, schema.table or \"Schema\".\"Table\"; quotes keep upper case and special characters.")
    };
    let mut parts = Vec::new();
    let mut rest = name.trim();
    loop {
        let (part, after) = part(rest).ok_or_else(bad)?;
        parts.push(part);
        match after.strip_prefix('.') {
            Some(after) => rest = after,
            None if after.is_empty() => break,
            None => return Err(bad()),
        }
    }
    match &parts[..] {
        [table] => Ok(format!("{}.{}", ident("public"), ident(table))),
        [schema, table] => Ok(format!("{}.{}", ident(schema), ident(table))),
        _ => Err(bad()),
    }
}

/// The first part of a dotted name, and what follows it.
fn part(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(['.', '"']).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii();
        let valid =
            !name.is_empty() && name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit());
        return valid.then(|| (name.to_lowercase(), rest));
    };
    let mut name = String::new();
    let mut rest = quoted;
    loop {
        let end = rest.find('"')?;
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return (!name.is_empty() && !name.contains('\0')).then_some((name, rest)),
        }
    }
}

/// What PostgreSQL prints for a `timestamp` of so many microseconds since 2000 with DateStyle ISO, to its last digit
/// and over its whole range.
pub(super) fn timestamp(micros: i64) -> String {
    match micros {
        i64::MAX => return "infinity".into(),
        i64::MIN => return "-infinity".into(),
        _ => {}
    }
    let (days, time) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
    let (date, era) = civil(days);
    let (seconds, fraction) = (time / 1_000_000, time % 1_000_000);
    let clock = format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    let fraction = match fraction {
        0 => String::new(),
        _ => format!(".{fraction:06}").trim_end_matches('0').to_owned(),
    };
    format!("{date} {clock}{fraction}{era}")
}

/// The same for a `date` of so many days since 2000.
pub(super) fn date(days: i32) -> String {
    match days {
        i32::MAX => "infinity".into(),
        i32::MIN => "-infinity".into(),
        _ => {
            let (date, era) = civil(days.into());
            format!("{date}{era}")
        }
    }
}

/// Year, month and day of so many days since 2000-01-01 in the proleptic Gregorian calendar, and its era: eras of
/// 400 years, years that begin in March, as in Howard Hinnant's `civil_from_days`.
fn civil(days: i64) -> (String, &'static str) {
    let days = days + PG_EPOCH_UNIX_MICROS / DAY + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    (format!("{year:04}-{month:02}-{day:02}"), era)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_cannot_be_left() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("\\'; DROP TABLE x; --"), " E'\\\\''; DROP TABLE x; --'");
        assert_eq!(ident("a\"b"), "\"a\"\"b\"");
    }

    #[test]
    fn tables_are_read_as_sql_reads_them() {
        for (name, quoted) in [
            ("Embedding", "\"public\".\"embedding\""),
            ("ml.Embedding", "\"ml\".\"embedding\""),
            ("\"M.L\".\"a\"\"b\"", "\"M.L\".\"a\"\"b\""),
            ("ml.\"Embedding\"", "\"ml\".\"Embedding\""),
        ] {
            assert_eq!(table(name).unwrap(), quoted);
        }
        for name in [
            "", ".", "a.", "a.b.c", "a b", "a;b", "\"a", "\"\"", "1a", "a\"b\"", "\"a\"b",
        ] {
            assert_eq!(table(name).unwrap_err().kind, ErrorKind::Config, "{name}");
        }
    }

    #[test]
    fn times_are_printed_over_the_whole_range() {
        for (micros, text) in [
            (0, "2000-01-01 00:00:00"),
            (-1, "1999-12-31 23:59:59.999999"),
            (5_097_600_500_000, "2000-02-29 00:00:00.5"),
            (crate::time::MIN_TS, "4714-11-24 00:00:00 BC"),
            (crate::time::END_TS - 1, "294276-12-31 23:59:59.999999"),
            (i64::MAX, "infinity"),
        ] {
            assert_eq!(timestamp(micros), text);
        }
        assert_eq!(date(-730_120), "0001-12-31 BC");
        assert_eq!(date(-730_119), "0001-01-01");
    }
}
