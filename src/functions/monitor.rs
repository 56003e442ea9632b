//! Declaring, steering and evaluating monitors. DDL: sql/install/81_monitor.sql.

use pgrx::JsonB;
use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde_json::Value;

use super::source::{required, unless_empty, will_write};
use crate::catalog::{alert, delivery, internal, monitor, rights};
use crate::monitors::condition::Condition;
use crate::monitors::evaluate::{Found, evaluate};
use crate::monitors::{custom, declare, fire, invalid, refused};
use crate::types::TimestampTz;
use crate::workers::poke;

#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments, reason = "the arguments of the SQL function")]
fn create_monitor(
    name: Option<String>,
    condition: Option<JsonB>,
    action: Option<JsonB>,
    check_interval: Option<Interval>,
    severity: Option<String>,
    cooldown: Option<Interval>,
    space: Option<String>,
    model: Option<String>,
    description: Option<String>,
    schedule: Option<String>,
    time_zone: Option<String>,
    entity_filter: Option<JsonB>,
) -> Result<i32, ErrorReport> {
    will_write(c"cvx.create_monitor()");
    const NAME: &str = "cvx.create_monitor";
    let declared = declare::normalize(cvx_config::Monitor {
        name: required(NAME, "name", name)?,
        description: description.unwrap_or_default(),
        condition: required(NAME, "condition", condition)?.0,
        action: required(NAME, "action", action)?.0,
        check_interval: text(check_interval)?.unwrap_or_else(|| String::from("1 hour")),
        schedule: schedule.and_then(unless_empty),
        time_zone: time_zone.unwrap_or_else(|| String::from("UTC")),
        severity: severity.unwrap_or_else(|| String::from("medium")),
        cooldown: text(cooldown)?.unwrap_or_else(|| String::from("1 hour")),
        space: space.and_then(unless_empty),
        model: model.and_then(unless_empty),
        entity_filter: entity_filter.map(|it| it.0).filter(|it| !it.is_null()),
    })?;
    try_out(&declared, rights::current_user())?;
    declare::create(&declared)
}

#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments, reason = "the arguments of the SQL function")]
fn alter_monitor(
    name: Option<&str>,
    condition: Option<JsonB>,
    action: Option<JsonB>,
    check_interval: Option<Interval>,
    severity: Option<String>,
    cooldown: Option<Interval>,
    space: Option<String>,
    model: Option<String>,
    description: Option<String>,
    schedule: Option<String>,
    time_zone: Option<String>,
    entity_filter: Option<JsonB>,
) -> Result<(), ErrorReport> {
    will_write(c"cvx.alter_monitor()");
    let before = declare::owned(required("cvx.alter_monitor", "name", name)?)?;
    let old = before.declared.clone();
    let is_new_query = condition.is_some();
    let declared = declare::normalize(cvx_config::Monitor {
        condition: condition.map_or(old.condition, |it| it.0),
        action: action.map_or(old.action, |it| it.0),
        check_interval: text(check_interval)?.unwrap_or(old.check_interval),
        schedule: schedule.map_or(old.schedule, unless_empty),
        time_zone: time_zone.unwrap_or(old.time_zone),
        severity: severity.unwrap_or(old.severity),
        cooldown: text(cooldown)?.unwrap_or(old.cooldown),
        space: space.map_or(old.space, unless_empty),
        model: model.map_or(old.model, unless_empty),
        description: description.unwrap_or(old.description),
        entity_filter: match entity_filter {
            Some(JsonB(Value::Null)) => None,
            Some(JsonB(given)) => Some(given),
            None => old.entity_filter,
        },
        name: old.name,
    })?;
    if is_new_query {
        try_out(&declared, declare::owner_of(&before)?)?;
    }
    declare::alter(&before, &declared)
}

/// A query is looked at once while its author is there to hear of it; names are resolved as they will be for its owner.
fn try_out(it: &cvx_config::Monitor, owner: pg_sys::Oid) -> Result<(), ErrorReport> {
    if let Condition::Query { sql } = Condition::parse(&it.condition)?
        && rights::current_user() == owner
    {
        custom::check(&sql)?;
        custom::check_owner(owner)?;
        custom::try_out(&sql, owner)?;
    }
    Ok(())
}

fn text(it: Option<Interval>) -> Result<Option<String>, ErrorReport> {
    let Some(it) = it else { return Ok(None) };
    let text = Spi::get_one_with_args::<String>("SELECT $1::pg_catalog.text", &[it.into()]);
    text.map_err(internal)
}

#[pg_extern(sql = false)]
fn drop_monitor(name: Option<&str>) -> Result<(), ErrorReport> {
    will_write(c"cvx.drop_monitor()");
    declare::drop_monitor(&declare::owned(required("cvx.drop_monitor", "name", name)?)?)
}

