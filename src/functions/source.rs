//! Declaring and steering sources. DDL: sql/install/72_source.sql and 74_config.sql.

use std::ffi::CStr;

use pgrx::JsonB;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::catalog::source::{self, Declared};
use crate::catalog::{activation, dead_letter, rights, secret};
use crate::error::Error;
use crate::ingest::{config, declare};
use crate::workers::poke;

pub(super) fn required<T>(
    function: &'static str,
    argument: &'static str,
    value: Option<T>,
) -> Result<T, ErrorReport> {
    Ok(value.ok_or(Error::NullArgument { function, argument })?)
}

/// Refuses in a read-only transaction, and so on a standby, what is about to write.
pub(super) fn will_write(function: &CStr) {
    // SAFETY: raises an error or does nothing, with a C string.
    unsafe { pg_sys::PreventCommandIfReadOnly(function.as_ptr()) }
}

/// An empty text takes away what a function's NULL leaves as it is.
pub(super) fn unless_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments, reason = "the arguments of the SQL function")]
fn create_source(
    name: Option<String>,
    source_type: Option<String>,
    space: Option<String>,
    config: Option<JsonB>,
    schedule: Option<String>,
    incremental: Option<bool>,
    priority: Option<i32>,
    model: Option<String>,
    time_zone: Option<String>,
) -> Result<i32, ErrorReport> {
    will_write(c"cvx.create_source()");
    const NAME: &str = "cvx.create_source";
    declare::create(&Declared {
        name: required(NAME, "name", name)?,
        source_type: required(NAME, "type", source_type)?,
        space: required(NAME, "space", space)?,
        config: required(NAME, "config", config)?.0,
        schedule: schedule.and_then(unless_empty),
        time_zone: time_zone.unwrap_or_else(|| String::from("UTC")),
        incremental: incremental.unwrap_or(true),
        priority: priority.unwrap_or(source::DEFAULT_PRIORITY),
        model: model.and_then(unless_empty),
    })
}

#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments, reason = "the arguments of the SQL function")]
fn alter_source(
    name: Option<&str>,
    config: Option<JsonB>,
    schedule: Option<String>,
    incremental: Option<bool>,
    priority: Option<i32>,
    model: Option<String>,
    time_zone: Option<String>,
    space: Option<String>,
) -> Result<(), ErrorReport> {
    will_write(c"cvx.alter_source()");
    let before = declare::owned(required("cvx.alter_source", "name", name)?)?;
    let old = before.declared.clone();
    let declared = Declared {
        config: config.map_or(old.config, |it| it.0),
        schedule: schedule.map_or(old.schedule, unless_empty),
        incremental: incremental.unwrap_or(old.incremental),
        priority: priority.unwrap_or(old.priority),
        model: model.map_or(old.model, unless_empty),
        time_zone: time_zone.unwrap_or(old.time_zone),
        space: space.unwrap_or(old.space),
        ..old
    };
    declare::alter(&before, &declared)
}

#[pg_extern(sql = false)]
fn drop_source(name: Option<&str>) -> Result<(), ErrorReport> {
    will_write(c"cvx.drop_source()");
    let it = declare::owned(required("cvx.drop_source", "name", name)?)?;
    poke::workers();
    rights::as_extension_owner(|| source::delete(it.source_id))
}

#[pg_extern(sql = false)]
fn sync_source(name: Option<&str>, full: Option<bool>) -> Result<(), ErrorReport> {
    will_write(c"cvx.sync_source()");
    let it = declare::owned(required("cvx.sync_source", "name", name)?)?;
    let request = if full == Some(true) { "full" } else { "sync" };
    poke::workers();
    rights::as_extension_owner(|| {
        let set = "requested = $2, failures = 0, crashes = 0, next_attempt_at = NULL";
        source::set_state(it.source_id, set, vec![request.into()])
    })
}

#[pg_extern(sql = false)]
fn pause_source(name: Option<&str>) -> Result<(), ErrorReport> {
    will_write(c"cvx.pause_source()");
    let it = declare::owned(required("cvx.pause_source", "name", name)?)?;
    poke::workers();
    let reason = format!("paused by {}", rights::name_of(rights::current_user())?);
    rights::as_extension_owner(|| source::set_paused(it.source_id, true, Some(&reason)))
}

