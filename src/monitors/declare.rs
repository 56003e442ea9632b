//! Declaring monitors: what is checked, with whose rights, and who is told.

use cvx_config::SEVERITIES;
use cvx_config::schedule::Schedule;
use cvx_webhooks::Policy;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde_json::Value;

use super::condition::{Baseline, Condition};
use super::{custom, fire, invalid, refused};
use crate::catalog::monitor::{self, Monitor};
use crate::catalog::{activation, internal, model, rights, source, space::Space};
use crate::error::Error;
use crate::guc;
use crate::ingest::declare::{check_name, next_time};
use crate::types::TimestampTz;
use crate::views::source::check_embedding;
use crate::workers::process::now;
use crate::workers::{poke, shared};

/// More than this and the declarations themselves would be the load.
const MOST_MONITORS: i64 = 1000;

/// Brings a declaration into the form in which it is kept: JSON by the rules of the TOML, intervals as PostgreSQL prints
/// them.
pub fn normalize(mut it: cvx_config::Monitor) -> Result<cvx_config::Monitor, ErrorReport> {
    let declaration = |error| ErrorReport::from(Error::Declaration(error));
    it.condition = cvx_config::condition(&it.condition).map_err(declaration)?;
    it.action = cvx_config::action(&it.action).map_err(declaration)?;
    if let Some(filter) = &it.entity_filter {
        it.entity_filter = Some(cvx_config::entity_filter(filter).map_err(declaration)?);
    }
    it.check_interval = monitor::interval(&it.check_interval)?;
    it.cooldown = monitor::interval(&it.cooldown)?;
    Ok(it)
}

/// Everything that can be said against a normalized declaration, with the rights of `owner`.
pub fn check(it: &cvx_config::Monitor, owner: pg_sys::Oid) -> Result<Condition, ErrorReport> {
    check_name("monitor", &it.name)?;
    if !SEVERITIES.contains(&it.severity.as_str()) {
        return Err(invalid(
            format!("unknown severity: {:?}", it.severity),
            format!("Expected one of {}.", SEVERITIES.join(", ")),
        ));
    }
    check_times(it)?;
    let condition = Condition::parse(&it.condition)?;
    if condition.is_event_driven() && it.schedule.is_some() {
        return Err(invalid(
            format!("condition {} has no schedule", condition.name()),
            "It is looked at whenever embeddings are committed.",
        ));
    }
    if let Condition::Population {
        baseline: Baseline::Range(range),
        ..
    } = &condition
    {
        // Raises what PostgreSQL says of it.
        let query = "SELECT $1::pg_catalog.tstzrange";
        Spi::run_with_args(query, &[range.as_str().into()]).map_err(internal)?;
    }
    check_scope(it, &condition, owner)?;
    if let Condition::Query { sql } = &condition {
        custom::check(sql)?;
        custom::check_owner(owner)?;
    }
    check_webhooks(&it.action)?;
    Ok(condition)
}

fn check_times(it: &cvx_config::Monitor) -> Result<(), ErrorReport> {
    if let Some(schedule) = &it.schedule {
        Schedule::parse(schedule, &it.time_zone).map_err(Error::Declaration)?;
    }
    let query = "SELECT $1::pg_catalog.interval OPERATOR(pg_catalog.<) '1 second',
        $2::pg_catalog.interval OPERATOR(pg_catalog.<) '0'";
    let arguments = [it.check_interval.as_str().into(), it.cooldown.as_str().into()];
    let (short, negative) = Spi::get_two_with_args::<bool, bool>(query, &arguments).map_err(internal)?;
    if short == Some(true) {
        return Err(invalid(
            format!("check_interval is {}, less than a second", it.check_interval),
            "Conditions that have to be seen at once are event driven: change_point_detected.",
        ));
    }
    if negative == Some(true) {
        return Err(invalid(
            format!("cooldown is {}, less than 0", it.cooldown),
            "With '0' every evaluation may alert.",
        ));
    }
    Ok(())
}

