//! Training sets: a spine of entities and times, each joined to what views held, or were known to hold, at that time.

use std::collections::HashSet;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::as_of::with_history;
use super::{invalid, refused};
use crate::catalog::rights;
use crate::catalog::training::{self, Spine};
use crate::catalog::view::{self, View};
use crate::error::Error;

const MOST_NAME_BYTES: usize = 63;
/// Types whose values are compared with each other, as a view's ids are.
const TEXTS: [pg_sys::Oid; 4] = [
    pg_sys::TEXTOID,
    pg_sys::VARCHAROID,
    pg_sys::BPCHAROID,
    pg_sys::NAMEOID,
];
const INTEGERS: [pg_sys::Oid; 3] = [pg_sys::INT2OID, pg_sys::INT4OID, pg_sys::INT8OID];

/// Makes the table cvx_training.<name>, of the caller and with his rights. Returns how many rows it has.
pub fn create(
    name: &str,
    spine: pg_sys::Oid,
    views: Vec<Option<String>>,
    bitemporal: bool,
) -> Result<i64, ErrorReport> {
    check_name(name)?;
    let views = rights::as_extension_owner(|| named(views))?;
    let spine = check_spine(spine, &views)?;
    check_columns(&spine, &views)?;
    if !training::may_create()? {
        return Err(refused(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            String::from("permission denied for schema cvx_training"),
            "A superuser can call cvx.grant_read(role).",
        ));
    }
    // Before it is filled: what changes later may be in it or not, what changed before is told.
    for view in &views {
        warn_of_stale(view, &spine)?;
    }
    let rows = training::fill(name, &spine, &views, bitemporal)?;
    training::comment(name, &spine)?;
    let owner = rights::current_user();
    rights::as_extension_owner(|| training::record(name, &spine, &views, bitemporal, rows, owner))?;
    Ok(rows)
}

fn check_name(name: &str) -> Result<(), ErrorReport> {
    if !(1..=MOST_NAME_BYTES).contains(&name.len()) {
        return Err(refused(
            PgSqlErrorCode::ERRCODE_INVALID_NAME,
            format!(
                "the name of a training set has 1 to {MOST_NAME_BYTES} bytes, not {}",
                name.len()
            ),
            "It is a table in schema cvx_training.",
        ));
    }
    if training::exists(name)? {
        return Err(refused(
            PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT,
            format!("training set {name:?} already exists"),
            "Choose another name, or cvx.drop_training_set(name) first.",
        ));
    }
    Ok(())
}

/// The views, each of them once and with history.
fn named(names: Vec<Option<String>>) -> Result<Vec<View>, ErrorReport> {
    let mut views: Vec<View> = Vec::with_capacity(names.len());
    for name in names {
        let name = name.ok_or(Error::NullArgument {
            function: "cvx.create_training_set",
            argument: "views",
        })?;
        if views.iter().any(|it| it.name == name) {
            return Err(invalid(
                format!("view {name:?} is named twice"),
                "Name each view once.",
            ));
        }
        let view = view::by_name(&name)?.ok_or(Error::UnknownView { name })?;
        views.push(with_history(view)?);
    }
    if views.is_empty() {
        return Err(invalid(
            "a training set needs at least one view",
            "For example: views => ARRAY['user_features'].",
        ));
    }
    Ok(views)
}

fn check_spine(oid: pg_sys::Oid, views: &[View]) -> Result<Spine, ErrorReport> {
    let columns =
        "A spine is a table or view with the columns entity_id and ts timestamptz, and others as you like.";
    let Some(spine) = Spine::read(oid)? else {
        return Err(refused(
            PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
            format!("relation with OID {} does not exist", oid.to_u32()),
            columns,
        ));
    };
    if !["r", "p", "v", "m", "f"].contains(&spine.kind.as_str()) {
        return Err(refused(
            PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            format!("{} cannot be a spine", spine.relation),
            columns,
        ));
    }
    for (column, hint) in [("entity_id", columns), ("ts", columns)] {
        if spine.type_of(column).is_none() {
            return Err(refused(
                PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
                format!("{} has no column {column}", spine.relation),
                hint,
            ));
        }
    }
    if spine.type_of("ts") != Some(pg_sys::TIMESTAMPTZOID) {
        return Err(refused(
            PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
            format!("column ts of {} is not of type timestamptz", spine.relation),
            "Make a view of it that casts the column.",
        ));
    }
    let entity = spine.type_of("entity_id").unwrap_or(pg_sys::InvalidOid);
    for view in views {
        let fits = match view.entity_type() {
            "smallint" | "integer" | "bigint" => INTEGERS.contains(&entity),
            "uuid" => entity == pg_sys::UUIDOID,
            _ => TEXTS.contains(&entity),
        };
        if !fits {
            return Err(refused(
                PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
                format!(
                    "column entity_id of {} cannot be compared with the ids of view {:?}, which are of type {}",
                    spine.relation,
                    view.name,
                    view.entity_type()
                ),
                "Make a view of it that casts the column.",
            ));
        }
    }
    Ok(spine)
}

/// No two columns of one name, and none whose name would be cut off.
fn check_columns(spine: &Spine, views: &[View]) -> Result<(), ErrorReport> {
    let mut names: HashSet<String> = spine.columns.iter().map(|it| it.0.clone()).collect();
    for name in views.iter().flat_map(training::added).map(|it| it.0) {
        if name.len() > MOST_NAME_BYTES {
            return Err(refused(
                PgSqlErrorCode::ERRCODE_NAME_TOO_LONG,
                format!("column {name:?} would have a name of {} bytes", name.len()),
                format!(
                    "A name has at most {MOST_NAME_BYTES} bytes: make the view anew under a shorter one."
                ),
            ));
        }
        if let Some(name) = names.replace(name) {
            return Err(refused(
                PgSqlErrorCode::ERRCODE_DUPLICATE_COLUMN,
                format!("two columns would have the name {name:?}"),
                "Make a view of the spine that calls its column otherwise, or make the view anew under another name.",
            ));
        }
    }
    Ok(())
}

fn warn_of_stale(view: &View, spine: &Spine) -> Result<(), ErrorReport> {
    let stale = rights::as_extension_owner(|| training::stale(view.view_id))?;
    let count = training::stale_of(spine, stale)?;
    if count > 0 {
        let message = format!(
            "entities of {} that are out of date in view {:?}: {count}",
            spine.relation, view.name
        );
        ErrorReport::new(PgSqlErrorCode::ERRCODE_WARNING, message, "cvx")
            .set_hint("Wait until cvx.views says that it is fresh, or call cvx.refresh_view; then make the set anew.")
            .report(PgLogLevel::WARNING);
    }
    Ok(())
}

pub fn drop_set(name: &str) -> Result<(), ErrorReport> {
    let user = rights::current_user();
    let Some(owner) = rights::as_extension_owner(|| training::owner_of(name))? else {
        return Err(refused(
            PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            format!("training set {name:?} does not exist"),
            "SELECT name FROM cvx.training_set lists them; cvx.create_training_set makes one.",
        ));
    };
    if !rights::acts_for(user, &owner) {
        return Err(Error::NotOwner {
            kind: "training set",
            name: name.to_owned(),
        }
        .into());
    }
    if training::exists(name)? {
        training::drop_table(name)?;
    }
    rights::as_extension_owner(|| training::forget(name))
}
