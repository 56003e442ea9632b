use pgrx::JsonB;
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::SpiHeapTupleData;
use serde_json::Value;

use super::internal;
use crate::types::TimestampTz;

/// A row of cvx.monitor, with what this server knows of it.
#[derive(Clone, Debug)]
pub struct Monitor {
    pub monitor_id: i32,
    pub declared: cvx_config::Monitor,
    pub owner: String,
    /// The role of that name, if there is one.
    pub owner_oid: Option<pg_sys::Oid>,
    pub paused: bool,
    pub muted: bool,
    pub state: State,
    /// Whether entities that it follows have changed; where that was looked at.
    pub is_marked: bool,
}

/// A row of cvx.monitor_state.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The owner when it was declared.
    pub owner_oid: Option<pg_sys::Oid>,
    pub next_check_at: Option<TimestampTz>,
    pub running_since: Option<TimestampTz>,
    pub last_evaluated_at: Option<TimestampTz>,
    pub failures: i32,
    pub crashes: i32,
}

const COLUMNS: &str = "SELECT m.monitor_id, m.name, m.description, m.condition, m.action, m.check_interval::text,
        m.severity, m.cooldown::text, m.space, m.model, m.owner::text, m.schedule, m.time_zone, m.entity_filter,
        r.oid, m.paused, COALESCE(m.muted_until OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp(), false),
        t.owner_oid, t.next_check_at, t.running_since, t.last_evaluated_at,
        COALESCE(t.failures, 0), COALESCE(t.crashes, 0)
    FROM cvx.monitor m
    LEFT JOIN pg_catalog.pg_roles r ON r.rolname OPERATOR(pg_catalog.=) m.owner
    LEFT JOIN cvx.monitor_state t ON t.monitor_id OPERATOR(pg_catalog.=) m.monitor_id";

fn read(row: &SpiHeapTupleData<'_>) -> pgrx::spi::Result<Monitor> {
    let text = |i| row.get::<String>(i).map(Option::unwrap_or_default);
    let json = |i| row.get::<JsonB>(i).map(|it| it.map_or(Value::Null, |it| it.0));
    let time = |i| {
        row.get::<TimestampWithTimeZone>(i)
            .map(|it| it.map(TimestampTz::from))
    };
    let flag = |i| row.get::<bool>(i).map(Option::unwrap_or_default);
    Ok(Monitor {
        monitor_id: row.get(1)?.unwrap_or_default(),
        declared: cvx_config::Monitor {
            name: text(2)?,
            description: text(3)?,
            condition: json(4)?,
            action: json(5)?,
            check_interval: text(6)?,
            severity: text(7)?,
            cooldown: text(8)?,
            space: row.get(9)?,
            model: row.get(10)?,
            schedule: row.get(12)?,
            time_zone: text(13)?,
            entity_filter: row.get::<JsonB>(14)?.map(|it| it.0),
        },
        owner: text(11)?,
        owner_oid: row.get(15)?,
        paused: flag(16)?,
        muted: flag(17)?,
        state: State {
            owner_oid: row.get(18)?,
            next_check_at: time(19)?,
            running_since: time(20)?,
            last_evaluated_at: time(21)?,
            failures: row.get(22)?.unwrap_or_default(),
            crashes: row.get(23)?.unwrap_or_default(),
        },
        is_marked: false,
    })
}