/// What is looked at is there, fits the condition, and may be read.
fn check_scope(
    it: &cvx_config::Monitor,
    condition: &Condition,
    owner: pg_sys::Oid,
) -> Result<(), ErrorReport> {
    if it.space.is_some() && it.model.is_some() {
        return Err(invalid(
            "a monitor looks at a space or at a model, not at both",
            "A model is looked at as the canonical trajectories of all its versions.",
        ));
    }
    if let Some(space) = &it.space {
        Space::by_name(space)?;
    }
    if let Some(name) = &it.model
        && model::versions(name)?.is_empty()
    {
        return Err(Error::UnknownModel { model: name.clone() }.into());
    }
    let has_scope = it.space.is_some() || it.model.is_some();
    let needs = match condition {
        Condition::ChangePoint { .. } if !has_scope => Some("a space or a model"),
        Condition::Population { .. } if it.space.is_none() => Some("a space"),
        Condition::Freshness { source: None, .. } if !has_scope => Some("a source, a space or a model"),
        _ => None,
    };
    if let Some(needs) = needs {
        return Err(invalid(
            format!("condition {} needs {needs}", condition.name()),
            "Name it in the argument of that name.",
        ));
    }
    let by_entity = !matches!(condition, Condition::Query { .. } | Condition::RejectRatio { .. });
    if by_entity {
        check_embedding(owner)?;
    } else if it.entity_filter.is_some() || has_scope {
        return Err(invalid(
            format!("condition {} looks at no entities", condition.name()),
            "Leave out space, model and entity_filter.",
        ));
    }
    Ok(())
}

fn check_webhooks(action: &Value) -> Result<(), ErrorReport> {
    let policy = Policy::parse(&guc::webhook_allowed_hosts()).map_err(|error| {
        invalid(
            format!("cvx.webhook_allowed_hosts is malformed: {error}"),
            "A superuser can set it in postgresql.conf.",
        )
    })?;
    for action in fire::actions(action) {
        if let Some(url) = action["url"].as_str() {
            policy.check_url(url).map_err(|error| {
                refused(
                    PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                    error.to_string(),
                    "A superuser can allow targets in cvx.webhook_allowed_hosts.",
                )
            })?;
        }
    }
    Ok(())
}

/// Makes a monitor that belongs to the calling role. In a database without any, and without sources, workers may act from
/// here on: what a dump or a copy brings is not made by this function.
pub fn create(it: &cvx_config::Monitor) -> Result<i32, ErrorReport> {
    let owner = rights::current_user();
    let owner_name = rights::name_of(owner)?;
    let condition = check(it, owner)?;
    let monitor_id = rights::as_extension_owner(|| {
        let count = monitor::count()?;
        if count == 0 && source::all()?.is_empty() {
            activation::enable()?;
        }
        if count >= MOST_MONITORS {
            return Err(Error::TooMany {
                kind: "monitors",
                limit: MOST_MONITORS,
            }
            .into());
        }
        let Some(monitor_id) = monitor::insert(it, &owner_name)? else {
            return Err(refused(
                PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT,
                format!("monitor {:?} exists already", it.name),
                "Change it by cvx.alter_monitor, or drop it first by cvx.drop_monitor.",
            ));
        };
        begin(monitor_id, it, &condition, Some(owner))?;
        Ok(monitor_id)
    })?;
    poke::workers();
    if !shared::is_preloaded() {
        ereport!(
            PgLogLevel::WARNING,
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!(
                "monitor {:?} is declared, and this server runs no workers to evaluate it",
                it.name
            ),
            "Add cvx to shared_preload_libraries in postgresql.conf and restart the server, or call cvx.evaluate_monitor."
        );
    }
    Ok(monitor_id)
}

