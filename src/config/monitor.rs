//! `[[monitors]]`: their conditions and actions.

use crate::duration::{self, Length};
use crate::keys::Keys;
use crate::{Error, Monitor, nearest};
use serde_json::{Map, Value as Json, json};
use toml::Value;

pub const DEFAULT_INTERVAL: &str = "1 hour";
pub const DEFAULT_SEVERITY: &str = "medium";
const SEVERITIES: [&str; 4] = ["low", "medium", "high", "critical"];
const CONDITIONS: [&str; 5] = [
    "drift_exceeds",
    "velocity_exceeds",
    "silence_exceeds",
    "change_point_detected",
    "custom_query",
];
const ACTIONS: [&str; 3] = ["emit_event", "webhook_post", "log"];
const LOG_LEVELS: [&str; 5] = ["debug", "info", "notice", "warning", "log"];
/// Headers that carry credentials: never as plain text.
const SECRET_HEADERS: [&str; 3] = ["authorization", "proxy-authorization", "cookie"];

pub fn read(index: usize, table: toml::Table) -> Result<Monitor, Error> {
    let mut keys = Keys::new(format!("monitors[{index}]"), table);
    let name = keys.required("name")?;
    keys.rename(format!("monitor {name:?}"));
    let monitor = Monitor {
        name,
        description: keys.text("description")?.unwrap_or_default(),
        condition: table_of(&mut keys, "condition").and_then(|it| condition(&keys, it))?,
        action: action(&mut keys)?,
        check_interval: interval(&mut keys, "check_interval", Length::Positive)?
            .unwrap_or_else(|| DEFAULT_INTERVAL.to_owned()),
        severity: keys
            .word("severity", &SEVERITIES)?
            .unwrap_or_else(|| DEFAULT_SEVERITY.to_owned()),
        cooldown: interval(&mut keys, "cooldown", Length::Zero)?
            .unwrap_or_else(|| DEFAULT_INTERVAL.to_owned()),
        space: keys.optional("space")?,
        model: keys.optional("model")?,
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

fn interval(keys: &mut Keys, key: &'static str, least: Length) -> Result<Option<String>, Error> {
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
fn type_of(keys: &mut Keys, types: &[&'static str]) -> Result<&'static str, Error> {
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

fn condition(monitor: &Keys, table: toml::Table) -> Result<Json, Error> {
    let mut keys = monitor.within("condition", table);
    let kind = type_of(&mut keys, &CONDITIONS)?;
    let mut out = Map::from_iter([("type".to_owned(), json!(kind))]);
    let mut put = |key: &str, value: Json| out.insert(key.to_owned(), value);
    match kind {
        "drift_exceeds" => {
            put("threshold", number(&mut keys, "threshold", None)?);
            put("window", required_interval(&mut keys, "window")?);
        }
        "velocity_exceeds" => {
            put("threshold", number(&mut keys, "threshold", None)?);
        }
        "silence_exceeds" => {
            put("duration", required_interval(&mut keys, "duration")?);
            if let Some(source) = keys.optional("source")? {
                put("source", json!(source));
            }
        }
        "change_point_detected" => {
            put("min_severity", number(&mut keys, "min_severity", Some(1.0))?);
        }
        _ => {
            put("sql", json!(keys.required("sql")?));
        }
    }
    if !matches!(kind, "silence_exceeds" | "custom_query")
        && let Some(rate) = keys.positive("fdr", Some(1.0))?
    {
        put("fdr", rate);
    }
    keys.finish()?;
    Ok(Json::Object(out))
}

fn number(keys: &mut Keys, key: &'static str, most: Option<f64>) -> Result<Json, Error> {
    keys.positive(key, most)?.ok_or_else(|| keys.missing(key))
}

fn required_interval(keys: &mut Keys, key: &'static str) -> Result<Json, Error> {
    let text = interval(keys, key, Length::Positive)?;
    text.map(Json::from).ok_or_else(|| keys.missing(key))
}

/// One action or a list of them, in the form in which it is given.
fn action(keys: &mut Keys) -> Result<Json, Error> {
    match keys.take("action") {
        None => Err(keys.missing("action")),
        Some(Value::Table(table)) => one_action(keys.within("action", table)),
        Some(Value::Array(values)) if values.is_empty() => Err(keys.error("action", "is an empty list")),
        Some(Value::Array(values)) => {
            let each = |(index, value)| match value {
                Value::Table(table) => one_action(keys.within(&format!("action[{index}]"), table)),
                other => Err(keys.wrong(&format!("action[{index}]"), "a table", &other)),
            };
            let actions = values.into_iter().enumerate().map(each);
            Ok(Json::Array(actions.collect::<Result<_, _>>()?))
        }
        Some(other) => Err(keys.wrong("action", "a table or a list of them", &other)),
    }
}

fn one_action(mut keys: Keys) -> Result<Json, Error> {
    let kind = type_of(&mut keys, &ACTIONS)?;
    let mut out = Map::from_iter([("type".to_owned(), json!(kind))]);
    match kind {
        "webhook_post" => {
            let url = keys.required("url")?;
            check_url(&keys, &url)?;
            out.insert("url".to_owned(), json!(url));
            if let Some(found) = keys.take("headers") {
                out.insert("headers".to_owned(), headers(&keys, found)?);
            }
            if let Some(found) = keys.take("secret") {
                out.insert("secret".to_owned(), reference(&keys, "secret", found)?);
            }
        }
        "log" => {
            if let Some(level) = keys.word("level", &LOG_LEVELS)? {
                out.insert("level".to_owned(), json!(level));
            }
        }
        _ => {}
    }
    keys.finish()?;
    Ok(Json::Object(out))
}

fn check_url(keys: &Keys, url: &str) -> Result<(), Error> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let Some(rest) = rest else {
        return Err(keys.error("url", "does not start with https:// or http://"));
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.contains('@') {
        let error = keys.error("url", "holds a user name or password");
        return Err(
            error.hint("Put it into headers as { secret = \"NAME\" }, and the secret into cvx.secret.")
        );
    }
    if host.is_empty() || host.starts_with(':') || url.contains(|c: char| c.is_whitespace() || c.is_control())
    {
        return Err(keys.error("url", "is not a URL"));
    }
    Ok(())
}

fn headers(keys: &Keys, found: Value) -> Result<Json, Error> {
    let Value::Table(table) = found else {
        return Err(keys.wrong("headers", "a table", &found));
    };
    let mut out = Map::new();
    for (name, value) in table {
        let path = format!("headers.{}", crate::value::shown_key(&name));
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(token) {
            return Err(keys.error(&path, "is not the name of a header"));
        }
        let json = match value {
            Value::String(text) if !SECRET_HEADERS.contains(&name.to_ascii_lowercase().as_str()) => {
                if text.contains(char::is_control) {
                    return Err(keys.error(&path, "holds a control character"));
                }
                Json::String(text)
            }
            other => reference(keys, &path, other)?,
        };
        out.insert(name, json);
    }
    Ok(Json::Object(out))
}

/// `{ secret = "NAME" }` or `{ env = "NAME" }`; whatever else stands there is not shown.
fn reference(keys: &Keys, key: &str, found: Value) -> Result<Json, Error> {
    if let Value::Table(table) = &found
        && table.len() == 1
        && let Some((kind @ ("secret" | "env"), Value::String(name))) =
            table.iter().next().map(|(kind, name)| (kind.as_str(), name))
        && !name.is_empty()
        && !name.contains('\0')
    {
        return Ok(json!({ kind: name }));
    }
    let error = keys.error(key, "must refer to a secret");
    Err(error.hint("Write { secret = \"NAME\" } for a row of cvx.secret, or { env = \"NAME\" }."))
}