fn select(suffix: &str, arguments: &[DatumWithOid<'_>]) -> Result<Vec<Monitor>, ErrorReport> {
    let query = format!("{COLUMNS} {suffix}");
    Spi::connect(|client| {
        let rows = client.select(query.as_str(), None, arguments)?;
        rows.map(|row| read(&row)).collect::<pgrx::spi::Result<_>>()
    })
    .map_err(internal)
}

/// All monitors, in the order of their names.
pub fn all() -> Result<Vec<Monitor>, ErrorReport> {
    select("ORDER BY m.name", &[])
}

pub fn by_name(name: &str) -> Result<Option<Monitor>, ErrorReport> {
    let found = select("WHERE m.name OPERATOR(pg_catalog.=) $1", &[name.into()])?;
    Ok(found.into_iter().next())
}

pub fn by_id(monitor_id: i32) -> Result<Option<Monitor>, ErrorReport> {
    let found = select(
        "WHERE m.monitor_id OPERATOR(pg_catalog.=) $1",
        &[monitor_id.into()],
    )?;
    Ok(found.into_iter().next())
}

pub fn count() -> Result<i64, ErrorReport> {
    let count = Spi::get_one::<i64>("SELECT pg_catalog.count(*) FROM cvx.monitor");
    Ok(count.map_err(internal)?.unwrap_or_default())
}

fn values(it: &cvx_config::Monitor) -> Vec<DatumWithOid<'_>> {
    vec![
        it.name.as_str().into(),
        it.description.as_str().into(),
        JsonB(it.condition.clone()).into(),
        JsonB(it.action.clone()).into(),
        it.check_interval.as_str().into(),
        it.severity.as_str().into(),
        it.cooldown.as_str().into(),
        it.space.as_deref().into(),
        it.model.as_deref().into(),
        it.schedule.as_deref().into(),
        it.time_zone.as_str().into(),
        it.entity_filter.clone().map(JsonB).into(),
    ]
}

/// Makes a monitor; None when there is one of this name.
pub fn insert(it: &cvx_config::Monitor, owner: &str) -> Result<Option<i32>, ErrorReport> {
    let insert = "INSERT INTO cvx.monitor AS m
            (name, description, condition, action, check_interval, severity, cooldown, space, model,
             schedule, time_zone, entity_filter, owner)
        VALUES ($1, $2, $3, $4, $5::pg_catalog.interval, $6, $7::pg_catalog.interval, $8, $9, $10, $11, $12,
            $13::pg_catalog.name)
        ON CONFLICT (name) DO NOTHING RETURNING m.monitor_id";
    let mut arguments = values(it);
    arguments.push(owner.into());
    Spi::connect_mut(|client| {
        let rows = client.update(insert, None, &arguments)?;
        rows.into_iter().next().map_or(Ok(None), |row| row.get::<i32>(1))
    })
    .map_err(internal)
}

/// Changes what a monitor declares; its name stays.
pub fn update(monitor_id: i32, it: &cvx_config::Monitor) -> Result<(), ErrorReport> {
    let update = "UPDATE cvx.monitor m SET description = $2, condition = $3, action = $4,
            check_interval = $5::pg_catalog.interval, severity = $6, cooldown = $7::pg_catalog.interval, space = $8,
            model = $9, schedule = $10, time_zone = $11, entity_filter = $12
        WHERE m.monitor_id OPERATOR(pg_catalog.=) $13 AND m.name OPERATOR(pg_catalog.=) $1";
    let mut arguments = values(it);
    arguments.push(monitor_id.into());
    Spi::run_with_args(update, &arguments).map_err(internal)
}

pub fn delete(monitor_id: i32) -> Result<(), ErrorReport> {
    // In the order in which evaluations lock: one that is under way ends first.
    lock(monitor_id)?;
    for table in ["monitor", "monitor_state", "detector"] {
        let delete = format!("DELETE FROM cvx.{table} m WHERE m.monitor_id OPERATOR(pg_catalog.=) $1");
        Spi::run_with_args(&delete, &[monitor_id.into()]).map_err(internal)?;
    }
    unfollow(monitor_id)
}

pub fn set_paused(monitor_id: i32, paused: bool, reason: Option<&str>) -> Result<(), ErrorReport> {
    let update = "UPDATE cvx.monitor m SET paused = $2, pause_reason = $3
        WHERE m.monitor_id OPERATOR(pg_catalog.=) $1";
    Spi::run_with_args(update, &[monitor_id.into(), paused.into(), reason.into()]).map_err(internal)
}