/// Has a new or changed monitor looked at: at once, by its schedule, or when embeddings come.
fn begin(
    monitor_id: i32,
    it: &cvx_config::Monitor,
    condition: &Condition,
    owner: Option<pg_sys::Oid>,
) -> Result<(), ErrorReport> {
    let next = match condition.is_event_driven() {
        true => None,
        false => Some(next_time(it.schedule.as_deref(), &it.time_zone)?.unwrap_or_else(now)),
    };
    let next = next.and_then(|at| TimestampWithTimeZone::try_from(at).ok());
    let set = "owner_oid = COALESCE($2, owner_oid), next_check_at = $3, failures = 0, crashes = 0, last_error = NULL";
    monitor::set_state(monitor_id, set, vec![owner.into(), next.into()])?;
    if condition.is_event_driven()
        && let Some(it) = monitor::by_id(monitor_id)?
    {
        let space = it.declared.space.as_deref().map(Space::by_name).transpose()?;
        monitor::follow(&it, space.map(|space| space.space_id))?;
    }
    Ok(())
}

/// Changes a monitor into what is declared now.
pub fn alter(before: &Monitor, it: &cvx_config::Monitor) -> Result<(), ErrorReport> {
    let owner = owner_of(before)?;
    let condition = check(it, owner)?;
    rights::as_extension_owner(|| {
        monitor::lock(before.monitor_id)?;
        monitor::update(before.monitor_id, it)?;
        let looks = |it: &cvx_config::Monitor| {
            (
                it.condition.clone(),
                it.space.clone(),
                it.model.clone(),
                it.entity_filter.clone(),
            )
        };
        if looks(&before.declared) != looks(it) {
            monitor::forget_detectors(before.monitor_id)?;
            monitor::unfollow(before.monitor_id)?;
            begin(before.monitor_id, it, &condition, None)?;
        } else if !condition.is_event_driven() {
            begin(before.monitor_id, it, &condition, None)?;
        }
        Ok(())
    })?;
    poke::workers();
    Ok(())
}

pub fn drop_monitor(it: &Monitor) -> Result<(), ErrorReport> {
    rights::as_extension_owner(|| monitor::delete(it.monitor_id))?;
    poke::workers();
    Ok(())
}

/// The monitor of this name, for somebody who may change it.
pub fn owned(name: &str) -> Result<Monitor, ErrorReport> {
    let found = rights::as_extension_owner(|| monitor::by_name(name))?;
    let Some(found) = found else {
        return Err(refused(
            PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            format!("monitor {name:?} does not exist"),
            "SELECT name FROM cvx.monitors shows those that do.",
        ));
    };
    check_owns(&found.owner, "monitor", name)?;
    Ok(found)
}

pub fn check_owns(owner: &str, kind: &'static str, name: &str) -> Result<(), ErrorReport> {
    if rights::acts_for(rights::current_user(), owner) {
        return Ok(());
    }
    let name = name.to_owned();
    Err(Error::NotOwner { kind, name }.into())
}

/// The role with whose rights a monitor looks: the one that was there when it was declared.
pub fn owner_of(it: &Monitor) -> Result<pg_sys::Oid, ErrorReport> {
    let (problem, hint) = match (it.owner_oid, it.state.owner_oid) {
        (Some(now), Some(then)) if now != then => (
            "was dropped",
            "A role of the same name has been made since. Drop the monitor and create it again.",
        ),
        (Some(now), _) => return Ok(now),
        (None, _) => (
            "does not exist",
            "Drop the monitor and create it again as a role that exists.",
        ),
    };
    Err(refused(
        PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
        format!(
            "the owner of monitor {:?}, role {:?}, {problem}",
            it.declared.name, it.owner
        ),
        hint,
    ))
}

/// When a monitor is due next, in microseconds since 2000.
pub fn next_check(it: &Monitor) -> Result<TimestampTz, ErrorReport> {
    let declared = &it.declared;
    if let Some(at) = next_time(declared.schedule.as_deref(), &declared.time_zone)? {
        return Ok(at);
    }
    if declared.schedule.is_some() {
        // An expression that matches no more.
        return Ok(TimestampTz::MAX);
    }
    let query = "SELECT pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) $1::pg_catalog.interval";
    let next =
        Spi::get_one_with_args::<TimestampWithTimeZone>(query, &[declared.check_interval.as_str().into()]);
    Ok(next.map_err(internal)?.map_or_else(now, TimestampTz::from))
}
