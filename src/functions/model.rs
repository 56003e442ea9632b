//! The check that every row passes for its model. DDL: sql/install/62_model.sql.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::ingest::guard;

#[pg_extern(sql = false)]
fn check_model(
    space_id: Option<i32>,
    model_version: Option<&str>,
    model_hash: Option<&str>,
) -> Result<bool, ErrorReport> {
    if let Some(space_id) = space_id {
        guard::check(space_id, model_version, model_hash)?;
    }
    Ok(true)
}
