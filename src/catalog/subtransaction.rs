//! A part of a transaction that may fail by itself.

use std::panic::AssertUnwindSafe;

use pgrx::pg_sys::panic::{CaughtError, ErrorReport};
use pgrx::prelude::*;

/// Runs `body`; when it raises an error all that it did is undone, and `handle` says what that means or raises it again.
pub fn attempt<T>(
    body: impl FnOnce() -> Result<T, ErrorReport>,
    handle: impl FnOnce(CaughtError) -> Result<T, ErrorReport>,
) -> Result<T, ErrorReport> {
    // SAFETY: the pattern of PL/pgSQL's exception blocks: context and resource owner are restored on both ways out, and
    // an error that is not ours to handle leaves with the subtransaction already undone.
    unsafe {
        let (context, owner) = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        let restore = || {
            pg_sys::MemoryContextSwitchTo(context);
            pg_sys::CurrentResourceOwner = owner;
        };
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let undo = || {
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
            restore();
        };
        let raised = AssertUnwindSafe(|| {
            Ok(body().unwrap_or_else(|report| {
                report.report(PgLogLevel::ERROR);
                unreachable!()
            }))
        });
        let done = PgTryBuilder::new(raised)
            .catch_others(|error: CaughtError| {
                undo();
                Err(error)
            })
            .execute();
        match done {
            Ok(value) => {
                pg_sys::ReleaseCurrentSubTransaction();
                restore();
                Ok(value)
            }
            Err(error) => handle(error),
        }
    }
}
