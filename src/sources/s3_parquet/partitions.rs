//! The times that a partitioned table keeps in the names of its folders, such as `dt=2026-01-31`.

use crate::parquet::RowFilter;
use crate::time::PG_EPOCH_UNIX_MICROS;
use crate::{ErrorKind, SourceError};
use jiff::civil::DateTime;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::{ToSpan, tz::TimeZone};
use std::path::Path;

/// strftime's form of folder names, level by level.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Partitions {
    levels: Vec<String>,
}

impl Partitions {
    /// # Errors
    /// [`ErrorKind::Config`] for a form that cannot be printed, or from which no year is told.
    pub(super) fn parse(format: &str) -> Result<Self, SourceError> {
        let bad = |what: String| {
            SourceError::new(ErrorKind::Config, format!("partition_format {format:?} {what}"))
                .hint("Write it as strftime does, a folder a level: \"dt=%Y-%m-%d\", \"year=%Y/month=%m\".")
        };
        let trimmed = format.trim_matches('/');
        let levels: Vec<String> = trimmed.split('/').map(String::from).collect();
        if levels.iter().any(String::is_empty) {
            return Err(bad("has a level without a name".into()));
        }
        let sample = DateTime::constant(2026, 11, 21, 13, 45, 0, 0);
        let printed = BrokenDownTime::from(sample)
            .to_string(trimmed)
            .map_err(|error| bad(format!("is not understood: {error}")))?;
        let this = Self { levels };
        match this.span(&printed) {
            Ok(Some((low, high))) if high > low => Ok(this),
            _ => Err(bad(
                "does not say a year, or not so that it can be read back".into()
            )),
        }
    }

    /// How many folders deep the form reaches.
    pub(super) fn depth(&self) -> usize {
        self.levels.len()
    }

    /// The times that the files in a folder may have, from the first to the first one beyond, in PostgreSQL's
    /// microseconds; None where the levels so far do not say a year. `path` is below the prefix and at most
    /// as deep as the form.
    ///
    /// # Errors
    /// What the form says of a path that does not follow it.
    pub(super) fn span(&self, path: &str) -> Result<Option<(i64, i64)>, String> {
        let depth = path.split('/').count().min(self.levels.len());
        let form = self.levels[..depth].join("/");
        let time = BrokenDownTime::parse(&form, path).map_err(|error| error.to_string())?;
        Ok(span(&time))
    }

    /// Whether the filter may want files in a folder; below the form's depth all are entered. `key` is the
    /// folder below the prefix, `path` what an error names.
    ///
    /// # Errors
    /// [`ErrorKind::WrongSchema`] for a folder that does not follow the form: it might hold wanted files.
    pub(super) fn may_hold(&self, key: &str, filter: &RowFilter, path: &Path) -> Result<bool, SourceError> {
        let key = key.trim_matches('/');
        if key.split('/').count() > self.levels.len() {
            return Ok(true);
        }
        match self.span(key) {
            Ok(None) => Ok(true),
            Ok(Some((low, end))) => Ok(filter.spans(low, end - 1)),
            Err(error) => Err(self.stray("folder", path).detail(error)),
        }
    }

    /// Checks that a file stands as deep as the form says, so that its folders say its times.
    pub(super) fn check_depth(&self, key: &str, path: &Path) -> Result<(), SourceError> {
        if key.split('/').count() > self.levels.len() {
            Ok(())
        } else {
            Err(self.stray("file", path))
        }
    }

    fn stray(&self, what: &str, path: &Path) -> SourceError {
        let form = self.levels.join("/");
        SourceError::new(
            ErrorKind::WrongSchema,
            format!(
                "{what} \"{}\" does not follow partition_format {form:?}",
                path.display()
            ),
        )
        .hint("Move it, rename it to start with _ so that it is skipped, or leave partition_format out.")
    }
}

fn span(time: &BrokenDownTime) -> Option<(i64, i64)> {
    let date = time.to_date().ok();
    let year = date.map(|date| date.year()).or(time.year())?;
    let month = date.map(|date| date.month()).or(time.month());
    let start = DateTime::new(year, month.unwrap_or(1), date.map_or(1, |d| d.day()), 0, 0, 0, 0).ok()?;
    let (start, length) = match (date, month, time.hour(), time.minute()) {
        (None, None, ..) => (start, 1.year()),
        (None, Some(_), ..) => (start, 1.month()),
        (Some(_), _, None, _) => (start, 1.day()),
        (Some(_), _, Some(hour), None) => (start.with().hour(hour).build().ok()?, 1.hour()),
        (Some(_), _, Some(hour), Some(minute)) => {
            let start = start.with().hour(hour).minute(minute).build().ok()?;
            (start, 1.minute())
        }
    };
    let end = start.checked_add(length).ok()?;
    Some((micros(start)?, micros(end)?))
}

fn micros(time: DateTime) -> Option<i64> {
    let unix = TimeZone::UTC.to_timestamp(time).ok()?.as_microsecond();
    unix.checked_sub(PG_EPOCH_UNIX_MICROS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::from_text;

    fn span(format: &str, path: &str) -> (String, String) {
        let span = Partitions::parse(format).unwrap().span(path);
        let (low, high) = span.unwrap().unwrap();
        (crate::time::to_text(low), crate::time::to_text(high))
    }

    #[test]
    fn folders_span_what_their_last_level_says() {
        let expect = |format, path, low: &str, high: &str| {
            assert_eq!(span(format, path), (low.into(), high.into()), "{format} {path}");
        };
        expect(
            "dt=%Y-%m-%d",
            "dt=2024-02-29",
            "2024-02-29T00:00:00Z",
            "2024-03-01T00:00:00Z",
        );
        expect(
            "year=%Y/month=%m",
            "year=2026",
            "2026-01-01T00:00:00Z",
            "2027-01-01T00:00:00Z",
        );
        expect(
            "year=%Y/month=%m",
            "year=2026/month=12",
            "2026-12-01T00:00:00Z",
            "2027-01-01T00:00:00Z",
        );
        expect(
            "%Y/%m/%d/%H",
            "2026/01/31/23",
            "2026-01-31T23:00:00Z",
            "2026-02-01T00:00:00Z",
        );
        expect(
            "%Y%m%d",
            "20260131",
            "2026-01-31T00:00:00Z",
            "2026-02-01T00:00:00Z",
        );
        expect(
            "%Y-%j",
            "2024-366",
            "2024-12-31T00:00:00Z",
            "2025-01-01T00:00:00Z",
        );
        expect(
            "dt=%F/h=%H-%M",
            "dt=2026-01-31/h=10-59",
            "2026-01-31T10:59:00Z",
            "2026-01-31T11:00:00Z",
        );
    }

    #[test]
    fn what_does_not_follow_the_form_is_told() {
        let days = Partitions::parse("dt=%Y-%m-%d").unwrap();
        for path in [
            "dt=2026-13-01",
            "dt=2026-01",
            "d=2026-01-01",
            "dt=2026-01-01x",
            "backup",
        ] {
            assert!(days.span(path).is_err(), "{path}");
        }
        for format in ["", "dt=%m", "%Y//%m", "dt=%Q!", "static", "%"] {
            let error = Partitions::parse(format).unwrap_err();
            assert!(
                error.kind == ErrorKind::Config && error.message.contains("partition_format"),
                "{format}"
            );
        }
        let early_month = Partitions::parse("month=%m/year=%Y").unwrap();
        assert_eq!(early_month.span("month=02"), Ok(None));
        let whole = early_month.span("month=02/year=2026").unwrap().unwrap();
        assert_eq!(whole.0, from_text("2026-02-01").unwrap());
    }
}