#[pg_extern(sql = false)]
fn resume_source(name: Option<&str>) -> Result<(), ErrorReport> {
    will_write(c"cvx.resume_source()");
    let it = declare::owned(required("cvx.resume_source", "name", name)?)?;
    poke::workers();
    rights::as_extension_owner(|| {
        source::set_paused(it.source_id, false, None)?;
        let set = "failures = 0, crashes = 0, next_attempt_at = NULL,
            status = CASE WHEN status OPERATOR(pg_catalog.=) 'running' THEN status ELSE 'waiting' END,
            requested = CASE WHEN failures OPERATOR(pg_catalog.>) 0 THEN COALESCE(requested, 'sync') ELSE requested END";
        source::set_state(it.source_id, set, vec![])
    })
}

#[pg_extern(sql = false)]
fn replay_dead_letters(source: Option<&str>, reasons: Option<Vec<String>>) -> Result<i64, ErrorReport> {
    will_write(c"cvx.replay_dead_letters()");
    let it = declare::owned(required("cvx.replay_dead_letters", "source", source)?)?;
    poke::workers();
    rights::as_extension_owner(|| {
        source::set_state(it.source_id, "replay = true", vec![])?;
        dead_letter::queue(&it.declared.name, reasons)
    })
}

#[pg_extern(sql = false)]
fn create_secret(name: Option<&str>, value: Option<&str>, replace: Option<bool>) -> Result<(), ErrorReport> {
    will_write(c"cvx.create_secret()");
    const NAME: &str = "cvx.create_secret";
    let (name, value) = (required(NAME, "name", name)?, required(NAME, "value", value)?);
    declare::check_name("secret", name)?;
    let user = rights::current_user();
    let owner = rights::name_of(user)?;
    if let Some((before, _)) = rights::as_extension_owner(|| secret::load(name))? {
        let name = name.to_owned();
        if !rights::acts_for(user, &before) {
            return Err(Error::NotOwner { kind: "secret", name }.into());
        }
        if replace != Some(true) {
            return Err(Error::SecretExists { name }.into());
        }
    }
    poke::workers();
    rights::as_extension_owner(|| secret::store(name, &owner, value))
}

#[pg_extern(sql = false)]
fn drop_secret(name: Option<&str>) -> Result<(), ErrorReport> {
    will_write(c"cvx.drop_secret()");
    let name = required("cvx.drop_secret", "name", name)?;
    let owned = || name.to_owned();
    let Some((owner, _)) = rights::as_extension_owner(|| secret::load(name))? else {
        return Err(Error::UnknownSecret { name: owned() }.into());
    };
    if !rights::acts_for(rights::current_user(), &owner) {
        return Err(Error::NotOwner {
            kind: "secret",
            name: owned(),
        }
        .into());
    }
    rights::as_extension_owner(|| secret::delete(name))
}

#[pg_extern(sql = false)]
#[allow(
    clippy::type_complexity,
    reason = "pgrx reads the row type from the signature"
)]
fn apply_config(
    toml: Option<&str>,
    dry_run: Option<bool>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(kind, &'static str),
            name!(name, String),
            name!(action, &'static str),
        ),
    >,
    ErrorReport,
> {
    let toml = required("cvx.apply_config", "toml", toml)?;
    if dry_run != Some(true) {
        will_write(c"cvx.apply_config()");
    }
    let done = config::apply(toml, dry_run == Some(true))?;
    Ok(TableIterator::new(
        done.into_iter().map(|it| (it.kind, it.name, it.action)),
    ))
}

#[pg_extern(sql = false)]
fn dump_config() -> Result<String, ErrorReport> {
    config::dump()
}

#[pg_extern(sql = false)]
fn is_enabled() -> Result<bool, ErrorReport> {
    rights::as_extension_owner(activation::is_enabled)
}

#[pg_extern(sql = false)]
fn enable() -> Result<(), ErrorReport> {
    will_write(c"cvx.enable()");
    poke::workers();
    rights::as_extension_owner(activation::enable)
}

#[pg_extern(sql = false)]
fn disable() -> Result<(), ErrorReport> {
    will_write(c"cvx.disable()");
    poke::workers();
    rights::as_extension_owner(activation::disable)
}
