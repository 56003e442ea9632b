//! `[[monitors]]`.

use crate::duration::{self, Length};
use crate::keys::Keys;
use crate::{Error, Monitor, action, condition, nearest};
use toml::Value;

pub const DEFAULT_INTERVAL: &str = "1 hour";
pub const DEFAULT_SEVERITY: &str = "medium";
/// How much an alert matters, from the least.
pub const SEVERITIES: [&str; 4] = ["low", "medium", "high", "critical"];

pub fn read(index: usize, table: toml::Table) -> Result<Monitor, Error> {
    let mut keys = Keys::new(format!("monitors[{index}]"), table);
    let name = keys.required("name")?;
    keys.rename(format!("monitor {name:?}"));
    let description = keys.text("description")?.unwrap_or_default();
    let condition = table_of(&mut keys, "condition").and_then(|it| condition::read(&keys, it))?;
    let action = keys.take("action").ok_or_else(|| keys.missing("action"))?;
    let action = action::read(&keys, action)?;
    let check_interval = interval(&mut keys, "check_interval", Length::Positive)?;
    let (schedule, time_zone) = keys.schedule()?;
    if schedule.is_some() && check_interval.is_some() {
        let error = keys.error("schedule", "and check_interval are both given");
        return Err(
            error.hint("A monitor looks at the times of a schedule, or each time an interval is over.")
        );
    }
    let severity = keys.word("severity", &SEVERITIES)?;
    let cooldown = interval(&mut keys, "cooldown", Length::Zero)?;
    let filter = match keys.take("entity_filter") {
        None => None,
        Some(Value::Table(table)) => Some(condition::read_filter(&keys, table)?),
        Some(other) => return Err(keys.wrong("entity_filter", "a table", &other)),
    };
    let monitor = Monitor {
        name,
        description,
        condition,
        action,
        check_interval: check_interval.unwrap_or_else(|| DEFAULT_INTERVAL.to_owned()),
        schedule,
        time_zone,
        severity: severity.unwrap_or_else(|| DEFAULT_SEVERITY.to_owned()),
        cooldown: cooldown.unwrap_or_else(|| DEFAULT_INTERVAL.to_owned()),
        space: keys.optional("space")?,
        model: keys.optional("model")?,
        entity_filter: filter,
    };
    keys.finish()?;
    Ok(monitor)
}

fn table_of(keys: &mut Keys, key: &'static str) -> Result<toml::Table, Error> {
    match keys.take(key) {
        None => Err(keys.missing(key)),
        Some(Value::Table(table)) => Ok(table),
        Some(other) => Err(keys.wrong(key, "a table", &other)),
    }
}

pub fn interval(keys: &mut Keys, key: &'static str, least: Length) -> Result<Option<String>, Error> {
    let Some(text) = keys.optional(key)? else {
        return Ok(None);
    };
    match duration::length(&text) {
        Some(Length::Zero) if least == Length::Positive => Err(keys.error(key, "is not above 0")),
        Some(_) => Ok(Some(text)),
        None => {
            let error = keys.error(key, format_args!("is {text:?}, not an interval"));
            Err(error.hint("Write it as 7d, 90 minutes, 1 day 12 hours, 01:30:00 or P1DT12H."))
        }
    }
}

/// The type of a condition or an action.
pub fn type_of(keys: &mut Keys, types: &[&'static str]) -> Result<&'static str, Error> {
    let found = keys.required("type")?;
    if let Some(known) = types.iter().find(|known| **known == found) {
        return Ok(known);
    }
    let error = keys.error("type", format_args!("is {found:?}, an unknown type"));
    Err(match nearest(&found, types.iter().copied()) {
        Some(meant) => error.hint(format!("Perhaps {meant} is meant.")),
        None => error.hint(format!("The types are {}.", types.join(", "))),
    })
}
