//! Options that every type of source takes.

use crate::time::from_text;
use crate::{ErrorKind, Limits, RejectReason, SourceError};
use serde::{Deserialize, Serialize};
use std::time::Duration;

const MAX_BATCH_ROWS: usize = 100_000;
const MIN_BATCH_BYTES: usize = 64 << 10;
const MAX_BATCH_BYTES: usize = 64 << 20;
const MAX_BATCH_INTERVAL_MS: u64 = 60_000;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Common {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// Share of a batch's records, rejected, above which the source pauses.
    pub max_reject_ratio: f64,
    /// Most records of a transaction.
    pub batch_rows: usize,
    /// Most bytes of a transaction's records.
    pub batch_bytes: usize,
    /// Longest wait, in milliseconds, for a batch to fill.
    pub batch_interval_ms: u64,
}

/// What is fetched of the source, pushed down as far as the source allows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Only these entities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity_ids: Option<Vec<String>>,
    /// ISO 8601: only records from this time on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// ISO 8601: only records before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

impl Default for Common {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            filter: None,
            max_reject_ratio: 0.5,
            batch_rows: limits.rows,
            batch_bytes: limits.bytes,
            batch_interval_ms: limits.linger.as_millis() as u64,
        }
    }
}

impl Common {
    pub(super) const KEYS: [&str; 5] = [
        "filter",
        "max_reject_ratio",
        "batch_rows",
        "batch_bytes",
        "batch_interval_ms",
    ];

    pub(super) fn check(&self) -> Result<(), SourceError> {
        let between = |name: &str, value: usize, low: usize, high: usize| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(SourceError::new(
                ErrorKind::Config,
                format!("{name} is {value}, outside {low} to {high}"),
            ))
        };
        between("batch_rows", self.batch_rows, 1, MAX_BATCH_ROWS)?;
        between("batch_bytes", self.batch_bytes, MIN_BATCH_BYTES, MAX_BATCH_BYTES)?;
        let interval = self.batch_interval_ms as usize;
        between("batch_interval_ms", interval, 1, MAX_BATCH_INTERVAL_MS as usize)?;
        if !(0.0..=1.0).contains(&self.max_reject_ratio) {
            let message = format!("max_reject_ratio is {}, outside 0 to 1", self.max_reject_ratio);
            return Err(SourceError::new(ErrorKind::Config, message));
        }
        self.filter.as_ref().map_or(Ok(()), |filter| {
            filter.from()?;
            filter.to().map(drop)
        })
    }

    pub fn limits(&self) -> Limits {
        Limits {
            rows: self.batch_rows,
            bytes: self.batch_bytes,
            linger: Duration::from_millis(self.batch_interval_ms),
        }
    }
}

impl Filter {
    /// The first time that is wanted, in PostgreSQL's microseconds.
    pub fn from(&self) -> Result<Option<i64>, SourceError> {
        time("filter.from", self.from.as_deref())
    }

    /// The first time that is not.
    pub fn to(&self) -> Result<Option<i64>, SourceError> {
        time("filter.to", self.to.as_deref())
    }
}

fn time(key: &'static str, text: Option<&str>) -> Result<Option<i64>, SourceError> {
    text.map(|text| {
        from_text(text).map_err(|error| {
            SourceError::new(
                ErrorKind::Config,
                RejectReason::BadTimestamp { field: key, error }.to_string(),
            )
        })
    })
    .transpose()
}
