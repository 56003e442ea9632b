//! What views held at a time, and training sets. DDL: sql/install/78_point_in_time.sql.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::source::{required, will_write};
use crate::catalog::point_in_time::Json;
use crate::types::TimestampTz;
use crate::views::{as_of, training};

#[pg_extern(sql = false)]
fn features_as_of(
    view: Option<&str>,
    entity_id: Option<&str>,
    as_of: Option<TimestampTz>,
    known_at: Option<TimestampTz>,
) -> Result<Option<Json>, ErrorReport> {
    let (Some(view), Some(entity_id), Some(as_of)) = (view, entity_id, as_of) else {
        return Ok(None);
    };
    as_of::features(view, entity_id, as_of, known_at)
}

#[pg_extern(sql = false)]
fn create_training_set(
    name: Option<&str>,
    spine: Option<pg_sys::Oid>,
    views: Option<Vec<Option<String>>>,
    bitemporal: Option<bool>,
) -> Result<i64, ErrorReport> {
    will_write(c"cvx.create_training_set()");
    const NAME: &str = "cvx.create_training_set";
    training::create(
        required(NAME, "name", name)?,
        required(NAME, "spine", spine)?,
        required(NAME, "views", views)?,
        bitemporal == Some(true),
    )
}

#[pg_extern(sql = false)]
fn drop_training_set(name: Option<&str>) -> Result<(), ErrorReport> {
    will_write(c"cvx.drop_training_set()");
    training::drop_set(required("cvx.drop_training_set", "name", name)?)
}
