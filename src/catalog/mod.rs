//! The rows of cvx's tables as Rust values: the only place of Rust with SQL text against them.
//!
//! Every name and operator is qualified: what these statements mean does not depend on search_path.

pub mod dead_letter;
pub mod embedding;
pub mod run;
pub mod space;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi;

/// An SPI failure that no user can cause: the statement text is ours.
pub fn internal(error: spi::Error) -> ErrorReport {
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
        format!("internal statement failed: {error}"),
        "cvx",
    )
}
