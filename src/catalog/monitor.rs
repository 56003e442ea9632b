use pgrx::JsonB;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::internal;

/// A row of cvx.monitor.
#[derive(Clone, Debug, PartialEq)]
pub struct Monitor {
    pub declared: cvx_config::Monitor,
    pub owner: String,
}

/// All monitors, in the order of their names.
pub fn all() -> Result<Vec<Monitor>, ErrorReport> {
    let query = "SELECT m.name, m.description, m.condition, m.action, m.check_interval::text, m.severity,
            m.cooldown::text, m.space, m.model, m.owner::text, m.schedule, m.time_zone, m.entity_filter
        FROM cvx.monitor m ORDER BY m.name";
    Spi::connect(|client| {
        let rows = client.select(query, None, &[])?;
        rows.map(|row| {
            let text = |i| row.get::<String>(i).map(Option::unwrap_or_default);
            let json = |i| {
                row.get::<JsonB>(i)
                    .map(|it| it.map_or(serde_json::Value::Null, |it| it.0))
            };
            Ok(Monitor {
                declared: cvx_config::Monitor {
                    name: text(1)?,
                    description: text(2)?,
                    condition: json(3)?,
                    action: json(4)?,
                    check_interval: text(5)?,
                    severity: text(6)?,
                    cooldown: text(7)?,
                    space: row.get(8)?,
                    model: row.get(9)?,
                    schedule: row.get(11)?,
                    time_zone: text(12)?,
                    entity_filter: row.get::<JsonB>(13)?.map(|it| it.0),
                },
                owner: text(10)?,
            })
        })
        .collect::<pgrx::spi::Result<_>>()
    })
    .map_err(internal)
}

/// Makes a monitor, or changes the one of this name.
pub fn store(it: &cvx_config::Monitor, owner: &str) -> Result<(), ErrorReport> {
    let upsert = "INSERT INTO cvx.monitor AS m
            (name, description, condition, action, check_interval, severity, cooldown, space, model, owner,
             schedule, time_zone, entity_filter)
        VALUES ($1, $2, $3, $4, $5::pg_catalog.interval, $6, $7::pg_catalog.interval, $8, $9, $10::pg_catalog.name,
             $11, $12, $13)
        ON CONFLICT (name) DO UPDATE SET description = excluded.description, condition = excluded.condition,
            action = excluded.action, check_interval = excluded.check_interval, severity = excluded.severity,
            cooldown = excluded.cooldown, space = excluded.space, model = excluded.model,
            schedule = excluded.schedule, time_zone = excluded.time_zone, entity_filter = excluded.entity_filter";
    Spi::run_with_args(
        upsert,
        &[
            it.name.as_str().into(),
            it.description.as_str().into(),
            JsonB(it.condition.clone()).into(),
            JsonB(it.action.clone()).into(),
            it.check_interval.as_str().into(),
            it.severity.as_str().into(),
            it.cooldown.as_str().into(),
            it.space.as_deref().into(),
            it.model.as_deref().into(),
            owner.into(),
            it.schedule.as_deref().into(),
            it.time_zone.as_str().into(),
            it.entity_filter.clone().map(JsonB).into(),
        ],
    )
    .map_err(internal)
}

pub fn delete(name: &str) -> Result<(), ErrorReport> {
    let delete = "DELETE FROM cvx.monitor m WHERE m.name OPERATOR(pg_catalog.=) $1";
    Spi::run_with_args(delete, &[name.into()]).map_err(internal)
}

/// An interval as PostgreSQL prints it; raises what PostgreSQL says of it otherwise.
pub fn interval(text: &str) -> Result<String, ErrorReport> {
    let query = "SELECT $1::pg_catalog.interval::text";
    let found = Spi::get_one_with_args::<String>(query, &[text.into()]).map_err(internal)?;
    Ok(found.unwrap_or_default())
}
