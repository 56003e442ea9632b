//! Monitors: what should not happen, looked for, and who hears of it. States, transactions, locks: README.md.

pub mod backtest;
pub mod condition;
pub mod custom;
pub mod declare;
pub mod detect;
pub mod evaluate;
pub mod fire;
mod payload;
mod quality;
pub mod retrain;
pub mod scope;
mod silence;
mod trend;

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::panic::ErrorReport;
use serde_json::Value;

use crate::types::TimestampTz;

/// Something that a monitor looks for, found.
#[derive(Clone, Debug, Default)]
pub struct Finding {
    /// None when it is about no entity: a source, a space, a row of a query.
    pub entity_id: Option<String>,
    /// The space in which it was found, where the monitor looks at several.
    pub space: Option<String>,
    /// The time of what was found, as the data have it.
    pub ts: Option<TimestampTz>,
    pub value: Option<f64>,
    pub threshold: Option<f64>,
    pub p_value: Option<f64>,
    /// In place of the monitor's.
    pub severity: Option<String>,
    pub message: String,
    pub details: Value,
}

/// The value of an entity at its last point.
pub struct Measured {
    pub entity_id: String,
    pub end_ts: TimestampTz,
    pub value: f64,
    pub p_value: Option<f64>,
}

/// Why somebody cannot have what he wants of a monitor.
pub fn refused(code: PgSqlErrorCode, message: impl Into<String>, hint: impl Into<String>) -> ErrorReport {
    ErrorReport::new(code, message.into(), "cvx").set_hint(hint.into())
}

/// A declaration that says something that cannot be.
pub fn invalid(message: impl Into<String>, hint: impl Into<String>) -> ErrorReport {
    refused(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message, hint)
}
