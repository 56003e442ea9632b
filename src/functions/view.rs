//! Declaring and refreshing views. DDL: sql/install/76_view.sql.

use std::ffi::CStr;

use pgrx::JsonB;
use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::source::{required, unless_empty, will_write};
use crate::catalog::rights;
use crate::views::invalid;
use crate::views::request::Request;
use crate::views::source::Asked;
use crate::views::{compact, create, refresh};
use crate::workers::poke;

#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments, reason = "the arguments of the SQL function")]
fn create_view(
    name: Option<String>,
    kind: Option<String>,
    space: Option<String>,
    model: Option<String>,
    refresh_policy: Option<String>,
    schedule: Option<String>,
    entity_filter: Option<JsonB>,
    retention: Option<Interval>,
    config: Option<JsonB>,
    source_table: Option<pg_sys::Oid>,
    entity_column: Option<&CStr>,
    ts_column: Option<&CStr>,
    vector_column: Option<&CStr>,
    time_zone: Option<String>,
) -> Result<(), ErrorReport> {
    will_write(c"cvx.create_view()");
    const NAME: &str = "cvx.create_view";
    let text = |it: &CStr| it.to_string_lossy().into_owned();
    let columns = [entity_column, ts_column, vector_column];
    let table = match (source_table, columns) {
        (Some(relation), [Some(entity), Some(ts), Some(vector)]) => Some(Asked {
            relation,
            entity_column: text(entity),
            ts_column: text(ts),
            vector_column: text(vector),
        }),
        (None, [None, None, None]) => None,
        _ => {
            return Err(invalid(
                "a view of a table needs source_table, entity_column, ts_column and vector_column",
                "For example: source_table => 'public.items', entity_column => 'item_id', ts_column => 'created_at', \
                 vector_column => 'embedding'.",
            ));
        }
    };
    create::create(Request {
        name: required(NAME, "name", name)?,
        kind: required(NAME, "type", kind)?,
        space,
        model,
        policy: refresh_policy.unwrap_or_else(|| String::from("on_ingest")),
        schedule: schedule.and_then(unless_empty),
        time_zone: time_zone.unwrap_or_else(|| String::from("UTC")),
        entity_filter,
        retention,
        config: config.unwrap_or_else(|| JsonB(serde_json::Value::Object(Default::default()))),
        table,
    })
}

#[pg_extern(sql = false)]
fn drop_view(name: Option<&str>) -> Result<(), ErrorReport> {
    will_write(c"cvx.drop_view()");
    let it = create::owned(required("cvx.drop_view", "name", name)?)?;
    create::drop_view(&it)
}

#[pg_extern(sql = false)]
fn refresh_view(
    name: Option<&str>,
    entity_ids: Option<Vec<Option<String>>>,
    force: Option<bool>,
) -> Result<i64, ErrorReport> {
    will_write(c"cvx.refresh_view()");
    let ids = entity_ids.map(|ids| ids.into_iter().flatten().collect());
    let name = required("cvx.refresh_view", "name", name)?;
    refresh::refresh(name, ids, force == Some(true))
}

#[pg_extern(sql = false)]
fn invalidate_view(name: Option<&str>) -> Result<(), ErrorReport> {
    will_write(c"cvx.invalidate_view()");
    let it = create::owned(required("cvx.invalidate_view", "name", name)?)?;
    poke::refresh();
    rights::as_extension_owner(|| compact::mark_all(it.view_id))
}