/// Mutes for so long, an interval as text; `infinity` until it is unmuted, None not at all.
pub fn set_muted(monitor_id: i32, duration: Option<&str>) -> Result<(), ErrorReport> {
    let update = "UPDATE cvx.monitor m SET muted_until = CASE $2
            WHEN 'infinity' THEN 'infinity'
            ELSE pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) $2::pg_catalog.interval END
        WHERE m.monitor_id OPERATOR(pg_catalog.=) $1";
    Spi::run_with_args(update, &[monitor_id.into(), duration.into()]).map_err(internal)
}

/// Changes the state of a monitor: `set` is a list of assignments in which $1 is the monitor's id, the rest as given.
pub fn set_state(monitor_id: i32, set: &str, values: Vec<DatumWithOid<'_>>) -> Result<(), ErrorReport> {
    let insert = "INSERT INTO cvx.monitor_state (monitor_id)
        SELECT m.monitor_id FROM cvx.monitor m WHERE m.monitor_id OPERATOR(pg_catalog.=) $1 ON CONFLICT DO NOTHING";
    Spi::run_with_args(insert, &[monitor_id.into()]).map_err(internal)?;
    let query = format!("UPDATE cvx.monitor_state SET {set} WHERE monitor_id OPERATOR(pg_catalog.=) $1");
    let mut arguments = vec![monitor_id.into()];
    arguments.extend(values);
    Spi::run_with_args(&query, &arguments).map_err(internal)
}

/// Waits until nobody else raises alerts of this monitor. False when it is gone.
pub fn lock(monitor_id: i32) -> Result<bool, ErrorReport> {
    set_state(monitor_id, "monitor_id = monitor_id", vec![])?;
    let query =
        "SELECT m.monitor_id FROM cvx.monitor m WHERE m.monitor_id OPERATOR(pg_catalog.=) $1 FOR KEY SHARE";
    let is_there = Spi::connect_mut(|client| {
        let rows = client.update(query, Some(1), &[monitor_id.into()])?;
        Ok::<_, pgrx::spi::Error>(!rows.is_empty())
    });
    let is_there = is_there.map_err(internal)?;
    if !is_there {
        // Made above, by a transaction that had seen the monitor.
        let delete = "DELETE FROM cvx.monitor_state t WHERE t.monitor_id OPERATOR(pg_catalog.=) $1";
        Spi::run_with_args(delete, &[monitor_id.into()]).map_err(internal)?;
    }
    Ok(is_there)
}

/// Has the log of changes kept for a monitor of change points, from here on.
pub fn follow(it: &Monitor, space_id: Option<i32>) -> Result<(), ErrorReport> {
    let insert =
        "INSERT INTO cvx.monitor_reader (view_id, space_id, model, entity_filter) VALUES ($1, $2, $3, $4)";
    let model = it.declared.model.as_deref().filter(|_| space_id.is_none());
    let arguments = [
        (-it.monitor_id).into(),
        space_id.into(),
        model.into(),
        it.declared.entity_filter.clone().map(JsonB).into(),
    ];
    Spi::run_with_args(insert, &arguments).map_err(internal)?;
    super::view::insert_state(-it.monitor_id)
}

/// Detectors begin anew with the next point of each entity.
pub fn forget_detectors(monitor_id: i32) -> Result<(), ErrorReport> {
    let delete = "DELETE FROM cvx.detector d WHERE d.monitor_id OPERATOR(pg_catalog.=) $1";
    Spi::run_with_args(delete, &[monitor_id.into()]).map_err(internal)
}

pub fn unfollow(monitor_id: i32) -> Result<(), ErrorReport> {
    let delete = "DELETE FROM cvx.monitor_reader r WHERE r.view_id OPERATOR(pg_catalog.=) $1";
    Spi::run_with_args(delete, &[(-monitor_id).into()]).map_err(internal)
}

/// An interval as PostgreSQL prints it; raises what PostgreSQL says of it otherwise.
pub fn interval(text: &str) -> Result<String, ErrorReport> {
    let query = "SELECT $1::pg_catalog.interval::text";
    let found = Spi::get_one_with_args::<String>(query, &[text.into()]).map_err(internal)?;
    Ok(found.unwrap_or_default())
}
