//! The identity guard: one model a space.

use std::cell::RefCell;
use std::collections::HashMap;

use cvx_sources::{Record, Registered};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::catalog::{
    model,
    statement::{Moment, Statement},
};
use crate::error::Error;
use crate::guc::{self, ModelMismatch};

#[derive(Default)]
struct Known {
    at: Option<Moment>,
    of_space: HashMap<i32, Option<Registered>>,
    /// The client's statement that was warned last: an ingestion writes in many commands.
    warned: Option<Statement>,
}

thread_local! {
    /// What the current statement has looked up: a COPY asks once.
    static KNOWN: RefCell<Known> = RefCell::default();
}

/// Checks what a row says of its model, as `cvx.model_mismatch` has it.
pub fn check(
    space_id: i32,
    model_version: Option<&str>,
    model_hash: Option<&str>,
) -> Result<(), ErrorReport> {
    let mode = guc::model_mismatch();
    if (model_version.is_none() && model_hash.is_none()) || mode == ModelMismatch::Ignore || was_accepted() {
        return Ok(());
    }
    let record = Record {
        model_version,
        model_hash,
        ..Record::default()
    };
    let now = Moment::now();
    let known = KNOWN.with_borrow_mut(|known| {
        if known.at != Some(now) {
            known.at = Some(now);
            known.of_space.clear();
        }
        known
            .of_space
            .get(&space_id)
            .map(|it| it.as_ref().map_or(Ok(()), |it| it.check(&record)))
    });
    let checked = match known {
        Some(checked) => checked,
        None => {
            let registered = model::registered(space_id)?;
            let checked = registered.as_ref().map_or(Ok(()), |it| it.check(&record));
            KNOWN.with_borrow_mut(|known| known.of_space.insert(space_id, registered));
            checked
        }
    };
    match checked {
        Ok(()) => Ok(()),
        Err(reason) if mode == ModelMismatch::Error => Err(Error::EmbeddingRefused(reason).into()),
        Err(reason) => {
            let statement = Statement::now();
            if KNOWN.with_borrow_mut(|known| known.warned.replace(statement)) != Some(statement) {
                Error::EmbeddingRefused(reason).warn();
            }
            Ok(())
        }
    }
}

/// The model for which a space refuses all others; None when it takes them.
pub fn refusing(space_id: i32) -> Result<Option<Registered>, ErrorReport> {
    match guc::model_mismatch() {
        ModelMismatch::Error => model::registered(space_id),
        ModelMismatch::Warning | ModelMismatch::Ignore => Ok(None),
    }
}

/// Whether rows come as they were accepted once: from the server that this one replicates, or from a dump. A dump's
/// scripts switch off the check of function bodies, and nothing else has a reason to; but anybody may, so it counts for
/// those only who may lift the guard.
fn was_accepted() -> bool {
    // SAFETY: plain variables of the backend, read on its main thread, and a look-up of the running user's rights.
    unsafe {
        pg_sys::SessionReplicationRole == pg_sys::SESSION_REPLICATION_ROLE_REPLICA as i32
            || (!pg_sys::check_function_bodies
                && pg_sys::pg_parameter_aclcheck(
                    guc::MODEL_MISMATCH_NAME.as_ptr(),
                    pg_sys::GetUserId(),
                    pg_sys::ACL_SET as pg_sys::AclMode,
                ) == pg_sys::AclResult::ACLCHECK_OK)
    }
}