#[pg_extern(sql = false)]
fn pause_monitor(name: Option<&str>) -> Result<(), ErrorReport> {
    will_write(c"cvx.pause_monitor()");
    let it = declare::owned(required("cvx.pause_monitor", "name", name)?)?;
    poke::workers();
    let reason = format!("Paused by {}", rights::name_of(rights::current_user())?);
    rights::as_extension_owner(|| monitor::set_paused(it.monitor_id, true, Some(&reason)))
}

#[pg_extern(sql = false)]
fn resume_monitor(name: Option<&str>) -> Result<(), ErrorReport> {
    will_write(c"cvx.resume_monitor()");
    let it = declare::owned(required("cvx.resume_monitor", "name", name)?)?;
    poke::workers();
    rights::as_extension_owner(|| {
        monitor::set_paused(it.monitor_id, false, None)?;
        monitor::set_state(
            it.monitor_id,
            "failures = 0, crashes = 0, last_error = NULL",
            vec![],
        )
    })
}

#[pg_extern(sql = false)]
fn mute_monitor(name: Option<&str>, duration: Option<Interval>) -> Result<(), ErrorReport> {
    will_write(c"cvx.mute_monitor()");
    let it = declare::owned(required("cvx.mute_monitor", "name", name)?)?;
    if duration
        .as_ref()
        .is_some_and(|it| *it <= Interval::from_micros(0))
    {
        return Err(invalid(
            "the duration of a mute is above 0",
            "cvx.unmute_monitor(name) ends one; without a duration it lasts until then.",
        ));
    }
    let duration = text(duration)?.unwrap_or_else(|| String::from("infinity"));
    rights::as_extension_owner(|| monitor::set_muted(it.monitor_id, Some(&duration)))
}

#[pg_extern(sql = false)]
fn unmute_monitor(name: Option<&str>) -> Result<(), ErrorReport> {
    will_write(c"cvx.unmute_monitor()");
    let it = declare::owned(required("cvx.unmute_monitor", "name", name)?)?;
    rights::as_extension_owner(|| monitor::set_muted(it.monitor_id, None))
}

#[pg_extern(sql = false)]
#[allow(
    clippy::type_complexity,
    reason = "pgrx reads the row type from the signature"
)]
fn evaluate_monitor(
    name: Option<&str>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(entity_id, Option<String>),
            name!(ts, Option<TimestampTz>),
            name!(value, Option<f64>),
            name!(threshold, Option<f64>),
            name!(p_value, Option<f64>),
            name!(severity, String),
            name!(message, String),
            name!(details, JsonB),
            name!(alert_id, Option<i64>),
        ),
    >,
    ErrorReport,
> {
    will_write(c"cvx.evaluate_monitor()");
    let it = declare::owned(required("cvx.evaluate_monitor", "name", name)?)?;
    let severity = it.declared.severity.clone();
    let rows = evaluate(&it)?
        .into_iter()
        .map(move |Found { finding, alert_id }| {
            (
                finding.entity_id,
                finding.ts,
                finding.value,
                finding.threshold,
                finding.p_value,
                finding.severity.unwrap_or_else(|| severity.clone()),
                finding.message,
                JsonB(finding.details),
                alert_id,
            )
        });
    Ok(TableIterator::new(rows))
}

#[pg_extern(sql = false)]
fn test_monitor(name: Option<&str>) -> Result<i64, ErrorReport> {
    will_write(c"cvx.test_monitor()");
    let it = declare::owned(required("cvx.test_monitor", "name", name)?)?;
    fire::test(&it, &Condition::parse(&it.declared.condition)?)
}

/// Refuses alerts that are not there, and those of others.
fn check_alert(alert_id: i64) -> Result<(), ErrorReport> {
    match rights::as_extension_owner(|| alert::owner(alert_id))? {
        Some(owner) => declare::check_owns(&owner, "alert", &alert_id.to_string()),
        None => Err(refused(
            PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            format!("alert {alert_id} does not exist"),
            "SELECT alert_id, message FROM cvx.alert shows those that do.",
        )),
    }
}

#[pg_extern(sql = false)]
fn acknowledge_alert(alert_id: Option<i64>, note: Option<&str>) -> Result<(), ErrorReport> {
    will_write(c"cvx.acknowledge_alert()");
    let alert_id = required("cvx.acknowledge_alert", "alert_id", alert_id)?;
    check_alert(alert_id)?;
    let role = rights::name_of(rights::current_user())?;
    rights::as_extension_owner(|| alert::acknowledge(alert_id, &role, note))
}

#[pg_extern(sql = false)]
fn resend_alert(alert_id: Option<i64>) -> Result<(), ErrorReport> {
    will_write(c"cvx.resend_alert()");
    let alert_id = required("cvx.resend_alert", "alert_id", alert_id)?;
    check_alert(alert_id)?;
    poke::workers();
    match rights::as_extension_owner(|| delivery::resend(alert_id))? {
        0 => Err(refused(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("alert {alert_id} has no webhook that failed"),
            "cvx.alert.deliveries shows what became of each.",
        )),
        _ => Ok(()),
    }
}
