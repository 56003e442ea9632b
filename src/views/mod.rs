//! Views that are computed again for what changed: declared, watched, refreshed. States, transactions, locks: README.md.

pub mod as_of;
pub mod compact;
pub mod config;
pub mod create;
pub mod definition;
pub mod history;
pub mod invalidate;
mod read;
pub mod refresh;
pub mod request;
pub mod source;
mod sweep;
pub mod training;
mod write;

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::panic::ErrorReport;

use crate::error::Error;

/// Why somebody cannot have what he wants of a view.
fn refused(code: PgSqlErrorCode, message: impl Into<String>, hint: impl Into<String>) -> ErrorReport {
    Error::InvalidView {
        code,
        message: message.into(),
        hint: hint.into(),
    }
    .into()
}

/// A declaration that says something that cannot be.
pub fn invalid(message: impl Into<String>, hint: impl Into<String>) -> ErrorReport {
    refused(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message, hint)
}
