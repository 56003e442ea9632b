//! The rows of cvx's tables as Rust values: the only place of Rust with SQL text against them.
//!
//! Every name and operator is qualified: what these statements mean does not depend on search_path.

pub mod activation;
pub mod alert;
pub mod alignment;
pub mod dead_letter;
pub mod delivery;
pub mod detector;
pub mod embedding;
pub mod history;
pub mod model;
pub mod monitor;
pub mod pairs;
pub mod parse;
pub mod point_in_time;
pub mod population;
pub mod position;
pub mod rights;
pub mod run;
pub mod sample;
pub mod secret;
pub mod snapshot;
pub mod source;
pub mod space;
pub mod statement;
pub mod subtransaction;
pub mod training;
pub mod view;

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::rc::Rc;
use std::thread::LocalKey;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::{self, OwnedPreparedStatement};

/// An SPI failure that no user can cause: the statement text is ours.
pub fn internal(error: spi::Error) -> ErrorReport {
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
        format!("internal statement failed: {error}"),
        "cvx",
    )
}

/// Prepared statements that a session keeps, by what tells them apart.
pub type Statements<K> = RefCell<HashMap<K, Rc<OwnedPreparedStatement>>>;

/// More of one kind than this and the kind starts anew: a session does not grow with the number of spaces.
const MAX_STATEMENTS: usize = 256;

/// The kept statement of `key`, prepared when it is not there. It is handed out, not lent: a row-level security
/// policy may come back here while it runs.
pub fn prepared<K: Eq + Hash>(
    kept: &'static LocalKey<Statements<K>>,
    key: K,
    prepare: impl FnOnce() -> spi::Result<OwnedPreparedStatement>,
) -> spi::Result<Rc<OwnedPreparedStatement>> {
    if let Some(statement) = kept.with_borrow(|it| it.get(&key).cloned()) {
        return Ok(statement);
    }
    let statement = Rc::new(prepare()?);
    kept.with_borrow_mut(|it| {
        if it.len() >= MAX_STATEMENTS {
            it.clear();
        }
        it.insert(key, Rc::clone(&statement));
    });
    Ok(statement)
}
